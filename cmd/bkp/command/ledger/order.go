// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"context"

	"github.com/bkp-tool/bkp/cmd/bkp/command"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/cmd/bkp/session"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/ledger"
	"github.com/bkp-tool/bkp/plugins"
	"github.com/urfave/cli/v2"
)

func orderCommand() *cli.Command {
	return command.New(command.Spec{
		Name: "order", Usage: "list the heads of all ledgers that this node's engine has in order",
		About: "Where nodes have an engine, [plugin.engine.NAME] in config.toml, each enters the heads of its ledger in one " +
			"order. Listed is the newest of each node, and where it stands. Ends with code 14 where a node's ledger was cut " +
			"or rewritten since.",
		Examples: "bkp ledger order\nbkp ledger order --json\nbkp ledger verify --order",
		Do:       doOrder,
	})
}

// orderedRow is what the order has of one node's ledger.
type orderedRow struct {
	Node    core.ID   `json:"node"`
	Size    int64     `json:"size"`  // entries under its newest head
	Heads   int       `json:"heads"` // that it entered
	Entry   int64     `json:"entry"` // of the order, where the newest stands
	Root    core.Hash `json:"root"`
	Problem string    `json:"problem,omitempty"`
}

type orderSummary struct {
	Nodes int `json:"nodes"`
	Heads int `json:"heads"`
}

func doOrder(ctx context.Context, c *command.Call) error {
	defer plugins.Cleanup()
	found, err := session.OrderHeads(ctx, c.Plugins())
	if err != nil {
		return err
	}
	of, wrong := map[core.ID]*orderedRow{}, error(nil)
	for _, h := range found {
		id := h.Node()
		if of[id] == nil {
			of[id] = &orderedRow{Node: id}
		}
		row := of[id]
		row.Heads++
		if h.Wrong == nil {
			row.Size, row.Entry, row.Root = h.Size, h.Entry, h.Root
			continue
		}
		row.Problem = h.Wrong.Error()
		wrong = core.Fail(core.CodeWrong, "the ledger of node %s was cut or rewritten: %w", id.Short(), h.Wrong)
	}
	rows := []orderedRow{}
	for _, id := range core.Sorted(of) {
		rows = append(rows, *of[id])
	}
	err = render.List(c.Console, rows, orderSummary{len(rows), len(found)}, func(t *render.Table) {
		t.Header("node", "entries", "heads", "at", "root")
		for _, r := range rows {
			t.Row(r.Node.Short(), r.Size, r.Heads, r.Entry, r.Root.String()[:16])
		}
	})
	if err == nil {
		err = wrong
	}
	return err
}

// orderedOf are the heads of a node that the order has.
func orderedOf(ctx context.Context, c *command.Call, node core.ID) (heads []ledger.SignedHead, err error) {
	defer plugins.Cleanup()
	found, err := session.OrderHeads(ctx, c.Plugins())
	for _, h := range found {
		if h.Node() == node {
			heads = append(heads, h.SignedHead)
		}
	}
	return heads, err
}
