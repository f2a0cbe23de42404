// SPDX-License-Identifier: Apache-2.0

// Command bkp backs up large files over a network of peer nodes.
//
// Each command has a file of its own: flags, one call, its result printed. app.go is the list of them. Those that
// stand in a group, as bkp job run, are in command/GROUP; what all of them share is in command.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/cmd/bkp/session"
	"github.com/bkp-tool/bkp/core"
)

func main() { os.Exit(run(os.Args, os.Stdin, os.Stdout, os.Stderr)) }

// run carries out one command line and returns its exit code.
func run(argv []string, stdin io.Reader, stdout, stderr io.Writer) int {
	return runIn(context.Background(), argv, stdin, stdout, stderr)
}

// runIn is run within ctx.
func runIn(ctx context.Context, argv []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := interruptible(ctx)
	defer stop()
	con := &render.Console{Stdin: stdin, Stdout: stdout, Stderr: stderr}
	app := newApp(con)
	typed, err := line.Parse(app, argv)
	con.JSON = typed.JSON
	if err == nil {
		app.Metadata["given"] = typed.Given
		err = app.RunContext(ctx, typed.Words())
	}
	if err == nil {
		return int(core.CodeOK)
	}
	_, ended := errors.AsType[session.StopError](err)
	stopped, ok := errors.AsType[*core.Error](context.Cause(ctx))
	if ok && !ended && (!errors.Is(err, stopped) || core.CodeOf(err) != stopped.Code) {
		err = stopped // whatever else came of it
	}
	if ok && !ended {
		err = core.WithHint(err, "%s", howToGoOn(typed.Command))
	}
	con.Fail(typed.Command, err)
	return int(core.CodeOf(err))
}

// howToGoOn says what a command that was stopped leaves, and how to go on.
func howToGoOn(command string) string {
	switch command {
	case "split":
		return "what was cut up to the last checkpoint is kept for 7 days: the same command goes on from there"
	case "backup":
		return "what peers keep already is used: the same command goes on from there"
	case "place":
		return "what peers keep already is used: the same bkp place goes on from there"
	case "fetch":
		return "no file was left behind: the same bkp fetch begins anew"
	case "verify":
		return "what was read is remembered: the same bkp verify goes on from there"
	}
	return "the same command can be given again"
}

// interruptible returns a context that the first INT or TERM cancels; the second ends the process at once.
// The function it returns stops listening and must be called.
func interruptible(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		for first := true; ; first = false {
			select {
			case s := <-signals:
				code := core.CodeSignal + core.Code(s.(syscall.Signal))
				if !first {
					os.Exit(int(code))
				}
				cancel(&core.Error{Code: code, Err: fmt.Errorf("stopped by a signal: %s", s)})
			case <-done:
				return
			}
		}
	}()
	return ctx, func() { signal.Stop(signals); close(done); cancel(nil) }
}
