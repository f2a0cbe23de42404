// SPDX-License-Identifier: Apache-2.0

// Package command is how a command of bkp is made, and what each of them is given to work with. Commands that belong to
// a group, as bkp job run, stand in a package below that has the group's name; the others in cmd/bkp itself.
package command

import (
	"context"

	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/core"
	"github.com/urfave/cli/v2"
)

// Spec describes a command that a person can run.
type Spec struct {
	Name     string
	Args     string // how the arguments are written: "FILE|-"
	Most     int    // how many there may be
	Least    int
	Usage    string
	About    string // a paragraph more, may be empty
	Examples string // one a line, required of every command
	Flags    []cli.Flag
	Hidden   bool
	Frees    bool // it frees space, and so has to work on a full disk
	Reads    bool // it changes nothing of the data directory

	// Do carries the command out: flags to one call, and its result to the console.
	Do func(ctx context.Context, c *Call) error
}

// New makes the cli command; NewApp adds what all of them share.
func New(s Spec) *cli.Command {
	return &cli.Command{
		Name: s.Name, Usage: s.Usage, ArgsUsage: s.Args, Hidden: s.Hidden, Flags: s.Flags,
		Description: line.Describe(s.About, s.Examples),
		Action: func(cc *cli.Context) error {
			if n := cc.NArg(); n < s.Least || n > s.Most {
				return core.WithHint(wrongArguments(s, n), "%s --help shows examples", cc.Command.HelpName)
			}
			c, err := newCall(cc)
			if err != nil {
				return err
			}
			c.Reads = s.Reads
			if !s.Reads {
				c.narrow()
			}
			defer c.Console.EndProgress()
			do := func() error { return s.Do(cc.Context, c) }
			if s.Frees {
				return c.Dir.Reserve().During(do)
			}
			return do()
		},
	}
}

// Group is a command that only holds others.
func Group(name, usage string, subcommands ...*cli.Command) *cli.Command {
	return &cli.Command{Name: name, Usage: usage, Subcommands: subcommands, Action: func(c *cli.Context) error {
		if c.NArg() > 0 {
			return line.UnknownCommand(subcommands, c.Args().First())
		}
		cli.HelpPrinter(c.App.Writer, "", c.Command)
		return nil
	}}
}

// NewApp is bkp, made of its commands.
func NewApp(con *render.Console, version string, commands ...*cli.Command) *cli.App {
	app := &cli.App{
		Name:            "bkp",
		Usage:           "back up large files over a network of peers",
		UsageText:       "bkp COMMAND [flags] [arguments]",
		Version:         version, // for metrics; bkp version prints it
		HideVersion:     true,
		HideHelpCommand: true,

		DisableSliceFlagSeparator: true, // sim --strategy a,b is one value; see line.Flags.List
		Writer:                    con.Stdout,
		ErrWriter:                 con.Stderr,
		Flags:                     append(GlobalFlags(), cli.HelpFlag), // cli adds it only with a help command of its own
		ExitErrHandler:            func(*cli.Context, error) {},
		OnUsageError:              onUsageError,
		Metadata:                  map[string]any{"console": con},
		Commands:                  commands,
	}
	for _, f := range app.Flags {
		line.FromEnvironment(f)
	}
	for _, c := range app.Commands {
		prepare(c)
	}
	return app
}

// prepare gives a command and its subcommands the global flags, and every flag its place in the environment.
func prepare(c *cli.Command) {
	c.OnUsageError = onUsageError
	c.HideHelpCommand = true
	if !c.SkipFlagParsing {
		c.Flags = append(c.Flags, GlobalFlags()...)
	}
	for _, f := range c.Flags {
		line.FromEnvironment(f)
	}
	for _, sub := range c.Subcommands {
		prepare(sub)
	}
}

func onUsageError(_ *cli.Context, err error, _ bool) error { return line.UsageError("%w", err) }

func wrongArguments(s Spec, got int) error {
	want := s.Args
	if want == "" {
		want = "no arguments"
	}
	return line.UsageError("wants %s, got %s", want, render.Counted(got, "argument"))
}
