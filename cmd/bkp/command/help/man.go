// SPDX-License-Identifier: Apache-2.0

package help

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/bkp-tool/bkp/cmd/bkp/command"
	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/core/durable"
	"github.com/urfave/cli/v2"
)

// Man is bkp man.
func Man() *cli.Command {
	return command.New(command.Spec{
		Name: "man", Args: "[COMMAND]", Most: 2, Usage: "write a manual page, or all of them, from what help says",
		About: "Without --dir the page of bkp, or of COMMAND, goes to standard output. With it one file a command is " +
			"written there: bkp.1, bkp-place.1, bkp-node-start.1 and so on.",
		Examples: "bkp man place | man -l -\nbkp man --dir /usr/local/share/man/man1",
		Flags:    []cli.Flag{line.Text("dir", "", "write all pages into `DIR`")},
		Do: func(_ context.Context, c *command.Call) error {
			if dir := c.String("dir"); dir != "" {
				n, err := writeManPages(c.App, dir)
				if err != nil {
					return fmt.Errorf("write manual pages: %w", err)
				}
				return c.Done(manSummary{n, dir}, func(t *render.Table) {
					t.Line("%s in %s", render.Counted(n, "manual page"), dir)
				})
			}
			commands, found := c.App.Commands, (*cli.Command)(nil)
			for _, w := range c.Args().Slice() {
				if found = line.Find(commands, w); found == nil {
					return line.UnknownCommand(commands, w)
				}
				commands = found.Subcommands
			}
			_, err := io.WriteString(c.Stdout, manPage(c.App, found))
			return err
		},
	})
}

type manSummary struct {
	Pages int    `json:"pages"`
	Dir   string `json:"dir"`
}

// writeManPages writes a page for bkp and one for each command that is no group's.
func writeManPages(app *cli.App, dir string) (count int, err error) {
	if err := durable.MkdirAll(dir); err != nil {
		return 0, err
	}
	write := func(c *cli.Command) {
		name := "bkp"
		if c != nil {
			name = strings.ReplaceAll(fullName(app, c), " ", "-")
		}
		if err == nil {
			err = durable.Replace(filepath.Join(dir, name+".1"), []byte(manPage(app, c)), 0o644)
			count++
		}
	}
	write(nil)
	var walk func([]*cli.Command)
	walk = func(commands []*cli.Command) {
		for _, c := range commands {
			if !c.Hidden {
				write(c)
				walk(c.Subcommands)
			}
		}
	}
	walk(app.Commands)
	return count, err
}

// manPage is the page of a command, or of bkp where it is nil, in the language of man(7): the sections of its help, a
// section a heading, and what stands in columns as it is.
func manPage(app *cli.App, c *cli.Command) string {
	name, usage, help := "bkp", app.Usage, appHelp(app)
	if c != nil {
		name, usage, help = fullName(app, c), c.Usage, commandHelp(app, c)
	}
	title := strings.ReplaceAll(name, " ", "-")
	var b strings.Builder
	fmt.Fprintf(&b, ".TH %s 1 \"\" \"bkp\" \"bkp\"\n.SH NAME\n%s \\- %s\n", roff(strings.ToUpper(title)), roff(title),
		roff(usage))
	_, rest, _ := strings.Cut(help, "\n")
	open := false
	plain := func(on bool) {
		if on != open {
			b.WriteString(map[bool]string{true: ".nf\n", false: ".fi\n"}[on])
			open = on
		}
	}
	for l := range strings.Lines(strings.TrimSpace(rest)) {
		l = strings.TrimSuffix(l, "\n")
		if heading, ok := strings.CutSuffix(l, ":"); ok && heading == strings.ToUpper(heading) && l[0] != ' ' {
			plain(false)
			fmt.Fprintf(&b, ".SH %s\n", roff(heading))
			plain(true)
			continue
		}
		b.WriteString(roff(strings.TrimPrefix(l, "   ")) + "\n")
	}
	plain(false)
	if c != nil {
		b.WriteString(".SH SEE ALSO\n.BR bkp (1)\n")
	}
	return b.String()
}

// roff escapes what troff would read otherwise.
func roff(text string) string {
	text = strings.ReplaceAll(text, `\`, `\e`)
	text = strings.ReplaceAll(text, "-", `\-`)
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
		text = `\&` + text
	}
	return text
}
