// SPDX-License-Identifier: Apache-2.0

package line

import (
	"slices"
	"strings"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/urfave/cli/v2"
	"pgregory.net/rapid"
)

// testApp has a command with a flag of each kind, and a group.
func testApp() *cli.App {
	return &cli.App{Commands: []*cli.Command{
		{Name: "place", Flags: []cli.Flag{Text("peers", "", ""), Bool("dry-run", ""), Int("replicas", 2, ""),
			List("label", ""), Option("skip", "true", ""), Text("output", "", "", "o")}},
		{Name: "key", Subcommands: []*cli.Command{{Name: "export"}}},
	}}
}

func TestParse(t *testing.T) {
	for typed, want := range map[string]string{
		"place a --replicas 3 b":      "place --replicas=3 -- a b",
		"place --peers=x,y":           "place --peers=x,y --",
		"place -o file a":             "place --output=file -- a",
		"place a --skip --dry-run":    "place --skip=true --dry-run -- a",
		"place --skip=stat a":         "place --skip=stat -- a",
		"place --label a=b --label c": "place --label=a=b --label=c --",
		"place -- --dry-run":          "place -- --dry-run",
		"place -":                     "place -- -",
		"key export x":                "key export -- x",
		"plac":                        `unknown command "plac" (did you mean place? bkp help lists the commands)`,
		"export x":                    `unknown command "export" (did you mean key export? bkp help lists the commands)`,
		"place --replica 3":           "unknown flag --replica (did you mean --replicas?)",
		"place --replicas":            "--replicas needs a value",
		"place --peers a --peers b":   "--peers is given twice",
		"key bogus":                   `unknown command "bogus" (bkp help lists the commands)`,
	} {
		l, err := Parse(testApp(), append([]string{"bkp"}, strings.Fields(typed)...))
		got := strings.TrimPrefix(strings.Join(l.Words(), " "), "bkp ")
		if err != nil {
			got = err.Error()
			if hint := core.HintOf(err); hint != "" {
				got += " (" + hint + ")"
			}
		}
		if got != want {
			t.Errorf("%s\nis   %s\nwant %s", typed, got, want)
		}
	}
}

// Wherever flags stand among the arguments, the command sees the same.
func TestFlagsMayStandAnywhere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		args := rapid.SliceOfN(rapid.StringMatching(`[a-z0-9@.]{1,8}`), 0, 4).Draw(t, "args")
		flag := rapid.SampledFrom([]string{"--peers=a", "--dry-run", "--replicas=3", "-o=f"})
		flags := rapid.SliceOfNDistinct(flag, 0, 4, rapid.ID).Draw(t, "flags")
		words := slices.Clone(args)
		for _, f := range flags {
			words = slices.Insert(words, rapid.IntRange(0, len(words)).Draw(t, "at"), f)
		}
		l, err := Parse(testApp(), append([]string{"bkp", "place"}, words...))
		if err != nil {
			t.Fatal(err)
		}
		got := l.Words()
		end := slices.Index(got, "--")
		if !slices.Equal(got[end+1:], args) || end != 2+len(flags) || len(l.Given) != len(flags) {
			t.Errorf("%q became %q", words, got)
		}
	})
}
