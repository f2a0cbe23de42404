// SPDX-License-Identifier: Apache-2.0

package commands

import (
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/node"
	"github.com/bkp-tool/bkp/core/place"
	"github.com/bkp-tool/bkp/core/wire"
)

// peers is what a placement may know of peers, and say to them.
type peers struct {
	node.Asker
	n *Node
}

func (a peers) Known(ids []core.ID) map[core.ID]place.Peer {
	known := map[core.ID]place.Peer{}
	for _, p := range a.n.see(ids) {
		has := func(f wire.Feature) bool { return p.Connected && p.Has(f) }
		far := p.Reachable && !p.Connected // what it knows shows when it is asked
		known[p.ID] = place.Peer{Address: p.Address, Reachable: p.Reachable, Connected: p.Settled, Capacity: p.Capacity,
			Refs2: has(wire.FeatureRefs2), Far: far, Stripes: has(wire.FeatureStripes),
			Keeps:   far || has(wire.FeatureKeep),
			Audited: !p.Connected || has(wire.FeatureAudit)}
	}
	return known
}

func (a peers) Named(name string) ([]core.ID, bool) { return a.n.find(name) }

// network is what a survey learns from this node.
type network struct{ *Node }

func (w network) Self() core.NodeState { return w.Now().Self }

func (w network) Ends(ids []core.ID) map[core.ID]place.LinkEnd {
	ends := map[core.ID]place.LinkEnd{}
	for _, p := range w.see(ids) {
		if p.Reachable {
			ends[p.ID] = place.LinkEnd{Address: p.Address, Direct: p.Connected, Capacity: p.Capacity,
				Delay: p.Delay.Seconds(), Report: p.Report}
		}
	}
	return ends
}

// see is the peers with some IDs as they stand now.
func (n *Node) see(ids []core.ID) []node.Peer {
	if len(ids) == 0 {
		return nil
	}
	return n.See(ids...)
}

// address is where a peer is reached, as far as this node has met it.
func (n *Node) address(id core.ID) string {
	for _, p := range n.See(id) {
		return p.Address
	}
	return ""
}
