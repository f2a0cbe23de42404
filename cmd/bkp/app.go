// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"os"

	"github.com/bkp-tool/bkp/cmd/bkp/datadir"
	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/owner"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/cmd/bkp/session"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/urfave/cli/v2"
)

// newApp is the list of commands.
func newApp(con *render.Console) *cli.App {
	app := &cli.App{
		Name:            "bkp",
		Usage:           "back up large files over a network of peers",
		UsageText:       "bkp COMMAND [flags] [arguments]",
		Version:         version, // for metrics; bkp version prints it
		HideVersion:     true,
		HideHelpCommand: true,

		DisableSliceFlagSeparator: true, // sim --strategy a,b is one value; see call.list
		Writer:                    con.Stdout,
		ErrWriter:                 con.Stderr,
		Flags:                     append(globalFlags(), cli.HelpFlag), // cli adds it only with a help command of its own
		ExitErrHandler:            func(*cli.Context, error) {},
		OnUsageError:              onUsageError,
		Metadata:                  map[string]any{"console": con},
		Commands: []*cli.Command{
			splitCommand(), placeCommand(), planCommand(), backupCommand(), fetchCommand(), shareCommand(), lsCommand(), showCommand(),
			mountCommand(), serveCommand(), statusCommand(), verifyCommand(), repairCommand(), rmCommand(), pruneCommand(),
			gcCommand(), peersCommand(), inviteCommand(), joinCommand(), nodeCommand(), healthCommand(), webCommand(), simCommand(),
			keyCommand(), licenseCommand(), ledgerCommand(), pluginCommand(), pluginServeCommand(), pluginRunCommand(), jobCommand(),
			configCommand(), completionCommand(), completeCommand(), versionCommand(), helpCommand(), manCommand(),
		},
	}
	for _, f := range app.Flags {
		line.FromEnvironment(f)
	}
	for _, c := range app.Commands {
		prepare(c)
	}
	cli.HelpPrinter = printHelp(app)
	return app
}

// action carries out a command: flags to one call, and its result to the console.
type action func(ctx context.Context, c *call) error

// call is one run of a command.
type call struct {
	*line.Flags
	*render.Console
	*owner.Identity
	*session.Opener
	dir    datadir.Dir
	shared *key.Share // what fetch was given to fetch by; nil: the identity
}

// spec describes a command that a person can run.
type spec struct {
	name     string
	args     string // how the arguments are written: "FILE|-"
	most     int    // how many there may be
	least    int
	usage    string
	about    string // a paragraph more, may be empty
	examples string // one a line, required of every command
	flags    []cli.Flag
	hidden   bool
	frees    bool // it frees space, and so has to work on a full disk
	reads    bool // it changes nothing of the data directory
	do       action
}

// command makes the cli command; prepare adds what all of them share.
func command(s spec) *cli.Command {
	return &cli.Command{
		Name: s.name, Usage: s.usage, ArgsUsage: s.args, Hidden: s.hidden, Flags: s.flags,
		Description: line.Describe(s.about, s.examples),
		Action: func(cc *cli.Context) error {
			if n := cc.NArg(); n < s.least || n > s.most {
				return core.WithHint(wrongArguments(s, cc.Args().Slice()), "%s --help shows examples",
					cc.Command.HelpName)
			}
			c, err := newCall(cc)
			if err != nil {
				return err
			}
			c.Reads = s.reads
			if !s.reads {
				c.narrow()
			}
			defer c.Console.EndProgress()
			do := func() error { return s.do(cc.Context, c) }
			if s.frees {
				return c.dir.Reserve().During(do)
			}
			return do()
		},
	}
}

// group is a command that only holds others.
func group(name, usage string, subcommands ...*cli.Command) *cli.Command {
	return &cli.Command{Name: name, Usage: usage, Subcommands: subcommands, Action: func(c *cli.Context) error {
		if c.NArg() > 0 {
			return line.UnknownCommand(subcommands, c.Args().First())
		}
		cli.HelpPrinter(c.App.Writer, "", c.Command)
		return nil
	}}
}

// prepare gives a command and its subcommands the global flags, and every flag its place in the environment.
func prepare(c *cli.Command) {
	c.OnUsageError = onUsageError
	c.HideHelpCommand = true
	if !c.SkipFlagParsing {
		c.Flags = append(c.Flags, globalFlags()...)
	}
	for _, f := range c.Flags {
		line.FromEnvironment(f)
	}
	for _, sub := range c.Subcommands {
		prepare(sub)
	}
}

// newCall reads what the command was told, and finds the data directory.
func newCall(cc *cli.Context) (*call, error) {
	read, err := line.Read(cc)
	if err != nil {
		return nil, err
	}
	con := cc.App.Metadata["console"].(*render.Console)
	dir := datadir.Dir(read.Settings.Data)
	c := &call{Flags: read, Console: con, dir: dir, Identity: owner.New(read, con, dir)}
	c.Opener = session.NewOpener(read, con, dir, c.Identity.Current())
	return c, configure(con, cc)
}

// narrow makes the data directory its owner's alone, and says where it was not.
func (c *call) narrow() {
	switch open, narrowed := c.dir.Narrow(); {
	case narrowed:
		c.Say("warning: %s could be read by others, and is yours alone now", string(c.dir))
	case open:
		c.Say("warning: others can look into %s: give bkp a directory of its own", string(c.dir))
	}
}

func onUsageError(_ *cli.Context, err error, _ bool) error { return line.UsageError("%w", err) }

func wrongArguments(s spec, got []string) error {
	want := s.args
	if want == "" {
		want = "no arguments"
	}
	return line.UsageError("wants %s, got %s", want, render.Counted(len(got), "argument"))
}

// configure reads the global flags that say how to print.
func configure(con *render.Console, cc *cli.Context) error {
	con.JSON, con.Quiet, con.Verbose = cc.Bool("json"), cc.Bool("quiet"), cc.Bool("verbose")
	con.Wide = cc.Bool("wide")
	con.Color = !cc.Bool("no-color") && os.Getenv("NO_COLOR") == "" && render.IsTerminal(con.Stderr)
	con.Mode = cc.String("progress")
	switch con.Mode {
	case "auto", "plain", "json", "none":
		return nil
	}
	return line.UsageError("--progress %q: want auto, plain, json or none", con.Mode)
}
