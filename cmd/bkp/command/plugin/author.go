// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"os/exec"
	"slices"
	"strings"

	"github.com/bkp-tool/bkp/cmd/bkp/command"
	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/cmd/bkp/scaffold"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/plugins"
	"github.com/bkp-tool/bkp/plugins/contract"
	"github.com/bkp-tool/bkp/plugins/plugintest"
	"github.com/urfave/cli/v2"
)

var languages = strings.Join(scaffold.Languages[:len(scaffold.Languages)-1], ", ") + " or " +
	scaffold.Languages[len(scaffold.Languages)-1]

func newCommand() *cli.Command {
	return command.New(command.Spec{
		Name: "new", Args: "KIND NAME", Least: 2, Most: 2,
		Usage: "write the beginning of a plugin of your own",
		About: "KIND is strategy, verifier, notifier or engine. Makes the folder bkp-KIND-NAME with an example that works, its test, and " +
			"what it needs of bkp.",
		Examples: "bkp plugin new strategy mine\nbkp plugin new verifier mine --lang python",
		Flags: []cli.Flag{&cli.StringFlag{Name: "lang", Value: "go",
			Usage: "write it in `LANGUAGE`: " + languages}},
		Do: func(ctx context.Context, c *command.Call) error {
			n := plugins.Name{Kind: plugins.Kind(c.Args().Get(0)), Name: c.Args().Get(1)}
			switch {
			case !slices.Contains(contract.Kinds, n.Kind):
				return line.UsageError("%q: want %s", n.Kind, contract.KindWords)
			case !contract.ValidName(n.Name):
				return line.UsageError("%q: a name has lower-case letters, digits and dashes", n.Name)
			case !slices.Contains(scaffold.Languages, c.String("lang")):
				return line.UsageError("--lang %s: want %s", c.String("lang"), languages)
			}
			next, err := scaffold.New(n.File(), n, c.String("lang"))
			if err != nil {
				return err
			}
			if i := slices.Index(next, "go mod tidy"); i >= 0 {
				tidy := exec.CommandContext(ctx, "go", "mod", "tidy")
				tidy.Dir = n.File()
				if tidy.Run() == nil {
					next = slices.Delete(next, i, i+1)
				}
			}
			return c.Result(newSummary{n, n.File(), next}, func(t *render.Table) {
				t.Line("%s is there; next:", n.File())
				for _, command := range next {
					t.Line("  %s", command)
				}
			})
		},
	})
}

type newSummary struct {
	plugins.Name
	Folder string   `json:"folder"`
	Next   []string `json:"next"`
}

// kept is one rule and whether a plugin keeps it.
type kept struct {
	Rule    string `json:"rule"`
	OK      bool   `json:"ok"`
	Problem string `json:"problem,omitempty"`
}

type testSummary struct {
	plugins.Name
	Rules  int `json:"rules"`
	Broken int `json:"broken"`
}

func testCommand() *cli.Command {
	return command.New(command.Spec{
		Name: "test", Args: "FILE|FOLDER", Least: 1, Most: 1,
		Usage: "ask a plugin what bkp may ask, and tell which rules it keeps",
		About: "FILE is a program bkp-KIND-NAME, in any language; FOLDER one in Python or Ruby. Ends with 20 where the plugin " +
			"does not start, and with 1 where it breaks a rule. An engine is configured as [plugin.engine.NAME] says, and " +
			"keeps what the rules append to it.",
		Examples: "bkp plugin test ./bkp-strategy-mine",
		Do: func(ctx context.Context, c *command.Call) error {
			defer plugins.Cleanup()
			host, n, _, drop, err := c.Plugins().Alone(c.Args().First())
			if err != nil {
				return err
			}
			defer drop()
			rules, err := testRules(ctx, host, n)
			if err != nil {
				return err
			}
			sum := testSummary{Name: n, Rules: len(rules)}
			for _, r := range rules {
				if !r.OK {
					sum.Broken++
				}
			}
			err = render.List(c.Console, rules, sum, func(t *render.Table) {
				for _, r := range rules {
					if r.OK {
						t.Line("ok    %s", r.Rule)
					} else {
						t.Line("FAIL  %s: %s", r.Rule, r.Problem)
					}
				}
			})
			if err == nil && sum.Broken > 0 {
				err = core.Fail(core.CodeFailed, "%s breaks %d of %d rules", n, sum.Broken, sum.Rules)
			}
			return err
		},
	})
}

// testRules starts a plugin and runs the suite of its kind.
func testRules(ctx context.Context, host *plugins.Host, n plugins.Name) (rules []kept, err error) {
	rules = append(rules, kept{Rule: "starts and says what it is", OK: true})
	tell := func(r plugintest.Rule) {
		k := kept{Rule: r.Name, OK: r.Err == nil}
		if r.Err != nil {
			k.Problem = r.Err.Error()
		}
		rules = append(rules, k)
	}
	switch n.Kind {
	case plugins.KindNotifier:
		told, err := host.Notifier(ctx, n.Name)
		if err != nil {
			return nil, err
		}
		defer told.Close()
		plugintest.NotifierRules(ctx, told, tell)
		return rules, nil
	case plugins.KindEngine:
		e, err := host.Engine(ctx, n.Name)
		if err != nil {
			return nil, err
		}
		defer e.Close()
		plugintest.EngineRules(ctx, e, tell)
		return rules, nil
	case plugins.KindVerifier:
		v, err := host.Verifier(ctx, n.Name)
		if err != nil {
			return nil, err
		}
		defer v.Close()
		plugintest.VerifierRules(ctx, v, tell)
		return rules, nil
	default:
		s, err := host.Strategy(ctx, n.Name)
		if err != nil {
			return nil, err
		}
		defer s.Close()
		plugintest.StrategyRules(ctx, s, tell)
		return rules, nil
	}
}
