// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"

	"github.com/bkp-tool/bkp/cmd/bkp/command"
	"github.com/bkp-tool/bkp/cmd/bkp/datadir"
	"github.com/bkp-tool/bkp/cmd/bkp/input"
	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/urfave/cli/v2"
)

// inputFlags are understood by what splits.
func inputFlags() []cli.Flag {
	return []cli.Flag{
		line.Text("command", "", "split what `COMMAND`, a line of sh, writes; unless it ends with 0 there is no "+
			"version"),
		line.Bool("allow-empty", "make a version also where standard input or the command gives not a byte"),
		line.Option("skip-unchanged", "true", "make no version of what the newest consists of; `HOW` is stat, the "+
			"default, where a file of the same size, times and inode is not read, or content, which reads it in "+
			"any case"),
		line.Text("changed", "", "read only what changed since the version before: `RANGES` is a file, or -, of lines "+
			"OFFSET LENGTH, in bytes, or of a JSON array of {offset, length}, as rbd diff prints it, or what thin_delta (LVM) "+
			"prints; the rest is as it was"),
		line.Text("verify-unchanged", "", "with --changed: read this `SHARE` of the rest, drawn anew each time, as 1%, "+
			"and fail where it did change"),
	}
}

// changed is what --changed lists; nil where all is to be read.
func changed(c *command.Call) (*control.Changed, error) {
	path := c.String("changed")
	if !c.Given("changed") {
		if c.Given("verify-unchanged") {
			return nil, line.UsageError("--verify-unchanged: of what, without --changed?")
		}
		return nil, nil
	}
	if path == "-" && c.Args().First() == "-" {
		return nil, line.UsageError("standard input cannot be both the file and --changed")
	}
	changed := &control.Changed{}
	var err error
	if c.Given("verify-unchanged") {
		if changed.Sample, err = c.Share("verify-unchanged"); err != nil {
			return nil, err
		}
	}
	list, err := c.ReadInput(path)
	if err != nil {
		return nil, err
	}
	if changed.Ranges, err = input.ParseRanges(bytes.NewReader(list)); err != nil {
		return nil, core.WithHint(line.UsageError("--changed %s: %w", core.Printable(path), err),
			"bkp %s --help shows the two forms", c.Command.Name)
	}
	return changed, nil
}

// skipUnchanged is how --skip-unchanged is to look; empty where it is not to.
func skipUnchanged(c *command.Call) (string, error) {
	switch how := c.String("skip-unchanged"); how {
	case "", "false":
		return "", nil
	case "true", "1", datadir.SkipByStat:
		return datadir.SkipByStat, nil
	case datadir.SkipByContent:
		return how, nil
	default:
		return "", line.UsageError("--skip-unchanged=%s: want stat or content", how)
	}
}

// told is for what became of a version that is there already: that nobody could be told of it is no failure of its
// making.
func told(c *command.Call, version string, err error) error {
	if err == nil {
		return nil
	}
	return core.WithHint(core.Fail(core.CodePartial, "%s is there, but what it came to could not be told: %w", version,
		err),
		"bkp show %s", version)
}

// openInput finds what the command line names, and starts the command that it asks for.
func openInput(ctx context.Context, c *command.Call) (input.Input, error) {
	command := c.String("command")
	switch named := c.Args().First(); {
	case c.Given("command") && command == "":
		return input.Input{}, line.UsageError("--command is empty")
	case command != "" && named != "" && named != "-":
		return input.Input{}, core.WithHint(line.UsageError("--command and %s: which of them?", core.Printable(named)),
			"leave out FILE")
	case command != "":
		return input.FromCommand(ctx, command, c.Stderr)
	case named == "":
		return input.Input{}, errNoInput(c)
	case named == "-":
		return input.FromStdin(c.Stdin), nil
	default:
		return input.Input{Path: named}, nil
	}
}

func errNoInput(c *command.Call) error {
	return core.WithHint(line.UsageError("wants FILE|-, got 0 arguments"), "bkp %s --help shows examples",
		c.Command.Name)
}
