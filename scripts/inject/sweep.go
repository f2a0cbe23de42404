// SPDX-License-Identifier: Apache-2.0

//go:build linux && amd64

package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// A point is one call of a scene at which something befalls it.
type point struct {
	scene scene
	op    op
	nth   int
	fault fault
}

func (p point) String() string {
	return fmt.Sprintf("--scenes %s --ops %s --nth %d --faults %s", p.scene.name, p.op, p.nth, p.fault)
}

type verdict struct {
	point
	injected bool
	at       string
	took     time.Duration
	wrong    wrong
	said     []byte
}

type sweep struct {
	bkp    string
	scenes []string
	ops    []op
	faults []fault
	nth    int // one call alone; 0: all
	every  int
	kib    int
	jobs   int
	slow   time.Duration
	states int
	out    *os.File
}

func sweepCommand(ctx context.Context, args []string) (int, error) {
	flags := flag.NewFlagSet("sweep", flag.ExitOnError)
	var names []string
	for _, s := range scenes {
		names = append(names, s.name)
	}
	s := sweep{out: os.Stdout}
	flags.StringVar(&s.bkp, "bkp", "./bkp", "the `PROGRAM` to try")
	some := flags.String("scenes", join(names), "try these `SCENES`")
	someOps := flags.String("ops", join(ops), "let it befall these `OPS`")
	someFaults := flags.String("faults", join(faults), "let these `FAULTS` befall them")
	flags.IntVar(&s.nth, "nth", 0, "let it befall this call alone (0: each, one after the other)")
	flags.IntVar(&s.every, "every", 1, "try each `K`th call only")
	flags.IntVar(&s.kib, "kib", 1024, "the size of the files")
	flags.IntVar(&s.jobs, "jobs", 4, "try so many points at a time")
	flags.DurationVar(&limit, "limit", limit, "what takes longer hangs: more where the machine has much else to do")
	flags.DurationVar(&s.slow, "slow", limit, "show the points that took longer")
	flags.IntVar(&s.states, "states", 0, "say in the last line that so many states after a loss of power were tried before")
	flags.Parse(args)
	split := func(list string) []string {
		return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
	}
	s.scenes = split(*some)
	for _, o := range split(*someOps) {
		s.ops = append(s.ops, op(o))
	}
	for _, f := range split(*someFaults) {
		s.faults = append(s.faults, fault(f))
	}
	for _, check := range []error{known(names, s.scenes), known(ops, s.ops), known(faults, s.faults)} {
		if check != nil {
			return 2, check
		}
	}
	sum, err := s.do(ctx)
	if err != nil || sum.bad > 0 {
		return 1, err
	}
	return 0, nil
}

// A tally is how many calls were made to fail, how often the process was killed, and after how many of both something
// was wrong.
type tally struct{ failed, killed, bad int }

func (t *tally) add(v verdict) {
	switch {
	case v.injected && v.fault.kills():
		t.killed++
	case v.injected:
		t.failed++
	}
	if v.wrong != "" {
		t.bad++
	}
}

func known[T ~string](all, some []T) error {
	for _, s := range some {
		if !slices.Contains(all, s) {
			return fmt.Errorf("no %q among: %s", s, join(all))
		}
	}
	return nil
}

// do tries everything and prints a table.
func (s sweep) do(ctx context.Context) (sum tally, err error) {
	if s.bkp, err = filepath.Abs(s.bkp); err != nil {
		return sum, err
	}
	threads := make([]thread, s.jobs)
	for i := range threads {
		threads[i] = newThread()
	}
	scratch, err := os.MkdirTemp("", "bkp-inject")
	if err != nil {
		return sum, err
	}
	defer os.RemoveAll(scratch)
	s.row("scene", "op", "N", func(f fault) any { return f }, "bad")
	for _, scene := range scenes {
		if !slices.Contains(s.scenes, scene.name) {
			continue
		}
		verdicts, calls, err := s.try(ctx, scene, scratch, threads)
		if err != nil {
			return sum, fmt.Errorf("%s: %w", scene.name, err)
		}
		for _, v := range verdicts {
			sum.add(v)
		}
		s.rows(scene, calls, verdicts)
	}
	fmt.Fprintf(s.out, "states %d points %d kills %d bad %d\n", s.states, sum.failed, sum.killed, sum.bad)
	return sum, ctx.Err()
}

// A teller says what went wrong; what bkp said is shown once for those that are alike.
type teller map[kind]bool

type kind struct {
	op    op
	at    string
	wrong wrong
}

func (t teller) tell(v verdict) {
	fmt.Fprintf(os.Stderr, "BAD %s: %s: %s\n", v.point, v.at, v.wrong)
	if k := (kind{v.op, v.at, v.wrong}); !t[k] {
		t[k] = true
		fmt.Fprint(os.Stderr, indented(v.said))
	}
}

func indented(said []byte) string {
	const enough = 40
	lines := strings.Split(strings.TrimSpace(string(said)), "\n")
	if len(lines) > enough {
		lines = slices.Concat(lines[:enough/2], []string{"…"}, lines[len(lines)-enough/2:])
	}
	return "    " + strings.Join(lines, "\n    ") + "\n"
}

// rows are a scene's part of the table: at how many calls of each op each fault came.
func (s sweep) rows(scene scene, calls map[op]int, verdicts []verdict) {
	for _, o := range s.ops {
		if calls[o] == 0 {
			continue
		}
		sums := map[fault]*tally{}
		for _, f := range s.faults {
			sums[f] = new(tally)
		}
		bad := 0
		for _, v := range verdicts {
			if v.op == o {
				sums[v.fault].add(v)
				if v.wrong != "" {
					bad++
				}
			}
		}
		s.row(scene.name, o, calls[o], func(f fault) any { return sums[f].failed + sums[f].killed }, bad)
	}
}

func (s sweep) row(scene string, op, calls any, of func(fault) any, bad any) {
	fmt.Fprintf(s.out, "%-12s %-9v %3v", scene, op, calls)
	for _, f := range s.faults {
		fmt.Fprintf(s.out, " %*v", max(4, len(f)), of(f))
	}
	fmt.Fprintf(s.out, " %4v\n", bad)
}

// try tries one scene: first undisturbed, to count, then every point.
func (s sweep) try(ctx context.Context, scene scene, scratch string,
	threads []thread) (all []verdict, calls map[op]int, err error) {
	worlds := make([]*world, s.jobs)
	errs := make([]error, s.jobs)
	defer func() {
		for i := range worlds {
			os.RemoveAll(worlds[i].dir)
		}
	}()
	var wg sync.WaitGroup
	for i := range worlds {
		w := &world{ctx: ctx, bkp: s.bkp, dir: filepath.Join(scratch, fmt.Sprint(i)), kib: s.kib, thread: threads[i],
			ports: freePorts(3), nodes: map[string]*node{}}
		worlds[i] = w
		wg.Go(func() {
			if errs[i] = os.Mkdir(w.dir, 0o700); errs[i] == nil {
				errs[i] = w.undisturbed(scene, s.ops)
			}
		})
	}
	wg.Wait()
	if err := cmp.Or(errs...); err != nil {
		return nil, nil, err
	}
	calls = map[op]int{}
	for _, w := range worlds {
		for o, n := range w.counted {
			calls[o] = max(calls[o], n) // threads make it differ by a few
		}
	}
	todo := make(chan point)
	done := make(chan verdict)
	for _, w := range worlds {
		wg.Go(func() {
			for p := range todo {
				done <- w.try(p)
			}
		})
	}
	go func() {
		defer close(todo)
		for _, p := range s.points(scene, calls) {
			select {
			case todo <- p:
			case <-ctx.Done():
				return
			}
		}
	}()
	go func() { wg.Wait(); close(done) }()
	told := teller{}
	for v := range done {
		switch {
		case v.wrong != "":
			told.tell(v)
		case v.took > s.slow:
			fmt.Fprintf(os.Stderr, "SLOW %s: %s: %s\n%s", v.point, v.at, v.took.Round(time.Millisecond), indented(v.said))
		}
		all = append(all, v)
	}
	return all, calls, ctx.Err()
}

func (s sweep) points(scene scene, calls map[op]int) (all []point) {
	for _, o := range s.ops {
		for _, f := range s.faults {
			for n := 1; n <= calls[o]; n += s.every {
				if s.nth == 0 || s.nth == n {
					all = append(all, point{scene, o, n, f})
				}
			}
		}
	}
	return all
}

// undisturbed prepares the scene and goes through it once with nothing befalling it.
func (w *world) undisturbed(scene scene, of []op) error {
	what := try(func() {
		w.prepare(scene.prepare)
		w.reset()
		w.run = run{ops: of}
		o := scene.act(w)
		scene.check(w, o)
		w.counted = o.calls
	})
	w.kill()
	if what == "" {
		return nil
	}
	said, _ := os.ReadFile(w.log())
	return fmt.Errorf("undisturbed: %s\n%s", what, indented(said))
}

func (w *world) try(p point) verdict {
	v := verdict{point: p}
	begin := time.Now()
	v.wrong = try(func() {
		w.reset()
		w.run = run{ops: []op{p.op}, op: p.op, nth: p.nth, fault: p.fault, delay: 300 * time.Millisecond}
		if p.op != "fsync" {
			w.run.ops = append(w.run.ops, "fsync") // what is durable is known by it
		} else {
			w.run.ops = append(w.run.ops, "write") // and what is written once more
		}
		o := p.scene.act(w)
		v.injected, v.at = o.injected > 0, strings.TrimPrefix(o.at, w.path("")+"/")
		p.scene.check(w, o)
	})
	w.kill()
	v.took = time.Since(begin)
	v.said, _ = os.ReadFile(w.log())
	return v
}
