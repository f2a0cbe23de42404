// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/bkp-tool/bkp/cmd/bkp/command"
	"github.com/bkp-tool/bkp/cmd/bkp/command/help"
	"github.com/bkp-tool/bkp/cmd/bkp/command/job"
	"github.com/bkp-tool/bkp/cmd/bkp/command/key"
	"github.com/bkp-tool/bkp/cmd/bkp/command/ledger"
	"github.com/bkp-tool/bkp/cmd/bkp/command/license"
	"github.com/bkp-tool/bkp/cmd/bkp/command/node"
	"github.com/bkp-tool/bkp/cmd/bkp/command/peers"
	"github.com/bkp-tool/bkp/cmd/bkp/command/plugin"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/urfave/cli/v2"
)

// newApp is the list of commands, as help shows them.
func newApp(con *render.Console) *cli.App {
	app := command.NewApp(con, version,
		splitCommand(), placeCommand(), planCommand(), backupCommand(), fetchCommand(), shareCommand(), lsCommand(),
		showCommand(), mountCommand(), serveCommand(), statusCommand(), verifyCommand(), repairCommand(), rmCommand(),
		pruneCommand(), gcCommand(), peers.Command(), peers.Invite(), peers.Join(), node.Command(), healthCommand(),
		webCommand(), simCommand(), key.Command(), license.Command(), ledger.Command(), plugin.Command(),
		plugin.Serve(), plugin.Run(), job.Command(runIn), configCommand(), help.Completion(), help.Complete(), versionCommand(),
		help.Command(), help.Man())
	cli.HelpPrinter = help.Printer(app)
	return app
}
