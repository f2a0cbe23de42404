// SPDX-License-Identifier: Apache-2.0

//go:build linux && amd64

// Command inject makes the Nth call fail that a process makes to have its files last (a sync, a rename, a write …),
// counted over all its threads, or kills it there. It works on any program, as it is built: a seccomp filter stops the
// process at those calls alone, and ptrace changes what they return. `inject sweep` does so to bkp at every such call,
// one by one, and looks each time at what is left.
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

const usage = `usage: inject count [--under DIR] [--op OP] -- COMMAND…
       inject run [--under DIR] --op OP --nth N --fault FAULT [--delay 300ms] -- COMMAND…
       inject sweep [--bkp FILE] [--scenes LIST] [--ops LIST] [--faults LIST] [--nth N] [--every K]
                    [--kib N] [--jobs N] [--limit 1m] [--slow 1m]
ops: %s
faults: %s
`

func main() {
	becomeTraced()
	log.SetFlags(0)
	log.SetPrefix("inject: ")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code, err := command(ctx, os.Args[1:])
	stop()
	if err != nil {
		log.Print(err)
	}
	os.Exit(code)
}

func command(ctx context.Context, args []string) (code int, err error) {
	if len(args) > 0 {
		switch args[0] {
		case "count", "run":
			return one(ctx, args[0], args[1:])
		case "sweep":
			return sweepCommand(ctx, args[1:])
		}
	}
	fmt.Fprintf(os.Stderr, usage, join(ops), join(faults))
	return 2, nil
}

// one runs one command; its exit code is the command's.
func one(ctx context.Context, what string, args []string) (int, error) {
	flags := flag.NewFlagSet(what, flag.ExitOnError)
	dirs := flags.String("under", ".", "count calls on files below these `DIRS` only")
	of := flags.String("op", "", "the op (count: all)")
	nth := flags.Int("nth", 1, "which of them")
	kind := flags.String("fault", "", "what befalls it")
	delay := flags.Duration("delay", 300*time.Millisecond, "how long delay-eio waits")
	flags.Parse(args)
	r := run{argv: flags.Args(), out: os.Stdout, ops: ops, op: op(*of), nth: *nth, fault: fault(*kind), delay: *delay}
	for _, dir := range strings.Split(*dirs, ",") {
		dir, err := filepath.Abs(dir)
		if err != nil {
			return 1, err
		}
		r.under = append(r.under, dir)
	}
	switch {
	case len(r.argv) == 0:
		return 2, errors.New("which command?")
	case r.op != "" && !slices.Contains(ops, r.op):
		return 2, fmt.Errorf("no op %q: %s", r.op, join(ops))
	case what == "run" && (r.op == "" || !slices.Contains(faults, r.fault)):
		return 2, fmt.Errorf("run needs --op and --fault: %s", join(faults))
	case r.op != "":
		r.ops = []op{r.op}
	}
	o, err := newThread().trace(ctx, r)
	if err != nil {
		return 1, err
	}
	if what == "count" {
		for _, op := range r.ops {
			fmt.Fprintf(os.Stderr, "%-10s %d\n", op, o.calls[op])
		}
	} else if o.injected == 0 {
		return 1, fmt.Errorf("only %d calls of %s were made", o.calls[r.op], r.op)
	} else {
		log.Printf("%s at call %d of %s, %s; ended with %d", r.fault, r.nth, r.op, o.at, o.code)
	}
	return o.code, nil
}

func join[T ~string](all []T) string {
	var out []string
	for _, s := range all {
		out = append(out, string(s))
	}
	return strings.Join(out, " ")
}
