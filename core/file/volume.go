// SPDX-License-Identifier: Apache-2.0

package file

import (
	"container/list"
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/manifest"
)

const (
	pieceSize  = core.MiB // what is put together at least
	mostAhead  = 32       // pieces that are put together at once for who reads in order: as a fetch to a stream does
	mostPieces = 160      // kept in memory: two stretches of mostAhead are under way or being read, the rest is for others
	mostOrders = 64       // places where a reader in order may go on, that are remembered
)

// Volume reads a version at any place, without the file standing anywhere. It puts pieces of it together when they are
// asked for, and more and more ahead of who reads in order. Safe for many goroutines.
type Volume struct {
	Size core.Size // plain bytes of the version

	ctx  context.Context
	from Assembly
	turn sync.Mutex // held while pieces are put together: Remote brings for one at a time

	mu     sync.Mutex
	pieces map[int64]*piece
	recent *list.List      // of *piece, the one that was read last first
	orders map[int64]int64 // by the piece where a reader in order would go on: how many were put together before it
}

// piece is pieceSize bytes of the file. data and err may be read once ready is closed.
type piece struct {
	number int64
	ready  chan struct{}
	data   []byte
	err    error
	behind int64 // where its reader would go on; 0: when another piece is read
	at     *list.Element
}

// OpenVolume reads the version of an assembly, of which Root, Secrets, Local and Remote count, until ctx ends.
func OpenVolume(ctx context.Context, from Assembly) (*Volume, error) {
	info, err := manifest.Stat(from.Root, &nodeOpener{ctx, from.Local, chunk.NewOpener()})
	return &Volume{Size: info.Size, ctx: ctx, from: from, pieces: map[int64]*piece{}, recent: list.New(),
		orders: map[int64]int64{}}, err
}

// ReadAt reads verified bytes; an error that cannot be had from anywhere is core.CodeRedundant.
func (v *Volume) ReadAt(p []byte, at int64) (n int, err error) {
	if at < 0 {
		return 0, fmt.Errorf("read at %d: before the file", at)
	}
	for n < len(p) && core.Size(at) < v.Size {
		piece := v.piece(at / int64(pieceSize))
		select {
		case <-piece.ready:
		case <-v.ctx.Done():
			return n, context.Cause(v.ctx)
		}
		if piece.err != nil {
			return n, piece.err
		}
		got := copy(p[n:], piece.data[at%int64(pieceSize):])
		n, at = n+got, at+int64(got)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// ReadOnce reads verified bytes, all of them, for who goes through a version once while others read it: nothing is kept
// of them nor brought ahead, so that whoever waits for its turn waits for these bytes at most.
func (v *Volume) ReadOnce(p []byte, at int64) error {
	v.turn.Lock()
	defer v.turn.Unlock()
	in := v.from
	in.Start, in.End, in.Output = core.Size(at), core.Size(at)+core.Size(len(p)), memory(p)
	clear(p) // holes are not written
	_, err := Assemble(v.ctx, in)
	return err
}

// piece is one that is there, or is being put together.
func (v *Volume) piece(number int64) *piece {
	v.mu.Lock()
	defer v.mu.Unlock()
	p := v.pieces[number]
	if p == nil {
		v.begin(number)
		p = v.pieces[number]
	} else {
		v.recent.MoveToFront(p.at)
	}
	if next := p.behind; next > 0 {
		p.behind = 0
		if _, there := v.pieces[next]; !there && v.orders[next] > 1 && core.Size(next)*pieceSize < v.Size {
			v.begin(next)
		}
	}
	return p
}

// begin has pieces from one on put together: twice as many as before it, where somebody reads in order. v.mu is held.
func (v *Volume) begin(first int64) {
	count := min(max(2*v.orders[first], 1), mostAhead)
	delete(v.orders, first)
	end := min(core.Size(first+count)*pieceSize, v.Size)
	var made []*piece
	for number := first; core.Size(number)*pieceSize < end; number++ {
		if v.pieces[number] != nil {
			end = core.Size(number) * pieceSize
			break
		}
		p := &piece{number: number, ready: make(chan struct{})}
		p.at = v.recent.PushFront(p)
		v.pieces[number] = p
		made = append(made, p)
	}
	next := first + int64(len(made))
	made[len(made)/2].behind = next // so that what follows is there when it is read
	if len(v.orders) >= mostOrders {
		clear(v.orders)
	}
	v.orders[next] = count
	for v.recent.Len() > mostPieces {
		old := v.recent.Remove(v.recent.Back()).(*piece)
		delete(v.pieces, old.number)
	}
	go v.assemble(made, core.Size(first)*pieceSize, end)
}

// assemble puts pieces together that follow each other.
func (v *Volume) assemble(made []*piece, start, end core.Size) {
	v.turn.Lock()
	defer v.turn.Unlock()
	in, out := v.from, make(memory, end-start)
	in.Start, in.End, in.Output = start, end, out
	_, err := Assemble(v.ctx, in)
	v.mu.Lock()
	defer v.mu.Unlock()
	for i, p := range made {
		from := core.Size(i) * pieceSize
		p.data, p.err = out[from:min(from+pieceSize, end-start)], err
		if err != nil && v.pieces[p.number] == p { // the next who reads it tries again
			delete(v.pieces, p.number)
			v.recent.Remove(p.at)
		}
		close(p.ready)
	}
}

// memory is an Output of zeros.
type memory []byte

func (m memory) WriteAt(p []byte, at int64) (int, error) { return copy(m[at:], p), nil }
func (m memory) ReadAt([]byte, int64) (int, error)       { return 0, io.EOF }
func (m memory) Window() core.Size                       { return core.Size(len(m)) }
func (m memory) Flush(core.Size) error                   { return nil }
