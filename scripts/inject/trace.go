// SPDX-License-Identifier: Apache-2.0

//go:build linux && amd64

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A fault is what befalls a call. The zero fault only counts.
type fault string

var faults = []fault{"eio", "eio-on", "delay-eio", "enospc", "kill-before", "kill-after"}

func (f fault) kills() bool { return strings.HasPrefix(string(f), "kill") }

// errno is what the call returns instead of being made.
func (f fault) errno() syscall.Errno {
	if f == "enospc" {
		return unix.ENOSPC
	}
	return unix.EIO
}

// A run is one command, and what befalls it.
type run struct {
	argv    []string
	env     []string // nil: this program's own
	dir     string
	out     io.Writer // both outputs
	under   []string  // calls on other files than those below these directories are not counted
	ops     []op      // what is counted
	op      op        // the fault comes at call nth of this op, over all threads of the process that argv starts
	nth     int
	fault   fault
	delay   time.Duration // of delay-eio
	started func(pid int) // called once it runs; may be nil
}

// An outcome is what a run came to.
type outcome struct {
	calls    map[op]int
	injected int    // calls that were made to fail, or that the process was killed at
	at       string // the first of them
	code     int    // as a shell tells it: 128 + the signal that ended it
}

// start is the name that this program has when it puts the filter in place and becomes what is to be traced.
const start = "inject-start"

// becomeTraced is called first thing in main, and in the tests' main: it does not return where this is the process to
// trace.
func becomeTraced() {
	if os.Args[0] != start {
		return
	}
	runtime.LockOSThread()
	var of []op
	for _, o := range strings.Split(os.Args[1], ",") {
		of = append(of, op(o))
	}
	err := filter(of)
	if err == nil {
		err = syscall.Exec(os.Args[2], os.Args[2:], os.Environ())
	}
	fmt.Fprintln(os.Stderr, "inject:", err)
	os.Exit(126)
}

var errNotAllowed = errors.New("tracing is not allowed here")

// A thread traces: the kernel takes no other for the tracer of a process. It must begin before this program starts any
// process in another way, since what a thread has started it would also wait for here, and what dies with its parent
// dies with a thread.
type thread chan func()

func newThread() thread {
	t := make(thread)
	go func() {
		runtime.LockOSThread()
		for f := range t {
			f()
		}
	}()
	return t
}

// trace runs it.
func (th thread) trace(ctx context.Context, r run) (outcome, error) {
	program, err := exec.LookPath(r.argv[0])
	if err != nil {
		return outcome{}, err
	}
	r.argv[0] = program
	before := sizes(r.under)
	t := &tracer{run: r, group: map[int]int{}, before: before}
	t.calls = map[op]int{}
	done := make(chan struct{})
	th <- func() {
		defer close(done)
		if err = t.begin(ctx); err == nil {
			t.loop()
		}
	}
	<-done
	if err != nil {
		return outcome{}, err
	}
	return t.outcome, lose(t.lost)
}

type tracer struct {
	run
	outcome
	main   int         // the process that counts
	begun  bool        // it has become what is to be traced
	group  map[int]int // process of each thread that was seen
	held   []held
	before map[inode]int64 // size up to which each file is durable
	lost   []loss
}

// held is a thread whose call waits for its error.
type held struct {
	tid   int
	until time.Time
}

func (t *tracer) begin(ctx context.Context) error {
	names := make([]string, len(t.ops))
	for i, o := range t.ops {
		names[i] = string(o)
	}
	c := exec.Command("/proc/self/exe")
	c.Args = append([]string{start, strings.Join(names, ",")}, t.argv...)
	c.Env, c.Dir, c.Stdout, c.Stderr = t.env, t.dir, t.out, t.out
	c.SysProcAttr = &syscall.SysProcAttr{Ptrace: true, Pdeathsig: syscall.SIGKILL}
	if _, isFile := t.out.(*os.File); !isFile && t.out != nil {
		return errors.New("the output must be a file: nobody waits for a pipe's end here")
	}
	if err := c.Start(); err != nil {
		if errors.Is(err, unix.EPERM) {
			return fmt.Errorf("%w: %w", errNotAllowed, err)
		}
		return err
	}
	t.main = c.Process.Pid
	c.Process.Release() // the loop waits for it
	var ws unix.WaitStatus
	if _, err := unix.Wait4(t.main, &ws, 0, nil); err != nil || !ws.Stopped() {
		return fmt.Errorf("%w: the new process did not stop: %v", errNotAllowed, err)
	}
	const follow = unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_TRACEFORK | unix.PTRACE_O_TRACEVFORK | unix.PTRACE_O_TRACEEXEC
	if err := unix.PtraceSetOptions(t.main, follow|unix.PTRACE_O_TRACESECCOMP|unix.PTRACE_O_EXITKILL); err != nil {
		return fmt.Errorf("%w: %w", errNotAllowed, err)
	}
	t.group[t.main] = t.main
	context.AfterFunc(ctx, func() { unix.Kill(t.main, unix.SIGKILL) })
	if t.started != nil {
		t.started(t.main)
	}
	return unix.PtraceCont(t.main, 0)
}

// loop goes on until the process and its children are gone. WNOTHREAD: other children of this program are not its
// business.
func (t *tracer) loop() {
	for {
		var ws unix.WaitStatus
		options := unix.WALL | unix.WNOTHREAD
		if len(t.held) > 0 {
			options |= unix.WNOHANG
		}
		tid, err := unix.Wait4(-1, &ws, options, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return // ECHILD
		case tid == 0:
			t.release()
			time.Sleep(time.Millisecond)
		case ws.Exited() || ws.Signaled():
			t.gone(tid, ws)
		case ws.Stopped():
			t.stopped(tid, ws)
		}
	}
}

func (t *tracer) gone(tid int, ws unix.WaitStatus) {
	if tid == t.main {
		t.code = ws.ExitStatus()
		if ws.Signaled() {
			t.code = 128 + int(ws.Signal())
		}
		for _, pid := range t.group {
			if pid != t.main {
				unix.Kill(pid, unix.SIGKILL) // a plugin that would outlive it
			}
		}
	}
	delete(t.group, tid)
}

func (t *tracer) stopped(tid int, ws unix.WaitStatus) {
	_, seen := t.group[tid]
	if !seen {
		t.group[tid] = processOf(tid)
	}
	switch signal := ws.StopSignal(); {
	case signal == unix.SIGTRAP && ws.TrapCause() == unix.PTRACE_EVENT_SECCOMP && t.begun && t.group[tid] == t.main:
		t.call(tid)
	case signal == unix.SIGTRAP && ws.TrapCause() > 0:
		if ws.TrapCause() == unix.PTRACE_EVENT_EXEC && tid == t.main {
			t.begun = true
		}
		unix.PtraceCont(tid, 0)
	case signal == unix.SIGTRAP && t.fault == "kill-after" && t.injected > 0:
		unix.Kill(t.main, unix.SIGKILL) // the call has returned
		unix.PtraceCont(tid, 0)
	case signal == unix.SIGTRAP, signal == unix.SIGSTOP && !seen: // how a new thread begins
		unix.PtraceCont(tid, 0)
	default:
		unix.PtraceCont(tid, int(signal))
	}
}

// call is where a thread is about to make one of the calls that are looked at.
func (t *tracer) call(tid int) {
	var regs unix.PtraceRegs
	if unix.PtraceGetRegs(tid, &regs) != nil {
		return // it was killed
	}
	c := calls[uint32(regs.Orig_rax)]
	args := [6]uint64{regs.Rdi, regs.Rsi, regs.Rdx, regs.R10, regs.R8, regs.R9}
	name := c.file(tid, args)
	if !under(t.under, name) || c.idle(name) {
		unix.PtraceCont(tid, 0)
		return
	}
	t.calls[c.op]++
	hit := t.fault != "" && c.op == t.op && (t.calls[c.op] == t.nth || t.calls[c.op] > t.nth && t.fault == "eio-on")
	if !hit {
		switch {
		case c.op == "fsync":
			t.synced(tid, args[0])
		case regs.Orig_rax == unix.SYS_PWRITE64:
			t.wrote(tid, args[0], int64(args[3]), int64(args[2]))
		}
		unix.PtraceCont(tid, 0)
		return
	}
	t.injected++
	t.at = cmp.Or(t.at, name)
	switch {
	case t.fault == "kill-before":
		unix.Kill(t.main, unix.SIGKILL)
		unix.PtraceCont(tid, 0)
		return
	case t.fault == "kill-after":
		unix.PtraceSyscall(tid, 0) // stops next when the call returns: since Linux 4.8 the filter comes after the entry
		return
	case c.op == "fsync":
		t.loses(tid, args[0])
	}
	regs.Orig_rax, regs.Rax = ^uint64(0), uint64(-int64(t.fault.errno())) // no call has the number -1
	unix.PtraceSetRegs(tid, &regs)
	if t.fault == "delay-eio" {
		t.held = append(t.held, held{tid, time.Now().Add(t.delay)})
		return
	}
	unix.PtraceCont(tid, 0)
}

func (t *tracer) release() {
	for len(t.held) > 0 && time.Now().After(t.held[0].until) {
		unix.PtraceCont(t.held[0].tid, 0)
		t.held = t.held[1:]
	}
}

// processOf tells a thread from a child process.
func processOf(tid int) int {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", tid))
	_, rest, _ := strings.Cut(string(status), "\nTgid:")
	line, _, _ := strings.Cut(rest, "\n")
	pid, _ := strconv.Atoi(strings.TrimSpace(line))
	return pid
}
