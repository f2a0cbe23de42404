// SPDX-License-Identifier: Apache-2.0

// Package plugin is bkp plugin: plugins looked at, installed, written and tried.
package plugin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/bkp-tool/bkp/cmd/bkp/command"
	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/cmd/bkp/session"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/plugins"
	"github.com/bkp-tool/bkp/plugins/contract"
	"github.com/urfave/cli/v2"
)

// Command is bkp plugin.
func Command() *cli.Command {
	return command.Group("plugin", "look at strategies, verifiers, notifiers and engines, install, write and test them",
		listCommand(), infoCommand(), installCommand(), verifyCommand(), upgradeCommand(), removeCommand(),
		lockCommand(), newCommand(), testCommand(), replayCommand())
}

func listCommand() *cli.Command {
	return command.New(command.Spec{
		Name: "list", Usage: "list the plugins that can be found",
		About: "Plugins are files bkp-KIND-NAME, KIND being " + contract.KindWords + ", in $BKP_PLUGIN_PATH, in " +
			"the data directory's plugins, beside the binary, or inside it.",
		Examples: "bkp plugin list\nbkp plugin list --json",
		Do: func(_ context.Context, c *command.Call) error {
			found, err := c.Plugins().List()
			if err != nil {
				return err
			}
			return render.List(c.Console, found, pluginSummary{len(found)}, func(t *render.Table) {
				t.Header("kind", "name", "where", "sha256")
				t.Below("where")
				for _, f := range found {
					t.Row(string(f.Kind), f.Name.Name, whereIs(f), shortSum(f.SHA256))
				}
			})
		},
	})
}

type pluginSummary struct {
	Plugins int `json:"plugins"`
}

func whereIs(f plugins.Found) string {
	if f.Inside && f.Ignored != "" {
		return "inside bkp, and not " + f.Ignored
	}
	if f.Inside {
		return "inside bkp"
	}
	return f.Path
}

func shortSum(sum string) string {
	if len(sum) < 12 {
		return "-"
	}
	return sum[:12]
}

func infoCommand() *cli.Command {
	return command.New(command.Spec{
		Name: "info", Args: "[KIND] NAME", Least: 1, Most: 2,
		Usage:    "start a plugin and ask it what it is",
		About:    "KIND is strategy, verifier, notifier or engine; it is needed only where two plugins have the same name.",
		Examples: "bkp plugin info seed\nbkp plugin info verifier issuers --json",
		Do: func(ctx context.Context, c *command.Call) error {
			defer plugins.Cleanup()
			host := c.Plugins()
			kind, name, err := pluginNamed(host, c.Args().Slice())
			if err != nil {
				return err
			}
			info, err := host.Info(ctx, kind, name)
			if err != nil {
				return err
			}
			return c.Result(info, func(t *render.Table) {
				t.Line("%s %s %s", info.Kind, info.Name.Name, info.Version)
				t.Line("%s", info.Summary)
				t.Line("found   %s", whereIs(info.Found))
				if len(info.Needs) > 0 {
					t.Line("reads   %s", strings.Join(info.Needs, ", "))
				}
				if info.SHA256 != "" {
					t.Line("sha256  %s", info.SHA256)
				}
				showSettings(t, info)
			})
		},
	})
}

// showSettings tells what a plugin can be configured with, and what it is.
func showSettings(t *render.Table, info plugins.Info) {
	if len(info.Settings) == 0 {
		for _, key := range slices.Sorted(maps.Keys(info.Config)) {
			t.Line("config  %s = %v", key, info.Config[key])
		}
		return
	}
	t.Line("settings, in [plugin.%s.%s] of config.toml:", info.Kind, info.Name.Name)
	t.Header("key", "type", "value", "what it is")
	for _, s := range info.Settings {
		value := s.Default
		if given, ok := info.Config[s.Key]; ok {
			value = fmt.Sprint(given)
		}
		t.Row(s.Key, s.Type, value, s.About)
	}
}

func lockCommand() *cli.Command {
	return command.New(command.Spec{
		Name: "lock", Args: "[KIND] NAME", Least: 1, Most: 2,
		Usage: "accept a plugin's file as it is now",
		About: "The checksum of a plugin's file is kept when it is first used, and a file that has changed is refused until it " +
			"is locked again. A file that has the name of a plugin inside bkp is used only after this.",
		Examples: "bkp plugin lock nearby\nbkp plugin lock strategy seed",
		Do: func(_ context.Context, c *command.Call) error {
			host := c.Plugins()
			kind, name, err := pluginNamed(host, c.Args().Slice())
			if err != nil {
				return err
			}
			found, err := host.Relock(kind, name)
			if err != nil {
				return err
			}
			return c.Done(found, func(t *render.Table) {
				t.Line("%s is %s from now on", found.Name, whereIs(found))
				if found.SHA256 != "" {
					t.Line("sha256  %s", found.SHA256)
				}
			})
		},
	})
}

// pluginNamed reads [KIND] NAME; without a kind, the one that can be found is meant.
func pluginNamed(host *plugins.Host, args []string) (plugins.Kind, string, error) {
	if len(args) == 2 {
		kind := plugins.Kind(args[0])
		if !slices.Contains(contract.Kinds, kind) {
			return "", "", line.UsageError("%q: want %s", args[0], contract.KindWords)
		}
		return kind, args[1], nil
	}
	var found []plugins.Kind
	var errs error
	for _, kind := range contract.Kinds {
		if _, err := host.Find(kind, args[0]); err != nil {
			errs = errors.Join(errs, err)
		} else {
			found = append(found, kind)
		}
	}
	switch len(found) {
	case 0:
		return "", "", core.WithHint(errs, "bkp plugin list shows what there is")
	case 1:
		return found[0], args[0], nil
	}
	return "", "", line.UsageError("there is a %s and a %s named %q: say which", found[0], found[1], args[0])
}

// Run is what bkp runs before a plugin, in its process.
func Run() *cli.Command {
	return command.New(command.Spec{
		Name: plugins.RunCommand, Args: "DATA SOCKETS PROGRAM", Least: 3, Most: 3, Hidden: true,
		Usage: "become a plugin that cannot open a data directory; run by bkp itself", Examples: "bkp plugin-run DATA SOCKETS PROGRAM",
		Do: func(_ context.Context, c *command.Call) error {
			return plugins.RunApart(c.Args().Get(0), c.Args().Get(1), c.Args().Get(2))
		},
	})
}

// Serve is what bkp runs in a process of its own to serve a plugin that is inside it.
func Serve() *cli.Command {
	return command.New(command.Spec{
		Name: plugins.ServeCommand, Args: "KIND NAME", Least: 2, Most: 2, Hidden: true,
		Usage: "serve a plugin inside bkp; started by bkp itself", Examples: "bkp plugin-serve strategy seed",
		Do: func(_ context.Context, c *command.Call) error {
			name := plugins.Name{Kind: plugins.Kind(c.Args().Get(0)), Name: c.Args().Get(1)}
			serve, ok := session.Shipped[name]
			if !ok {
				return line.UsageError("no %s is inside bkp", name)
			}
			serve()
			return nil
		},
	})
}
