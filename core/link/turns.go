// SPDX-License-Identifier: Apache-2.0

package link

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bkp-tool/bkp/core"
)

// What a peer asks for may go on after the handler has taken its message: a look into a database, a verifier's verdict,
// a barrier. So many messages of one session, of so many bytes together, are carried out at once; the next is read when
// one has ended. A placement has 16 segments offered at once, of 0.7 MiB each where they are full.
const (
	maxTurns     = 32
	maxTurnBytes = 16 << 20
)

// turns is the messages of a session that are being carried out.
type turns struct {
	mu    sync.Mutex
	open  int
	bytes int
	ended chan struct{} // holds a word when a turn has ended since it was looked
}

func newTurns() turns { return turns{ended: make(chan struct{}, 1)} }

// wait returns when there is room for another message: nil, or why there is none for long.
func (t *turns) wait(ctx context.Context, over <-chan struct{}) error {
	var late <-chan time.Time
	for {
		t.mu.Lock()
		room := t.open < maxTurns && t.bytes < maxTurnBytes
		t.mu.Unlock()
		if room {
			return nil
		}
		if late == nil {
			timer := time.NewTimer(budgetWait)
			defer timer.Stop()
			late = timer.C
		}
		select {
		case <-t.ended:
		case <-late:
			return refuse(core.ReasonBusy, "what was asked before has not ended for %v", budgetWait)
		case <-over:
			return nil
		case <-ctx.Done():
			return errClosed
		}
	}
}

// begin begins a message's turn, which lasts until each that holds it has let go.
func (t *turns) begin(bytes int) *turn {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open++
	t.bytes += bytes
	m := &turn{of: t, bytes: bytes}
	m.holders.Store(1)
	return m
}

// turn is one message that is being carried out.
type turn struct {
	of      *turns
	bytes   int
	holders atomic.Int32
}

func (m *turn) hold() { m.holders.Add(1) }

func (m *turn) release() {
	if m.holders.Add(-1) > 0 {
		return
	}
	m.of.mu.Lock()
	m.of.open--
	m.of.bytes -= m.bytes
	m.of.mu.Unlock()
	select {
	case m.of.ended <- struct{}{}:
	default:
	}
}
