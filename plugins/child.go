// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"context"
	"io"
	"log/slog"
	"os/exec"
	"runtime"
	"strconv"
	"sync/atomic"
	"time"
)

// child runs a plugin's process for go-plugin (it is a runner.Runner): without standard input, in a process group of
// its own so that a terminal's Ctrl-C is bkp's to handle, killed by the kernel when bkp dies, and with its standard
// error in our hands.
type child struct {
	cmd    *exec.Cmd
	stdout io.ReadCloser
	stderr io.ReadCloser
	errs   *lines        // what came over standard error
	pid    atomic.Int64  // 0 before the start
	done   chan struct{} // closed when the process has been waited for
}

func newChild(cmd *exec.Cmd, log *slog.Logger) *child {
	cmd.SysProcAttr = ownGroup()
	return &child{cmd: cmd, errs: newLines(log, slog.LevelDebug), done: make(chan struct{})}
}

// Start starts the process from a thread that lives as long as it does, since the kernel kills it with the thread that
// started it.
func (c *child) Start(context.Context) (err error) {
	if c.stdout, err = c.cmd.StdoutPipe(); err != nil {
		return err
	}
	if c.stderr, err = c.cmd.StderrPipe(); err != nil {
		return err
	}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := c.cmd.Start()
		if err == nil {
			c.pid.Store(int64(c.cmd.Process.Pid))
		}
		started <- err
		if err == nil {
			<-c.done
		}
	}()
	return <-started
}

// Wait is called once, by go-plugin, after both pipes have ended.
func (c *child) Wait(context.Context) error {
	err := c.cmd.Wait()
	close(c.done)
	return err
}

func (c *child) Kill(context.Context) error {
	c.kill()
	return nil
}

// kill ends the process and its group. A grandchild that left the group may hold the pipes: they are closed soon after.
func (c *child) kill() {
	if !c.started() || c.exited() {
		return
	}
	killGroup(int(c.pid.Load()), c.cmd.Process)
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
func (c *child) waitExit(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-c.done:
		return true
	case <-timer.C:
		return false
	}
}

// epitaph is how the process ended and its last words.
func (c *child) epitaph() string {
	how := "still running"
	if c.exited() {
		how = c.cmd.ProcessState.String()
	}
	if words := c.errs.last(); words != "" {
		return how + ": " + words
	}
	return how
}

func (c *child) Stdout() io.ReadCloser { return c.stdout }

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
