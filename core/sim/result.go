// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan"
)

// Result is what a simulation came to.
type Result struct {
	Name       string  `json:"name"`
	Strategy   string  `json:"strategy,omitempty"` // the caller's
	MakespanS  float64 `json:"makespan_s"`         // until the last copy was received
	PredictedS float64 `json:"predicted_s"`        // what the planner expected, of a network that keeps its word
	// the least time; see the package comment for what that is when nodes were lost
	BoundS  float64 `json:"bound_s"`
	Ratio   float64 `json:"ratio"`
	Binding string  `json:"binding"`
	// when virtual time began, in RFC 3339, where rates follow calendars
	Start    string  `json:"start,omitempty"`
	Replicas int     `json:"replicas,omitempty"` // copies of every run, or shards; none in a broadcast or a fetch
	Raised   string  `json:"raised,omitempty"`   // why there are more than the topology asks for
	Cost     float64 `json:"cost"`               // of what is kept, by the strategy; 0 where it gave no costs
	// to bring back to the source, or to one in its place, what is kept then; 0 in a fetch
	RestoreS  float64   `json:"restore_s"`
	LostBytes core.Size `json:"lost_bytes"` // of the file: no node that is left can restore them

	UndeliveredBytes core.Size `json:"undelivered_bytes"` // copies that were wanted and are not there; see Missing
	Nodes            []Row     `json:"nodes"`
	Links            []Use     `json:"links"`
	Trunks           []Use     `json:"trunks,omitempty"`
	Missing          []Missing `json:"missing,omitempty"`
}

// Row is what became of one node.
type Row struct {
	Node   string    `json:"node"`
	Zone   string    `json:"zone,omitempty"`
	Bytes  core.Size `json:"bytes"` // received, to keep
	Runs   int       `json:"runs"`
	Sent   core.Size `json:"sent"`
	Passed core.Size `json:"passed"` // received, to pass on only
	Finish float64   `json:"finish_s"`
	Lost   bool      `json:"lost,omitempty"`
}

// Use is what one link or trunk carried, and which part that is of what it could have in the time.
type Use struct {
	From  string    `json:"from"`
	To    string    `json:"to"`
	Bytes core.Size `json:"bytes"`
	Share float64   `json:"share,omitempty"` // 0 where nothing limits it
}

// Missing is what one node did not get, and why.
type Missing struct {
	Node   string    `json:"node"`
	Runs   int       `json:"runs"`
	First  int       `json:"first"` // the first run of them
	Bytes  core.Size `json:"bytes"`
	Reason string    `json:"reason"`
}

func (w *world) result(bound plan.Bound) (Result, error) {
	r := Result{Name: w.topology.Name, MakespanS: w.end.Seconds(), PredictedS: w.predicted, BoundS: bound.Seconds,
		Binding: bound.Binding}
	if at := w.topology.Start; !at.IsZero() {
		r.Start = at.Format(time.RFC3339)
	}
	if w.plan != nil {
		r.Replicas, r.Raised = w.plan.Replicas, w.plan.Raised
	}
	r.Cost, r.RestoreS = w.cost(), w.restore()
	if left, ok := w.boundOfTheRest(); ok && !math.IsInf(left.Seconds, 1) {
		if mode := w.topology.Goal.Mode; (mode == plan.Broadcast || mode == plan.Fetch) && bound.Seconds > 0 {
			at, _ := w.disturbed()
			at = min(at, bound.Seconds)
			left.Seconds = at + (1-w.doneBy(at, bound))*left.Seconds
		}
		r.BoundS, r.Binding = left.Seconds, left.Binding
	}
	if w.left.Seconds > r.BoundS {
		r.BoundS, r.Binding = w.left.Seconds, w.left.Binding
	}
	switch {
	case r.BoundS > 0:
		r.Ratio = r.MakespanS / r.BoundS
	case r.MakespanS == 0:
		r.Ratio = 1
	}
	w.rows(&r)
	w.absent(&r)
	return r, w.book.Check()
}

func (w *world) rows(r *Result) {
	for _, n := range w.nodes {
		row := Row{Node: n.name, Zone: w.zones[w.zoneOf[n.index]], Bytes: n.got, Finish: n.lastGot, Lost: n.lost}
		for unit := range w.sizes {
			if n.has(unit) && n.peer.Wants(w.units, unit) && !n.peer.Owns(w.units, unit) {
				row.Runs++
			}
		}
		for _, from := range w.nodes {
			if l := from.links[n.index]; l != nil {
				row.Passed += l.carried
			}
		}
		row.Passed -= n.got
		for _, l := range n.links {
			if l == nil {
				continue
			}
			if row.Sent += l.carried; l.carried > 0 {
				r.Links = append(r.Links, Use{n.name, l.to.name, l.carried, w.used(l.carried, l.rate, l.ahead)})
			}
		}
		r.Nodes = append(r.Nodes, row)
	}
	for _, t := range w.trunks {
		r.Trunks = append(r.Trunks, Use{w.zones[t.from], w.zones[t.to], t.carried,
			w.used(t.carried, t.rate, t.ahead)})
	}
	slices.SortFunc(r.Trunks, func(a, b Use) int {
		return cmp.Or(cmp.Compare(a.From, b.From),
			cmp.Compare(a.To, b.To))
	})
}

// used is which part of its capacity a link used.
func (w *world) used(bytes core.Size, rate core.Rate, ahead core.Forecast) float64 {
	if len(ahead) > 0 {
		rate = ahead.Mean(w.end.Seconds())
	}
	if rate == 0 || w.end == 0 {
		return 0
	}
	return core.WireOverhead * float64(bytes) / (float64(rate) * w.end.Seconds())
}

// boundOfTheRest is the bound of the network without the nodes that were lost, for what is still possible there.
func (w *world) boundOfTheRest() (plan.Bound, bool) {
	if _, any := w.disturbed(); !any {
		return plan.Bound{}, false
	}
	g, from := w.topology.Goal, 0.0
	if g.Mode == plan.Broadcast || g.Mode == plan.Fetch {
		from, _ = w.disturbed()
	}
	s := w.later(w.topology.Network, from)
	s.Links, s.Nodes = nil, slices.Clone(s.Nodes)
	gone := func(i int) bool { return w.nodes[i].noticed }
	if g.Mode == plan.Fetch && gone(g.Sink) || g.Mode != plan.Fetch && gone(s.Source) {
		return plan.Bound{}, false
	}
	for i, n := range w.nodes {
		for _, to := range n.out {
			if l := w.link(n, w.nodes[to]); !gone(i) && !gone(to) {
				s.Links = append(s.Links, core.LinkState{From: i, To: to, Rate: l.rate,
					Ahead: l.ahead.Later(int64(from))})
			}
		}
		if gone(i) {
			s.Nodes[i].Free = 0
		}
	}
	if len(s.Links) == 0 {
		return plan.Bound{}, false
	}
	g.Targets = slices.DeleteFunc(slices.Clone(g.Targets), func(t int) bool { return gone(t) || w.relays.Hops(t) < 0 })
	g.Parts = slices.Clone(g.Parts)
	for c, p := range g.Parts {
		g.Parts[c].Holders = slices.DeleteFunc(slices.Clone(p.Holders), gone)
	}
	g.Parts = slices.DeleteFunc(g.Parts, func(p plan.Part) bool { return len(p.Holders) == 0 })
	b, err := plan.LeastTime(s, g)
	return b, err == nil
}

// absent names what was not delivered. A run is lost when too few of the nodes that are left have what restores it.
func (w *world) absent(r *Result) {
	at := map[string]int{}
	for _, c := range w.owed {
		unit := w.unit(c)
		name, reason := "", ""
		switch {
		case w.nodes[c.Node].lost:
			name, reason = w.nodes[c.Node].name, "it is gone"
			if g := w.topology.Goal; g.Mode == plan.Replicas || g.Mode == plan.Shards {
				reason = "it is gone, and no other may keep them or has room"
				if w.source < 0 {
					reason = "it is gone, and so is the source, which would plan anew"
				}
			}
		case w.nodes[c.Node].has(unit):
			continue
		case len(w.where(unit)) == 0:
			name, reason = w.nodes[c.Node].name, "no node that is left has it"
		default:
			name, reason = w.nodes[c.Node].name, "no way leads there from who has it"
		}
		key := name + reason
		k, ok := at[key]
		if !ok {
			k = len(r.Missing)
			at[key] = k
			r.Missing = append(r.Missing, Missing{Node: name, Reason: reason, First: c.Run})
		}
		m := &r.Missing[k]
		m.Runs, m.Bytes, m.First = m.Runs+1, m.Bytes+w.sizes[unit], min(m.First, c.Run)
		r.UndeliveredBytes += w.sizes[unit]
	}
	needed, shards := 1, 1
	if g := w.topology.Goal; len(w.sizes) > w.Runs {
		needed, shards = g.K, g.K+g.M
	}
	for run, size := range cut(w.topology.Goal.Size, w.Runs) {
		there := 0
		for shard := range shards {
			if len(w.where(shard*w.Runs+run)) > 0 {
				there++
			}
		}
		if there < needed {
			r.LostBytes += size
		}
	}
}
