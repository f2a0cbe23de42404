// SPDX-License-Identifier: Apache-2.0

package file

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"slices"
	"sort"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/manifest"
)

// Since is the version before: what did not change since stands in the new one as it stands there, and is not read.
type Since struct {
	Root    core.Sealed // of its manifest
	Changed []Extent    // of the source, in any order; what lies beyond the end of that version changed anyway
	Sample  float64     // the share of the unchanged chunks that are read all the same and held against it, 0 to 1
}

// Extent is bytes of a file.
type Extent struct{ Offset, Length core.Size }

// End is the first byte behind it.
func (e Extent) End() core.Size { return e.Offset + e.Length }

// tag tells splits apart that take other stretches over.
func (s *Since) tag() string {
	if s == nil {
		return ""
	}
	data := s.Root.Hash[:]
	for _, e := range s.Changed {
		data = binary.LittleEndian.AppendUint64(data, uint64(e.Offset))
		data = binary.LittleEndian.AppendUint64(data, uint64(e.Length))
	}
	return fmt.Sprintf(", since %s", chunk.Hash(data))
}

// stamp tells what is split from what is split at another time or in another way; empty where nobody can tell.
func (in SplitInput) stamp() string {
	if s := in.Source.Stamp(); s != "" {
		return s + in.Since.tag()
	}
	return ""
}

// extents is what of the source is to be read, where that is not all of it.
func (in SplitInput) extents(ctx context.Context) ([]Extent, error) {
	switch {
	case in.Since == nil:
		return nil, nil
	case in.Source.file == nil:
		return nil, core.Fail(core.CodeUsage, "only of a file or a block device can parts be read")
	case in.Digest != "":
		return nil, core.Fail(core.CodeUsage, "there is no digest of what is not read")
	}
	return toRead(ctx, in)
}

// merged is extents in order, cut at size, those that touch as one.
func merged(extents []Extent, size core.Size) (m []Extent) {
	sorted := slices.SortedFunc(slices.Values(extents), func(a, b Extent) int { return cmp.Compare(a.Offset, b.Offset) })
	for _, e := range sorted {
		end := size
		if e.Length < size-e.Offset { // whose sum may pass the largest number
			end = e.End()
		}
		switch last := len(m) - 1; {
		case e.Offset >= end:
		case last >= 0 && e.Offset <= m[last].End():
			m[last].Length = max(m[last].Length, end-m[last].Offset)
		default:
			m = append(m, Extent{e.Offset, end - e.Offset})
		}
	}
	return m
}

// toRead is what of the source must be read: the chunks of the version before that changed or are not to be had any
// more, of its holes what changed in them, and all beyond its end. In a file that is cut by content a little more is
// read behind each, so that cuts fall again where they fell before.
func toRead(ctx context.Context, in SplitInput) ([]Extent, error) {
	var read []Extent
	changed, slack, end := merged(in.Since.Changed, in.Source.Size), core.Size(0), core.Size(0)
	if in.Params.Method != chunk.MethodFixed {
		slack = core.Size(in.Params.Avg)
	}
	grid := core.Size(in.Params.Min)
	err := in.walkSince(ctx, func(e manifest.Entry) error {
		end = e.Offset + e.Span
		if e.Offset >= in.Source.Size {
			return manifest.SkipNode
		}
		for len(changed) > 0 && changed[0].End()+slack <= e.Offset {
			changed = changed[1:]
		}
		if e.Hole() {
			for _, c := range changed {
				if c.Offset >= end {
					break
				}
				from, to := max(c.Offset/grid*grid, e.Offset), min((c.End()+grid-1)/grid*grid, end)
				read = append(read, Extent{from, max(to-from, 0)})
			}
			return nil
		}
		touched := len(changed) > 0 && changed[0].Offset < end || end > in.Source.Size
		if !touched {
			has, err := in.Store.Has(ctx, e.Chunk.Hash)
			if err != nil {
				return err
			}
			touched = !has
		}
		if touched {
			read = append(read, Extent{e.Offset, e.Span})
		}
		return nil
	})
	if end < in.Source.Size {
		read = append(read, Extent{end, in.Source.Size - end})
	}
	return merged(read, in.Source.Size), err
}

// walkSince visits the chunks and holes of the version before in order. SkipNode of a visit ends it.
func (in SplitInput) walkSince(ctx context.Context, visit func(manifest.Entry) error) error {
	opener := &nodeOpener{ctx, in.Store, chunk.NewOpener()}
	err := manifest.Walk(in.Since.Root, opener, func(e manifest.Entry) error {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		return visit(e)
	})
	switch {
	case errors.Is(err, manifest.SkipNode):
		return nil
	case errors.Is(err, core.ErrNotFound):
		return core.WithHint(core.Fail(core.CodeRedundant, "the manifest of the version before is not on this machine"),
			"leave out --changed, so that all of the file is read")
	}
	return err
}

// keeper gives out what stays as it was, stretch by stretch in the order of the file.
type keeper struct {
	next func() (manifest.Entry, error, bool)
	stop func()
	at   manifest.Entry // the last that was given
	comparer
	sample float64
}

func newKeeper(ctx context.Context, in SplitInput) (*keeper, error) {
	if in.Since == nil {
		return nil, nil
	}
	c, err := newComparer(in.Source, in.Secrets)
	if err != nil {
		return nil, err
	}
	k := &keeper{comparer: c, sample: in.Since.Sample}
	k.next, k.stop = iter.Pull2(func(yield func(manifest.Entry, error) bool) {
		err := in.walkSince(ctx, func(e manifest.Entry) error {
			if !yield(e, nil) {
				return manifest.SkipNode
			}
			return nil
		})
		if err != nil {
			yield(manifest.Entry{}, err)
		}
	})
	return k, nil
}

// close ends the walk; nil has none.
func (k *keeper) close() {
	if k != nil {
		k.stop()
	}
}

// keep tells the chunks and holes of a stretch. It begins and ends where chunks do, but a hole may be told in part.
func (k *keeper) keep(from, to core.Size, tell func(core.Sealed) error) error {
	for from < to {
		for k.at.Offset+k.at.Span <= from {
			e, err, ok := k.next()
			if err != nil {
				return err
			}
			if !ok {
				return core.Fail(core.CodeWrong, "the version before ends at %d, not at %d", from, to)
			}
			k.at = e
		}
		e := k.at
		if e.Hole() {
			e.Span -= from - e.Offset
			e.Offset, e.Span = from, min(e.Span, to-from)
			e.Chunk.Plain = e.Span
		}
		if e.Offset != from || from+e.Span > to {
			return core.Fail(core.CodeWrong, "a chunk of the version before stands at %d, not at %d", e.Offset, from)
		}
		if err := k.check(e); err != nil {
			return err
		}
		if err := tell(e.Chunk); err != nil {
			return err
		}
		from += e.Span
	}
	return nil
}

// check holds what is said to be unchanged against the source, where the draw falls on it.
func (k *keeper) check(e manifest.Entry) error {
	if k.sample < 1 && rand.Float64() >= k.sample {
		return nil
	}
	same, err := k.same(e)
	if err == nil && !same {
		err = core.WithHint(core.Fail(core.CodeFailed, "bytes %d to %d changed since the version before, and are not "+
			"among the ranges that changed", e.Offset, e.Offset+e.Span-1),
			"what told the ranges is wrong: leave out --changed, so that all of the file is read")
	}
	return err
}

// comparer holds a source against a manifest without having the bytes of that: a chunk's key is drawn from its content.
type comparer struct {
	source *Source
	sealer *chunk.Sealer
	buf    []byte
}

func newComparer(source *Source, secrets chunk.Secrets) (comparer, error) {
	sealer, err := chunk.NewSealer(secrets, chunk.LevelOff)
	return comparer{source: source, sealer: sealer}, err
}

// mostCompared is how much of a hole is looked at, at a place that is drawn.
const mostCompared = core.MiB

// same reports whether the source has the bytes of an entry.
func (c *comparer) same(e manifest.Entry) (bool, error) {
	at, n := e.Offset, e.Span
	if e.Hole() && n > mostCompared {
		at, n = at+core.Size(rand.Int64N(int64(n-mostCompared+1))), mostCompared
	}
	c.buf = slices.Grow(c.buf[:0], int(n))[:n]
	if got, err := c.source.file.ReadAt(c.buf, int64(at)); got < len(c.buf) {
		if err == io.EOF {
			return false, nil
		}
		return false, fmt.Errorf("read: %w", err)
	}
	if e.Hole() {
		return len(bytes.TrimLeft(c.buf, "\x00")) == 0, nil
	}
	_, k := c.sealer.Identify(core.KindChunk, c.buf)
	return k == e.Chunk.Key, nil
}

// stretch is Source.stretch where only some of the source is read: kept says that what follows up to hole is no hole
// but stays as it was.
func (p *pipeline) stretch(at core.Size) (data, hole core.Size, kept bool, err error) {
	source := p.in.Source
	if p.in.Since == nil {
		data, hole, err = source.stretch(at, p.grid())
		return data, hole, false, err
	}
	i := sort.Search(len(p.extents), func(i int) bool { return p.extents[i].End() > at })
	if i == len(p.extents) || p.extents[i].Offset > at {
		next := source.Size
		if i < len(p.extents) {
			next = p.extents[i].Offset
		}
		return at, next, true, nil
	}
	end := p.extents[i].End()
	data, hole, err = source.stretch(at, p.grid())
	return min(data, end), min(hole, end), false, err
}
