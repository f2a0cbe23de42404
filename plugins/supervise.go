// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/bkp-tool/bkp/core"
)

const (
	pingEvery    = 5 * time.Second
	pingPatience = 5 * time.Second // one that does not answer by then hangs
	// before a plugin is started again; later ones are longer by a half each, up to maxPause
	firstPause = time.Second
	maxPause   = time.Minute
	steady     = time.Minute // one that has run so long has got over what ended it
)

// Watch is told why a supervised plugin is not there (each time that this changes), and nil once it is there again.
// Calls come one after another from a goroutine of the supervisor, and none after Close has returned.
type Watch func(name Name, gone error)

// running is a plugin of some kind with its process.
type running interface {
	comparable
	body() *process
}

func (p *process) body() *process { return p }

// supervised is a plugin that is started again, the same file under the same checksum, whenever its process has ended
// or does not answer. What is asked meanwhile waits for the next process. All kinds of plugins that live long can use
// it: see KeptVerifier.
type supervised[P running] struct {
	name  Name
	again func(context.Context) (P, error) // starts it, and tells it all that the one before knew
	watch Watch

	cancel context.CancelFunc
	done   chan struct{} // closed when the goroutine that watches has ended

	mu      sync.Mutex
	now     P             // zero while there is none
	gone    error         // why there is none
	changed chan struct{} // closed when now changes
}

// supervise takes over a plugin that has just been started.
func supervise[P running](first P, again func(context.Context) (P, error), watch Watch) *supervised[P] {
	ctx, cancel := context.WithCancel(context.Background())
	s := &supervised[P]{name: first.body().found.Name, again: again, watch: watch, cancel: cancel,
		done: make(chan struct{}), now: first, changed: make(chan struct{})}
	live.Store(s, struct{}{})
	go func() {
		defer close(s.done)
		s.keep(ctx, first)
	}()
	return s
}

// Close ends the plugin for good.
func (s *supervised[P]) Close() {
	s.cancel()
	<-s.done
	live.Delete(s)
}

// keep watches over one process after another until ctx ends.
func (s *supervised[P]) keep(ctx context.Context, p P) {
	pause := &backoff.ExponentialBackOff{InitialInterval: firstPause, RandomizationFactor: 0.2, Multiplier: 1.5,
		MaxInterval: maxPause}
	pause.Reset()
	for {
		began := time.Now()
		gone := s.ended(ctx, p)
		if gone != nil {
			p.body().child.kill() // it may hang: it is not asked to end
		}
		p.body().Close()
		if gone == nil {
			return
		}
		if time.Since(began) > steady {
			pause.Reset()
		}
		var none P
		for p = none; p == none; {
			s.set(none, gone)
			s.watch(s.name, gone)
			select {
			case <-time.After(pause.NextBackOff()):
			case <-ctx.Done():
				return
			}
			p, gone = s.again(ctx)
			if ctx.Err() != nil && p == none {
				return
			}
		}
		s.set(p, nil)
		s.watch(s.name, nil)
	}
}

// ended waits until a process has ended or hangs and says how; nil when ctx has ended.
func (s *supervised[P]) ended(ctx context.Context, p P) error {
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	for {
		s.mu.Lock()
		now, gone, changed := s.now, s.gone, s.changed
		s.mu.Unlock()
		if now != p {
			return gone // a call found out
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-p.body().Done():
			return core.Fail(core.CodePlugin, "%s: its process ended: %s", s.name, p.body().child.epitaph())
		case <-ping.C:
			if p.body().hangs(ctx) {
				return core.Fail(core.CodePlugin, "%s: it has not answered for %s", s.name, pingPatience)
			}
		}
	}
}

func (s *supervised[P]) set(p P, gone error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(p, gone)
}

// put is set with mu held.
func (s *supervised[P]) put(p P, gone error) {
	s.now, s.gone = p, gone
	close(s.changed)
	s.changed = make(chan struct{})
}

// call makes one call. Where the process is lost over it, the next one is asked once more.
func (s *supervised[P]) call(ctx context.Context, f func(P) error) error {
	for again := false; ; again = true {
		p, err := s.get(ctx)
		if err != nil {
			return err
		}
		err = f(p)
		if _, lost := errors.AsType[lostError](err); !lost {
			return err
		}
		s.lose(p, err)
		if again {
			return err
		}
	}
}

// get waits for a process.
func (s *supervised[P]) get(ctx context.Context) (P, error) {
	for {
		s.mu.Lock()
		p, gone, changed := s.now, s.gone, s.changed
		s.mu.Unlock()
		if gone == nil {
			return p, nil
		}
		select {
		case <-changed:
		case <-s.done:
			return p, gone
		case <-ctx.Done():
			return p, fmt.Errorf("%w; it was not started again in time", gone)
		}
	}
}

// lose says that a call met p dead or hanging.
func (s *supervised[P]) lose(p P, why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now == p {
		var none P
		s.put(none, why)
	}
}

// KeptVerifier is a verifier that is started again when its process ends or hangs, configured as before.
type KeptVerifier struct {
	*supervised[*Verifier]
	info core.VerifierInfo

	mu     sync.Mutex
	config []byte // nil: it was given none
}

var (
	_ core.Verifier          = (*KeptVerifier)(nil)
	_ core.VerifierDescriber = (*KeptVerifier)(nil)
	_ core.Configurer        = (*KeptVerifier)(nil)
)

// KeepVerifier starts the verifier of that name and keeps it running until Close. watch is told when it is gone and
// when it is back.
func (h *Host) KeepVerifier(ctx context.Context, name string, watch Watch) (*KeptVerifier, error) {
	first, err := h.Verifier(ctx, name)
	if err != nil {
		return nil, err
	}
	k := &KeptVerifier{info: first.info}
	k.supervised = supervise(first, func(ctx context.Context) (*Verifier, error) {
		p, err := first.again(ctx)
		if err != nil {
			return nil, err
		}
		v, err := newVerifier(ctx, p)
		if err != nil {
			return nil, err
		}
		k.mu.Lock()
		config := k.config
		k.mu.Unlock()
		if config == nil {
			return v, nil
		}
		if err := v.Configure(ctx, config); err != nil {
			v.Close()
			return nil, err
		}
		return v, nil
	}, watch)
	return k, nil
}

// Describe is what the verifier said at its first start.
func (k *KeptVerifier) Describe(context.Context) (core.VerifierInfo, error) { return k.info, nil }

// Configure hands the verifier its configuration, now and whenever it is started again.
func (k *KeptVerifier) Configure(ctx context.Context, config []byte) error {
	k.mu.Lock()
	k.config = config
	k.mu.Unlock()
	return k.call(ctx, func(v *Verifier) error { return v.Configure(ctx, config) })
}

// Verify asks for a verdict; an error means that nothing was judged.
func (k *KeptVerifier) Verify(ctx context.Context, req core.VerifyRequest) (verdict core.Verdict, err error) {
	err = k.call(ctx, func(v *Verifier) (err error) {
		verdict, err = v.Verify(ctx, req)
		return err
	})
	return verdict, err
}

// KeptStrategy is a strategy that is started again when its process ends or hangs, configured as before.
type KeptStrategy struct {
	*supervised[*Strategy]
	info core.StrategyInfo
}

var _ core.Strategy = (*KeptStrategy)(nil)

// KeepStrategy starts the strategy of that name and keeps it running until Close. What a process is lost over is asked
// once more of the next. Why one is gone is logged.
func (h *Host) KeepStrategy(ctx context.Context, name string) (*KeptStrategy, error) {
	first, err := h.Strategy(ctx, name)
	if err != nil {
		return nil, err
	}
	tell := func(_ Name, gone error) {
		if gone != nil && h.Log != nil {
			h.Log.Warn(gone.Error() + "; it is being started again")
		}
	}
	return &KeptStrategy{info: first.info, supervised: supervise(first, func(ctx context.Context) (*Strategy, error) {
		p, err := first.again(ctx)
		if err != nil {
			return nil, err
		}
		return newStrategy(ctx, p)
	}, tell)}, nil
}

// Describe is what the strategy said at its first start.
func (k *KeptStrategy) Describe(context.Context) (core.StrategyInfo, error) { return k.info, nil }

// Score asks for prices.
func (k *KeptStrategy) Score(ctx context.Context, batch core.Batch) (scores core.Scores, err error) {
	err = k.call(ctx, func(s *Strategy) (err error) {
		scores, err = s.Score(ctx, batch)
		return err
	})
	return scores, err
}
