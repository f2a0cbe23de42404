// SPDX-License-Identifier: Apache-2.0

package saved

import (
	"cmp"
	"slices"

	"github.com/bkp-tool/bkp/core"
)

// Difference is what changes from one saved plan to another.
type Difference struct {
	Change
	Nodes []NodeChange // by address, then ID; those that keep something in either
}

// Change is what both plans promise, and how much moves between them.
type Change struct {
	A     Summary `json:"before"`
	B     Summary `json:"after"`
	Same  bool    `json:"same_runs"`  // both are for the same runs; only then it is known what moves
	Moved int     `json:"moved_runs"` // copies of runs that stand on another node
}

// Summary is what a plan promises.
type Summary struct {
	Name       string  `json:"name"`
	Version    int     `json:"version"`
	Strategy   string  `json:"strategy"`
	Replicas   int     `json:"replicas"`
	PredictedS float64 `json:"predicted_s"`
	BoundS     float64 `json:"bound_s"`
	Binding    string  `json:"binding"`
}

// NodeChange is what one node keeps in the one plan and in the other.
type NodeChange struct {
	ID      core.ID   `json:"node"`
	Address string    `json:"address"`
	A       NodeShare `json:"before"`
	B       NodeShare `json:"after"`
	Got     int       `json:"got_runs"` // that it keeps in B alone
	Let     int       `json:"let_runs"` // that it keeps in A alone
}

// NodeShare is a node's part of a plan; none where the plan does not know it.
type NodeShare struct {
	Bytes core.Size `json:"bytes"`
	Runs  int       `json:"runs"`
	Cost  float64   `json:"cost"`
}

// Compare tells what changes from a to b.
func Compare(a, b Plan) Difference {
	d := Difference{Change: Change{A: a.summary(), B: b.summary(), Same: a.Runs == b.Runs &&
		len(a.Classes) == len(b.Classes)}}
	for k := range a.Classes {
		d.Same = d.Same && a.Classes[k].Runs == b.Classes[k].Runs
	}
	at := map[core.ID]int{}
	change := func(n Node) *NodeChange {
		k, ok := at[n.ID]
		if !ok {
			k = len(d.Nodes)
			at[n.ID] = k
			d.Nodes = append(d.Nodes, NodeChange{ID: n.ID})
		}
		d.Nodes[k].Address = n.Address
		return &d.Nodes[k]
	}
	for _, n := range a.Nodes {
		change(n).A = NodeShare{n.Bytes, n.Runs, n.Cost}
	}
	for _, n := range b.Nodes {
		change(n).B = NodeShare{n.Bytes, n.Runs, n.Cost}
	}
	for k := range d.Nodes {
		if n := &d.Nodes[k]; d.Same {
			n.Got, n.Let = b.beyond(a, n.ID), a.beyond(b, n.ID)
			d.Moved += n.Got
		}
	}
	d.Nodes = slices.DeleteFunc(d.Nodes, func(n NodeChange) bool { return n.A.Runs == 0 && n.B.Runs == 0 })
	slices.SortFunc(d.Nodes, func(x, y NodeChange) int {
		return cmp.Or(cmp.Compare(x.Address, y.Address),
			x.ID.Compare(y.ID))
	})
	return d
}

func (s Plan) summary() Summary {
	return Summary{s.Name, s.Version, s.Strategy, s.Replicas, s.PredictedS, s.BoundS, s.Binding}
}

// beyond is how many runs a node keeps here that it does not keep in another plan for the same runs.
func (s Plan) beyond(other Plan, id core.ID) (runs int) {
	for c := range s.Classes {
		for _, mine := range s.spansOf(c, id) {
			runs += mine.Length
			for _, theirs := range other.spansOf(c, id) {
				runs -= max(0, min(mine.Start+mine.Length, theirs.Start+theirs.Length)-max(mine.Start, theirs.Start))
			}
		}
	}
	return runs
}

// spansOf is what a node keeps of a class; no two of its spans share a run.
func (s Plan) spansOf(c int, id core.ID) (spans []Span) {
	for _, span := range s.Classes[c].Spans {
		if s.Nodes[span.Node].ID == id {
			spans = append(spans, span)
		}
	}
	return spans
}
