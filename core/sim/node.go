// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan"
	"github.com/bkp-tool/bkp/core/spread"
	"github.com/bkp-tool/bkp/core/task"
)

// node is one virtual node.
type node struct {
	w        *world
	index    int
	name     string
	up, down core.Rate // 0 is unlimited
	account  struct{ up, down string }

	peer   *spread.Peer // what is known of it, which is the truth
	engine *spread.Engine
	part   *spread.Part

	got   core.Size // of what it is to keep, received
	carry float64   // bytes that the plan has it pass on

	out, in []int   // neighbours
	links   []*link // nil where nothing was sent yet, or no link leads

	lost, noticed bool
	lastGot       float64 // seconds
}

// link is everything from one node to another: both ends of a flow, and its account.
type link struct {
	from, to *node
	rate     core.Rate     // 0 is unlimited
	delay    time.Duration // of messages and bytes on their way
	accounts []string      // the sender's: its uplink, the link, a trunk
	trunk    *trunk

	asker, grantor *task.Flow
	hold, lease    uint64        // in the book
	warm           time.Duration // until then TCP keeps its window
	planned        bool          // the fluid plan sends over it
	cut, gone      bool          // nothing passes any more; both ends know it
	epoch          int           // counts flows: what belongs to an earlier one is void
	carried        core.Size
	ahead          core.Forecast // of rate
	way            pacing
}

// pacing is the run that is being sent.
type pacing struct {
	unit  int
	busy  bool    // there is one
	left  float64 // bytes of it that were still to be sent at since
	since time.Duration
	rate  core.Rate
	count uint64 // the times at which it was to arrive: only the last is right
}

// trunk is a cap that all links from one zone to another share.
type trunk struct {
	name     string
	from, to int // zones
	rate     core.Rate
	ahead    core.Forecast
	carried  core.Size
	planned  float64 // bytes that the plan has cross it
}

// has reports whether a unit is there.
func (n *node) has(unit int) bool { return n.peer.Has(n.w.units, unit) }

// Uplink, with Way, is what the node knows of the network: all that hints tell it, at once.
func (n *node) Uplink() (free, all core.Rate) { return n.w.book.Free(n.account.up), n.up }

// Way is the way to another node.
func (n *node) Way(to int) (way spread.Way, ok bool) {
	v, l := n.w.nodes[to], n.links[to]
	if l == nil && !n.w.mesh || v.noticed || l != nil && l.gone {
		return way, false
	}
	way = spread.Way{Free: n.w.book.Free(v.account.down), Rate: plan.Least(n.up, v.down)}
	t := n.w.trunkTo(n, v)
	if l != nil {
		way.RoundTrip = 2 * l.delay
		if len(l.accounts) > 1 {
			way.Free = min(way.Free, n.w.book.Free(l.accounts[1:]...))
		}
		way.Rate = plan.Least(way.Rate, l.rate)
	} else {
		way.RoundTrip = 2 * n.w.delay(n, v)
		if t != nil {
			way.Free = min(way.Free, n.w.book.Free(t.account()))
		}
	}
	if t != nil {
		way.Planned = t.planned
		way.Trunk, way.Rate = t.rate, plan.Least(way.Rate, t.rate)
	}
	return way, true
}

func (t *trunk) account() string { return "trunk " + t.name }
