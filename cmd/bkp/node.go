package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/bkp-tool/bkp/cmd/bkp/datadir"
	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/cmd/bkp/session"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/durable"
	"github.com/bkp-tool/bkp/core/node"
	"github.com/urfave/cli/v2"
)

func nodeCommand() *cli.Command {
	return group("node", "run a node and look at it", nodeStart(), nodeStatus(), nodeFiles(), nodeLimit(), nodeRepair())
}

func nodeStart() *cli.Command {
	flags := append(networkFlags(),
		line.Text("listen", "", "listen at `HOST:PORT` (default: :8001, with --insecure-plaintext 127.0.0.1:8001)"),
		line.Text("capacity", "", "keep at most `SIZE` for others (default: 80 % of the free disk)"),
		line.Text("uplink", "", "send at most `RATE`, all links together: 20MiB, 100Mbit, or a calendar: "+
			"22:00-06:00=50MiB,else=5MiB"),
		line.Text("downlink", "", "receive at most `RATE`, all links together; a rate or a calendar, too"),
		line.Text("default-link", "", "give `RATE` to a peer that the peer list has no bandwidth for"),
		line.List("label", "tell peers `K=V`; strategies read zone, price_store, price_send, afr, uptime (repeatable)"),
		line.List("issuer", "let `OWNERID[=QUOTA]` store here; without any, members of the cluster token may "+
			"(repeatable)"),
		line.Text("verifiers", "signature,targets,issuers", "have every licence judged by the verifiers of `LIST`, "+
			"in order"),
	)
	return command(spec{
		name: "start", usage: "run a node until it is stopped",
		about: "A node keeps what licensed owners give it, passes it on, and carries out the commands of this data " +
			"directory. The first INT or TERM stops it cleanly, with code 0. " + calendarHelp +
			" What a single link is given may follow a calendar, too: in config.toml under [links], as " +
			"\"backup.example:8001\" = \"mon-fri 08:00-18:00=1MiB,else=20MiB\".",
		examples: `bkp node start --data /srv/bkp --peers wss://other.example:8001-20MiB --token-file token
			bkp node start --listen :8001 --capacity 500GiB --uplink 100Mbit --label zone=berlin
			bkp node start --uplink tz=Europe/Berlin,22:00-06:00=50MiB,else=5MiB
			bkp node start --listen 127.0.0.1:8001 --insecure-plaintext --trace trace.jsonl`,
		flags: append(flags, identityFlags()...),
		do:    doNodeStart,
	})
}

func doNodeStart(ctx context.Context, c *call) (err error) {
	if err := c.dir.Make(); err != nil {
		return err
	}
	lock, err := c.dir.LockNode()
	if err != nil {
		return err
	}
	defer lock.Close()
	wish, err := c.listen()
	if err != nil {
		return err
	}
	c.dir.Reserve().Fill()
	var n *node.Node
	var closers datadir.Closers
	err = c.dir.Reserve().During(func() (err error) { // what is here can be freed by a node that runs
		n, closers, err = c.Start(ctx, wish)
		return err
	})
	if err != nil {
		err = errors.Join(err, wish.Listener.Close())
		if ctx.Err() != nil {
			return nil // it was stopped before it was up
		}
		return err
	}
	defer func() {
		if closing := errors.Join(n.Close(), closers.Close()); closing != nil {
			err = errors.Join(err, endError{fmt.Errorf("stop the node: %w", closing)})
		}
	}()
	socket := c.dir.Path("node.sock")
	_ = durable.Remove(socket) // of a node that was killed: the lock says that none runs
	commands, err := listenLocal(socket)
	if err != nil {
		return fmt.Errorf("open the socket for commands: %w", err)
	}
	n.Serve(commands)
	c.announce(n, wish)
	select {
	case <-ctx.Done():
		c.Say("stopping")
		return nil
	case err := <-n.Failed():
		return core.WithHint(fmt.Errorf("the node ends: %w", err),
			"what was acknowledged is on disk: start it again, and look at the disk where that fails too")
	}
}

type started struct {
	ID     core.ID `json:"id"`
	Listen string  `json:"listen"`
}

// announce says that the node is up: what a script waits for.
func (c *call) announce(n *node.Node, wish session.Wish) {
	at := wish.Listener.Addr().String()
	if c.JSON {
		_ = c.Object("started", started{n.ID(), at})
		return
	}
	c.Say("node %s listens at %s", n.ID(), at)
}

// listen binds the address of --listen.
func (c *call) listen() (session.Wish, error) {
	at := c.String("listen")
	if at == "" {
		at = ":8001"
		if c.Bool("insecure-plaintext") {
			at = "127.0.0.1:8001"
		}
	}
	if _, _, err := net.SplitHostPort(at); err != nil {
		return session.Wish{}, line.UsageError("--listen %q: want HOST:PORT: %w", at, err)
	}
	l, err := net.Listen("tcp", at)
	if err != nil {
		return session.Wish{}, core.WithHint(fmt.Errorf("listen: %w", err), "another program may listen there: take "+
			"another with --listen HOST:PORT")
	}
	return session.Wish{Listen: at, Listener: l}, nil
}

// listenLocal opens the socket for commands of this machine's own user.
func listenLocal(path string) (net.Listener, error) {
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func nodeStatus() *cli.Command {
	return command(spec{
		name: "status", usage: "show the running node: health, space, accounts, leases, tasks",
		examples: "bkp node status\nbkp node status --json | jq .leases",
		do: func(ctx context.Context, c *call) error {
			caller, err := c.Running()
			if err != nil {
				return err
			}
			var r control.StatusResult
			if err := caller.Call(ctx, control.CommandStatus, struct{}{}, &r, c.Status); err != nil {
				return err
			}
			return c.Result(r, func(t *render.Table) { render.Node(t, r) })
		},
	})
}

func nodeFiles() *cli.Command {
	return command(spec{
		name: "files", usage: "list what the running node keeps: name, type, order, hash, size",
		examples: "bkp node files\nbkp node files --json",
		do: func(ctx context.Context, c *call) error {
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
				t.Line("%s, %s", render.Counted(sum.Files, "file"), sum.Bytes)
			})
		},
	})
}

type filesSummary struct {
	Files int       `json:"files"`
	Bytes core.Size `json:"bytes"`
}
