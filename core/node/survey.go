package node

import (
	"context"
	"fmt"
	"slices"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/wire"
)

// maxFar is how many nodes beyond the connected ones a survey asks.
const maxFar = 64

// survey asks every connected peer for its state and puts the snapshot together; this node is its first. Where these
// are fewer than the copies that are wanted it asks their peers too, and so on: copies reach those through the ones
// between.
func (pl *placing) survey(ctx context.Context) error {
	n := pl.n
	var peers []core.ID
	n.ask(func() {
		pl.snapshot.Nodes = []core.NodeState{n.ownState()}
		for _, p := range n.connected() {
			peers = append(peers, p.id)
		}
	})
	if len(peers) == 0 {
		return core.WithHint(core.Fail(core.CodeRedundant, "no peer is connected%s", because(n.unreached())),
			"bkp peers shows which are known and what is wrong with them")
	}
	pl.index = map[core.ID]int{n.ID(): 0}
	reports := map[core.ID]wire.StateReport{}
	asked := map[core.ID]bool{n.ID(): true}
	for len(peers) > 0 && ctx.Err() == nil && n.ctx.Err() == nil {
		for _, id := range peers {
			asked[id] = true
		}
		pl.hear(ctx, peers, reports)
		if len(reports) >= min(pl.args.Replicas, maxFar) {
			break
		}
		n.ask(func() { peers = n.beyond(reports, asked) })
		pl.far = pl.far || len(peers) > 0
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	for _, node := range pl.snapshot.Nodes[1:] {
		for _, l := range reports[node.ID].Links {
			if to, ok := pl.index[l.ID]; ok && to != 0 {
				pl.snapshot.Links = append(pl.snapshot.Links,
					linkState(pl.index[node.ID], to, l.Capacity, l, reports[l.ID].LinkTo(node.ID)))
			}
		}
	}
	pl.snapshot.Trunks = n.Trunks
	return nil
}

// hear asks nodes for their state and adds those that answer to the snapshot.
func (pl *placing) hear(ctx context.Context, peers []core.ID, reports map[core.ID]wire.StateReport) {
	n := pl.n
	answers := make([]wire.StateReport, len(peers))
	failed := make([]error, len(peers))
	n.each(len(peers), func(i int) {
		answers[i], failed[i] = query[wire.StateReport](ctx, n, peers[i], func(id uint64) wire.Message {
			return wire.StateQuery{Query: id, Owner: n.owner().ID()}
		})
	})
	var unwell []string
	n.ask(func() {
		for i, id := range peers {
			p := n.peers[id]
			if failed[i] != nil || !p.reachable() {
				continue
			}
			r := answers[i]
			reports[id] = r
			for _, why := range r.Degraded {
				unwell = append(unwell, fmt.Sprintf("peer %s (%s) is degraded: %s", id.Short(), p.address, why))
			}
			to := len(pl.snapshot.Nodes)
			pl.index[id] = to
			pl.snapshot.Nodes = append(pl.snapshot.Nodes, core.NodeState{
				ID: id, Address: p.address, Labels: r.Labels, Zone: r.Labels["zone"], Free: r.Remaining,
				Total: r.Capacity,
				Up:    r.Up, Down: r.Down, UpAhead: r.UpAhead, DownAhead: r.DownAhead, Delay: n.delayTo(p),
				Load: r.Load,
			})
			if p.session == nil {
				continue // no link of this node's leads there
			}
			here, there := n.linkReport(p), r.LinkTo(n.ID())
			pl.snapshot.Links = append(pl.snapshot.Links, linkState(0, to, p.capacity, here, there),
				linkState(to, 0, p.capacity, there, here))
		}
	})
	for _, text := range unwell {
		pl.status(control.Status{Phase: "ask", Warning: true, Text: text})
	}
}

// beyond notes ways to the nodes that those who reported are connected to, and that were not asked yet. Loop only.
func (n *Node) beyond(reports map[core.ID]wire.StateReport, asked map[core.ID]bool) (ids []core.ID) {
	for through, r := range reports {
		way := n.peers[through].way()
		if len(way) == 0 || len(way)+2 > wire.MaxRoute {
			continue
		}
		for _, l := range r.Links {
			if asked[l.ID] || slices.Contains(ids, l.ID) || len(asked)+len(ids) > maxFar {
				continue
			}
			p := n.far(l.ID)
			if p == nil || p.session != nil {
				continue
			}
			p.via, p.address, p.labels = append(slices.Clone(way), l.ID), l.Address, l.Labels
			ids = append(ids, l.ID)
		}
	}
	slices.SortFunc(ids, core.ID.Compare)
	return ids
}

// delayTo is the delay to a node in seconds, that of the first hop where no session leads there. Loop only.
func (n *Node) delayTo(p *peer) float64 {
	if p.session != nil {
		return p.session.Delay().Seconds()
	}
	if len(p.via) > 0 {
		if first := n.peers[p.via[0]]; first != nil && first.session != nil {
			return first.session.Delay().Seconds() * float64(len(p.via))
		}
	}
	return 0
}
