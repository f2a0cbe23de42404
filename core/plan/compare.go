package plan

import (
	"cmp"
	"slices"

	"github.com/bkp-tool/bkp/core"
)

// Difference is what changes from one saved plan to another.
type Difference struct {
	A, B  Summary
	Nodes []NodeChange // by address, then ID; those that keep something in either
	// Same tells that both are for the same runs; only then it is known what moves.
	Same  bool
	Moved int // copies of runs that stand on another node
}

// Summary is what a plan promises.
type Summary struct {
	Name       string
	Version    int
	Strategy   string
	Replicas   int
	PredictedS float64
	BoundS     float64
	Binding    string
}

// NodeChange is what one node keeps in the one plan and in the other.
type NodeChange struct {
	ID       core.ID
	Address  string
	A, B     NodeShare
	Got, Let int // runs that it keeps in B alone, and in A alone
}

// NodeShare is a node's part of a plan; none where the plan does not know it.
type NodeShare struct {
	Bytes core.Size
	Runs  int
	Cost  float64
}

// Compare tells what changes from a to b.
func Compare(a, b Saved) Difference {
	d := Difference{A: a.summary(), B: b.summary(), Same: a.Runs == b.Runs && len(a.Classes) == len(b.Classes)}
	for k := range a.Classes {
		d.Same = d.Same && a.Classes[k].Runs == b.Classes[k].Runs
	}
	at := map[core.ID]int{}
	change := func(n SavedNode) *NodeChange {
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
	slices.SortFunc(d.Nodes, func(x, y NodeChange) int { return cmp.Or(cmp.Compare(x.Address, y.Address), x.ID.Compare(y.ID)) })
	return d
}

func (s Saved) summary() Summary {
	return Summary{s.Name, s.Version, s.Strategy, s.Replicas, s.PredictedS, s.BoundS, s.Binding}
}

// beyond is how many runs a node keeps here that it does not keep in another plan for the same runs.
func (s Saved) beyond(other Saved, id core.ID) (runs int) {
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
func (s Saved) spansOf(c int, id core.ID) (spans []SavedSpan) {
	for _, span := range s.Classes[c].Spans {
		if s.Nodes[span.Node].ID == id {
			spans = append(spans, span)
		}
	}
	return spans
}
