// SPDX-License-Identifier: Apache-2.0

package input

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/bkp-tool/bkp/core"
)

// commandGrace is how long a command has to end once it is told to.
const commandGrace = 2 * time.Second

// commandReader is what a command writes. Its end is io.EOF only where the command ended with 0: else an error that
// says how it ended.
type commandReader struct {
	line   string
	out    *os.File
	signal func(syscall.Signal) error
	ended  chan struct{}
	how    error // once it has ended
}

// startCommand runs a line of the shell until ctx ends. It gets a process group of its own, so that all of it can be
// told to end; but not where there is a terminal, which stops whoever asks for a password there from the background.
func startCommand(ctx context.Context, line string, stderr io.Writer) (*commandReader, error) {
	out, in, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("run %q: %w", line, err)
	}
	defer in.Close()
	cmd, group := exec.Command("sh", "-c", line), 1
	cmd.Stdout, cmd.Stderr = in, stderr
	if tty, err := os.Open("/dev/tty"); err == nil {
		tty.Close()
	} else {
		cmd.SysProcAttr, group = &syscall.SysProcAttr{Setpgid: true}, -1
	}
	if err := cmd.Start(); err != nil {
		out.Close()
		return nil, fmt.Errorf("run %q: %w", line, err)
	}
	r := &commandReader{line: line, out: out, ended: make(chan struct{})}
	r.signal = func(s syscall.Signal) error {
		if r.isOver() && (group > 0 || r.how == nil) {
			return syscall.ESRCH // what it left running when all went well is meant to run
		}
		return syscall.Kill(group*cmd.Process.Pid, s)
	}
	go func() {
		r.how = cmd.Wait()
		close(r.ended)
	}()
	context.AfterFunc(ctx, func() { _ = r.signal(syscall.SIGTERM) })
	return r, nil
}

func (r *commandReader) Read(p []byte) (int, error) {
	n, err := r.out.Read(p)
	if err != io.EOF {
		return n, err
	}
	<-r.ended
	if r.how == nil {
		return n, io.EOF
	}
	return n, core.WithHint(core.Fail(core.CodeFailed, "the command %q failed: %w", r.line, r.how),
		"there is no version of what it wrote; run it alone to see why")
}

func (r *commandReader) isOver() bool {
	select {
	case <-r.ended:
		return true
	default:
		return false
	}
}

// end ends the command and what it started, as far as they run still.
func (r *commandReader) end() {
	_ = r.out.Close()
	_ = r.signal(syscall.SIGTERM)
	for until := time.Now().Add(commandGrace); r.signal(0) == nil && time.Now().Before(until); {
		time.Sleep(10 * time.Millisecond)
	}
	_ = r.signal(syscall.SIGKILL)
	<-r.ended
}
