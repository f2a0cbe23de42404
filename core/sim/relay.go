package sim

// A relay passes runs on that it does not keep. It takes a run only while somebody behind it lacks it: a node that is
// to keep it, or a relay to which the plan has it send, or that is farther from where the runs come from. So relays
// wait for each other in one direction only, and two full ones do not wait for each other. What nobody behind it lacks
// any more it drops.

// How many units a relay holds or expects at a time.
const (
	// in a broadcast: enough to be busy, and few enough that it takes no run that others would bring sooner
	relaySpace = 12
	farSpace   = 256 // else: what it carries is for one node, and nobody else brings it
)

// layRelays says who is a relay, and how far each node is from the next one that holds something from the start.
func (w *world) layRelays(relay func(n *node) bool) {
	w.hops = make([]int, len(w.nodes))
	var queue []*node
	for _, begins := range []func(*node) bool{
		func(n *node) bool { return !n.owns.empty() },
		func(n *node) bool { return n.got > 0 }, // those who had it are gone: whoever keeps some now
	} {
		for i, n := range w.nodes {
			w.hops[i] = -1
			if begins(n) && !n.noticed {
				w.hops[i] = 0
				queue = append(queue, n)
			}
		}
		if len(queue) > 0 {
			break
		}
	}
	for ; len(queue) > 0; queue = queue[1:] {
		for _, to := range queue[0].out {
			if w.hops[to] < 0 && !w.nodes[to].noticed {
				w.hops[to] = w.hops[queue[0].index] + 1
				queue = append(queue, w.nodes[to])
			}
		}
	}
	w.relays = nil
	for hop := len(w.nodes); hop >= 0; hop-- { // the farthest first: the nearer ones ask what they lack
		for _, n := range w.nodes {
			if w.hops[n.index] == hop && len(n.out) > 0 && !n.noticed && relay(n) {
				w.relays = append(w.relays, n)
			}
		}
	}
	for _, n := range w.nodes {
		clear(n.had)
	}
	w.stale = true
}

// beyond reports whether a node may have a relay pass runs on to another relay.
func (w *world) beyond(r, v *node) bool {
	return w.hops[v.index] > w.hops[r.index] || r.lanes[v.index].planned || w.loose
}

// refresh finds anew what each relay would take. A run that somebody else can already give to whoever lacks it is worth
// taking only within what the plan has the relay carry.
func (w *world) refresh() {
	if !w.stale {
		return
	}
	w.stale = false
	for _, n := range w.relays {
		clear(n.passes)
		clear(n.behind)
		for _, to := range n.out {
			v := w.nodes[to]
			if v.noticed {
				continue
			}
			more := n.carry > 0 || w.loose
			for k := range n.passes {
				lacks := v.want[k]
				if w.beyond(n, v) {
					lacks |= v.behind[k]
				}
				if lacks = lacks &^ (v.has[k] | v.coming[k]) &^ n.want[k]; lacks == 0 {
					continue
				}
				if !more {
					for _, other := range v.in {
						if z := w.nodes[other]; !z.noticed {
							lacks &^= z.has[k] | z.coming[k]
						}
					}
				}
				n.behind[k] |= lacks
			}
		}
		for k := range n.passes {
			if n.relayed < w.space {
				n.passes[k] = n.behind[k] &^ n.had[k]
			}
		}
	}
}

// loosen lets relays take more, and again what they had, when nothing moves though something is missing: relays may
// have filled up with what they cannot pass on yet. False when they can take everything already.
func (w *world) loosen() bool {
	if w.missing == 0 || w.space >= 4*len(w.sizes) {
		return false
	}
	w.space *= 4
	w.loose = true
	for _, n := range w.nodes {
		clear(n.had)
	}
	w.stale = true
	return true
}

// relieve drops a unit from the relays before a node that has received it, where nobody else behind them lacks it.
func (w *world) relieve(n *node, unit int) {
	w.stale = true
	for _, before := range n.in {
		w.shed(w.nodes[before], unit)
	}
}

// shed drops a unit from a relay that nobody needs it from any more.
func (w *world) shed(r *node, unit int) {
	if !r.has.has(unit) || r.want.has(unit) || r.owns.has(unit) {
		return
	}
	w.refresh()
	for _, to := range r.out {
		v := w.nodes[to]
		lacks := (v.want.has(unit) || v.behind.has(unit) && w.beyond(r, v)) && !v.has.has(unit)
		if !v.noticed && (v.coming.has(unit) || lacks) {
			return
		}
	}
	r.has.drop(unit)
	r.had.add(unit)
	r.relayed--
	w.count(r, unit, -1)
}
