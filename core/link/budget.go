// SPDX-License-Identifier: Apache-2.0

package link

import (
	"bytes"
	"context"
	"io"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/wire"
	"golang.org/x/sync/semaphore"
)

// The memory that control messages may take at this node until they are handled, all peers' together: 256 MiB. A large
// message takes a seat before it is read, with room for the largest; a small one is read first, since a sender that is
// slow would hold its share, and sessions are few. Neither waits for the other kind.
const (
	smallMessage  = wire.MaxAuth + 1 // so that no stranger has a seat
	largeMessages = 6
	smallMemory   = 256<<20 - largeMessages*wire.MaxGrowth*wire.MaxMessage

	budgetWait = 10 * time.Second // for memory; then the session ends
	largeRead  = time.Minute      // for a large message to arrive, however many pings come between
)

// budget is that memory.
type budget struct {
	ctx          context.Context
	small, large *semaphore.Weighted // bytes; messages
}

func newBudget(ctx context.Context) *budget {
	return &budget{ctx: ctx, small: semaphore.NewWeighted(smallMemory), large: semaphore.NewWeighted(largeMessages)}
}

// take gets n of what s holds and returns how to give it back.
func (b *budget) take(s *semaphore.Weighted, n int) (giveBack func(), err error) {
	ctx, cancel := context.WithTimeout(b.ctx, budgetWait)
	defer cancel()
	if s.Acquire(ctx, int64(n)) != nil {
		return nil, refuse(core.ReasonBusy, "too many messages of other nodes wait here")
	}
	return func() { s.Release(int64(n)) }, nil
}

// read reads a message into buf, within the budget that giveBack ends. late is called where it does not come to its
// end.
func (b *budget) read(r io.Reader, buf *bytes.Buffer, late func()) (giveBack func(), err error) {
	if _, err := buf.ReadFrom(io.LimitReader(r, smallMessage)); err != nil {
		return nil, explain(err)
	}
	if buf.Len() < smallMessage {
		return b.take(b.small, wire.MaxGrowth*buf.Len()+wire.FreeMemory)
	}
	giveBack, err = b.take(b.large, 1)
	if err != nil {
		return nil, err
	}
	defer time.AfterFunc(largeRead, late).Stop()
	if _, err := buf.ReadFrom(r); err != nil {
		giveBack()
		return nil, explain(err)
	}
	return giveBack, nil
}
