// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bkp-tool/bkp/plugins/contract"
)

// child runs a plugin's process for go-plugin (it is a runner.Runner): without standard input, in a process group of
// its own so that a terminal's Ctrl-C is bkp's to handle, killed by the kernel when bkp dies, held to its limits, and
// with its standard error in our hands.
type child struct {
	cmd    *exec.Cmd
	limits limits
	over   atomic.Pointer[string] // what bkp ended it for
	stdout io.ReadCloser
	stderr io.ReadCloser
	first  *firstLine    // what came over standard output, as far as it can be a handshake
	errs   *lines        // what came over standard error
	mark   string        // KEY=VALUE in the environment of all that the plugin starts, and of nothing else
	pid    atomic.Int64  // 0 before the start
	done   chan struct{} // closed when the process has been waited for
	swept  chan struct{} // closed when what it started has ended, too
}

// children are the processes of plugins that have not been waited for, by their numbers.
var children sync.Map // int -> *child

func newChild(cmd *exec.Cmd, l limits, log *slog.Logger) *child {
	cmd.SysProcAttr = ownGroup()
	return &child{cmd: cmd, limits: l, errs: newLines(log, slog.LevelDebug), mark: markKey + "=" + rand.Text(),
		done: make(chan struct{}), swept: make(chan struct{})}
}

// markKey is the variable by which the processes that a plugin started are known, whatever group or session they went
// to.
const markKey = "BKP_PLUGIN_RUN"

// Start starts the process from a thread that lives as long as it does, since the kernel kills it with the thread that
// started it.
func (c *child) Start(context.Context) (err error) {
	if c.stdout, err = c.cmd.StdoutPipe(); err != nil {
		return err
	}
	c.first = &firstLine{ReadCloser: c.stdout}
	if c.stderr, err = c.cmd.StderrPipe(); err != nil {
		return err
	}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := adopt()
		if err == nil {
			err = c.cmd.Start()
		}
		if err == nil {
			pid := c.cmd.Process.Pid
			children.Store(pid, c)
			c.pid.Store(int64(pid))
			if err := limit(pid, c.limits); err != nil {
				c.errs.log.Debug("its memory cannot be limited: " + err.Error())
			}
			go c.guard()
		}
		started <- err
		if err == nil {
			<-c.done
		}
	}()
	return <-started
}

// Wait is called once, by go-plugin, after both pipes have ended. What the plugin started ends with it.
func (c *child) Wait(context.Context) error {
	err := c.cmd.Wait()
	close(c.done)
	children.CompareAndDelete(int(c.pid.Load()), c) // the number may be another's by now
	c.endAll()
	close(c.swept)
	return err
}

func (c *child) Kill(context.Context) error {
	c.kill()
	return nil
}

// kill ends the process, its group, and what left the group. One that cannot be found may hold the pipes: they are
// closed soon after.
func (c *child) kill() {
	if !c.started() || c.exited() {
		return
	}
	killGroup(int(c.pid.Load()), c.cmd.Process)
	c.endAll()
	time.AfterFunc(exitGrace, func() {
		_ = c.stdout.Close()
		_ = c.stderr.Close()
	})
}

func (c *child) started() bool { return c.pid.Load() != 0 }

func (c *child) exited() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// waitExit waits for the end of the process, at most for d.
func (c *child) waitExit(d time.Duration) bool { return waitFor(c.done, d) }

// waitSwept waits until what the process started has ended as well, at most for d.
func (c *child) waitSwept(d time.Duration) bool { return !c.started() || waitFor(c.swept, d) }

func waitFor(done <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}

// epitaph is how the process ended and its last words.
func (c *child) epitaph() string {
	if over := c.over.Load(); over != nil {
		return *over
	}
	how := "still running"
	if c.exited() {
		how = c.cmd.ProcessState.String()
	}
	if words := c.errs.last(); words != "" {
		return how + ": " + words
	}
	return how
}

func (c *child) Stdout() io.ReadCloser { return c.first }

// instead tells what the plugin printed where its handshake should stand, if it did.
func (c *child) instead() string {
	if line := c.first.text(); line != "" && !strings.HasPrefix(line, "1|") { // go-plugin's own protocol version
		return fmt.Sprintf(" but the line %q", line)
	}
	return ""
}

// firstLine keeps the beginning of a stream, up to the end of its first line.
type firstLine struct {
	io.ReadCloser
	mu    sync.Mutex
	kept  []byte
	ended bool
}

const mostFirst = 200 // bytes of a first line that are told

func (f *firstLine) Read(buf []byte) (int, error) {
	n, err := f.ReadCloser.Read(buf)
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.ended {
		line, _, ended := bytes.Cut(buf[:n], []byte("\n"))
		f.kept = append(f.kept, line[:min(len(line), mostFirst-len(f.kept))]...)
		f.ended = ended || len(f.kept) == mostFirst
	}
	return n, err
}

func (f *firstLine) text() string {
	if f == nil {
		return ""
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return contract.Clean(strings.TrimSpace(string(f.kept)))
}

// Stderr gives go-plugin nothing but the end of the stream: its own reader of log lines panics on some of them.
func (c *child) Stderr() io.ReadCloser { return stderrEnd{c} }

type stderrEnd struct{ *child }

func (s stderrEnd) Read(buf []byte) (int, error) {
	for {
		n, err := s.stderr.Read(buf)
		_, _ = s.errs.Write(buf[:n])
		if err != nil {
			s.errs.end()
			return 0, io.EOF
		}
	}
}

func (s stderrEnd) Close() error { return s.stderr.Close() }

func (c *child) Name() string                    { return c.cmd.Path }
func (c *child) ID() string                      { return strconv.FormatInt(c.pid.Load(), 10) }
func (c *child) Diagnose(context.Context) string { return "" }

func (c *child) PluginToHost(network, address string) (string, string, error) {
	return network, address, nil
}

func (c *child) HostToPlugin(network, address string) (string, string, error) {
	return network, address, nil
}
