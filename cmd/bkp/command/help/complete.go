// SPDX-License-Identifier: Apache-2.0

package help

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/bkp-tool/bkp/cmd/bkp/command"
	"github.com/bkp-tool/bkp/cmd/bkp/datadir"
	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/owner"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/cmd/bkp/session"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/plugins"
	"github.com/bkp-tool/bkp/plugins/contract"
	"github.com/urfave/cli/v2"
)

// Completion is bkp completion.
func Completion() *cli.Command {
	return command.New(command.Spec{
		Name: "completion", Args: "bash|zsh|fish", Least: 1, Most: 1,
		Usage: "print a completion script for the shell",
		Examples: `source <(bkp completion bash)
			bkp completion zsh > "${fpath[1]}/_bkp"
			bkp completion fish > ~/.config/fish/completions/bkp.fish`,
		Do: func(_ context.Context, c *command.Call) error {
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
	// readline replaces only what follows the last of its own breaks, of which "@", ":" and "=" stand in words of bkp
	"bash": `_bkp() {
    local IFS=$'\n' line="${COMP_LINE:0:COMP_POINT}" words last
    IFS=' ' read -ra words <<< "$line"
    [[ "$line" == *' ' ]] && words+=("")
    last="${words[${#words[@]}-1]}"
    COMPREPLY=($(bkp complete -- "${words[@]:1}" 2>/dev/null))
    COMPREPLY=("${COMPREPLY[@]#"${last%"${last##*[@:=]}"}"}")
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

// Complete is what the completion scripts call with the words of the line so far.
func Complete() *cli.Command {
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
	if name, value := valueWanted(before, last, flags); name != "" {
		return valuesOf(cc, name, before, value)
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
	for _, n := range argumentsOf(cc, name, before, last) {
		add(n)
	}
	return found
}

// argumentsOf lists what may be an argument of a command.
func argumentsOf(cc *cli.Context, name string, before []string, last string) []string {
	switch name {
	case "place", "fetch", "show", "rm", "verify", "status", "repair":
		return namesHere(cc, before, strings.Contains(last, "@"))
	case "prune":
		return namesHere(cc, before, false)
	case "peers":
		return peersHere(cc, before)
	case "plugin info", "plugin lock", "plugin remove":
		var names []string
		for _, kind := range contract.Kinds {
			names = append(names, pluginsHere(cc, before, kind)...)
		}
		return names
	case "plugin new":
		var kinds []string
		for _, kind := range contract.Kinds {
			kinds = append(kinds, string(kind))
		}
		return kinds
	case "completion":
		return []string{"bash", "zsh", "fish"}
	case "help":
		var names []string
		for _, c := range cc.App.Commands {
			names = append(names, c.Name)
		}
		return append(names, "words")
	}
	return nil
}

// valueWanted is the flag whose value the last word is, and what there is of it; empty where it is none.
func valueWanted(before []string, last string, flags []cli.Flag) (name, value string) {
	flag, value, with := strings.Cut(last, "=")
	if !with || !strings.HasPrefix(flag, "-") {
		if len(before) == 0 || strings.Contains(before[len(before)-1], "=") {
			return "", ""
		}
		flag, value = before[len(before)-1], last
	}
	if !strings.HasPrefix(flag, "-") {
		return "", ""
	}
	f := line.FindFlag(flags, strings.TrimLeft(flag, "-"))
	if f == nil {
		return "", ""
	}
	if _, isBool := f.(*cli.BoolFlag); isBool {
		return "", ""
	}
	return f.Names()[0], value
}

// valuesOf lists the values of a flag; none where the shell is to complete files.
func valuesOf(cc *cli.Context, flag string, before []string, begun string) (found []string) {
	var all []string
	switch flag {
	case "strategy":
		all = pluginsHere(cc, before, plugins.KindStrategy)
	case "verifiers":
		all = pluginsHere(cc, before, plugins.KindVerifier)
	case "peer", "exclude", "only":
		all = peersHere(cc, before)
	case "progress":
		all = []string{"auto", "plain", "json", "none"}
	case "chunker":
		all = []string{"auto", "cdc", "fixed"}
	case "compression":
		all = []string{"off", "fast", "default", "best"}
	case "digest":
		all = []string{"sha256", "blake3"}
	case "objective":
		all = []string{"time", "cost", "blend"}
	}
	for _, v := range all {
		if strings.HasPrefix(v, begun) {
			found = append(found, v)
		}
	}
	return found
}

// pluginsHere lists the plugins of a kind.
func pluginsHere(cc *cli.Context, before []string, kind plugins.Kind) (names []string) {
	dir := dataOf(cc, before)
	con := &render.Console{Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: io.Discard, Quiet: true}
	found, _ := session.NewOpener(&line.Flags{Context: cc}, con, dir, nil).Plugins().List()
	for _, f := range found {
		if f.Kind == kind {
			names = append(names, f.Name.Name)
		}
	}
	return names
}

// peersHere lists the addresses of the peers that the running node is connected to.
func peersHere(cc *cli.Context, before []string) (addresses []string) {
	ctx, cancel := context.WithTimeout(cc.Context, time.Second)
	defer cancel()
	running, err := control.Dial(dataOf(cc, before).Path("node.sock"))
	if err != nil {
		return nil
	}
	var r control.StatusResult
	if running.Call(ctx, control.CommandStatus, control.None{}, &r, func(control.Status) {}) != nil {
		return nil
	}
	for _, p := range r.Links {
		addresses = append(addresses, p.Address)
	}
	return addresses
}

// dataOf is the data directory that the line works on.
func dataOf(cc *cli.Context, before []string) datadir.Dir {
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
	return datadir.Dir(dir)
}

// namesHere lists the names of the data directory that the line works on, or with versions NAME@VERSION; nothing where
// the identity needs a passphrase.
func namesHere(cc *cli.Context, before []string, versions bool) (names []string) {
	dir := dataOf(cc, before)
	con := &render.Console{Stdin: strings.NewReader(""), Stdout: cc.App.Writer, Stderr: cc.App.ErrWriter, Quiet: true}
	o, err := owner.New(&line.Flags{Context: cc}, con, dir).OwnerIfAny()
	if o == nil || err != nil {
		return nil
	}
	refs, err := dir.Refs().Open(o)
	if err != nil && len(refs) == 0 {
		return nil
	}
	for _, v := range refs {
		switch {
		case versions:
			names = append(names, render.Versioned(v.Body.Name, v.Ref.Version))
		case len(names) == 0 || names[len(names)-1] != v.Body.Name:
			names = append(names, v.Body.Name)
		}
	}
	return names
}
