// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Command netlab moves real files between real processes over links of known bandwidth, and holds the time against the
// least possible. Hosts are network namespaces of this machine. scripts/lab installs what it needs and runs it, as
// root.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

var (
	program = flag.String("bkp", "./bkp", "the bkp to measure")
	older   = flag.String("old", "", "measure this `BKP` too, before the other in each round")
	work    = flag.String("work", "", "keep files and data directories below `DIR` while it runs (default: "+
		"a temporary directory)")
	only = flag.String("cases", "", "run the `CASES` named, or whose names begin so; core is some of each kind "+
		"(default: all)")
	who    = flag.String("tools", "bkp,rsync,aria2", "measure these `TOOLS`")
	rounds = flag.Int("rounds", 1, "run everything so many times")
	mib    = flag.Int("mib", 128, "the file's size")
	asJSON = flag.Bool("json", false, "print a JSON object a line as each figure is there, instead of a table at "+
		"the end")
	verbose = flag.Bool("v", false, "print what each host sent and received, and when it had its part")
	keep    = flag.Bool("keep", false, "leave the data directories and logs of bkp behind")
	list    = flag.Bool("list", false, "list the cases and their bounds, and run nothing")
	trace   = flag.Bool("trace", false, "leave each node's control messages beside its data directory, and what every "+
		"host had sent and received when and each connection carried (use it with -keep)")
)

func main() {
	log.SetFlags(0)
	if done, err := runPart(os.Args[1:]); done {
		if err != nil {
			log.Fatal("netlab ", os.Args[1], ": ", err)
		}
		return
	}
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		log.Fatal("netlab: ", err)
	}
}

// runPart runs this program as one of the processes that the lab starts.
func runPart(args []string) (done bool, err error) {
	switch {
	case len(args) == 1 && args[0] == "-switch":
		return true, runSwitch(os.Stdin, os.Stdout)
	case len(args) == 2 && args[0] == "-tracker":
		return true, runTracker(args[1])
	case len(args) == 3 && args[0] == "-files":
		return true, runFiles(args[1], args[2])
	}
	return false, nil
}

func run(ctx context.Context) error {
	chosen, err := choose(*only)
	if err != nil {
		return err
	}
	if *list {
		return listTrials(chosen)
	}
	if os.Geteuid() != 0 {
		return errors.New("network namespaces and shaped links need root: run it with sudo")
	}
	l, err := newLab()
	if err != nil {
		return err
	}
	defer l.close()
	var figures []figure
	for round := range *rounds {
		for _, t := range chosen {
			for _, tool := range tools() {
				if !t.fits(tool) {
					continue
				}
				f, err := l.measure(ctx, t, tool)
				if ctx.Err() != nil {
					return errors.New("stopped")
				}
				if err != nil {
					f.Error = err.Error()
				}
				f.Round = round + 1
				figures = append(figures, f)
				f.report()
			}
		}
	}
	if !*asJSON {
		fmt.Print(table(figures))
	}
	if *rounds > 1 || *older != "" {
		reportMedians(medians(figures))
	}
	if slices.ContainsFunc(figures, func(f figure) bool { return f.Error != "" && isBkp(f.Who) }) {
		return errors.New("a case failed")
	}
	return nil
}

// tools is what is measured, one after the other: the older bkp right before the other one.
func tools() (all []string) {
	for _, tool := range strings.Split(*who, ",") {
		if tool == "bkp" && *older != "" {
			all = append(all, "old")
		}
		all = append(all, tool)
	}
	return all
}

// isBkp tells the two of bkp from other programs.
func isBkp(tool string) bool { return tool == "bkp" || tool == "old" }

// lab is a directory with the file that travels, and the right to be the only one that makes hosts on this machine.
type lab struct {
	dir   string
	file  string
	bkp   map[string]string // its path, and that of the older one
	lock  *os.File
	owned bool // dir goes in the end
}

func newLab() (l *lab, err error) {
	l = &lab{dir: *work, bkp: map[string]string{}}
	if l.lock, err = os.OpenFile("/run/bkp-lab.lock", os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(l.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.New("another lab runs on this machine")
	}
	if err := removeHosts(); err != nil { // of a lab that was killed
		return nil, err
	}
	for tool, path := range map[string]string{"bkp": *program, "old": *older} {
		if path == "" {
			continue
		}
		if l.bkp[tool], err = filepath.Abs(path); err != nil {
			return nil, err
		}
		if _, err := os.Stat(path); err != nil {
			return nil, fmt.Errorf("%w: make it first", err)
		}
	}
	if l.owned = l.dir == ""; l.owned {
		if l.dir, err = os.MkdirTemp("", "bkp-lab."); err != nil {
			return nil, err
		}
	}
	if l.dir, err = filepath.Abs(l.dir); err != nil {
		return nil, err
	}
	l.file = filepath.Join(l.dir, "file")
	return l, errors.Join(os.MkdirAll(l.dir, 0o700), makeFile(l.file))
}

func (l *lab) close() {
	if err := removeHosts(); err != nil {
		log.Print("netlab: ", err)
	}
	os.Remove(l.file)
	if l.owned && !*keep {
		os.RemoveAll(l.dir)
	}
	l.lock.Close()
}

// measure has one tool do one case on hosts made for it, within six times the bound and half a minute.
func (l *lab) measure(ctx context.Context, t trial, tool string) (f figure, err error) {
	bound, err := t.bound()
	if err != nil {
		return f, err
	}
	f = figure{Case: t.name, Who: tool, Bound: bound.Seconds, Binding: bound.Binding}
	limit := time.Duration((6*bound.Seconds + 30) * float64(time.Second))
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	dir := filepath.Join(l.dir, t.name+"-"+tool)
	if err := os.RemoveAll(dir); err != nil {
		return f, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return f, err
	}
	if !*keep {
		defer os.RemoveAll(dir)
	}
	r := &rig{lab: l, trial: t, dir: dir, bkp: l.bkp[tool], figure: &f, ids: map[string]string{}}
	defer func() { err = errors.Join(err, r.down()) }()
	if r.net, err = hostsUp(t); err != nil {
		return f, err
	}
	if err = r.do(ctx, tool); err != nil && ctx.Err() == context.DeadlineExceeded {
		err = fmt.Errorf("not done within %.0f s: %w", limit.Seconds(), err)
	}
	if f.Seconds > 0 {
		f.Ratio = f.Seconds / f.Bound
	}
	return f, err
}
