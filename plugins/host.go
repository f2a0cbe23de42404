// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/plugins/contract"
	"github.com/bkp-tool/bkp/plugins/proto"
)

// ServeCommand is the hidden command of bkp that serves a plugin inside it: bkp plugin-serve KIND NAME.
const ServeCommand = "plugin-serve"

// InsideArgs are the arguments with which a binary serves the plugin inside it.
func InsideArgs(n Name) []string { return []string{ServeCommand, string(n.Kind), n.Name} }

// RunCommand is the hidden command of bkp that becomes the program of a plugin by RunApart: bkp plugin-run DATA SOCKETS
// PROGRAM.
const RunCommand = "plugin-run"

const (
	defaultStartTimeout = 10 * time.Second
	defaultCallTimeout  = 10 * time.Second
)

// Host finds and starts plugins. Its fields are set before its first use; it may then be used from many goroutines.
type Host struct {
	Path   []string // folders that are searched, first match first; see SearchPath
	Told   []string // those of them whose files take the place of plugins inside bkp; see ToldPath
	Lock   string   // bkp.lock.toml; "" keeps no checksums
	Inside []Name   // plugins inside the running binary, used where no file is found
	// folder for the sockets; where it is "", or too long a path for a socket, the system's temporary folder is
	Sockets string
	// what strategies that are not inside bkp cannot open, where the kernel has Landlock, by way of
	// RunCommand of the running binary; "" is nothing
	Hidden       string
	Config       map[Name]Config // what plugins are configured with when they start; see With
	Log          *slog.Logger    // what plugins log and print; nil drops it
	StartTimeout time.Duration   // until a plugin has said what it is; 0 is 10 s
	CallTimeout  time.Duration   // for each call; 0 is 10 s
	Memory       core.Size       // that each process of a plugin may write to; 0 is 512 MiB
	Processes    int             // that a plugin may have, its own among them; 0 is 64
}

// Info is what a plugin is and says it is.
type Info struct {
	Found
	Version       string   `json:"version"`
	Summary       string   `json:"summary"`
	Needs         []string `json:"needs,omitempty"`         // columns that a strategy reads
	Deterministic bool     `json:"deterministic,omitempty"` // of a strategy
	// what it can be configured with, and what it is configured with here
	Settings []core.Setting `json:"settings,omitempty"`
	Config   Config         `json:"config,omitempty"`
}

// Config is the configuration of one plugin.
type Config = contract.Config

// With is a host that gives one plugin further configuration.
func (h *Host) With(n Name, c Config) *Host {
	with := *h
	with.Config = maps.Clone(h.Config)
	if with.Config == nil {
		with.Config = map[Name]Config{}
	}
	all := maps.Clone(with.Config[n])
	if all == nil {
		all = Config{}
	}
	maps.Copy(all, c)
	with.Config[n] = all
	return &with
}

// configured gives a plugin that has such settings the configuration of its host.
func (p *process) configured(ctx context.Context, settings []core.Setting, give core.Configurer) error {
	config := p.host.Config[p.found.Name]
	if len(config) == 0 {
		return nil
	}
	words, err := config.Encode(settings)
	if err != nil {
		return core.Fail(core.CodeUsage, "%s: configure it: %w", p.found.Name, err)
	}
	return give.Configure(ctx, words)
}

// Info starts a plugin, asks it what it is, and closes it.
func (h *Host) Info(ctx context.Context, kind Kind, name string) (Info, error) {
	if kind == KindVerifier {
		v, err := h.Verifier(ctx, name)
		if err != nil {
			return Info{}, err
		}
		defer v.Close()
		return Info{Found: v.found, Version: v.info.Version, Summary: v.info.Summary, Settings: v.info.Settings,
			Config: h.Config[v.found.Name]}, nil
	}
	if kind == KindNotifier {
		n, err := h.Notifier(ctx, name)
		if err != nil {
			return Info{}, err
		}
		defer n.Close()
		return Info{Found: n.found, Version: n.info.Version, Summary: n.info.Summary, Settings: n.info.Settings,
			Config: h.Config[n.found.Name]}, nil
	}
	if kind == KindEngine {
		e, err := h.Engine(ctx, name)
		if err != nil {
			return Info{}, err
		}
		defer e.Close()
		return Info{Found: e.found, Version: e.info.Version, Summary: e.info.Summary, Settings: e.info.Settings,
			Config: h.Config[e.found.Name]}, nil
	}
	s, err := h.Strategy(ctx, name)
	if err != nil {
		return Info{}, err
	}
	defer s.Close()
	i := s.info
	return Info{Found: s.found, Version: i.Version, Summary: i.Summary, Needs: i.Needs, Deterministic: i.Deterministic,
		Settings: i.Settings, Config: h.Config[s.found.Name]}, nil
}

// Strategy is a running strategy. Its calls may be made from many goroutines.
type Strategy struct {
	*process
	info  core.StrategyInfo
	calls proto.StrategyClient
}

var _ core.Strategy = (*Strategy)(nil)
var _ core.Configurer = (*Strategy)(nil)

// Strategy starts the strategy of that name. The caller closes it.
func (h *Host) Strategy(ctx context.Context, name string) (*Strategy, error) {
	p, err := h.open(ctx, KindStrategy, name)
	if err != nil {
		return nil, err
	}
	return newStrategy(ctx, p)
}

// newStrategy asks a process that has just been started what it is, and ends it where that is not what it should be.
func newStrategy(ctx context.Context, p *process) (*Strategy, error) {
	s := &Strategy{process: p, calls: p.door.(proto.StrategyClient)}
	err := p.call(ctx, "ask what it is", func(ctx context.Context) error {
		answer, err := s.calls.Describe(ctx, &proto.StrategyDescribeRequest{})
		s.info = contract.StrategyFromProto(answer)
		return err
	})
	if err == nil {
		err = p.introduced(s.info.Name, &s.info.Version, &s.info.Summary)
	}
	for i := range s.info.Needs {
		s.info.Needs[i] = contract.Clean(s.info.Needs[i])
	}
	if err == nil {
		err = p.configured(ctx, s.info.Settings, s)
	}
	if err != nil {
		p.Close()
		return nil, err
	}
	return s, nil
}

// Describe is what the strategy said at its start.
func (s *Strategy) Describe(context.Context) (core.StrategyInfo, error) { return s.info, nil }

// Configure hands the strategy its configuration.
func (s *Strategy) Configure(ctx context.Context, config []byte) error {
	return s.call(ctx, "configure it", func(ctx context.Context) error {
		_, err := s.calls.Configure(ctx, &proto.StrategyConfigureRequest{Config: config})
		return err
	})
}

// Score asks for prices; an answer without the right shape is an error.
func (s *Strategy) Score(ctx context.Context, batch core.Batch) (core.Scores, error) {
	doing := fmt.Sprintf("price %d nodes", batch.Nodes.Len())
	var scores core.Scores
	err := s.call(ctx, doing, func(ctx context.Context) error {
		answer, err := s.calls.Score(ctx, &proto.ScoreRequest{Batch: contract.BatchToProto(batch, s.info.Needs)})
		scores = contract.ScoresFromProto(answer.GetScores())
		return err
	})
	if err != nil {
		return core.Scores{}, err
	}
	if err := contract.CheckScores(batch.Nodes.Len(), scores); err != nil {
		return core.Scores{}, s.fail(doing, fmt.Errorf("bad answer: %w", err),
			"this is a fault of the plugin: use another strategy, or tell its author")
	}
	return scores, nil
}

// Verifier is a running verifier. Its calls may be made from many goroutines.
type Verifier struct {
	*process
	info  core.VerifierInfo
	calls proto.VerifierClient
}

var (
	_ core.Verifier          = (*Verifier)(nil)
	_ core.VerifierDescriber = (*Verifier)(nil)
	_ core.Configurer        = (*Verifier)(nil)
)

// Verifier starts the verifier of that name. The caller closes it.
func (h *Host) Verifier(ctx context.Context, name string) (*Verifier, error) {
	p, err := h.open(ctx, KindVerifier, name)
	if err != nil {
		return nil, err
	}
	return newVerifier(ctx, p)
}

// newVerifier asks a process that has just been started what it is, and ends it where that is not what it should be.
func newVerifier(ctx context.Context, p *process) (*Verifier, error) {
	v := &Verifier{process: p, calls: p.door.(proto.VerifierClient)}
	err := p.call(ctx, "ask what it is", func(ctx context.Context) error {
		answer, err := v.calls.Describe(ctx, &proto.VerifierDescribeRequest{})
		v.info = core.VerifierInfo{Name: answer.GetName(), Version: answer.GetVersion(), Summary: answer.GetSummary(),
			Settings: contract.SettingsFromProto(answer.GetSettings())}
		return err
	})
	if v.info.Name == "" {
		v.info.Name = p.found.Name.Name
	}
	if err == nil {
		err = p.introduced(v.info.Name, &v.info.Version, &v.info.Summary)
	}
	if err == nil {
		err = p.configured(ctx, v.info.Settings, v)
	}
	if err != nil {
		p.Close()
		return nil, err
	}
	return v, nil
}

// Describe is what the verifier said at its start.
func (v *Verifier) Describe(context.Context) (core.VerifierInfo, error) { return v.info, nil }

// Configure hands the verifier its configuration.
func (v *Verifier) Configure(ctx context.Context, config []byte) error {
	return v.call(ctx, "configure it", func(ctx context.Context) error {
		_, err := v.calls.Configure(ctx, &proto.VerifierConfigureRequest{Config: config})
		return err
	})
}

// Verify asks for a verdict. An error means that nothing was judged.
func (v *Verifier) Verify(ctx context.Context, req core.VerifyRequest) (core.Verdict, error) {
	var verdict core.Verdict
	err := v.call(ctx, "judge a licence", func(ctx context.Context) error {
		answer, err := v.calls.Verify(ctx, contract.RequestToProto(req))
		verdict = core.Verdict{OK: answer.GetOk(), Code: contract.Clean(answer.GetCode()), Reason: contract.Clean(answer.GetReason())}
		return err
	})
	if err != nil {
		return core.Verdict{}, err
	}
	if !verdict.OK && verdict.Reason == "" {
		verdict.Reason = "verifier " + v.found.Name.Name + " gave no reason"
	}
	return verdict, nil
}
