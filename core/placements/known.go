// SPDX-License-Identifier: Apache-2.0

package placements

import (
	"context"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/reconcile"
)

// Known is what a placement knows, as reconcile reads it. nodes is the snapshot's.
func (s *Standing) Known(nodes []core.NodeState) (known []reconcile.Segment) {
	for _, seg := range s.Segments {
		k := reconcile.Segment{Stripes: seg.Stripes, At: map[core.ID]reconcile.Copies{}}
		for id := range seg.Told {
			k.At[id] = reconcile.Copies{Told: true}
		}
		for id, has := range seg.Has {
			k.At[id] = reconcile.Copies{Told: true, Has: slices.Clone(has)}
		}
		for id, receipts := range seg.Receipts {
			c := k.At[id]
			c.Receipted, c.Proved = receipts, seg.Proofs[id]
			k.At[id] = c
		}
		for run, r := range seg.Runs {
			k.Sizes = append(k.Sizes, r.Size)
			if run >= len(seg.Held) {
				continue
			}
			for _, node := range seg.Held[run] {
				c := k.At[nodes[node].ID]
				if c.Has == nil {
					c.Has = core.NewBitmap(len(seg.Runs))
				}
				c.Has.Set(run)
				k.At[nodes[node].ID] = c
			}
		}
		known = append(known, k)
	}
	return known
}

// Nowhere marks the runs that no node of a snapshot has by what is known, and that are not here, and counts them.
func (s *Standing) Nowhere(ctx context.Context, known []reconcile.Segment, nodes []core.NodeState,
	here func(context.Context, []core.Chunk) (bool, error)) (count int, err error) {
	for i, seg := range s.Segments {
		k, of := &known[i], core.StripeOf(seg.Stripes, len(seg.Runs))
		k.Nowhere = core.NewBitmap(len(seg.Runs))
		for run, r := range seg.Runs {
			if of[run] >= 0 || slices.ContainsFunc(nodes, func(n core.NodeState) bool { return k.At[n.ID].Here(run) }) {
				continue
			}
			staged, err := here(ctx, r.Chunks)
			if err != nil {
				return 0, err
			}
			if !staged {
				k.Nowhere.Set(run)
				count++
			}
		}
	}
	return count, nil
}

// Known is what is on record, as reconcile reads it. What a node keeps that is to keep it no more is left out.
func (r *Record) Known() (known []reconcile.Segment) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.readStripes() != nil {
		r.stripes = nil // its runs are judged as copies then, of which there are too few
	}
	for number, runs := range r.Runs {
		k := reconcile.Segment{Sizes: make([]core.Size, runs), At: map[core.ID]reconcile.Copies{}}
		if r.stripes != nil {
			k.Stripes = r.stripes[number]
		}
		for id, x := range r.known[number] {
			if x.asked.Empty() {
				continue
			}
			c := reconcile.Copies{Told: true, Receipted: core.NewBitmap(runs), Proved: core.NewBitmap(runs)}
			for run := range runs {
				if x.asked.Has(run) && x.receipted.Has(run) {
					c.Receipted.Set(run)
				}
				if x.counts(run) && (r.Window || r.held[id]) {
					c.Proved.Set(run)
				}
			}
			k.At[id] = c
		}
		known = append(known, k)
	}
	return known
}

// Holder is what is on record of a node.
type Holder struct {
	Node     core.ID
	Runs     int       // that it is to keep
	Signed   int       // of them, that it gave a receipt for and was not found to lack
	Counting int       // of them, that count
	Audited  time.Time // when it proved last to have all of that, segment by segment; zero: never
	Held     bool      // it has ref and records
}

// Holders is who is to keep something.
func (r *Record) Holders() (all []Holder) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := map[core.ID]*Holder{}
	for number, runs := range r.Runs {
		for id, x := range r.known[number] {
			if x.asked.Empty() {
				continue
			}
			h, audited := at[id], time.Time{}
			if x.audited > 0 {
				audited = time.Unix(x.audited, 0)
			}
			if h == nil {
				h = &Holder{Node: id, Held: r.held[id], Audited: audited}
				at[id] = h
			}
			if audited.Before(h.Audited) {
				h.Audited = audited
			}
			for run := range runs {
				if x.asked.Has(run) {
					h.Runs++
				}
				if x.asked.Has(run) && x.receipted.Has(run) {
					h.Signed++
				}
				if x.counts(run) && (r.Window || h.Held) {
					h.Counting++
				}
			}
		}
	}
	for _, id := range core.Sorted(at) {
		all = append(all, *at[id])
	}
	return all
}

// Whole reports whether all of it counts at a node.
func (r *Record) Whole(id core.ID) bool {
	all := 0
	for _, runs := range r.Runs {
		all += runs
	}
	return slices.ContainsFunc(r.Holders(), func(h Holder) bool { return h.Node == id && h.Counting == all })
}

// KeptBeside reports whether others than a node are to keep something.
func (r *Record) KeptBeside(id core.ID) bool {
	return slices.ContainsFunc(r.Holders(), func(h Holder) bool { return h.Node != id })
}

// Others is who keeps something beside the coordinator.
func (r *Record) Others() []core.ID {
	return slices.DeleteFunc(r.Bound(), func(id core.ID) bool { return id == r.Coordinator })
}

// Shipment is what of a segment a node is to keep and does not have yet, as far as is known.
type Shipment struct {
	*Segment
	Node core.ID
	Runs []int
}

// Shipments is what a node is to keep and does not have, segment by segment. nodes is the snapshot's.
func (s *Standing) Shipments(node core.ID, nodes []core.NodeState) (shipments []Shipment) {
	for number, known := range s.Known(nodes) {
		p, has := Shipment{Segment: s.Segments[number], Node: node}, known.At[node]
		for _, run := range p.Share(node) {
			if !has.Has.Has(run) && !has.Receipted.Has(run) {
				p.Runs = append(p.Runs, run)
			}
		}
		if len(p.Runs) > 0 {
			shipments = append(shipments, p)
		}
	}
	return shipments
}
