package node

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/manifest"
	"github.com/bkp-tool/bkp/core/spread"
	"github.com/bkp-tool/bkp/core/wire"
)

// maxHurts bounds the stretches that a verification names.
const maxHurts = 1 << 14

// Verify holds the records of a version against what its holders say that they keep, or against their bytes.
func (n *Node) Verify(ctx context.Context, args control.VerifyArgs,
	status func(control.Status)) (control.VerifyResult, error) {
	v := &verifying{
		fetching: *newFetching(n, control.FetchArgs{Name: args.Name, Version: args.Version}, status),
		want:     args, rows: map[core.ID]*control.HolderRow{}, keeps: map[core.ID]map[core.Hash]bool{},
		bad: map[core.Hash][]core.Hurt{},
	}
	if _, err := n.identity("verify"); err != nil {
		return v.result, err
	}
	v.reader = n.reader(ctx)
	err := v.run(ctx)
	if err != nil {
		err = fmt.Errorf("verify %s: %w", args.Name, err)
	}
	return v.result, err
}

// verifying is a verification under way: a fetch that writes nothing.
type verifying struct {
	fetching
	want   control.VerifyArgs
	need   map[int]core.Bitmap // chunks asked for, by run
	rows   map[core.ID]*control.HolderRow
	keeps  map[core.ID]map[core.Hash]bool // run hashes by holder
	bad    map[core.Hash][]core.Hurt      // by chunk; places are filled in at the end
	result control.VerifyResult
}

func (v *verifying) run(ctx context.Context) error {
	if err := v.find(ctx); err != nil {
		return err
	}
	v.result.Name, v.result.Version, v.result.Size = v.want.Name, v.version.Ref.Version, v.version.Body.Size
	if err := v.readRecords(ctx); err != nil {
		return err
	}
	v.status(control.Status{Phase: "ask"})
	v.askHolders(ctx)
	if err := v.bringNodes(ctx); err != nil && ctx.Err() != nil {
		return err // else the tree nodes that are lost are named below
	}
	if err := v.walk(ctx); err != nil {
		return err
	}
	v.count()
	if v.want.Share > 0 {
		if err := v.read(ctx); err != nil {
			return err
		}
	}
	if err := v.place(ctx); err != nil {
		return err
	}
	for _, row := range v.rows {
		v.n.ask(func() { row.Address = v.n.addressOf(row.Node) })
		v.result.Holders = append(v.result.Holders, *row)
	}
	slices.SortFunc(v.result.Holders, func(a, b control.HolderRow) int { return a.Node.Compare(b.Node) })
	return nil
}

// askHolders has every holder on record list what it keeps.
func (v *verifying) askHolders(ctx context.Context) {
	for _, holders := range v.holders {
		for _, id := range holders {
			if v.rows[id] == nil {
				v.rows[id] = &control.HolderRow{Node: id}
			}
		}
	}
	var mu sync.Mutex
	var ids []core.ID
	for id := range v.rows {
		ids = append(ids, id)
	}
	v.n.each(len(ids), func(i int) {
		kept, degraded, err := v.n.keptBy(ctx, ids[i])
		mu.Lock()
		defer mu.Unlock()
		v.rows[ids[i]].Degraded = degraded
		if v.keeps[ids[i]] = kept; err != nil {
			v.rows[ids[i]].Problem = err.Error()
		}
	})
}

// keptBy is the runs that a peer says it keeps, by their hashes, and what it says is wrong with it.
func (n *Node) keptBy(ctx context.Context, id core.ID) (kept map[core.Hash]bool, degraded []string, err error) {
	kept = map[core.Hash]bool{}
	for after, more := 0, true; more; {
		report, err := query[wire.StateReport](ctx, n, id, func(q uint64) wire.Message {
			return wire.StateQuery{Query: q, Owner: n.owner().ID(), Files: true, After: after}
		})
		if err != nil {
			return nil, nil, err
		}
		degraded = report.Degraded
		for _, f := range report.Files {
			if !f.Hash.IsZero() { // a run whose bytes are gone is listed without it
				kept[f.Hash] = true
			}
		}
		after += len(report.Files)
		more = report.More && len(report.Files) > 0
	}
	return kept, degraded, nil
}

// walk finds the runs that are needed and what nobody keeps.
func (v *verifying) walk(ctx context.Context) error {
	v.need, v.result.Copies = map[int]core.Bitmap{}, -1
	visit := func(e manifest.Entry) error {
		hash := e.Chunk.Hash
		at, placed := v.where[hash]
		if e.Hole() {
			return context.Cause(ctx)
		}
		here := false
		if !placed || !v.want.All {
			var err error
			if here, err = v.n.here().Has(ctx, hash); err != nil {
				return err
			}
		}
		if here && !v.want.All {
			return context.Cause(ctx)
		}
		if !placed {
			if here {
				v.result.Staged++ // a version that was never placed, or was placed in part
				return context.Cause(ctx)
			}
			v.note(hash, core.Hurt{Reason: errNotHere.Error()})
			return context.Cause(ctx)
		}
		if v.need[at.run] == nil {
			v.need[at.run] = core.NewBitmap(len(v.runs[at.run].Chunks))
		}
		if !v.need[at.run].Has(at.index) {
			v.need[at.run].Set(at.index)
			v.result.Chunks++
			v.result.Bytes += e.Chunk.Size
		}
		if v.copies(at.run) == 0 {
			v.note(hash, core.Hurt{Reason: "it is at no holder that answers"})
		}
		return context.Cause(ctx)
	}
	return v.nodes(visit)
}

// nodes walks what can be read of the manifest; a tree node that cannot be is noted.
func (v *verifying) nodes(visit func(manifest.Entry) error) error {
	root := v.version.Body.Root
	if _, err := v.reader.OpenNode(root); err != nil {
		v.note(root.Hash, core.Hurt{Reason: "it is a tree node, and at no reachable holder"})
		return visit(manifest.Entry{Type: core.TypeDirectory, Chunk: root, Span: v.version.Body.Size})
	}
	return manifest.Nodes(root, v.reader, func(e manifest.Entry) error {
		if err := visit(e); err != nil || e.Type != core.TypeDirectory {
			return err
		}
		if _, err := v.reader.OpenNode(e.Chunk); err != nil {
			v.note(e.Chunk.Hash, core.Hurt{Reason: "it is a tree node, and at no reachable holder"})
			return manifest.SkipNode
		}
		return nil
	})
}

// note remembers what is wrong with a chunk, once for each node.
func (v *verifying) note(hash core.Hash, h core.Hurt) {
	known := slices.ContainsFunc(v.bad[hash], func(old core.Hurt) bool { return old.Node == h.Node })
	if !known && len(v.bad) < maxHurts {
		h.Chunk = hash
		v.bad[hash] = append(v.bad[hash], h)
	}
}

// copies is how many holders keep a run, by their own word.
func (v *verifying) copies(run int) (copies int) {
	for _, id := range v.holders[run] {
		if v.keeps[id][v.runs[run].Hash] {
			copies++
		}
	}
	return copies
}

// count fills in what each holder keeps, and notes what it should keep and does not.
func (v *verifying) count() {
	for run, need := range v.need {
		copies := v.copies(run)
		if v.result.Copies < 0 || copies < v.result.Copies {
			v.result.Copies = copies
		}
		for _, id := range v.holders[run] {
			row := v.rows[id]
			row.Runs++
			switch {
			case v.keeps[id][v.runs[run].Hash]:
				row.Kept++
				row.Bytes += wantedSize(v.runs[run].Run, need)
			case row.Problem == "":
				v.noteRun(run, need, core.Hurt{Node: id, Reason: "it does not keep it any more"})
			}
		}
	}
	v.result.Copies = max(v.result.Copies, 0)
}

func wantedSize(r core.Run, wanted core.Bitmap) (bytes core.Size) {
	for i, c := range r.Chunks {
		if wanted.Has(i) {
			bytes += c.Size
		}
	}
	return bytes
}

func (v *verifying) noteRun(run int, need core.Bitmap, h core.Hurt) {
	for i, c := range v.runs[run].Chunks {
		if need.Has(i) {
			v.note(c.Hash, h)
		}
	}
}

// copied is what a holder is asked to show: chunks of a run.
type copied struct {
	run     int
	holder  core.ID
	chunks  []int // of the run
	corrupt bool  // its bytes there are wrong; else they did not come
}

// read brings a share of the runs from every holder that says it keeps them. Of a run with wrong bytes every chunk is
// asked for by itself, so that the wrong ones are told from those beside them.
func (v *verifying) read(ctx context.Context) error {
	var all []copied
	for run, need := range v.need {
		if rand.Float64() >= v.want.Share {
			continue
		}
		for _, id := range v.holders[run] {
			if v.keeps[id][v.runs[run].Hash] {
				all = append(all, copied{run: run, holder: id, chunks: chosen(need, len(v.runs[run].Chunks))})
			}
		}
	}
	slices.SortFunc(all, func(a, b copied) int { return cmp.Compare(a.run, b.run) })
	broken, err := v.bringCopies(ctx, all)
	for len(broken) > 0 && err == nil {
		var single, rest []copied
		for _, c := range broken {
			if !c.corrupt {
				v.noteChunks(c, core.Hurt{Reason: "it did not come: " +
					cmp.Or(v.known[c.holder].Lost, "that holder does not have it whole")})
				continue
			}
			single = append(single, copied{run: c.run, holder: c.holder, chunks: c.chunks[:1]})
			if len(c.chunks) > 1 {
				rest = append(rest, copied{run: c.run, holder: c.holder, chunks: c.chunks[1:], corrupt: true})
			}
		}
		var wrong []copied
		if wrong, err = v.bringCopies(ctx, single); err != nil {
			break
		}
		for _, c := range wrong {
			// A holder that noticed says by now that it has the chunk no more.
			v.noteChunks(c, core.Hurt{Wrong: c.corrupt || v.known[c.holder].Lost == "",
				Reason: "its bytes there do not match its hash"})
		}
		broken = rest
	}
	for _, s := range v.known {
		v.result.Read += s.Got
	}
	return err
}

func (v *verifying) noteChunks(c copied, h core.Hurt) {
	h.Node = c.holder
	for _, i := range c.chunks {
		v.note(v.runs[c.run].Chunks[i].Hash, h)
	}
}

// bringCopies asks holders for chunks and throws them away once they are verified. What did not come is returned.
func (v *verifying) bringCopies(ctx context.Context, all []copied) (broken []copied, err error) {
	wanted, came := make([]spread.Wanted, len(all)), make([]core.Bitmap, len(all))
	for i, c := range all {
		run := v.runs[c.run].Run
		bits := core.NewBitmap(len(run.Chunks))
		for _, chunk := range c.chunks {
			bits.Set(chunk)
		}
		wanted[i] = spread.Wanted{Run: run, Needed: bits, Holders: []core.ID{c.holder}}
		came[i] = core.NewBitmap(len(run.Chunks))
	}
	var mu sync.Mutex
	v.judges = true
	left, wrong, err := v.download(ctx, wanted, "verify", func(_ core.ID, run, index int, _ []byte) error {
		mu.Lock()
		defer mu.Unlock()
		came[run].Set(index)
		return nil
	})
	if err != nil && (len(left) == 0 || ctx.Err() != nil) {
		return nil, err
	}
	mu.Lock()
	defer mu.Unlock()
	for i, c := range all {
		if rest := slices.DeleteFunc(slices.Clone(c.chunks),
			func(chunk int) bool { return came[i].Has(chunk) }); len(rest) > 0 {
			broken = append(broken, copied{c.run, c.holder, rest, slices.Contains(wrong, i)})
		}
	}
	return broken, nil
}

func chosen(need core.Bitmap, count int) (indexes []int) {
	for i := range count {
		if need.Has(i) {
			indexes = append(indexes, i)
		}
	}
	return indexes
}

// place finds the stretches of the file that hurt chunks stand for.
func (v *verifying) place(ctx context.Context) error {
	if len(v.bad) == 0 {
		return nil
	}
	return v.nodes(func(e manifest.Entry) error {
		for _, h := range v.bad[e.Chunk.Hash] {
			h.Start, h.Length = e.Offset, e.Span
			if e.Type == core.TypeDirectory && !h.Node.IsZero() {
				h.Reason = "tree node: " + h.Reason
			}
			all := &v.result.Hurt
			if last := len(*all) - 1; last >= 0 && h.Follows((*all)[last]) {
				(*all)[last].Length += h.Length
			} else if len(*all) < maxHurts {
				*all = append(*all, h)
			}
		}
		return context.Cause(ctx)
	})
}
