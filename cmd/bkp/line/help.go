// SPDX-License-Identifier: Apache-2.0

package line

import (
	"strings"

	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/urfave/cli/v2"
)

// helpWidth is how wide help is at most: that of the narrowest terminals in use.
const helpWidth = 80

// Describe is the description of a command: a paragraph, and examples, one a line.
func Describe(about, examples string) string {
	var b strings.Builder
	if about != "" {
		b.WriteString(render.Fold(strings.Join(strings.Fields(about), " "), helpWidth-3, "") + "\n\n")
	}
	b.WriteString("Examples:\n")
	for l := range strings.Lines(strings.TrimSpace(examples)) {
		b.WriteString("   " + strings.TrimSpace(l) + "\n")
	}
	return strings.TrimSpace(b.String())
}

// Indent puts spaces before each line of a text.
func Indent(text string) string {
	return "   " + strings.ReplaceAll(text, "\n", "\n   ")
}

// Rows lays out names and what they mean in two columns, no line wider than help is; a name that is long has a line of
// its own.
func Rows(pairs [][2]string) string {
	widest := 0
	for _, p := range pairs {
		if len(p[0]) <= longName {
			widest = max(widest, len(p[0]))
		}
	}
	indent := strings.Repeat(" ", 3+widest+2)
	var b strings.Builder
	for _, p := range pairs {
		head := "   " + p[0]
		if len(p[0]) > widest {
			b.WriteString(head + "\n")
			head = ""
		}
		head += strings.Repeat(" ", len(indent)-len(head))
		b.WriteString(head + strings.ReplaceAll(render.Fold(p[1], helpWidth-len(indent), ""), "\n", "\n"+indent) + "\n")
	}
	return strings.TrimSuffix(b.String(), "\n")
}

const longName = 22

// CommandRows lists commands and what they are for.
func CommandRows(commands []*cli.Command) string {
	var pairs [][2]string
	for _, c := range commands {
		if !c.Hidden {
			pairs = append(pairs, [2]string{c.Name, c.Usage})
		}
	}
	return Rows(pairs)
}

// FlagRows lists the flags of a command, but for those that every command has.
func FlagRows(flags, global []cli.Flag) string {
	var pairs [][2]string
	for _, f := range flags {
		if name := f.Names()[0]; name != "help" && FindFlag(global, name) == nil {
			pairs = append(pairs, flagRow(f))
		}
	}
	return Rows(pairs)
}

// flagRow is a flag, its value and its other names, and what it does.
func flagRow(f cli.Flag) [2]string {
	doc, ok := f.(cli.DocGenerationFlag)
	if !ok {
		return [2]string{"--" + f.Names()[0], ""}
	}
	value, usage := placeholder(doc.GetUsage())
	head := "--" + f.Names()[0]
	for _, short := range f.Names()[1:] {
		head = "-" + short + ", " + head
	}
	if doc.TakesValue() {
		head += " " + value
		if preset := strings.Trim(doc.GetDefaultText(), `"`); preset != "" && preset != "0" && preset != "[]" {
			usage += " (default: " + preset + ")"
		}
	}
	return [2]string{head, usage}
}

// placeholder takes the name of the value out of what a flag does, where it stands in backquotes.
func placeholder(usage string) (value, plain string) {
	before, rest, ok := strings.Cut(usage, "`")
	if !ok {
		return "VALUE", usage
	}
	value, after, _ := strings.Cut(rest, "`")
	return value, before + value + after
}
