// SPDX-License-Identifier: Apache-2.0

package file

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
)

const (
	blockRead = 4 << 20 // bytes read into a block, but half a chunk at least
	jobCount  = 64      // chunks between cut and collect, at most
)

// pipeline is a split under way. All its memory is made at the start and goes around in its channels.
type pipeline struct {
	in      SplitInput
	extents []Extent // to be read, where in.Since is there
	readers int
	mark    bool // readers look for marks, since one goroutine cannot cut for all workers
	head    int  // bytes kept free before what is read into a block, for the tail of the one before
	digest  *digester

	free   chan *block // readers take from here
	filled chan *block // readers → cut, in the order of the file; each to be waited for

	turn sync.Mutex // held by the reader that takes the next stretch
	at   core.Size  // where it begins; guarded by turn, like all below
	data core.Size  // up to here there is content
	hole core.Size  // and up to here a hole
	kept bool       // that is none, but stays as it was
	done bool       // nothing is left to read

	idle    chan *job // cut takes from here
	todo    chan *job // cut → workers; closed at the end
	ordered chan *job // cut → collect, the same jobs; closed at the end

}

// block is memory for a piece of the file. It is free again when its last user has let go.
type block struct {
	buf    []byte
	at     core.Size // in the file
	want   int       // bytes to read
	read   int       // bytes read
	marks  []chunk.Mark
	marked bool
	ends   bool      // the last chunk ends with it
	hole   core.Size // bytes of a hole behind it
	kept   bool      // that is none, but stays as it was
	last   bool      // nothing follows
	err    error
	ready  chan struct{} // one token when it is read
	users  atomic.Int32
}

// job is a chunk on its way. cut fills in plain and block, a worker the rest. A hole, and what is kept, has no plain
// bytes and nothing is done.
type job struct {
	block  *block
	plain  []byte
	sealed core.Sealed
	isNew  bool
	kept   bool          // a stretch of the version before
	done   chan struct{} // one token when a worker is done with it
}

// newPipeline begins at byte from of the source and, where in.Since is there, reads extents alone.
func newPipeline(in SplitInput, extents []Extent, cores int, from core.Size, digest *digester) *pipeline {
	p := &pipeline{
		in: in, extents: extents, digest: digest, head: in.Params.Max, readers: 1, at: from, data: from, hole: from,
		idle: make(chan *job, jobCount), todo: make(chan *job, jobCount), ordered: make(chan *job, jobCount),
	}
	if in.Source.file != nil {
		p.readers = min(max(2, cores/2), 6)
		p.mark = in.Params.Method != chunk.MethodFixed && (cores > 4 || in.marks)
	}
	blocks := p.readers + 3
	p.free, p.filled = make(chan *block, blocks), make(chan *block, blocks)
	for range blocks {
		p.free <- &block{ready: make(chan struct{}, 1)}
	}
	for range jobCount {
		p.idle <- &job{done: make(chan struct{}, 1)}
	}
	return p
}

// size is how many bytes are read into a block: a small file needs little.
func (p *pipeline) size() int {
	read := max(blockRead, p.in.Params.Max/2)
	if known := p.in.Source.Size; known >= 0 && known < core.Size(read) {
		read = int(known)
	}
	return read
}

// read fills blocks until the file ends; several goroutines may. Errors travel in the blocks.
func (p *pipeline) read(ctx context.Context) {
	for {
		b, err := receive(ctx, p.free)
		if err != nil {
			return
		}
		if b.buf == nil {
			b.buf = make([]byte, p.head+p.size())
		}
		b.users.Store(1)
		if !p.next(b) {
			return
		}
		if p.in.Source.file != nil {
			p.load(b)
		}
		b.ready <- struct{}{}
	}
}

// next gives the block the next piece of the file; false where there is none. A plain reader is read at once.
func (p *pipeline) next(b *block) bool {
	p.turn.Lock()
	defer p.turn.Unlock()
	if p.done {
		return false
	}
	b.at, b.want, b.read, b.marks, b.marked, b.hole, b.err = p.at, p.size(), 0, b.marks[:0], false, 0, nil
	source := p.in.Source
	if source.file == nil {
		n, err := io.ReadFull(source.reader, b.buf[p.head:p.head+b.want])
		b.read = n
		p.at += core.Size(n)
		b.last = err == io.EOF || err == io.ErrUnexpectedEOF
		b.ends = b.last
		if err != nil && !b.last {
			b.err = err
		}
	} else {
		if p.at == p.hole {
			p.data, p.hole, p.kept, b.err = p.stretch(p.at)
		}
		b.want = int(min(core.Size(b.want), p.data-p.at))
		p.at += core.Size(b.want)
		if b.ends = p.at == p.data; b.ends {
			b.hole, b.kept, p.at = p.hole-p.data, p.kept, p.hole
		}
		b.last = p.at >= source.Size
	}
	p.done = b.last || b.err != nil // the block belongs to cut from here on
	p.filled <- b                   // there is room for all of them
	return true
}

// grid is what holes are rounded to.
func (p *pipeline) grid() core.Size { return core.Size(p.in.Params.Min) }

// load reads the piece of the file that a block was given, and marks it where that is asked for.
func (p *pipeline) load(b *block) {
	before := 0 // bytes of the file before the block, for the marks
	if p.mark {
		before = int(min(b.at, chunk.Window))
	}
	if b.err != nil || b.want == 0 {
		return
	}
	piece := b.buf[p.head-before : p.head+b.want]
	n, err := p.in.Source.file.ReadAt(piece, int64(b.at)-int64(before))
	b.read = max(n-before, 0)
	switch {
	case n == len(piece):
	case err == io.EOF:
		b.err = p.in.Source.short(b.at + core.Size(b.read))
	default:
		b.err = fmt.Errorf("read: %w", err)
	}
	if p.mark && b.err == nil {
		b.marks, b.marked = p.cutter().Marks(b.marks, piece, before, int64(b.at))
	}
}

func (p *pipeline) cutter() *chunk.Cutter { return chunk.NewCutter(p.in.Secrets, p.in.Params) }

// release lets go of a block.
func (p *pipeline) release(b *block) {
	if b != nil && b.users.Add(-1) == 0 {
		p.free <- b // there is room for all of them
	}
}

// cut finds the chunks and hands each to the workers and to collect.
func (p *pipeline) cut(ctx context.Context) error {
	defer close(p.ordered)
	defer close(p.todo)
	defer p.digest.end()
	c := cutting{pipeline: p, cutter: p.cutter()}
	for {
		b, err := receive(ctx, p.filled)
		if err == nil {
			_, err = receive(ctx, b.ready)
		}
		if err == nil {
			err = b.err
		}
		if err != nil {
			return err
		}
		if p.digest != nil {
			b.users.Add(1)
			p.digest.blocks <- b // there is room for all of them
		}
		if err := c.cut(ctx, b); err != nil {
			return err
		}
		if b.hole > 0 {
			if err := p.hand(ctx, nil, nil, b.hole, b.kept); err != nil {
				return err
			}
		}
		if b.last {
			return p.in.Source.check()
		}
	}
}

// cutting is what cut keeps from block to block.
type cutting struct {
	*pipeline
	cutter *chunk.Cutter
	tail   []byte       // what of the block before belongs to no chunk yet
	before *block       // whose memory that is
	marks  []chunk.Mark // of tail and block
	marked bool         // tail has its marks
}

// cut cuts one block, behind the tail of the one before.
func (c *cutting) cut(ctx context.Context, b *block) error {
	start := c.head - len(c.tail)
	at := int64(b.at) - int64(len(c.tail))
	copy(b.buf[start:], c.tail)
	c.release(c.before)
	c.marks = append(c.marks, b.marks...)
	for rest := b.buf[start : c.head+b.read]; ; {
		n := 0
		if b.marked && (c.marked || at >= int64(b.at)) {
			for len(c.marks) > 0 && c.marks[0].End <= at {
				c.marks = c.marks[1:]
			}
			n = c.cutter.NextMarked(rest, b.ends, at, c.marks)
		} else {
			n = c.cutter.Next(rest, b.ends)
		}
		if n == 0 {
			c.tail = rest
			break
		}
		if err := c.hand(ctx, b, rest[:n], core.Size(n), false); err != nil {
			return err
		}
		rest, at = rest[n:], at+int64(n)
	}
	c.before, c.marked = b, b.marked && (c.marked || at >= int64(b.at))
	if !c.marked {
		c.marks = c.marks[:0]
	}
	return nil
}

// hand passes a chunk on, or a hole, or what is kept, where there is no block.
func (p *pipeline) hand(ctx context.Context, b *block, plain []byte, size core.Size, kept bool) error {
	j, err := receive(ctx, p.idle)
	if err != nil {
		return err
	}
	j.block, j.plain, j.isNew, j.kept = b, plain, false, kept
	j.sealed = core.Sealed{Plain: size}
	if b == nil {
		j.done <- struct{}{}
	} else {
		b.users.Add(1)
		p.todo <- j // there is room for all of them
	}
	p.ordered <- j
	return nil
}

// work seals chunks until there are no more.
func (p *pipeline) work(ctx context.Context, w *worker) error {
	for {
		j, err := receive(ctx, p.todo)
		if j == nil {
			return err
		}
		j.sealed, j.isNew, err = w.seal(ctx, core.KindChunk, j.plain)
		if err != nil {
			return err
		}
		p.release(j.block)
		j.block, j.plain = nil, nil
		j.done <- struct{}{}
	}
}
