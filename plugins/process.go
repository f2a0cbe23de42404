// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/plugins/contract"
)

const (
	closeGrace = 2 * time.Second // from the request to end until the process is killed
	exitGrace  = time.Second     // from a broken connection until the process has left word why
)

// process is a running plugin, from open to Close.
type process struct {
	host    *Host
	found   Found
	sum     []byte // of its file; none for a plugin inside bkp
	client  *plugin.Client
	child   *child
	door    any              // the gRPC client of its kind
	conn    *grpc.ClientConn // beneath the door
	timeout time.Duration
	closing sync.Once
}

// live are the processes not yet closed, so that Cleanup can end those that hang, and who would start them again.
var live sync.Map // interface{ Close() } -> struct{}

// Cleanup ends every plugin of this program. It is called once, last thing in main; what is still asked of a plugin
// then fails.
func Cleanup() {
	var all sync.WaitGroup
	live.Range(func(p, _ any) bool {
		all.Go(p.(interface{ Close() }).Close)
		return true
	})
	all.Wait()
	plugin.CleanupClients()
	removeSockets()
}

// open finds, checks and starts a plugin. It has not yet said what it is.
func (h *Host) open(ctx context.Context, kind Kind, name string) (*process, error) {
	found, err := h.Find(kind, name)
	if err != nil {
		return nil, err
	}
	if found.Ignored != "" && h.Log != nil {
		h.Log.Warn(found.Ignored + " is not used: the " + found.Name.String() + " inside bkp is; to use the file: bkp plugin lock " +
			string(kind) + " " + name)
	}
	sum, err := h.checksum(found)
	if err != nil {
		return nil, err
	}
	return (&process{host: h, found: found, sum: sum}).again(ctx)
}

// again starts another process of the same file, which must have the checksum that it had.
func (p *process) again(ctx context.Context) (*process, error) {
	next := &process{host: p.host, found: p.found, sum: p.sum,
		timeout: orDefault(p.host.CallTimeout, defaultCallTimeout)}
	if err := next.start(ctx); err != nil {
		return nil, err
	}
	live.Store(next, struct{}{})
	return next, nil
}

// itself is the program that runs now, also where its file, path, was replaced meanwhile. It is run by its path where
// that leads to it still, since this is the name that people see.
func itself(path string) string {
	const running = "/proc/self/exe"
	now, err := os.Stat(running)
	if err != nil {
		return path
	}
	if file, err := os.Stat(path); err != nil || !os.SameFile(now, file) {
		return running
	}
	return path
}

// command is what is run, with its arguments.
func (p *process) command(sockets string) *exec.Cmd {
	switch {
	case p.found.Inside:
		return exec.Command(itself(p.found.Path), InsideArgs(p.found.Name)...)
	case canRunApart && p.host.Hidden != "" && p.found.Kind == KindStrategy: // others may have to write somewhere, or to send mail
		self, _ := os.Executable()
		return exec.Command(itself(self), RunCommand, p.host.Hidden, sockets, p.found.Path)
	default:
		return exec.Command(p.found.Path)
	}
}

func (p *process) start(ctx context.Context) error {
	h := p.host
	timeout := orDefault(h.StartTimeout, defaultStartTimeout)
	sockets, err := h.sockets()
	if err != nil {
		return err
	}
	timed, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	log := h.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	log = log.With("plugin", p.found.Name.String())
	cmd := p.command(sockets)
	secret, known, err := certificate()
	if err != nil {
		return fmt.Errorf("%s: make a key for it: %w", p.found.Name, err)
	}
	p.child = newChild(cmd, h.limits(), log)
	p.client = plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  handshake,
		VersionedPlugins: doors,
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		TLSConfig:        secret, // and in PLUGIN_CLIENT_CERT: what go-plugin calls AutoMTLS, with a key of our own
		SkipHostEnv:      true,
		Managed:          true,
		StartTimeout:     timeout,
		Logger:           quiet(log),
		SyncStdout:       newLines(log, slog.LevelInfo),
		SyncStderr:       newLines(log, slog.LevelInfo),
		UnixSocketConfig: &plugin.UnixSocketConfig{TempDir: sockets},
		GRPCDialOptions: []grpc.DialOption{grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(contract.MaxAnswer),
			grpc.MaxCallSendMsgSize(contract.MaxAsk))},
		// A runner of our own, since go-plugin's gives the plugin bkp's standard input. It also must check the sum
		// itself: SecureConfig of the client cannot see what a runner runs.
		RunnerFunc: func(_ hclog.Logger, spec *exec.Cmd, _ string) (runner.Runner, error) {
			if !p.found.Inside {
				secure := plugin.SecureConfig{Checksum: p.sum, Hash: sha256.New()}
				if ok, err := secure.Check(p.found.Path); err != nil {
					return nil, err
				} else if !ok {
					return nil, plugin.ErrChecksumsDoNotMatch
				}
			}
			cmd.Env = append(append(environment(), spec.Env...), "PLUGIN_CLIENT_CERT="+known, p.child.mark)
			return p.child, nil
		},
	})
	unhook := context.AfterFunc(timed, p.child.kill) // whatever start waits for, it then gets an error
	rpc, err := p.client.Client()
	if err == nil {
		p.conn = rpc.(*plugin.GRPCClient).Conn
		p.door, err = rpc.Dispense(string(p.found.Kind))
	}
	if !unhook() && err == nil {
		err = timed.Err()
	}
	if err == nil {
		return nil
	}
	p.Close()
	if ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("%s: start it: %w", p.found.Name, context.Cause(ctx))
	}
	return p.startError(err, timed.Err() != nil, timeout)
}

// startError words what go-plugin says over many lines for people who know go-plugin.
func (p *process) startError(err error, late bool, timeout time.Duration) error {
	const doing = "start it"
	hint := fmt.Sprintf("is %s a %s made for bkp? ", p.found.Path, p.found.Kind)
	switch text := err.Error(); {
	case late:
		return p.fail(doing, fmt.Errorf("not ready within %s%s", timeout, p.child.instead()), hint+"raise the limit if the machine is slow")
	case strings.HasPrefix(text, "incompatible API version"), strings.HasPrefix(text, "incompatible core API version"):
		return p.fail(doing, fmt.Errorf("speaks another protocol version than %d", contract.ProtocolVersion),
			"build the plugin again with the plugins package of this bkp")
	case p.child.started() && !errors.Is(err, plugin.ErrChecksumsDoNotMatch):
		return p.fail(doing, fmt.Errorf("no handshake%s, %s", p.child.instead(), p.child.epitaph()),
			hint+"run by hand it should say that it is a plugin, in its first line")
	default:
		first, _, _ := strings.Cut(text, "\n")
		return p.fail(doing, errors.New(contract.Clean(first)), hint)
	}
}

// introduced checks what a plugin said it is.
func (p *process) introduced(name string, version, summary *string) error {
	*version, *summary = contract.Clean(*version), contract.Clean(*summary)
	if name == p.found.Name.Name {
		return nil
	}
	return p.fail("ask what it is", fmt.Errorf("says that it is %q", contract.Clean(name)),
		"name its file "+Name{Kind: p.found.Kind, Name: contract.Clean(name)}.File())
}

// call makes one call with the plugin's deadline and words what went wrong.
func (p *process) call(ctx context.Context, doing string, f func(context.Context) error) error {
	if p.child.exited() {
		return p.fail(doing, lost("its process is gone: %s", p.child.epitaph()), restart)
	}
	timed, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	err := f(timed)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("%s: %s: %w", p.found.Name, doing, context.Cause(ctx))
	}
	text, code := contract.Clean(status.Convert(err).Message()), status.Code(err)
	if code == codes.Canceled && timed.Err() == nil {
		code = codes.Unavailable // not by us: who watches over the process saw it end first, and closed the connection
	}
	switch code {
	case codes.DeadlineExceeded, codes.Canceled:
		if ctx.Err() == nil { // it had all the time that there is
			return p.fail(doing, lost("no answer within %s", p.timeout), restart)
		}
		return p.fail(doing, fmt.Errorf("no answer within %s", p.timeout), restart)
	case codes.Unavailable:
		if p.child.waitExit(exitGrace) {
			return p.fail(doing, lost("its process ended: %s", p.child.epitaph()), restart)
		}
		return p.fail(doing, lost("connection lost: %s", text), restart)
	case codes.ResourceExhausted:
		return p.fail(doing, fmt.Errorf("too much for one message (%d MiB asked, %d MiB answered at most): %s",
			contract.MaxAsk>>20, contract.MaxAnswer>>20, text), "")
	case codes.Unimplemented:
		return p.fail(doing, fmt.Errorf("cannot do that: %s", text),
			fmt.Sprintf("is it a %s, and does it take what it is given?", p.found.Kind))
	default:
		return p.fail(doing, errors.New(text), "")
	}
}

const restart = "its log says more; it has to be started again. [plugin] memory and processes are what it may use"

func (p *process) fail(doing string, err error, hint string) error {
	failed := core.Fail(core.CodePlugin, "%s: %s: %w", p.found.Name, doing, err)
	if hint == "" {
		return failed
	}
	return core.WithHint(failed, "%s", hint)
}

// lostError is why a process is of no more use: it has ended, or does not answer.
type lostError struct{ error }

func lost(format string, args ...any) error { return lostError{fmt.Errorf(format, args...)} }

// hangs reports whether the process does not answer the question after its health, which all of go-plugin's answer.
func (p *process) hangs(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, pingPatience)
	defer cancel()
	_, err := healthpb.NewHealthClient(p.conn).Check(ctx, &healthpb.HealthCheckRequest{Service: plugin.GRPCServiceName})
	return status.Code(err) == codes.DeadlineExceeded
}

// Found is where the plugin was found.
func (p *process) Found() Found { return p.found }

// PID is the number of the process.
func (p *process) PID() int { return int(p.child.pid.Load()) }

// Done is closed when the process has ended, of itself or by Close.
func (p *process) Done() <-chan struct{} { return p.child.done }

// Close ends the process: it is asked to, and killed when it has not after two seconds.
func (p *process) Close() {
	p.closing.Do(func() {
		late := time.AfterFunc(closeGrace, p.child.kill)
		defer late.Stop()
		p.client.Kill()
		p.child.waitSwept(exitGrace)
		live.Delete(p)
	})
}

// environment is all that a plugin inherits: no token, no identity, no home.
func environment() (env []string) {
	for _, key := range []string{"PATH", "TMPDIR", "TZ", "LANG", "LC_ALL"} {
		if value, ok := os.LookupEnv(key); ok {
			env = append(env, key+"="+value)
		}
	}
	return env
}

func orDefault(d, otherwise time.Duration) time.Duration {
	if d <= 0 {
		return otherwise
	}
	return d
}
