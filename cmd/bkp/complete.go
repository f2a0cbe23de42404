// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/bkp-tool/bkp/cmd/bkp/datadir"
	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/owner"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/urfave/cli/v2"
)

func completionCommand() *cli.Command {
	return command(spec{
		name: "completion", args: "bash|zsh|fish", least: 1, most: 1,
		usage: "print a completion script for the shell",
		examples: `source <(bkp completion bash)
			bkp completion zsh > "${fpath[1]}/_bkp"
			bkp completion fish > ~/.config/fish/completions/bkp.fish`,
		do: func(_ context.Context, c *call) error {
			script, ok := completionScripts[c.Args().First()]
			if !ok {
				return line.UsageError("%q: want bash, zsh or fish", c.Args().First())
			}
			_, err := fmt.Fprint(c.Stdout, script)
			return err
		},
	})
}

var completionScripts = map[string]string{
	"bash": `_bkp() {
    local IFS=$'\n'
    COMPREPLY=($(compgen -W "$(bkp complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)" -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o bashdefault -o default -F _bkp bkp
`,
	"zsh": `#compdef bkp
_bkp() {
    local -a found
    found=("${(@f)$(bkp complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ -n "${found[1]}" ]]; then compadd -- "${found[@]}"; else _files; fi
}
if [ "$funcstack[1] " = "_bkp " ]; then _bkp "$@"; else compdef _bkp bkp; fi
`,
	"fish": `function __bkp_complete
    set -l words (commandline -opc) (commandline -ct)
    bkp complete -- $words[2..-1] 2>/dev/null
end
complete -c bkp -a '(__bkp_complete)'
`,
}

// completeCommand is what the completion scripts call with the words of the line so far.
func completeCommand() *cli.Command {
	return &cli.Command{
		Name: "complete", Hidden: true, SkipFlagParsing: true, Usage: "list what may stand next on a command line",
		Description: line.Describe("", "bkp complete -- place --re"),
		Action: func(cc *cli.Context) (err error) {
			defer func() {
				if recover() != nil {
					err = nil // a completion that fails completes nothing
				}
			}()
			words := cc.Args().Slice()
			if len(words) > 0 && words[0] == "--" {
				words = words[1:]
			}
			for _, w := range complete(cc, words) {
				fmt.Fprintln(cc.App.Writer, w)
			}
			return nil
		},
	}
}

// complete lists what may stand in place of the last word.
func complete(cc *cli.Context, words []string) []string {
	if len(words) == 0 {
		words = []string{""}
	}
	before, last := words[:len(words)-1], words[len(words)-1]
	commands, flags, name := cc.App.Commands, cc.App.Flags, ""
	for _, w := range before {
		if c := line.Find(commands, w); c != nil {
			commands, flags, name = c.Subcommands, c.Flags, strings.TrimSpace(name+" "+c.Name)
		}
	}
	if len(before) > 0 && strings.HasPrefix(before[len(before)-1], "-") && !strings.Contains(before[len(before)-1],
		"=") {
		if f := line.FindFlag(flags, strings.TrimLeft(before[len(before)-1], "-")); f != nil {
			if _, isBool := f.(*cli.BoolFlag); !isBool {
				return nil // a value: the shell completes files
			}
		}
	}
	var found []string
	add := func(w string) {
		if strings.HasPrefix(w, last) {
			found = append(found, w)
		}
	}
	if strings.HasPrefix(last, "-") {
		for _, f := range flags {
			add("--" + f.Names()[0])
		}
		return found
	}
	for _, c := range commands {
		if !c.Hidden {
			add(c.Name)
		}
	}
	switch name {
	case "place", "fetch", "show", "rm":
		for _, n := range namesHere(cc, before) {
			add(n)
		}
	case "completion":
		for _, shell := range []string{"bash", "zsh", "fish"} {
			add(shell)
		}
	}
	return found
}

// namesHere lists the names of the data directory that the line works on; nothing where the identity needs a
// passphrase.
func namesHere(cc *cli.Context, before []string) (names []string) {
	dir := cc.String("data")
	for i, w := range before {
		if value, ok := strings.CutPrefix(w, "--data="); ok {
			dir = value
		} else if w == "--data" && i+1 < len(before) {
			dir = before[i+1]
		}
	}
	if dir == "" {
		dir = line.DefaultData()
	}
	con := &render.Console{Stdin: strings.NewReader(""), Stdout: cc.App.Writer, Stderr: cc.App.ErrWriter, Quiet: true}
	o, err := owner.New(&line.Flags{Context: cc}, con, datadir.Dir(dir)).OwnerIfAny()
	if o == nil || err != nil {
		return nil
	}
	versions, err := datadir.Dir(dir).Refs().Open(o)
	if err != nil && len(versions) == 0 {
		return nil
	}
	for _, v := range versions {
		if len(names) == 0 || names[len(names)-1] != v.Body.Name {
			names = append(names, v.Body.Name)
		}
	}
	return names
}
