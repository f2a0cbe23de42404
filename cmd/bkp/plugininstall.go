// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/plugins"
)

func pluginInstall() *cli.Command {
	return command(spec{
		name: "install", args: "FILE|FOLDER", least: 1, most: 1,
		usage: "put a plugin into the data directory",
		about: "The plugin is started once, to see that it does; then its file is copied to the data directory's plugins, and " +
			"its checksum is kept. A FOLDER in Python becomes one file.",
		examples: "bkp plugin install ./bkp-strategy-mine",
		do:       func(ctx context.Context, c *call) error { return install(ctx, c, false) },
	})
}

func pluginUpgrade() *cli.Command {
	return command(spec{
		name: "upgrade", args: "FILE|FOLDER", least: 1, most: 1,
		usage:    "put a newer file of a plugin in the place of the installed one",
		examples: "bkp plugin upgrade ./bkp-strategy-mine",
		do:       func(ctx context.Context, c *call) error { return install(ctx, c, true) },
	})
}

func install(ctx context.Context, c *call, replace bool) error {
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
	if info.Found, err = host.Install(c.dir.Path("plugins"), n, program, replace); err != nil {
		return err
	}
	return c.Result(info, func(t *render.Table) {
		t.Line("%s %s is installed: %s", n, info.Version, info.Path)
		t.Line("sha256  %s", info.SHA256)
		showSettings(t, info)
	})
}

func pluginRemove() *cli.Command {
	return command(spec{
		name: "remove", args: "[KIND] NAME", least: 1, most: 2,
		usage:    "take a plugin out of the data directory, and forget its checksum",
		examples: "bkp plugin remove mine",
		do: func(_ context.Context, c *call) error {
			host := c.Plugins()
			kind, name, err := pluginNamed(host, c.Args().Slice())
			if err != nil {
				return err
			}
			found, err := host.Uninstall(c.dir.Path("plugins"), plugins.Name{Kind: kind, Name: name})
			if err != nil {
				return err
			}
			return c.Result(found, func(t *render.Table) { t.Line("%s is gone: %s", found.Name, found.Path) })
		},
	})
}

func pluginVerify() *cli.Command {
	return command(spec{
		name:     "verify",
		usage:    "hold the files of plugins against the checksums that are kept of them",
		about:    "Ends with 20 where one has changed, is gone, or may be written by others.",
		examples: "bkp plugin verify",
		do: func(_ context.Context, c *call) error {
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
