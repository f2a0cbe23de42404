// SPDX-License-Identifier: Apache-2.0

package spread

import (
	"time"

	"github.com/bkp-tool/bkp/core"
)

// inbound is what the plan has one node give another.
type inbound struct {
	all    float64       // bytes
	left   float64       // of these, not there yet
	heard  time.Duration // when the node last asked for something
	waited time.Duration // when the node was last refused since the downlink was full; 0 where it was not, or is served
}

// comesFrom notes who gives the node a run by the plan.
func (p *Progress) comesFrom(run, from int) {
	if p.has.has(run) {
		return
	}
	if p.from == nil {
		p.from = make([]int32, p.seg.Runs())
	}
	p.cameFrom(run)
	q := p.peer
	of := at(q.inbound, from)
	of.all, of.left = of.all+float64(p.seg.sizes[run]), of.left+float64(p.seg.sizes[run])
	q.inbound, p.from[run] = put(q.inbound, from, of), int32(from+1)
}

// cameFrom takes a run off what is still to come.
func (p *Progress) cameFrom(run int) {
	if from := p.from[run]; from > 0 {
		p.peer.inbound[from-1].left -= float64(p.seg.sizes[run])
		p.from[run] = 0
	}
}

// Takes says how long the plan's flows take from now on. Then what they need of uplinks and downlinks is kept from who
// sends what others are to.
func (t *Transfer) Takes(now time.Duration, seconds float64) { t.followed, t.takes = now, seconds }

// paced is the rate that the plan has some bytes flow at; 0 where nobody said how long it takes.
func (t *Transfer) paced(bytes float64) core.Rate {
	if t.takes <= 0 {
		return 0
	}
	return core.Rate(core.WireOverhead * bytes / t.takes)
}

const (
	// leastHelp is the part of an uplink or downlink that the plan must leave for others to send what it does not have
	// them send.
	leastHelp = 0.05
	// freshFor is how long bandwidth is kept for a flow of the plan on which nothing moves.
	freshFor = 5 * time.Second
)

// fresh reports whether a flow of the plan on which something moved at a moment is still counted with.
func (t *Transfer) fresh(now, moved time.Duration) bool { return now-max(moved, t.followed) < freshFor }

// spare is what the plan leaves of the node's uplink for what it does not have it send a target; 0 where that has no
// limit.
func (p *Part) spare(now time.Duration, but *Peer) (rate core.Rate) {
	_, up := p.e.net.Uplink()
	if up == 0 {
		return 0
	}
	kept := core.Rate(0)
	for to, bytes := range p.planned {
		if q := p.t.peers[to]; q == nil || q == but || q.gone || at(p.gave, to) >= bytes {
			continue
		}
		if s := p.Sender(to); s.holds() || p.t.fresh(now, s.since()) {
			kept += p.t.paced(bytes)
		}
	}
	return max(1, up-kept)
}

// since is when the sender asked for its last lease.
func (s *Sender) since() time.Duration {
	if s == nil {
		return 0
	}
	return s.leased
}

// Awaits reports whether the plan has one node give another something that is not there yet.
func (q *Peer) Awaits(from *Peer) bool { return at(q.inbound, from.Number).left > 0 }

// waitLife is for how long a part of a downlink is kept for who was refused: it asks again within that time.
const waitLife = 5 * time.Second

// Granted says what came of an application of one node to send another something, in a full downlink of some rate: one
// that the plan has send something, and that got less than its part of what it asked for, waits, and others make room.
func (q *Peer) Granted(now time.Duration, from int, asked, granted, down core.Rate) {
	if from >= len(q.inbound) {
		return
	}
	of := &q.inbound[from]
	if of.waited, of.heard = 0, now; float64(granted) < enoughPart*float64(min(asked, q.due(from, down))) {
		of.waited = max(1, now)
	}
}

// enoughPart is with which part of its due a sender does not wait for more.
const enoughPart = 0.95

// due is the part of a node's downlink that another should have of what is still to come to it.
func (q *Peer) due(from int, down core.Rate) core.Rate {
	left := 0.0
	for _, of := range q.inbound {
		left += of.left
	}
	if left <= 0 {
		return 0
	}
	return core.Rate(float64(down) * at(q.inbound, from).left / left)
}

// Most is how much of its downlink, of which some is free or that one's already, a node grants another by the plan:
// while somebody waits, a part in proportion to what each has still to send, and nothing to who has none. 0 is no
// limit.
func (q *Peer) Most(now time.Duration, from int, down, free core.Rate) (most core.Rate, nothing bool) {
	if down == 0 {
		return 0, false
	}
	waits, kept := false, core.Rate(0)
	for i, of := range q.inbound {
		if of.left > 0 && q.t.fresh(now, of.heard) {
			kept += q.t.paced(of.all)
		}
		waits = waits || i != from && of.left > 0 && of.waited > 0 && now-of.waited < waitLife
	}
	switch own := at(q.inbound, from).left; {
	case own <= 0 && (waits || float64(down-kept) < leastHelp*float64(down)):
		return 0, true
	case own <= 0 && kept > 0:
		return down - kept, false
	case own <= 0:
		return 0, false
	case waits:
		return max(1, q.due(from, down)), false
	default:
		return max(1, free, q.due(from, down)), false
	}
}
