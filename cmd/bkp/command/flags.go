// SPDX-License-Identifier: Apache-2.0

package command

import (
	"slices"

	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/urfave/cli/v2"
)

// GlobalFlags are understood by every command.
func GlobalFlags() []cli.Flag {
	return []cli.Flag{
		line.Text("data", "", "keep identity, refs and chunks in `DIR` (default: the XDG data home and bkp)"),
		line.Text("config", "", "read settings from `FILE` (default: config.toml in the data directory)"),
		line.Bool("json", "print one JSON object a line"),
		line.Bool("quiet", "print nothing where all went well, but what was asked for", "q"),
		line.Bool("verbose", "say what is going on", "v"),
		line.Text("progress", "auto", "show progress as `HOW`: auto, plain, json or none"),
		line.Bool("no-color", "print without colours"),
		line.Bool("wide", "print tables with all columns, however wide"),
	}
}

// NetworkFlags are understood by every command that goes through a node.
func NetworkFlags() []cli.Flag {
	return []cli.Flag{
		line.Text("peers", "", "meet the peers of `LIST`: wss://NODEID@host:8001-20MiB,wss://other:8001 (a bare "+
			"bandwidth is KiB per second)"),
		line.Text("token-file", "", "read the cluster token from `FILE` (or give it as BKP_CLUSTER_TOKEN)"),
		line.Bool("insecure-plaintext", "speak ws:// without TLS; a man in the middle is not stopped"),
		line.Text("trace", "", "append every control message to `FILE`, one JSON line each"),
	}
}

// IdentityFlags are understood by every command that opens the identity.
func IdentityFlags() []cli.Flag {
	return []cli.Flag{
		line.Text("passphrase-file", "", "read the passphrase of the identity from `FILE` (or give it as "+
			"BKP_PASSPHRASE)"),
		line.Text("passphrase-command", "", "take the first line that `COMMAND` prints as the passphrase, as 'pass "+
			"show bkp'"),
	}
}

// NodeFlags are a command's own, and those of every command that goes through a node and opens the identity.
func NodeFlags(own ...cli.Flag) []cli.Flag {
	return slices.Concat(own, NetworkFlags(), IdentityFlags())
}
