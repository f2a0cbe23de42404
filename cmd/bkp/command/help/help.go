// SPDX-License-Identifier: Apache-2.0

// Package help is what bkp tells of itself: help, manual pages, and what a shell may complete.
package help

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/bkp-tool/bkp/cmd/bkp/command"
	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/urfave/cli/v2"
)

// Command is bkp help.
func Command() *cli.Command {
	return command.New(command.Spec{
		Name: "help", Args: "[COMMAND]", Most: 3, Usage: "explain a command; bkp help words explains the words",
		Examples: "bkp help\nbkp help place\nbkp help node start\nbkp help words",
		Do: func(_ context.Context, c *command.Call) error {
			words := c.Args().Slice()
			if len(words) == 1 && words[0] == "words" {
				return c.Result(glossary(), func(t *render.Table) {
					var pairs [][2]string
					for _, w := range glossary() {
						pairs = append(pairs, [2]string{w.Word, w.Meaning})
					}
					t.Line("%s", line.Rows(pairs))
				})
			}
			commands, last := c.App.Commands, any(c.App)
			for i, w := range words {
				if i > 0 && len(commands) == 0 { // an argument, as in bkp help peers add
					break
				}
				found := line.Find(commands, w)
				if found == nil {
					return line.UnknownCommand(commands, w)
				}
				commands, last = found.Subcommands, found
			}
			cli.HelpPrinter(c.Stdout, "", last)
			return nil
		},
	})
}

// Printer prints help of the app or of a command, no line wider than 80 columns but those of examples.
func Printer(app *cli.App) func(w io.Writer, template string, about any) {
	return func(w io.Writer, _ string, about any) {
		if c, ok := about.(*cli.Command); ok && c.Name != app.Name {
			_, _ = io.WriteString(w, commandHelp(app, c))
			return
		}
		_, _ = io.WriteString(w, appHelp(app))
	}
}

func appHelp(app *cli.App) string {
	return "bkp - " + app.Usage + "\n\nUSAGE:\n   " + app.UsageText + "\n\n" + overview +
		"\n\nCOMMANDS:\n" + line.CommandRows(app.Commands) +
		"\n\nFLAGS OF EVERY COMMAND:\n" + line.FlagRows(command.GlobalFlags(), nil) +
		"\n\nEXIT CODES:\n" + line.Rows(exitCodes) + "\n\n" + furtherHelp + "\n"
}

func commandHelp(app *cli.App, c *cli.Command) string {
	var b strings.Builder
	name := fullName(app, c)
	fmt.Fprintf(&b, "%s - %s\n\nUSAGE:\n   %s", name, c.Usage, name)
	switch {
	case len(c.Subcommands) > 0:
		b.WriteString(" COMMAND")
	case !c.SkipFlagParsing:
		b.WriteString(" [flags]")
	}
	if c.ArgsUsage != "" {
		b.WriteString(" " + c.ArgsUsage)
	}
	b.WriteString("\n")
	if c.Description != "" {
		b.WriteString("\n" + line.Indent(c.Description) + "\n")
	}
	if len(c.Subcommands) > 0 {
		b.WriteString("\nCOMMANDS:\n" + line.CommandRows(c.Subcommands) + "\n")
	} else if rows := line.FlagRows(c.Flags, command.GlobalFlags()); rows != "" {
		b.WriteString("\nFLAGS:\n" + rows + "\n")
	}
	b.WriteString("\nFlags of every command, such as --data, --json and -q: bkp help\n")
	return b.String()
}

// fullName is a command with the groups that it stands in.
func fullName(app *cli.App, c *cli.Command) string {
	for _, top := range app.Commands {
		for _, sub := range top.Subcommands {
			if sub == c || sub.Description == c.Description && sub.Name == c.Name {
				return "bkp " + top.Name + " " + c.Name
			}
		}
	}
	return "bkp " + c.Name
}

const overview = `   bkp splits a file into sealed chunks, decides by bandwidth, space and cost
   which peers keep what, places the chunks there and brings the file back from
   many peers at once.

      bkp node start --listen :8001 --peers wss://other.example:8001-20MiB
      bkp split big.iso
      bkp place big.iso --replicas 2
      bkp fetch big.iso -o copy.iso`

var exitCodes = [][2]string{
	{"0", "done"}, {"1", "failed"}, {"2", "wrong usage"}, {"3", "ended with part undone, and says which"},
	{"10", "no such name"}, {"11", "busy or locked"}, {"12", "refused (licence, identity, quota)"},
	{"13", "copies or chunks not reachable"}, {"14", "bytes present but wrong"}, {"20", "a plugin failed"},
	{"128+N", "ended by signal N"},
}

const furtherHelp = `Every flag can also be set as BKP_FLAG in the environment (--token-file as
BKP_TOKEN_FILE), or as a key in config.toml. bkp help COMMAND says more of a
command, bkp help words what chunk, run, licence and others mean.`

// explained is one of the words of bkp and what it means.
type explained struct {
	Word    string `json:"word"`
	Meaning string `json:"meaning"`
}

// glossary is the words that a person meets on the screen; core/doc.go has them all.
func glossary() []explained {
	return []explained{
		{"node", "a machine, or the process on it, that keeps chunks: bkp node start"},
		{"peer", "another node that this one is connected to"},
		{"owner", "whose files they are: who has the identity (bkp key show)"},
		{"identity", "the secret that opens an owner's backups; keep a copy elsewhere: bkp key export -o FILE"},
		{"name", "what a file is called in bkp; version N of it is NAME@N"},
		{"version", "one split of a file"},
		{"chunk", "a piece of a file, cut by content and sealed: what versions share"},
		{"run", "consecutive chunks, up to 4 MiB: what travels"},
		{"segment", "up to 4096 runs: what one licence is for"},
		{"staged", "on this machine, and not placed yet"},
		{"placed", "kept by peers: \"2 of 2\" is copies that count, of copies wanted"},
		{"copy", "it counts when its node has signed a receipt, has proved that it has the bytes, and has the ref"},
		{"ref", "the sealed pointer to a version, which every node that keeps some of it has"},
		{"coordinator", "the node that sees to a placement: this one, or the one of bkp place --coordinator NODE"},
		{"licence", "an owner's signed word that a node may keep certain runs"},
		{"receipt", "a node's signed word that it keeps them"},
		{"audit", "a challenge that only a node which has the bytes can answer"},
		{"ledger", "a node's log of licences and receipts, which nobody can change unnoticed"},
		{"strategy", "a plugin that prices nodes: bkp plugin list"},
		{"cost", "what a strategy asks for a GiB, in its own unit: seconds for seed, money for cheapest"},
		{"declared", "the bandwidth of a link by the smaller word of both its ends"},
		{"measured", "what transfers over a link came to"},
		{"lease", "a transfer's reservation of bandwidth; leased is the sum of them"},
		{"least possible", "the time below which no plan can get, whatever it does"},
		{"bound by", "what sets that time: a link, a side of a node, a trunk or the disk space"},
		{"trunk", "a cap that all links from one zone to another share"},
		{"degraded", "a node runs, but something is wrong with it: bkp health"},
	}
}
