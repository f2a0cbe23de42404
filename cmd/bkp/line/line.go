// SPDX-License-Identifier: Apache-2.0

package line

import (
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/bkp-tool/bkp/core"
	"github.com/urfave/cli/v2"
)

// Line is a command line taken apart: urfave/cli hands flags that follow an argument to the command as arguments,
// so the words are put in order before it sees them.
type Line struct {
	program string
	Command string   // "key export"
	flags   []string // with their values
	args    []string
	JSON    bool
	Given   map[string]bool // long names of flags on the line
	raw     []string        // given to cli as they are, where not nil
}

// Words is the line with every flag in front of the first argument.
func (l Line) Words() []string {
	if l.raw != nil {
		return l.raw
	}
	words := append([]string{l.program}, strings.Fields(l.Command)...)
	words = append(words, l.flags...)
	return append(append(words, "--"), l.args...)
}

// Parse takes argv apart by the commands and flags that app knows. Even with an error, the command and the wish
// for JSON are filled in as far as they were read.
func Parse(app *cli.App, argv []string) (l Line, err error) {
	l.program, l.Given = argv[0], map[string]bool{}
	l.JSON, _ = strconv.ParseBool(os.Getenv("BKP_JSON"))
	l.JSON = l.JSON || slices.Contains(argv, "--json")
	commands, flags := app.Commands, app.Flags
	rest := argv[1:]
	for len(rest) > 0 {
		word := rest[0]
		rest = rest[1:]
		switch {
		case word == "--":
			l.args, rest = append(l.args, rest...), nil
		case len(word) > 1 && word[0] == '-':
			used, err := l.flag(word, rest, flags)
			if err != nil {
				return l, err
			}
			rest = rest[used:]
		case len(commands) > 0 && len(l.args) == 0:
			c := Find(commands, word)
			if c == nil {
				return l, UnknownCommand(commands, word)
			}
			l.Command = strings.TrimSpace(l.Command + " " + c.Name)
			commands, flags = c.Subcommands, c.Flags
			if c.SkipFlagParsing {
				l.raw = argv
				return l, nil
			}
		default:
			l.args = append(l.args, word)
		}
	}
	return l, nil
}

// flag takes one flag and, where it needs one, its value from rest; used is how many words of rest that was.
func (l *Line) flag(word string, rest []string, flags []cli.Flag) (used int, err error) {
	name, value, hasValue := strings.Cut(strings.TrimLeft(word, "-"), "=")
	f := FindFlag(flags, name)
	if f == nil {
		if name == "help" || name == "h" {
			l.flags = append(l.flags, "--help")
			return 0, nil
		}
		err := UsageError("unknown flag %s", word)
		if near := cli.SuggestFlag(flags, name, true); isTypo(name, strings.TrimLeft(near, "-")) {
			return 0, core.WithHint(err, "did you mean %s?", near)
		}
		return 0, core.WithHint(err, "%s lists the flags", strings.TrimSpace("bkp "+l.Command+" --help"))
	}
	long := f.Names()[0]
	_, isBool := f.(*cli.BoolFlag)
	if _, repeatable := f.(*cli.StringSliceFlag); l.Given[long] && !repeatable && !isBool {
		return 0, UsageError("--%s is given twice", long)
	}
	l.Given[long] = true
	if isBool {
		l.flags = append(l.flags, word)
		return 0, nil
	}
	if o, ok := f.(*option); ok && !hasValue {
		value, hasValue = o.bare, true
	}
	if !hasValue {
		if len(rest) == 0 {
			return 0, UsageError("--%s needs a value", long)
		}
		value, used = rest[0], 1
	}
	l.flags = append(l.flags, "--"+long+"="+value)
	return used, nil
}

// Find is the command of that name; nil where there is none.
func Find(commands []*cli.Command, name string) *cli.Command {
	for _, c := range commands {
		if c.HasName(name) {
			return c
		}
	}
	return nil
}

// FindFlag is the flag of that name; nil where there is none.
func FindFlag(flags []cli.Flag, name string) cli.Flag {
	for _, f := range flags {
		if slices.Contains(f.Names(), name) {
			return f
		}
	}
	return nil
}

// UnknownCommand is the error of who asks for a command that there is not, with what may have been meant.
func UnknownCommand(commands []*cli.Command, word string) error {
	err := UsageError("unknown command %q", word)
	var names []cli.Flag // SuggestFlag finds the nearest of any names
	for _, c := range commands {
		if !c.Hidden {
			names = append(names, &cli.BoolFlag{Name: c.Name})
		}
	}
	if meant, ok := elsewhere[word]; ok && Find(commands, "split") != nil {
		return core.WithHint(err, "%s", meant)
	}
	for _, c := range commands {
		if sub := Find(c.Subcommands, word); sub != nil && !c.Hidden && !sub.Hidden {
			return core.WithHint(err, "did you mean %s %s? bkp help lists the commands", c.Name, sub.Name)
		}
	}
	near := strings.TrimLeft(cli.SuggestFlag(names, word, true), "-")
	if !isTypo(word, near) {
		return core.WithHint(err, "bkp help lists the commands")
	}
	return core.WithHint(err, "did you mean %s? bkp help lists the commands", near)
}

// isTypo reports whether a word is likely to be meant: a third of its letters, and one, may be added, left out or
// changed.
func isTypo(typed, meant string) bool {
	row := make([]int, len(meant)+1) // changes from what was typed up to here to each beginning of what is meant
	for i := range row {
		row[i] = i
	}
	for i := range len(typed) {
		before := row[0]
		row[0] = i + 1
		for j := range len(meant) {
			change := before
			if typed[i] != meant[j] {
				change++
			}
			before, row[j+1] = row[j+1], min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(meant)] <= 1+len(typed)/3
}
