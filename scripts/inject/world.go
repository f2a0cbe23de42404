// SPDX-License-Identifier: Apache-2.0

//go:build linux && amd64

package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// limit is how long a command may take that is done in a second when nothing is wrong; --limit sets it.
var limit = time.Minute

// A world is what one point of a sweep acts on: a directory with files and data directories, put back before each
// point, and the nodes that run there. What does not hold is told by wrong.
type world struct {
	ctx     context.Context
	bkp     string
	dir     string // scratch: base and run below it, and the log of what was said
	kib     int
	ports   []int
	nodes   map[string]*node
	thread  thread
	run     run // what befalls the traced process
	acked   bool
	mid     bool       // there is a third node, which coordinates
	counted map[op]int // calls when nothing befalls it
}

// wrong ends the point that is being tried.
type wrong string

func (w *world) wrong(format string, args ...any) { panic(wrong(fmt.Sprintf(format, args...))) }

// try is what went wrong in f, empty if nothing did.
func try(f func()) (what wrong) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case wrong:
			what = p
		default:
			panic(p)
		}
	}()
	f()
	return ""
}

func (w *world) path(name string) string { return filepath.Join(w.dir, "run", name) }
func (w *world) log() string             { return filepath.Join(w.dir, "log") }

// prepare makes what each point begins with.
func (w *world) prepare(how func(*world)) {
	os.RemoveAll(w.path(""))
	for _, dir := range []string{"", "tmp", "out"} {
		if err := os.Mkdir(w.path(dir), 0o700); err != nil {
			w.wrong("%v", err)
		}
	}
	w.begin()
	how(w)
	w.stopAll()
	if err := os.Rename(w.path(""), filepath.Join(w.dir, "base")); err != nil {
		w.wrong("%v", err)
	}
}

// reset puts everything back to where each point begins.
func (w *world) reset() {
	os.RemoveAll(w.path(""))
	if out, err := exec.CommandContext(w.ctx, "cp", "-a", filepath.Join(w.dir, "base"),
		w.path("")).CombinedOutput(); err != nil {
		w.wrong("cp: %v: %s", err, out)
	}
	w.begin()
}

func (w *world) begin() {
	w.acked, w.mid = false, false
	if err := os.WriteFile(w.log(), nil, 0o600); err != nil {
		w.wrong("%v", err)
	}
}

// write makes a file; two with the same seed are equal, and one is known by its seed.
func (w *world) write(name string, seeds ...byte) {
	if err := os.WriteFile(w.path(name), w.content(seeds), 0o600); err != nil {
		w.wrong("%v", err)
	}
}

func (w *world) content(seeds []byte) []byte {
	var all []byte
	for _, seed := range seeds {
		part := make([]byte, w.kib<<10/len(seeds))
		rand.NewChaCha8([32]byte{seed}).Read(part)
		all = append(all, part...)
	}
	return all
}

func (w *world) environ() []string {
	env := slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, "BKP_") })
	return append(env, "HOME="+w.path(""), "TMPDIR="+w.path("tmp"), "BKP_PROGRESS=none")
}

// do runs bkp and returns its exit code.
func (w *world) do(args ...string) int {
	ctx, cancel := context.WithTimeout(w.ctx, 2*limit)
	defer cancel()
	return w.until(ctx, args...)
}

// until does so, and interrupts it when ctx ends, as ^C does.
func (w *world) until(ctx context.Context, args ...string) int {
	out := w.append("$ bkp " + strings.Join(args, " "))
	defer out.Close()
	c := exec.CommandContext(ctx, w.bkp, args...)
	c.Env, c.Dir, c.Stdout, c.Stderr = w.environ(), w.path(""), out, out
	c.Cancel, c.WaitDelay = func() error { return c.Process.Signal(syscall.SIGINT) }, limit
	begin := time.Now()
	c.Run()
	if d := time.Since(begin); c.ProcessState == nil || d > limit {
		w.wrong("bkp %s did not end within %s", args[0], d)
	}
	return c.ProcessState.ExitCode()
}

func (w *world) must(args ...string) {
	if code := w.do(args...); code != 0 {
		w.wrong("bkp %s ended with %d", strings.Join(args, " "), code)
	}
}

// traced runs bkp with what shall befall it.
func (w *world) traced(args ...string) outcome {
	ctx, cancel := context.WithTimeout(w.ctx, limit)
	defer cancel()
	r, done := w.prepared(args)
	defer done()
	o, err := w.thread.trace(ctx, r)
	if err != nil {
		w.wrong("%v", err)
	}
	if ctx.Err() != nil {
		w.wrong("bkp %s did not end within %s", args[0], limit)
	}
	w.judge(o, args)
	return o
}

func (w *world) prepared(args []string) (run, func() error) {
	r := w.run
	out := w.append(fmt.Sprintf("$ bkp %s # %s at call %d of %s", strings.Join(args, " "), r.fault, r.nth, r.op))
	r.argv, r.env, r.dir, r.out = append([]string{w.bkp}, args...), w.environ(), w.path(""), out
	r.under = []string{w.path("")}
	return r, out.Close
}

// judge says what is wrong with the end of a process that something befell.
func (w *world) judge(o outcome, args []string) {
	said, _ := os.ReadFile(w.log())
	killed := o.injected > 0 && w.run.fault.kills()
	switch {
	case bytes.Contains(said, []byte("\ngoroutine ")) || bytes.Contains(said, []byte("panic:")):
		w.wrong("a panic of bkp %s", args[0])
	case killed != (o.code == 128+int(syscall.SIGKILL)):
		w.wrong("bkp %s ended with %d", args[0], o.code)
	case o.injected == 0 && o.code != 0:
		w.wrong("nothing befell bkp %s, and it ended with %d", args[0], o.code)
	case o.code >= 128 && !killed || o.code == 2:
		w.wrong("bkp %s ended with %d", args[0], o.code)
	}
}

func (w *world) append(line string) *os.File {
	f, err := os.OpenFile(w.log(), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		w.wrong("%v", err)
	}
	fmt.Fprintln(f, time.Now().Format("05.000"), line)
	return f
}

// same says whether the file is there and has the content of these seeds.
func (w *world) same(name string, seeds ...byte) bool {
	got, err := os.ReadFile(w.path(name))
	return err == nil && bytes.Equal(got, w.content(seeds))
}

func (w *world) exists(name string) bool { _, err := os.Lstat(w.path(name)); return err == nil }

// brings fetches it and compares.
func (w *world) brings(data, name string, seeds ...byte) {
	os.Remove(w.path("back"))
	w.must("fetch", name, "--data", data, "-o", "back")
	if !w.same("back", seeds...) {
		w.wrong("fetch of %s ended with 0 and gives other bytes", name)
	}
}
