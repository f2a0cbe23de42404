// SPDX-License-Identifier: Apache-2.0

package line

import (
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/bkp-tool/bkp/cmd/bkp/job"
)

// readJobs reads [job.NAME]; which flags of backup and prune it may set, the commands say.
func readJobs(app *cli.App, value any) ([]job.Job, error) {
	return job.Parse(value, settableBy{app, "backup"}, settableBy{app, "prune"})
}

// settableBy is a command, as far as jobs may set its flags.
type settableBy struct {
	app  *cli.App
	name string
}

// notOfJobs are flags that say where and how a command runs, or that a job has a word of its own for.
var notOfJobs = []string{"peers", "token-file", "insecure-plaintext", "trace", "passphrase-file", "passphrase-command",
	"command", "name", "dry-run", "force", "help"}

func (c settableBy) Flag(name string) bool {
	command := Find(c.app.Commands, c.name)
	return command != nil && FindFlag(command.Flags, name) != nil && FindFlag(c.app.Flags, name) == nil &&
		!slices.Contains(notOfJobs, name)
}
