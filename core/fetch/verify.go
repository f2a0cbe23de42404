// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"context"
	"slices"
	"sync"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/manifest"
	"github.com/bkp-tool/bkp/core/wire"
)

// Look says what of a version a verification looks at.
type Look struct {
	All   bool    // also chunks that are on this machine
	Share float64 // of the runs, to be brought from every holder and held against their hashes
	// Wanted is how many copies a version is to have of what is in no stripe, as far as this machine knows, else 0: where
	// so many are kept, more that a holder lost are nothing to report. nil: it knows nothing.
	Wanted func(alias string, number int) int
}

// Report says what the holders of a version keep.
type Report struct {
	Version int
	Size    core.Size // plain bytes of the version
	Chunks  int       // asked for
	Bytes   core.Size // stored, of them
	Copies  int       // the fewest holders that keep any of them; of stripes, the losses that the worst bears, and one
	Staged  int       // chunks, not asked for, that are on this machine and on no record
	Read    core.Size // stored bytes that were brought
	Holders []Holder  // those on record
	Damaged []core.Damaged
}

// Holder is what a holder keeps of a version, of what was asked for.
type Holder struct {
	Node     core.ID
	Runs     int       // on record
	Kept     int       // of them, by its own word
	Bytes    core.Size // stored, of what it keeps
	Problem  string
	Degraded []string // what it says is wrong with it
}

// maxDamaged bounds the stretches that a verification names.
const maxDamaged = 1 << 14

// Verify holds the records of a version against what its holders say that they keep, or against their bytes. A report
// may accompany an error.
func (f *Fetcher) Verify(ctx context.Context, name string, number int, look Look) (Report, error) {
	v, err := f.find(ctx, name, number)
	if err != nil {
		return Report{}, err
	}
	defer v.Close()
	w := &verifying{Version: v, look: look, need: needs{index: &v.index}, rows: map[core.ID]*Holder{},
		keeps: map[core.ID]map[core.Hash]bool{}, bad: map[core.Hash][]core.Damaged{}}
	if look.Wanted != nil {
		w.wanted = look.Wanted(v.Ref.Alias, v.Ref.Version)
	}
	w.report = Report{Version: v.Ref.Version, Size: v.Body.Size}
	err = w.run(ctx)
	return w.report, err
}

// verifying is a verification under way.
type verifying struct {
	*Version
	look   Look
	wanted int   // copies of what is in no stripe; 0: not known
	need   needs // chunks asked for
	rows   map[core.ID]*Holder
	keeps  map[core.ID]map[core.Hash]bool // run hashes by holder
	bad    map[core.Hash][]core.Damaged   // by chunk; places are filled in at the end
	report Report
}

func (v *verifying) run(ctx context.Context) error {
	if err := v.readRecords(ctx); err != nil {
		return err
	}
	v.fetcher.Teller.Phase("ask")
	v.reachHolders(ctx, true)
	v.askHolders(ctx)
	if err := v.bringNodes(ctx); err != nil && ctx.Err() != nil {
		return err // else the tree nodes that are lost are named below
	}
	if err := v.walk(ctx); err != nil {
		return err
	}
	v.count()
	if v.look.Share > 0 {
		if err := v.read(ctx); err != nil {
			return err
		}
	}
	if err := v.place(ctx); err != nil {
		return err
	}
	for _, row := range v.rows {
		v.report.Holders = append(v.report.Holders, *row)
	}
	slices.SortFunc(v.report.Holders, func(a, b Holder) int { return a.Node.Compare(b.Node) })
	return nil
}

// askHolders has every holder on record list what it keeps.
func (v *verifying) askHolders(ctx context.Context) {
	for _, holders := range v.index.holders {
		for _, id := range holders {
			if v.rows[id] == nil {
				v.rows[id] = &Holder{Node: id}
			}
		}
	}
	var mu sync.Mutex
	var group sync.WaitGroup
	for id, row := range v.rows {
		group.Go(func() {
			kept, degraded, err := v.fetcher.keptBy(ctx, id)
			mu.Lock()
			defer mu.Unlock()
			row.Degraded = degraded
			if v.keeps[id] = kept; err != nil {
				row.Problem = err.Error()
			}
		})
	}
	group.Wait()
}

// keptBy is the runs that a peer says it keeps, by their hashes, and what it says is wrong with it.
func (f *Fetcher) keptBy(ctx context.Context, id core.ID) (kept map[core.Hash]bool, degraded []string, err error) {
	kept = map[core.Hash]bool{}
	for after, more := 0, true; more; {
		report, err := wire.Ask[wire.StateReport](ctx, f.Peers, id, func(q uint64) wire.Message {
			return wire.StateQuery{Query: q, Owner: f.Owner.ID(), Files: true, After: after}
		})
		if err != nil {
			return nil, nil, err
		}
		degraded = report.Degraded
		for _, f := range report.Files {
			kept[f.Hash] = true // a run whose bytes are gone is listed without its hash
		}
		after += len(report.Files)
		more = report.More && len(report.Files) > 0
	}
	return kept, degraded, nil
}

// walk finds the runs that are needed and what nobody keeps.
func (v *verifying) walk(ctx context.Context) error {
	v.report.Copies = -1
	return v.nodes(func(e manifest.Entry) error {
		hash := e.Chunk.Hash
		at, placed := v.index.where[hash]
		if e.Hole() {
			return context.Cause(ctx)
		}
		here := false
		if !placed || !v.look.All {
			var err error
			if here, err = v.fetcher.Here.Has(ctx, hash); err != nil {
				return err
			}
		}
		switch {
		case here && !v.look.All:
			return context.Cause(ctx)
		case here && !placed:
			v.report.Staged++ // a version that was never placed, or was placed in part
			return context.Cause(ctx)
		case !placed:
			v.note(hash, core.Damaged{Reason: errNotHere.Error()})
			return context.Cause(ctx)
		}
		if v.need.add(at) {
			v.report.Chunks++
			v.report.Bytes += e.Chunk.Size
		}
		if v.copies(at.run) == 0 {
			v.note(hash, core.Damaged{Reason: "it is at no holder that answers"})
		}
		return context.Cause(ctx)
	})
}

// nodes walks what can be read of the manifest; a tree node that cannot be is noted.
func (v *verifying) nodes(visit func(manifest.Entry) error) error {
	root := v.Body.Root
	if _, err := v.reader.OpenNode(root); err != nil {
		v.note(root.Hash, core.Damaged{Reason: "it is a tree node, and at no reachable holder"})
		return visit(manifest.Entry{Type: core.TypeDirectory, Chunk: root, Span: v.Body.Size})
	}
	return manifest.Nodes(root, v.reader, func(e manifest.Entry) error {
		if err := visit(e); err != nil || e.Type != core.TypeDirectory {
			return err
		}
		if _, err := v.reader.OpenNode(e.Chunk); err != nil {
			v.note(e.Chunk.Hash, core.Damaged{Reason: "it is a tree node, and at no reachable holder"})
			return manifest.SkipNode
		}
		return nil
	})
}

// note remembers what is wrong with a chunk, once for each node.
func (v *verifying) note(hash core.Hash, h core.Damaged) {
	known := slices.ContainsFunc(v.bad[hash], func(old core.Damaged) bool { return old.Node == h.Node })
	if !known && len(v.bad) < maxDamaged {
		h.Chunk = hash
		v.bad[hash] = append(v.bad[hash], h)
	}
}

// copies is how many holders keep a run, by their own word; of one in a stripe, how many losses that bears, and one.
func (v *verifying) copies(run int) (copies int) {
	if s := v.index.stripeOf(run); s >= 0 {
		left := 0
		for _, run := range v.index.stripes[s].runs {
			left += min(1, v.kept(run))
		}
		return max(0, 1+left-v.index.stripes[s].data)
	}
	return v.kept(run)
}

// kept is how many holders keep a run.
func (v *verifying) kept(run int) (copies int) {
	for _, id := range v.index.holders[run] {
		if v.keeps[id][v.index.runs[run].Hash] {
			copies++
		}
	}
	return copies
}

// needed is the stripes that runs are needed of.
func (v *verifying) needed() (stripes []int) {
	seen := map[int]bool{}
	for _, run := range v.need.order {
		if s := v.index.stripeOf(run); s >= 0 && !seen[s] {
			seen[s] = true
			stripes = append(stripes, s)
		}
	}
	return stripes
}

// count fills in what each holder keeps, and notes what it should keep and does not.
func (v *verifying) count() {
	for _, s := range v.needed() {
		for _, run := range v.index.stripes[s].runs[v.index.stripes[s].data:] {
			v.need.add(place{run, 0})
		}
	}
	for i, w := range v.need.wanted() {
		enough := v.enough(v.need.order[i])
		for _, id := range w.Holders {
			row := v.rows[id]
			switch {
			case v.keeps[id][w.Hash]:
				row.Runs++
				row.Kept++
				row.Bytes += w.Bytes()
			case enough:
			case row.Problem != "":
				row.Runs++
			default:
				row.Runs++
				w.Needed.Each(func(i int) {
					v.note(w.Chunks[i].Hash, core.Damaged{Node: id, Reason: "it does not keep it any more"})
				})
			}
		}
		if copies := v.copies(v.need.order[i]); v.report.Copies < 0 || copies < v.report.Copies {
			v.report.Copies = copies
		}
	}
	v.report.Copies = max(v.report.Copies, 0)
}

// enough reports whether as many nodes keep a run as are to.
func (v *verifying) enough(run int) bool {
	wanted := v.wanted
	if wanted > 0 && v.index.stripeOf(run) >= 0 {
		wanted = 1
	}
	return wanted > 0 && v.kept(run) >= wanted
}

// place finds the stretches of the file that damaged chunks stand for.
func (v *verifying) place(ctx context.Context) error {
	if len(v.bad) == 0 {
		return nil
	}
	for _, run := range v.need.order {
		if r := v.index.runs[run]; r.Type == core.TypeParity {
			for _, h := range v.bad[r.Chunks[0].Hash] {
				h.Reason = "parity of a stripe: " + h.Reason
				v.report.Damaged = append(v.report.Damaged, h)
			}
		}
	}
	return v.nodes(func(e manifest.Entry) error {
		for _, h := range v.bad[e.Chunk.Hash] {
			h.Start, h.Length = e.Offset, e.Span
			if e.Type == core.TypeDirectory && !h.Node.IsZero() {
				h.Reason = "tree node: " + h.Reason
			}
			all := &v.report.Damaged
			if last := len(*all) - 1; last >= 0 && h.Follows((*all)[last]) {
				(*all)[last].Length += h.Length
			} else if len(*all) < maxDamaged {
				*all = append(*all, h)
			}
		}
		return context.Cause(ctx)
	})
}
