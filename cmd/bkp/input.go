// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	"github.com/bkp-tool/bkp/cmd/bkp/datadir"
	"github.com/bkp-tool/bkp/cmd/bkp/input"
	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/core"
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
	}
}

// skipUnchanged is how --skip-unchanged is to look; empty where it is not to.
func (c *call) skipUnchanged() (string, error) {
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
func (c *call) told(version string, err error) error {
	if err == nil {
		return nil
	}
	return core.WithHint(core.Fail(core.CodePartial, "%s is there, but what it came to could not be told: %w", version,
		err),
		"bkp show %s", version)
}

// openInput finds what the command line names, and starts the command that it asks for.
func (c *call) openInput(ctx context.Context) (input.Input, error) {
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

func errNoInput(c *call) error {
	return core.WithHint(line.UsageError("wants FILE|-, got 0 arguments"), "bkp %s --help shows examples",
		c.Command.Name)
}
