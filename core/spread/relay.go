// SPDX-License-Identifier: Apache-2.0

package spread

// A relay passes runs on that it does not keep. It takes a run only while somebody behind it lacks it: a node that is
// to keep it, or a relay to which the plan has it send, or that is farther from where the runs come from. So relays
// wait for each other in one direction only, and two full ones do not wait for each other. What nobody behind it lacks
// any more it drops.

// How many runs a relay holds or expects at a time.
const (
	// Busy is for a task that everybody wants: enough to be busy, and few enough that it takes no run that others would
	// bring sooner.
	Busy = 12
	// Alone is for what a relay carries for one node, when nobody else brings it.
	Alone = 256
)

// How many times what the plan says may come to a relay over a way: a little more at first, so that what does not cut
// into whole runs has a place, and more each time that nothing moves though something is missing.
const over, more, most = 1.01, 0.1, 1.5

// Relays are the nodes of a transfer that pass on what they do not keep, as far as is known.
type Relays struct {
	Neighbours func(node int) (out, in []int) // to which, and from which, a way leads
	Planned    func(from, to int) bool        // the plan sends over that way
	Routed     bool                           // and to relays, and from them, over no other

	over float64 // how many times what is planned may come to a relay over a way

	t     *Transfer
	hops  []int   // from who held something at the start; −1: nothing leads there
	order []*Peer // the farthest first: the nearer ones ask what they lack
	space int
	loose bool  // they had filled up: they take whatever helps
	stale bool  // something changed
	dirty []set // by segment: the words of sets in which
}

// relaying is what a peer is as a relay, and passing the same of one segment.
type relaying struct {
	carry float64 // bytes that the plan has it pass on, still
	held  int     // runs there or on their way that it does not keep
	out   []*Peer // to whom it may pass runs on
}

type passing struct {
	behind set // what is lacked behind it
	takes  set // of that, what it would take to pass on
	had    set // it passed on and dropped: it takes nothing twice, or two relays could play catch
}

// Relay lets nodes of the transfer pass runs on, each so many of them.
func (t *Transfer) Relay(space int) *Relays {
	t.relays = &Relays{t: t, space: space, over: over}
	return t.relays
}

// Hops is how far a node is from who held something at the start; −1 where nothing leads to it.
func (r *Relays) Hops(node int) int { return r.hops[node] }

// Lay says anew who is a relay, and how many bytes the plan has each pass on. carry is below 0 for who is none.
func (r *Relays) Lay(carry func(node int) float64) {
	r.measure()
	r.order = nil
	for hop := len(r.t.peers); hop >= 0; hop-- {
		for _, q := range r.t.peers {
			if r.hops[q.Number] != hop {
				continue
			}
			if out, _ := r.Neighbours(q.Number); len(out) > 0 && !q.gone && carry(q.Number) >= 0 {
				r.order = append(r.order, q)
			}
		}
	}
	for _, q := range r.t.peers {
		was := q.relay
		q.relay = nil
		for _, p := range q.parts {
			if p != nil {
				p.pass = nil
			}
		}
		if was != nil {
			q.list()
		}
	}
	for _, q := range r.order {
		q.relay = &relaying{carry: carry(q.Number)}
		for _, s := range r.t.segments {
			p := q.of(s)
			p.pass = &passing{behind: newSet(s.Runs()), takes: newSet(s.Runs()), had: newSet(s.Runs())}
			for run := range s.sizes {
				if p.state(run).held() && !p.want.has(run) && !p.owns.has(run) {
					q.relay.held++
				}
			}
		}
		q.list()
	}
	r.lead()
}

// lead notes to whom each relay may pass runs on, and has everything looked at anew.
func (r *Relays) lead() {
	for _, q := range r.order {
		q.relay.out, q.gained = nil, q.gained+1
		out, _ := r.Neighbours(q.Number)
		for _, to := range out {
			if r.route(q, r.t.peers[to]) {
				q.relay.out = append(q.relay.out, r.t.peers[to])
			}
		}
	}
	r.spoil()
}

// measure finds how far each node is from the next one that holds something from the start, or, where those are gone,
// something at all.
func (r *Relays) measure() {
	r.hops = make([]int, len(r.t.peers))
	var queue []int
	for _, begins := range []func(p *Progress) bool{
		func(p *Progress) bool { return !p.owns.empty() },
		func(p *Progress) bool { return meets(p.has, p.want) },
	} {
		for i, q := range r.t.peers {
			r.hops[i] = -1
			for _, p := range q.parts {
				if p != nil && !q.gone && begins(p) && r.hops[i] < 0 {
					r.hops[i] = 0
					queue = append(queue, i)
				}
			}
		}
		if len(queue) > 0 {
			break
		}
	}
	for ; len(queue) > 0; queue = queue[1:] {
		out, _ := r.Neighbours(queue[0])
		for _, to := range out {
			if r.hops[to] < 0 && !r.t.peers[to].gone {
				r.hops[to] = r.hops[queue[0]] + 1
				queue = append(queue, to)
			}
		}
	}
}

// Passing is how many runs are at a node, or on their way to it, that it does not keep.
func (q *Peer) Passing() int {
	if q.relay == nil {
		return 0
	}
	return q.relay.held
}

// leave has a relay hold one run less, or expect one less.
func (q *Peer) leave() {
	q.relay.held--
	q.gained++ // it has room
}

// room reports whether a relay takes more.
func (r *Relays) room(q *Peer) bool { return q.relay.held < r.space }

// touch notes that a run's whereabouts changed.
func (r *Relays) touch(s *Segment, run int) {
	if len(r.order) > 0 && s.index < len(r.dirty) {
		r.dirty[s.index][run/64] = 1
		r.stale = true
	}
}

// spoil has everything looked at anew.
func (r *Relays) spoil() {
	r.dirty = r.dirty[:0]
	for _, s := range r.t.segments {
		all := make(set, len(newSet(s.Runs())))
		for k := range all {
			all[k] = 1
		}
		r.dirty = append(r.dirty, all)
	}
	r.stale = len(r.order) > 0
}

// beyond reports whether a node may have a relay pass runs on to another relay.
func (r *Relays) beyond(q, v *Peer) bool {
	return r.loose || !r.Routed && r.hops[v.Number] > r.hops[q.Number] || r.Planned(q.Number, v.Number)
}

// route reports whether relays may use the way from one node to another.
func (r *Relays) route(from, to *Peer) bool {
	return r.loose || !r.Routed || r.Planned(from.Number, to.Number)
}

// refresh finds anew what each relay would take of the runs whose whereabouts changed. A run that somebody else can
// already give to whoever lacks it is worth taking only within what the plan has the relay carry.
func (r *Relays) refresh() {
	if !r.stale {
		return
	}
	r.stale = false
	for i, words := range r.dirty {
		s := r.t.segments[i]
		for k, dirty := range words {
			if dirty == 0 {
				continue
			}
			words[k] = 0
			forsaken := r.forsaken(s, k)
			for _, q := range r.order {
				p := q.parts[i]
				was := p.pass.behind[k]
				if p.pass.behind[k] = 0; forsaken || r.busy(q) {
					p.pass.behind[k] = r.behind(q, s, k)
				}
				took := p.pass.takes[k]
				if p.pass.takes[k] = p.pass.behind[k] &^ p.pass.had[k]; p.pass.takes[k]&^took != 0 {
					q.gained++
				}
				if p.pass.behind[k] != was { // others may have looked before
					words[k], r.stale = 1, true
					forsaken = r.forsaken(s, k)
				}
			}
		}
	}
}

// behind is 64 runs that are lacked behind a relay.
func (r *Relays) behind(q *Peer, s *Segment, k int) (word uint64) {
	mine, more := q.parts[s.index], q.relay.carry > 0 || r.loose
	for _, v := range q.relay.out {
		theirs := v.in(s)
		if v.gone || theirs == nil {
			continue
		}
		lacks := theirs.want[k]
		if theirs.pass != nil && r.beyond(q, v) {
			lacks |= theirs.pass.behind[k]
		}
		lacks &^= theirs.has[k] | theirs.coming[k] | theirs.said[k] | mine.want[k]
		if q.part != nil && r.t.routed && !r.loose { // it passes on to that one what the plan has it pass on, and no more
			if d := q.part.routeTo(v, s); d != nil {
				word |= lacks & d.runs[k]
			}
			continue
		}
		if lacks == 0 {
			continue
		}
		if r.Routed && !r.loose {
			lacks &^= r.brought(q, v, s, k)
		}
		if !more {
			lacks = r.lonely(v, s, k, lacks)
		}
		word |= lacks
	}
	return word
}

// lonely is what nobody before a node has or expects of 64 runs that it lacks.
func (r *Relays) lonely(v *Peer, s *Segment, k int, lacks uint64) uint64 {
	_, in := r.Neighbours(v.Number)
	for i := 0; i < len(in) && lacks != 0; i++ {
		if z := r.t.peers[in[i]]; !z.gone {
			if p := z.in(s); p != nil {
				lacks &^= p.has[k] | p.coming[k]
			}
		}
	}
	return lacks
}

// forsaken reports whether any node lacks what nobody before it has or expects, of 64 runs: if not, only busy relays
// have anything to take.
func (r *Relays) forsaken(s *Segment, k int) bool {
	for _, v := range r.t.peers {
		theirs := v.in(s)
		if v.gone || theirs == nil {
			continue
		}
		lacks := theirs.want[k]
		if theirs.pass != nil {
			lacks |= theirs.pass.behind[k]
		}
		if r.lonely(v, s, k, lacks&^(theirs.has[k]|theirs.coming[k]|theirs.said[k])) != 0 {
			return true
		}
	}
	return false
}

// busy reports whether a relay takes what others could bring as well.
func (r *Relays) busy(q *Peer) bool {
	return q.relay.carry > 0 || r.loose || r.t.routed && q.part != nil
}

// brought is 64 runs that by the plan another relay brings to a node, which has or expects them.
func (r *Relays) brought(q, v *Peer, s *Segment, k int) (word uint64) {
	_, in := r.Neighbours(v.Number)
	for _, other := range in {
		z := r.t.peers[other]
		if p := z.in(s); z != q && p != nil && p.pass != nil && r.route(z, v) {
			word |= (p.has[k] | p.coming[k]) &^ (p.want[k] | p.owns[k])
		}
	}
	return word
}

// Loosen lets relays take more, and again what they had, when nothing moves though something is missing: relays may
// have filled up with what they cannot pass on yet. False when they can take everything already.
func (r *Relays) Loosen() bool {
	runs := 0
	for _, s := range r.t.segments {
		runs += s.Runs()
	}
	if r.t.missing == 0 || r.loose && r.space >= 4*runs {
		return false
	}
	if r.Routed && r.over < most {
		r.over += more
		return true
	}
	r.space *= 4
	r.loose = true
	for _, q := range r.order {
		for _, p := range q.parts {
			clear(p.pass.had)
		}
	}
	r.lead()
	return true
}

// Shed has every relay drop what nobody needs from it any more.
func (r *Relays) Shed() {
	for _, q := range r.order {
		for _, s := range r.t.segments {
			for run := range s.sizes {
				r.shed(q, s, run)
			}
		}
	}
}

// relieve drops a run from the relays before a node that has received it, where nobody else behind them lacks it.
func (r *Relays) relieve(q *Peer, s *Segment, run int) {
	if len(r.order) == 0 {
		return
	}
	_, in := r.Neighbours(q.Number)
	for _, before := range in {
		if v := r.t.peers[before]; v.relay != nil {
			r.shed(v, s, run)
		}
	}
}

// shed drops a run from a relay that nobody needs it from any more.
func (r *Relays) shed(q *Peer, s *Segment, run int) {
	p := q.parts[s.index]
	if !p.has.has(run) || p.want.has(run) || p.owns.has(run) {
		return
	}
	r.refresh()
	out, _ := r.Neighbours(q.Number)
	for _, to := range out {
		v := r.t.peers[to]
		theirs := v.in(s)
		if v.gone || theirs == nil || theirs.has.has(run) {
			continue
		}
		if theirs.state(run).due || theirs.want.has(run) ||
			theirs.pass != nil && theirs.pass.behind.has(run) && r.beyond(q, v) {
			return
		}
	}
	p.pass.had.add(run)
	q.leave()
	p.mark(p.has, run, false)
}

// crit is how urgently a relay has to receive: as who waits behind it, but for who would send to it.
func (r *Relays) crit(q, from *Peer) (crit float64) {
	out, _ := r.Neighbours(q.Number)
	for _, to := range out {
		if v := r.t.peers[to]; v.need > 0 && v != from && v.Down > 0 {
			crit = max(crit, v.Down.Seconds(v.need))
		}
	}
	return crit
}
