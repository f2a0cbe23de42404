// SPDX-License-Identifier: Apache-2.0

// Package node is bkp node: a node run, looked at, and changed.
package node

import (
	"context"
	"net"
	"slices"

	"github.com/bkp-tool/bkp/cmd/bkp/command"
	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/cmd/bkp/session"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/urfave/cli/v2"
)

// Command is bkp node.
func Command() *cli.Command {
	return command.Group("node", "run a node and look at it",
		startCommand(), statusCommand(), filesCommand(), limitCommand(), drainCommand(), repairCommand(),
		importCommand())
}

// keepingFlags say whom a node serves, and how far.
func keepingFlags() []cli.Flag {
	return append(command.NetworkFlags(),
		line.Text("capacity", "", "keep at most `SIZE` for others (default: 80 % of the free disk)"),
		line.Text("storage", "", "keep it in the bucket of `URL` and not on this disk: s3://BUCKET/PREFIX?endpoint="+
			"https://HOST, with the credentials of the AWS tools; wants --capacity"),
		line.Text("lock", "", "have the bucket let nobody remove, for `SPAN` from when it came or a version leaned on "+
			"it, what is kept in it (Object Lock); off: nothing new is locked. In config.toml: lock=SPAN in the URL of storage"),
		line.List("issuer", "let `OWNERID[=QUOTA]` store here; without any, members of the cluster token may "+
			"(repeatable)"),
		line.Text("keep-at-most", "20y", "promise nobody to keep anything for longer than `SPAN`, and accept no "+
			"longer lock"),
		line.Text("verifiers", "signature,targets,issuers", "have every licence judged by the verifiers of `LIST`, "+
			"in order"),
	)
}

func startCommand() *cli.Command {
	flags := append(keepingFlags(),
		line.Text("listen", "", "listen at `HOST:PORT` (default: :8001, with --insecure-plaintext 127.0.0.1:8001)"),
		line.Text("uplink", "", "send at most `RATE`, all links together: 20MiB, 100Mbit, or a calendar: "+
			"22:00-06:00=50MiB,else=5MiB"),
		line.Text("downlink", "", "receive at most `RATE`, all links together; a rate or a calendar, too"),
		line.Text("default-link", "", "give `RATE` to a peer that the peer list has no bandwidth for"),
		line.List("label", "tell peers `K=V`; strategies read zone, price_store, price_send, afr, uptime (repeatable)"),
		line.Text("draw-token", "", "without a cluster token take that of `FILE`, and draw it where the file is missing: "+
			"nodes that share FILE are one cluster"),
		line.Text("metrics", "", "answer Prometheus and probes of health at `HOST:PORT` (/metrics, /healthz, "+
			"/debug/pprof); without HOST on this machine alone"),
		line.Text("repair-grace", "15m", "make copies anew once their node was away for `SPAN`, as long as most others are "+
			"there"),
		line.Text("repair-share", "10%", "have copies made anew use `SHARE` of the uplink while somebody waits for a "+
			"placement"),
		line.Text("audit-every", "1d", "have each node prove every `SPAN` what it keeps"),
	)
	return command.New(command.Spec{
		Name: "start", Usage: "run a node until it is stopped",
		About: "A node keeps what licensed owners give it, passes it on, and carries out the commands of this data " +
			"directory. The first INT or TERM stops it cleanly, with code 0. " + calendarHelp +
			" What a single link is given may follow a calendar, too: in config.toml under [links], as " +
			"\"backup.example:8001\" = \"mon-fri 08:00-18:00=1MiB,else=20MiB\". What is kept in a bucket (--storage) is " +
			"taken to have arrived when the server says so; who else may read the bucket sees sealed chunks. Credentials " +
			"come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or ~/.aws/credentials; the URL takes endpoint, region, " +
			"lookup=path or dns, profile and lock, and the bucket is told once: DATA/storage remembers it. With --lock the " +
			"bucket must have been made with Object Lock: whoever gets the credentials can then not remove what is kept " +
			"before its time, and neither can gc, which frees it after that.",
		Examples: `bkp node start --data /srv/bkp --peers wss://other.example:8001-20MiB --token-file token
			bkp node start --listen :8001 --capacity 500GiB --uplink 100Mbit --label zone=berlin
			bkp node start --storage 's3://backups/node1?endpoint=https://s3.example' --capacity 2TiB
			bkp node start --storage 's3://locked/node1?endpoint=https://s3.example' --lock 30d --capacity 2TiB
			bkp node start --uplink tz=Europe/Berlin,22:00-06:00=50MiB,else=5MiB
			bkp node start --listen 127.0.0.1:8001 --insecure-plaintext --trace trace.jsonl`,
		Flags: slices.Concat(flags, logFlags(), command.IdentityFlags()),
		Do:    doNodeStart,
	})
}

func doNodeStart(ctx context.Context, c *command.Call) error {
	at := c.String("listen")
	if at == "" {
		at = ":8001"
		if c.Bool("insecure-plaintext") {
			at = "127.0.0.1:8001"
		}
	}
	if _, _, err := net.SplitHostPort(at); err != nil {
		return line.UsageError("--listen %q: want HOST:PORT: %w", at, err)
	}
	again, err := configureLog(c)
	if err != nil {
		return err
	}
	ready := func(id core.ID, at net.Addr) { announce(c, id, at) }
	return c.Serve(ctx, session.Serving{Listen: at, Ready: ready, Hangup: again})
}

type started struct {
	ID     core.ID `json:"id"`
	Listen string  `json:"listen"`
}

// announce says that the node is up: what a script waits for.
func announce(c *command.Call, id core.ID, at net.Addr) {
	if c.JSON {
		_ = c.Object("started", started{id, at.String()})
		return
	}
	c.Say("node %s listens at %s", id, at)
}

func statusCommand() *cli.Command {
	return command.New(command.Spec{
		Name: "status", Usage: "show the running node: health, space, what is under way, links, what it keeps",
		Examples: "bkp node status\nbkp node status --leases\nbkp node status --json | jq .leases",
		Flags:    []cli.Flag{line.Bool("leases", "show accounts, leases and tasks one by one, too")},
		Do: func(ctx context.Context, c *command.Call) error {
			r, err := session.AskRunning[control.StatusResult](ctx, c.Opener, control.CommandStatus, control.None{})
			if err != nil {
				return err
			}
			return c.Result(r, func(t *render.Table) { render.Node(t, r, c.Bool("leases")) })
		},
	})
}

func filesCommand() *cli.Command {
	return command.New(command.Spec{
		Name: "files", Usage: "list what the running node keeps: name, type, order, hash, size",
		Examples: "bkp node files\nbkp node files --json",
		Do: func(ctx context.Context, c *command.Call) error {
			caller, err := c.Running()
			if err != nil {
				return err
			}
			var files []core.File
			for page := (control.FilesResult{More: true}); page.More; files = append(files, page.Files...) {
				args := control.FilesArgs{After: len(files), Limit: 1000}
				page = control.FilesResult{}
				if err := caller.Call(ctx, control.CommandFiles, args, &page, c.Status); err != nil {
					return err
				}
			}
			sum := filesSummary{Files: len(files)}
			for _, f := range files {
				sum.Bytes += f.Size
			}
			return render.List(c.Console, files, sum, func(t *render.Table) {
				render.Files(t, files)
				t.Line("%s, %s", render.Counted(sum.Files, "run"), sum.Bytes)
			})
		},
	})
}

type filesSummary struct {
	Files int       `json:"files"`
	Bytes core.Size `json:"bytes"`
}
