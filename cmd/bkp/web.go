// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/bkp-tool/bkp/cmd/bkp/command"
	"github.com/bkp-tool/bkp/cmd/bkp/command/ledger"
	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/web"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/urfave/cli/v2"
)

func webCommand() *cli.Command {
	return command.New(command.Spec{
		Name: "web", Usage: "show the running node to a browser of this machine",
		About: "Health, versions with those at risk first, peers, what is under way against its plan, and the end " +
			"of the ledger, each second anew. Nothing can be changed from the page. It is served on this machine " +
			"alone, to who has the token in the address that is printed, until the command is stopped.",
		Examples: "bkp web\nbkp web --listen 127.0.0.1:8080 --data /srv/bkp",
		Flags: append([]cli.Flag{line.Text("listen", "", "serve the page at `HOST:PORT`, an address of this machine "+
			"alone (default: 127.0.0.1 and a free port)")}, command.IdentityFlags()...),
		Reads: true,
		Do:    doWeb,
	})
}

func doWeb(ctx context.Context, c *command.Call) error {
	at := "127.0.0.1:0"
	if c.Given("listen") { // what config.toml says of it is the node's
		at = c.String("listen")
	}
	if !web.Loopback(at) {
		return core.WithHint(line.UsageError("--listen %s: the page is for this machine alone", at),
			"from another machine, go through ssh: ssh -L 8080:127.0.0.1:8080 HOST, and there bkp web --listen 127.0.0.1:8080")
	}
	running, err := c.Running()
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", at)
	if err != nil {
		return core.WithHint(fmt.Errorf("listen: %w", err), "take another port with --listen HOST:PORT")
	}
	page, err := web.New(l.Addr(), web.Source{Caller: running, Versions: func() ([]control.VersionRow, error) {
		return ownVersions(c)
	}, Ledger: func() ([]web.Entry, error) {
		return ledgerTail(ctx, c)
	}})
	if err != nil {
		return err
	}
	if c.JSON {
		err = c.Object("started", struct {
			URL string `json:"url"`
		}{page.URL()})
	} else {
		_, err = fmt.Fprintln(c.Stdout, page.URL())
	}
	if err != nil {
		return err
	}
	s := &http.Server{Handler: page, ReadHeaderTimeout: 10 * time.Second,
		BaseContext: func(net.Listener) context.Context { return ctx }}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	select {
	case <-ctx.Done():
		_ = s.Close()
		<-ended
		return nil // it was asked to
	case err := <-ended:
		return fmt.Errorf("serve the page: %w", err)
	}
}

// ownVersions lists the versions of this data directory's owner as its records tell them.
func ownVersions(c *command.Call) (rows []control.VersionRow, err error) {
	o, err := c.OwnerIfAny()
	if err != nil || o == nil {
		return nil, err
	}
	refs, err := c.Dir.Refs().Open(o)
	for _, v := range refs {
		copies, wanted := v.Copies()
		rows = append(rows, control.VersionRow{Name: v.Body.Name, Version: v.Ref.Version, Size: v.Body.Size,
			Created: v.Ref.Created, Placed: v.Placed(), Local: true, Away: v.Offloaded, Copies: copies, Wanted: wanted})
	}
	return rows, err
}

// ledgerTail is the last entries of the ledger, oldest first.
func ledgerTail(ctx context.Context, c *command.Call) (rows []web.Entry, err error) {
	const most = 12
	entries, err := ledger.Tail(ctx, c.Dir, most)
	for _, e := range entries {
		by := e.Owner
		if by.IsZero() {
			by = e.Target
		}
		rows = append(rows, web.Entry{Index: e.Index, Kind: string(e.Kind), By: by, Runs: e.Runs, Bytes: e.Bytes})
	}
	return rows, err
}
