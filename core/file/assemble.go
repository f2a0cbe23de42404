// SPDX-License-Identifier: Apache-2.0

package file

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/manifest"
	"golang.org/x/sync/errgroup"
)

// Chunks is where stored bytes on this machine come from. Safe for many goroutines.
type Chunks interface {
	// Get appends the stored bytes of a chunk, held against their hash, to dst; core.ErrNotFound where there are none.
	Get(ctx context.Context, hash core.Hash, dst []byte) ([]byte, error)
}

// Remote brings stored bytes from other machines.
type Remote interface {
	// Bring calls deliver once for every wanted chunk that it gets, from many goroutines, with bytes that match the
	// chunk's hash; it returns those that nobody could give, and why.
	Bring(ctx context.Context, wanted []core.Sealed, deliver func(core.Hash, []byte) error) (missing []core.Hash,
		why error)
}

// Assembly is a file, or a range of one, to be put together from its manifest. Every chunk is looked for where it costs
// least: in what an interrupted assembly left, in seeds, on this machine, at last elsewhere.
type Assembly struct {
	Root    core.Sealed
	Secrets chunk.Secrets // tell whether bytes that are there are those of a chunk
	Local   Chunks
	Remote  Remote // nil: there is nobody to ask
	Output  Output
	Start   core.Size // first byte wanted
	End     core.Size // first byte no longer wanted
	Seeds   []*Seed
	Partial bool // leave holes where chunks are lost, and tell which
	// Progress is told the plain bytes in place, never twice at a time; nil: nobody.
	Progress func(done core.Size)
}

// Output takes the bytes of an assembly, the first wanted one at 0. Safe for many goroutines.
type Output interface {
	io.WriterAt
	// ReadAt reads what an interrupted assembly left there; io.EOF or zeros where nothing is.
	io.ReaderAt
	// Window is how many bytes may be under way at a time, and Flush is called when all before at are in place.
	Window() core.Size
	Flush(at core.Size) error
}

// Assembled says where the bytes came from. Plain bytes, but for Stored.
type Assembled struct {
	Bytes   core.Size
	Resumed core.Size    // were there from before
	Seeded  core.Size    // were in a seed
	Stored  core.Size    // stored bytes that were read on this machine
	Holes   []core.Range // lost, with Partial; in bytes of the file
	Passed  core.Size    // flushed: all from the first wanted byte on
}

// want is a chunk that one window needs, and where it goes.
type want struct {
	sealed core.Sealed
	places []core.Size // in the file
}

// window is a stretch of the file that is put together at a time, so that memory does not grow with the file.
type window struct {
	end   core.Size
	wants []*want // in the order of the file, each chunk once
	index map[core.Hash]*want
}

// assembler carries out an Assembly.
type assembler struct {
	Assembly
	ctx      context.Context
	cores    int
	done     atomic.Int64
	resumed  atomic.Int64
	seeded   atomic.Int64
	stored   atomic.Int64
	progress sync.Mutex
	openers  sync.Pool // *joiner
	holes    []core.Range
	passed   core.Size
}

// Assemble puts the file together. Where it fails the output holds a part; what was there is found again by the next
// one.
func Assemble(ctx context.Context, in Assembly) (Assembled, error) {
	group, inner := errgroup.WithContext(ctx)
	cores, done := takeCores()
	defer done()
	a := &assembler{Assembly: in, ctx: inner, cores: cores}
	missing := make(chan *window, 1) // windows of which some chunks are not on this machine
	group.Go(func() error {
		defer close(missing)
		return a.windows(func(w *window) error {
			if err := a.fromHere(w); err != nil {
				return err
			}
			select {
			case missing <- w:
				return nil
			case <-inner.Done():
				return context.Cause(inner)
			}
		})
	})
	group.Go(func() error {
		for w := range missing {
			if err := a.fromElsewhere(w); err != nil {
				return err
			}
			if err := a.Output.Flush(w.end - a.Start); err != nil {
				return err
			}
			a.passed = w.end - a.Start
		}
		return nil
	})
	err := group.Wait()
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, context.Canceled) {
		err = cause
	}
	return Assembled{
		Bytes: core.Size(a.done.Load()), Resumed: core.Size(a.resumed.Load()), Seeded: core.Size(a.seeded.Load()),
		Stored: core.Size(a.stored.Load()), Holes: a.holes, Passed: a.passed,
	}, err
}

// windows walks the manifest and calls ready for one window after another.
func (a *assembler) windows(ready func(*window) error) error {
	w := &window{index: map[core.Hash]*want{}}
	begin := a.Start
	err := manifest.Nodes(a.Root, &nodeOpener{a.ctx, a.Local, chunk.NewOpener()}, func(e manifest.Entry) error {
		end := e.Offset + e.Span
		if end <= a.Start || e.Offset >= a.End {
			if e.Type == core.TypeDirectory && e.Span > 0 {
				return manifest.SkipNode
			}
			return nil
		}
		if e.Type == core.TypeDirectory {
			return nil
		}
		if e.Hole() {
			if err := a.hole(max(e.Offset, a.Start), min(end, a.End)); err != nil {
				return err
			}
		} else {
			w.add(e)
		}
		w.end = min(end, a.End)
		if w.end-begin < a.Output.Window() {
			return nil
		}
		full := w
		w, begin = &window{index: map[core.Hash]*want{}}, full.end
		return ready(full)
	})
	if err == nil && (len(w.wants) > 0 || w.end > 0) {
		err = ready(w)
	}
	return err
}

// hole leaves zeros, or writes them where the output does not have them of itself.
func (a *assembler) hole(from, to core.Size) error {
	a.add(to - from)
	if z, ok := a.Output.(interface {
		Zero(from, to core.Size) error
	}); ok {
		return z.Zero(from-a.Start, to-a.Start)
	}
	return nil
}

func (w *window) add(e manifest.Entry) {
	n := w.index[e.Chunk.Hash]
	if n == nil {
		n = &want{sealed: e.Chunk}
		w.index[e.Chunk.Hash] = n
		w.wants = append(w.wants, n)
	}
	n.places = append(n.places, e.Offset)
}

// fromHere writes every chunk of the window that is on this machine, with all cores; the others stay wanted.
func (a *assembler) fromHere(w *window) error {
	group, ctx := errgroup.WithContext(a.ctx)
	next := atomic.Int64{}
	absent := make([]bool, len(w.wants))
	for range min(4*a.cores, 16) { // more than cores: some wait for disks
		group.Go(func() error {
			j := a.joiner()
			defer a.openers.Put(j)
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(w.wants) {
					return nil
				}
				there, err := a.here(j, w.wants[i])
				if err != nil {
					return fmt.Errorf("chunk at byte %d: %w", w.wants[i].places[0], err)
				}
				absent[i] = !there
			}
			return context.Cause(ctx)
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	left := w.wants[:0]
	for i, n := range w.wants {
		if absent[i] {
			left = append(left, n)
		}
	}
	w.wants = left
	return nil
}

// here finds one chunk on this machine and puts it into its places.
func (a *assembler) here(j *joiner, n *want) (bool, error) {
	if a.inPlace(j, n) {
		return true, nil
	}
	for _, s := range a.Seeds {
		if plain, ok := s.find(n.sealed, j, a.Secrets); ok {
			a.seeded.Add(int64(len(plain)) * int64(len(n.places)))
			return true, a.write(n, plain)
		}
	}
	stored, err := a.Local.Get(a.ctx, n.sealed.Hash, j.stored[:0])
	if errors.Is(err, core.ErrNotFound) || core.CodeOf(err) == core.CodeWrong && (a.Remote != nil || a.Partial) {
		return false, nil // damaged here: others may have it whole, or it becomes a hole
	}
	if err != nil {
		return false, err
	}
	j.stored = stored
	a.stored.Add(int64(len(stored)))
	return true, a.open(j, n, stored)
}

// inPlace reports whether an interrupted assembly left the chunk in every place where it goes: bytes are those of the
// chunk if they give its key.
func (a *assembler) inPlace(j *joiner, n *want) bool {
	size := n.sealed.Plain
	j.plain = slices.Grow(j.plain[:0], int(size))[:size]
	for _, at := range n.places {
		if at < a.Start || at+size > a.End {
			return false
		}
		if read, err := a.Output.ReadAt(j.plain, int64(at-a.Start)); core.Size(read) < size || err != nil &&
			err != io.EOF {
			return false
		}
		if _, k := a.Secrets.Identify(core.KindChunk, j.plain); k != n.sealed.Key {
			return false
		}
	}
	a.resumed.Add(int64(size) * int64(len(n.places)))
	a.add(size * core.Size(len(n.places)))
	return true
}

// open unseals a chunk and puts it into its places.
func (a *assembler) open(j *joiner, n *want, stored []byte) error {
	plain, err := j.opener.OpenSealed(j.plain[:0], core.KindChunk, n.sealed, stored)
	if err != nil {
		return err
	}
	j.plain = plain
	return a.write(n, plain)
}

// write puts plain bytes into every place of a chunk, as far as they are wanted.
func (a *assembler) write(n *want, plain []byte) error {
	for _, at := range n.places {
		from, to := max(at, a.Start), min(at+core.Size(len(plain)), a.End)
		if _, err := a.Output.WriteAt(plain[from-at:to-at], int64(from-a.Start)); err != nil {
			return err
		}
		a.add(to - from)
	}
	return nil
}

func (a *assembler) add(bytes core.Size) {
	done := a.done.Add(int64(bytes))
	if a.Progress == nil {
		return
	}
	a.progress.Lock()
	defer a.progress.Unlock()
	a.Progress(core.Size(done))
}

// fromElsewhere brings what this machine does not have.
func (a *assembler) fromElsewhere(w *window) error {
	if len(w.wants) == 0 {
		return nil
	}
	wanted := make([]core.Sealed, len(w.wants))
	for i, n := range w.wants {
		wanted[i] = n.sealed
	}
	missing, why := make([]core.Hash, len(wanted)), error(nil)
	if a.Remote == nil {
		for i, s := range wanted {
			missing[i] = s.Hash
		}
	} else {
		missing, why = a.Remote.Bring(a.ctx, wanted, func(hash core.Hash, stored []byte) error {
			j := a.joiner()
			defer a.openers.Put(j)
			return a.open(j, w.index[hash], stored)
		})
	}
	if len(missing) == 0 {
		return why
	}
	if a.ctx.Err() != nil {
		return context.Cause(a.ctx)
	}
	return a.lost(w, missing, why)
}

// lost notes the holes that missing chunks leave, or is the error that they are.
func (a *assembler) lost(w *window, missing []core.Hash, why error) error {
	var bytes core.Size
	first := a.End
	for _, hash := range missing {
		n := w.index[hash]
		for _, at := range n.places {
			from, to := max(at, a.Start), min(at+n.sealed.Plain, a.End)
			a.holes = append(a.holes, core.Range{Start: int(from), Length: int(to - from)})
			first = min(first, from)
			bytes += to - from
		}
	}
	a.holes = joined(a.holes)
	if a.Partial {
		return nil
	}
	err := core.Fail(core.CodeRedundant, "%s from byte %d on can be had from nowhere", bytes, first)
	if why != nil {
		err = core.Fail(cmp.Or(core.CodeOf(why), core.CodeRedundant), "%w: %w", err, why)
	}
	return core.WithHint(err, "%s", cmp.Or(core.HintOf(why),
		"start more of its holders and fetch again, or take what is left with --partial"))
}

// joined sorts ranges and joins those that touch.
func joined(ranges []core.Range) (out []core.Range) {
	slices.SortFunc(ranges, func(x, y core.Range) int { return cmp.Compare(x.Start, y.Start) })
	for _, r := range ranges {
		if last := len(out) - 1; last >= 0 && out[last].Start+out[last].Length >= r.Start {
			out[last].Length = max(out[last].Length, r.Start+r.Length-out[last].Start)
			continue
		}
		out = append(out, r)
	}
	return out
}

// joiner opens for one goroutine at a time and keeps its memory from chunk to chunk.
type joiner struct {
	opener *chunk.Opener
	stored []byte
	plain  []byte
}

func (a *assembler) joiner() *joiner {
	if j, ok := a.openers.Get().(*joiner); ok {
		return j
	}
	return &joiner{opener: chunk.NewOpener()}
}

// nodeOpener opens a manifest's tree nodes for one goroutine.
type nodeOpener struct {
	ctx    context.Context // of the walk
	source Chunks
	opener *chunk.Opener
}

// OpenNode makes it a manifest.Opener.
func (n *nodeOpener) OpenNode(s core.Sealed) ([]byte, error) {
	stored, err := n.source.Get(n.ctx, s.Hash, nil)
	if err != nil {
		return nil, err
	}
	return n.opener.OpenSealed(nil, core.KindNode, s, stored)
}
