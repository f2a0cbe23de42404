// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/link"
	"github.com/bkp-tool/bkp/core/wire"
)

const (
	// reachPatience is how long nodes are looked for at the addresses that others tell of them.
	reachPatience = 5 * time.Second
	// reachAgain is how long an address at which a node was not found is left alone.
	reachAgain = 20 * time.Second
	// mostLearned bounds the addresses that are dialled at a time for what others tell.
	mostLearned = 16
)

// learned is the addresses that others told and that were dialled, by node: when each was dialled last.
type learned map[core.ID]map[string]time.Time

// Reach looks for nodes that no session leads to, where the peer list has them and at the addresses that connected
// peers tell of them, and returns when each is there or was not found. Who calls it has the nodes from the owner's own
// records or licences: a node is dialled as the one that is expected, and nobody else can answer for it over wss.
func (a Asker) Reach(ctx context.Context, ids []core.ID) {
	n := a.n
	ctx, cancel := context.WithTimeout(ctx, reachPatience)
	defer cancel()
	if ids = n.unconnected(ids); len(ids) == 0 {
		return
	}
	dialled := n.hub.Retry(ids)
	told := n.whereabouts(ctx)
	var dial []core.Peer
	n.ask(do(func(n *state) { dial = n.toDial(ids, told) }))
	dial = slices.DeleteFunc(dial, func(p core.Peer) bool { return !n.hub.Dial(p) })
	for dialled = append(dialled, dial...); n.pending(dialled) && n.Pause(ctx, 20*time.Millisecond); {
		if ids = n.unconnected(ids); len(ids) == 0 {
			return
		}
	}
	for _, p := range dial { // nobody dials for ever where somebody once said that a node was
		if slices.Contains(ids, p.ID) {
			n.hub.Forget(p)
		}
	}
}

// pending reports whether one of some addresses may still lead to a node: its last try has not failed.
func (n *Node) pending(dialled []core.Peer) bool {
	return slices.ContainsFunc(n.hub.Diallers(), func(d link.Dialled) bool {
		return d.Err == nil && slices.Contains(dialled, d.Peer)
	})
}

// unconnected is those of some nodes that no session leads to, over a link whose capacity is settled.
func (n *Node) unconnected(ids []core.ID) (left []core.ID) {
	n.ask(do(func(n *state) {
		for _, id := range ids {
			p := n.peers[id]
			if id != n.ID() && (p == nil || p.session == nil || p.capacity == 0) && !slices.Contains(left, id) {
				left = append(left, id)
			}
		}
	}))
	return left
}

// whereabouts is where connected peers say that nodes are.
func (n *Node) whereabouts(ctx context.Context) map[core.ID][]string {
	peers := n.Asker().Connected()
	reports := make([]wire.StateReport, len(peers))
	var asking sync.WaitGroup
	for i, id := range peers {
		asking.Go(func() {
			reports[i], _ = wire.Ask[wire.StateReport](ctx, n.Asker(), id,
				func(id uint64) wire.Message { return wire.StateQuery{Query: id} }) // who says nothing knows nothing
		})
	}
	asking.Wait()
	told := map[core.ID][]string{}
	for _, r := range reports {
		for _, l := range r.Links {
			if l.Address != "" && !slices.Contains(told[l.ID], l.Address) {
				told[l.ID] = append(told[l.ID], l.Address)
			}
		}
	}
	return told
}

// toDial is what is to be dialled for nodes, by where others say that they are.
func (n *state) toDial(ids []core.ID, told map[core.ID][]string) (dial []core.Peer) {
	scheme := "wss://"
	if n.Plaintext {
		scheme = "ws://"
	}
	now := time.Now()
	for _, id := range ids {
		for _, address := range told[id] {
			p, err := core.ParsePeer(scheme + id.String() + "@" + address)
			tried := n.learned[id][address]
			if err != nil || isLinkLocal(p.Host) || now.Sub(tried) < reachAgain || len(dial) == mostLearned {
				continue
			}
			if n.learned[id] == nil {
				n.learned[id] = map[string]time.Time{}
			}
			n.learned[id][address] = now
			dial = append(dial, p)
		}
	}
	return dial
}

// isLinkLocal reports whether an address means another machine on every link.
func isLinkLocal(host string) bool {
	return strings.HasPrefix(host, "169.254.") || strings.HasPrefix(host, "fe80:")
}
