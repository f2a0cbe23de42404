package file

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
)

const (
	blockCount = 4
	blockRead  = 4 << 20 // bytes read into a block, but half a chunk at least
	jobCount   = 64      // chunks between cut and collect, at most
)

// pipeline is a split under way. All its memory is made at the start and goes around in its channels.
type pipeline struct {
	in   SplitInput
	head int // bytes kept free before what is read into a block, for the tail of the one before

	free   chan *block // read takes from here
	filled chan *block // read → cut; closed at the end

	idle    chan *job // cut takes from here
	todo    chan *job // cut → workers; closed at the end
	ordered chan *job // cut → collect, the same jobs; closed at the end

	whole bool // cut came to the end of the file; set before ordered is closed
}

// block is memory for a stretch of the file. It is free again when its last user has let go.
type block struct {
	buf   []byte
	read  int  // bytes read into it
	last  bool // the file ends with it
	err   error
	users atomic.Int32
}

// job is a chunk on its way. cut fills in plain and block, a worker the rest.
type job struct {
	block  *block
	plain  []byte
	sealed core.Sealed
	isNew  bool
	done   chan struct{} // one token when a worker is done with it
}

func newPipeline(in SplitInput) *pipeline {
	p := &pipeline{
		in: in, head: in.Params.Max,
		free: make(chan *block, blockCount), filled: make(chan *block, blockCount),
		idle: make(chan *job, jobCount), todo: make(chan *job, jobCount), ordered: make(chan *job, jobCount),
	}
	for range blockCount {
		p.free <- &block{}
	}
	for range jobCount {
		p.idle <- &job{done: make(chan struct{}, 1)}
	}
	return p
}

// size is how much memory a block needs: a small file needs little.
func (p *pipeline) size() int {
	read := max(blockRead, p.in.Params.Max/2)
	if known := p.in.Source.Size; known >= 0 && known < core.Size(read) {
		read = int(known) + 1 // one more byte shows that the file grew
	}
	return p.head + read
}

// read fills blocks until the file ends. Errors travel in the last block.
func (p *pipeline) read(ctx context.Context) {
	defer close(p.filled)
	for total := core.Size(0); ; {
		b, err := receive(ctx, p.free)
		if err != nil {
			return
		}
		if b.buf == nil {
			b.buf = make([]byte, p.size())
		}
		b.users.Store(1)
		b.read, err = io.ReadFull(p.in.Source.reader, b.buf[p.head:])
		total += core.Size(b.read)
		b.last = err == io.EOF || err == io.ErrUnexpectedEOF
		if err != nil && !b.last {
			b.err = fmt.Errorf("read: %w", err)
		} else {
			b.err = p.in.Source.check(total, b.last)
		}
		done := b.last || b.err != nil // the block belongs to cut from here on
		select {
		case p.filled <- b:
		case <-ctx.Done():
			return
		}
		if done {
			return
		}
	}
}

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
	cutter := chunk.NewCutter(p.in.Secrets, p.in.Params)
	var tail []byte // what of the block before belongs to no chunk yet
	var before *block
	for {
		b, err := receive(ctx, p.filled)
		if err == nil && b != nil {
			err = b.err
		}
		if err != nil {
			return err
		}
		if b == nil {
			return context.Cause(ctx) // read gives up before the end only where ctx has ended
		}
		start := p.head - len(tail)
		copy(b.buf[start:], tail)
		p.release(before)
		rest := b.buf[start : p.head+b.read]
		for len(rest) > 0 {
			n := cutter.Next(rest, b.last)
			if n == 0 {
				break
			}
			if err := p.hand(ctx, b, rest[:n]); err != nil {
				return err
			}
			rest = rest[n:]
		}
		tail, before = rest, b
		if b.last {
			p.whole = true
			return nil
		}
	}
}

func (p *pipeline) hand(ctx context.Context, b *block, plain []byte) error {
	j, err := receive(ctx, p.idle)
	if err != nil {
		return err
	}
	b.users.Add(1)
	j.block, j.plain = b, plain
	p.todo <- j // there is room for all of them
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
		j.sealed, j.isNew, err = w.seal(core.KindChunk, j.plain)
		if err != nil {
			return err
		}
		p.release(j.block)
		j.block, j.plain = nil, nil
		j.done <- struct{}{}
	}
}
