package place

import (
	"sync"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/license"
	"github.com/bkp-tool/bkp/core/wire"
)

// Inbox is what happens to a placement, until the placement looks. Its methods are safe for many goroutines and never
// block.
type Inbox struct {
	mu     sync.Mutex
	events []event
	news   chan struct{} // holds a word while there may be events
}

// event is something that happened, at a moment.
type event struct {
	at    time.Time
	apply func(p *placement, at time.Time)
}

// NewInbox is an empty one.
func NewInbox() *Inbox { return &Inbox{news: make(chan struct{}, 1)} }

func (b *Inbox) put(apply func(p *placement, at time.Time)) {
	b.mu.Lock()
	b.events = append(b.events, event{time.Now(), apply})
	b.mu.Unlock()
	select {
	case b.news <- struct{}{}:
	default:
	}
}

// Agreed is a target's yes to a segment.
func (b *Inbox) Agreed(from core.ID, m wire.TaskAgree) {
	b.answered(from, m.Segment, Answer{Agreed: true, Have: m.Have})
}

// Refused is a target's no.
func (b *Inbox) Refused(from core.ID, m wire.TaskRefuse) {
	b.answered(from, m.Segment, Answer{Code: m.Code, Reason: m.Reason})
}

func (b *Inbox) answered(from core.ID, segment int, a Answer) {
	b.put(func(p *placement, _ time.Time) {
		if p.watch != nil {
			p.watch.Answered(from, segment, a)
		} else {
			p.Standing.Answered(from, segment, a)
		}
	})
}

// Receipt is a receipt that came from a node, which need not be the one that signed it.
func (b *Inbox) Receipt(from core.ID, envelope []byte) {
	b.put(func(p *placement, at time.Time) {
		r, err := license.OpenReceipt(envelope)
		if err == nil {
			err = p.Standing.Expects(r)
		}
		if err == nil {
			err = p.Ledger.AppendReceipt(envelope)
		}
		if err != nil {
			p.Log.Warn("receipt", "from", from.Short(), "error", err)
			return
		}
		p.Standing.Receipted(at, r)
	})
}

// Came is a node whose session has begun, over a link whose capacity is settled.
func (b *Inbox) Came(id core.ID) {
	b.put(func(p *placement, _ time.Time) {
		if p.watch != nil {
			p.watch.Came(id)
		}
	})
}

// Gone is a node whose session has ended.
func (b *Inbox) Gone(id core.ID) {
	b.put(func(p *placement, at time.Time) {
		if _, known := p.Survey.index[id]; known {
			p.Standing.Lost[id] = at
		}
	})
}

// Fails is a target that keeps nothing of what it is sent.
func (b *Inbox) Fails(id core.ID, why string) {
	b.put(func(p *placement, _ time.Time) {
		if p.watch != nil {
			p.watch.GiveUp(id, why)
		}
	})
}

// take applies what has happened.
func (p *placement) take() {
	p.inbox.mu.Lock()
	events := p.inbox.events
	p.inbox.events = nil
	p.inbox.mu.Unlock()
	for _, e := range events {
		e.apply(p, e.at)
	}
}
