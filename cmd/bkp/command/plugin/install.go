// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"

	"github.com/bkp-tool/bkp/cmd/bkp/command"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/plugins"
	"github.com/urfave/cli/v2"
)

func installCommand() *cli.Command {
	return command.New(command.Spec{
		Name: "install", Args: "FILE|FOLDER", Least: 1, Most: 1,
		Usage: "put a plugin into the data directory",
		About: "The plugin is started once, to see that it does; then its file is copied to the data directory's plugins, and " +
			"its checksum is kept. A FOLDER in Python or Ruby becomes one file.",
		Examples: "bkp plugin install ./bkp-strategy-mine",
		Do:       func(ctx context.Context, c *command.Call) error { return install(ctx, c, false) },
	})
}

func upgradeCommand() *cli.Command {
	return command.New(command.Spec{
		Name: "upgrade", Args: "FILE|FOLDER", Least: 1, Most: 1,
		Usage:    "put a newer file of a plugin in the place of the installed one",
		Examples: "bkp plugin upgrade ./bkp-strategy-mine",
		Do:       func(ctx context.Context, c *command.Call) error { return install(ctx, c, true) },
	})
}

func install(ctx context.Context, c *command.Call, replace bool) error {
	defer plugins.Cleanup()
	host := c.Plugins()
	alone, n, program, drop, err := host.Alone(c.Args().First())
	if err != nil {
		return err
	}
	defer drop()
	info, err := alone.Info(ctx, n.Kind, n.Name)
	if err != nil {
		return err
	}
	if info.Found, err = host.Install(c.Dir.Path("plugins"), n, program, replace); err != nil {
		return err
	}
	return c.Result(info, func(t *render.Table) {
		t.Line("%s %s is installed: %s", n, info.Version, info.Path)
		t.Line("sha256  %s", info.SHA256)
		showSettings(t, info)
	})
}

func removeCommand() *cli.Command {
	return command.New(command.Spec{
		Name: "remove", Args: "[KIND] NAME", Least: 1, Most: 2,
		Usage:    "take a plugin out of the data directory, and forget its checksum",
		Examples: "bkp plugin remove mine",
		Do: func(_ context.Context, c *command.Call) error {
			host := c.Plugins()
			kind, name, err := pluginNamed(host, c.Args().Slice())
			if err != nil {
				return err
			}
			found, err := host.Uninstall(c.Dir.Path("plugins"), plugins.Name{Kind: kind, Name: name})
			if err != nil {
				return err
			}
			return c.Result(found, func(t *render.Table) { t.Line("%s is gone: %s", found.Name, found.Path) })
		},
	})
}

func verifyCommand() *cli.Command {
	return command.New(command.Spec{
		Name:     "verify",
		Usage:    "hold the files of plugins against the checksums that are kept of them",
		About:    "Ends with 20 where one has changed, is gone, or may be written by others.",
		Examples: "bkp plugin verify",
		Do: func(_ context.Context, c *command.Call) error {
			all, err := c.Plugins().Verify()
			if err != nil {
				return err
			}
			bad := 0
			for _, f := range all {
				if f.Problem != "" {
					bad++
				}
			}
			err = render.List(c.Console, all, verifiedPlugins{len(all), bad}, func(t *render.Table) {
				t.Header("kind", "name", "where", "is")
				for _, f := range all {
					is := "as it was"
					if f.Problem != "" {
						is = f.Problem
					}
					t.Row(string(f.Kind), f.Name.Name, f.Path, is)
				}
			})
			if err == nil && bad > 0 {
				err = core.WithHint(core.Fail(core.CodePlugin, "%d of %d plugins are not as they were", bad, len(all)),
					"bkp plugin lock NAME accepts a file as it is, bkp plugin remove NAME forgets it")
			}
			return err
		},
	})
}

type verifiedPlugins struct {
	Plugins int `json:"plugins"`
	Changed int `json:"changed"`
}
