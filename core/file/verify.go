// SPDX-License-Identifier: Apache-2.0

package file

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/manifest"
	"golang.org/x/sync/errgroup"
)

const (
	verifyBatch = 64 * core.MiB // plain bytes that are looked at between two words of progress
	maxSeen     = 1 << 20       // chunks remembered as read, so that versions do not read each other's again
	maxDamaged  = 1 << 14       // stretches that are named; of more only the sizes are told
)

// Verifier looks at versions where they stand on this machine, and writes nothing.
type Verifier struct {
	Local interface {
		Chunks
		Has(ctx context.Context, hash core.Hash) (bool, error)
	}
	Secrets chunk.Secrets
	Share   float64 // of the chunks to be read and opened: 1 is all, 0 none; each is looked for in any case

	seen map[[16]byte]struct{}
	bad  map[core.Hash]string // chunks known to be wrong
}

// Verified is what was found up to At.
type Verified struct {
	At      core.Size      `json:"at"` // in the file: all before it was looked at
	Chunks  int            `json:"chunks"`
	Read    core.Size      `json:"read_bytes"`    // stored, read and opened
	Missing core.Size      `json:"missing_bytes"` // plain, not on this machine
	Wrong   core.Size      `json:"wrong_bytes"`   // plain, damaged on this machine
	Damaged []core.Damaged `json:"hurt,omitempty"`
}

func (v *Verified) damaged(h core.Damaged) {
	if h.Wrong {
		v.Wrong += h.Length
	} else {
		v.Missing += h.Length
	}
	if last := len(v.Damaged) - 1; last >= 0 && h.Follows(v.Damaged[last]) {
		v.Damaged[last].Length += h.Length
	} else if len(v.Damaged) < maxDamaged {
		v.Damaged = append(v.Damaged, h)
	}
}

// Seen reports whether the chunk was read and opened already, good or bad.
func (v *Verifier) Seen(hash core.Hash) bool {
	_, ok := v.seen[[16]byte(hash[:16])]
	return ok
}

// Verify looks at a version of size plain bytes, from before.At on. progress is told what was found so far and may keep
// it as before of another try; an error of it ends the work. A manifest that cannot be read is a damaged stretch like
// any other.
func (v *Verifier) Verify(ctx context.Context, root core.Sealed, size core.Size, before Verified,
	progress func(Verified) error) (Verified, error) {
	cores, done := takeCores()
	defer done()
	if v.seen == nil {
		v.seen, v.bad = map[[16]byte]struct{}{}, map[core.Hash]string{}
	}
	for _, h := range before.Damaged {
		if h.Wrong {
			v.bad[h.Chunk] = h.Reason
		}
	}
	found := before
	nodes := &onceOpener{nodeOpener: nodeOpener{ctx, v.Local, chunk.NewOpener()}}
	var batch []manifest.Entry
	var bytes core.Size
	flush := func(at core.Size) error {
		if err := v.look(ctx, cores, batch, &found); err != nil {
			return err
		}
		batch, bytes, found.At = batch[:0], 0, at
		return progress(found)
	}
	if _, err := nodes.OpenNode(root); err != nil {
		if !v.isHurt(err) {
			return found, err
		}
		found.damaged(damagedBy(err, 0, size, root.Hash))
		return found, progress(found)
	}
	err := manifest.Nodes(root, nodes, func(e manifest.Entry) error {
		end := e.Offset + e.Span
		switch {
		case e.Type == core.TypeDirectory && e.Span > 0 && end <= before.At:
			return manifest.SkipNode
		case e.Type == core.TypeDirectory:
			if _, err := nodes.OpenNode(e.Chunk); err != nil {
				if !v.isHurt(err) {
					return err
				}
				found.damaged(damagedBy(fmt.Errorf("tree node: %w", err), e.Offset, e.Span, e.Chunk.Hash))
				return manifest.SkipNode
			}
			return nil
		case end <= before.At || e.Hole():
			return nil
		}
		batch = append(batch, e)
		if bytes += e.Span; bytes < verifyBatch {
			return nil
		}
		return flush(end)
	})
	if core.CodeOf(err) == core.CodeWrong { // a tree that no builder makes
		found.damaged(damagedBy(err, found.At, size-found.At, root.Hash))
		err = nil
	}
	if err == nil {
		err = flush(size)
	}
	return found, err
}

// isHurt tells what is wrong with a chunk from what keeps us from looking.
func (v *Verifier) isHurt(err error) bool {
	return errors.Is(err, core.ErrNotFound) || core.CodeOf(err) == core.CodeWrong
}

func damagedBy(err error, at, length core.Size, hash core.Hash) core.Damaged {
	if errors.Is(err, core.ErrNotFound) {
		return core.Damaged{Start: at, Length: length, Chunk: hash, Reason: "it is not here"}
	}
	return core.Damaged{Start: at, Length: length, Chunk: hash, Wrong: true, Reason: err.Error()}
}

// look reads a batch with all cores, and notes what it finds in the order of the file.
func (v *Verifier) look(ctx context.Context, cores int, batch []manifest.Entry, found *Verified) error {
	read := make([]bool, len(batch))
	problems := make([]error, len(batch))
	for i, e := range batch {
		key := [16]byte(e.Chunk.Hash[:16])
		if _, twice := v.seen[key]; twice || rand.Float64() >= v.Share {
			continue
		}
		read[i] = true
		if len(v.seen) < maxSeen {
			v.seen[key] = struct{}{}
		}
	}
	var next, stored atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for range min(cores, 8) {
		group.Go(func() error {
			j := &joiner{opener: chunk.NewOpener()}
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				switch {
				case i >= len(batch):
					return nil
				case read[i]:
					problems[i] = v.open(ctx, j, batch[i].Chunk, &stored)
				default:
					problems[i] = v.find(ctx, batch[i].Chunk.Hash)
				}
				if problems[i] != nil && !v.isHurt(problems[i]) {
					return problems[i]
				}
			}
			return context.Cause(ctx)
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	found.Read += core.Size(stored.Load())
	for i, e := range batch {
		found.Chunks++
		if core.CodeOf(problems[i]) == core.CodeWrong {
			v.bad[e.Chunk.Hash] = problems[i].Error()
		}
		if reason, bad := v.bad[e.Chunk.Hash]; bad {
			found.damaged(core.Damaged{Start: e.Offset, Length: e.Span, Chunk: e.Chunk.Hash, Wrong: true,
				Reason: reason})
		} else if problems[i] != nil {
			found.damaged(damagedBy(problems[i], e.Offset, e.Span, e.Chunk.Hash))
		}
	}
	return nil
}

// find is core.ErrNotFound where a chunk is not here.
func (v *Verifier) find(ctx context.Context, hash core.Hash) error {
	has, err := v.Local.Has(ctx, hash)
	if err == nil && !has {
		err = core.ErrNotFound
	}
	return err
}

// open reads a chunk, opens it, and holds its plain bytes against their key.
func (v *Verifier) open(ctx context.Context, j *joiner, want core.Sealed, stored *atomic.Int64) (err error) {
	if j.stored, err = v.Local.Get(ctx, want.Hash, j.stored[:0]); err != nil {
		return err
	}
	stored.Add(int64(len(j.stored)))
	if j.plain, err = j.opener.OpenSealed(j.plain[:0], core.KindChunk, want, j.stored); err != nil {
		return err
	}
	if _, k := v.Secrets.Identify(core.KindChunk, j.plain); k != want.Key {
		return core.Fail(core.CodeWrong, "chunk %s opens to other bytes than those it was made of", want.Hash)
	}
	return nil
}

// onceOpener keeps the tree node that it opened last, since a walk opens it again.
type onceOpener struct {
	nodeOpener
	last  core.Hash
	plain []byte
}

func (o *onceOpener) OpenNode(s core.Sealed) ([]byte, error) {
	if o.last == s.Hash && o.plain != nil {
		return o.plain, nil
	}
	plain, err := o.nodeOpener.OpenNode(s)
	if err == nil {
		o.last, o.plain = s.Hash, plain
	}
	return plain, err
}
