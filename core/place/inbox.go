// SPDX-License-Identifier: Apache-2.0

package place

import (
	"sync"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/license"
	"github.com/bkp-tool/bkp/core/placements"
	"github.com/bkp-tool/bkp/core/wire"
)

// Inbox is what happens to a placement, until the placement looks. Its methods are safe for many goroutines and never
// block.
type Inbox struct {
	mu     sync.Mutex
	events []timed
	news   chan struct{} // holds a word while there may be events
}

// event is something that happened to a placement, at a moment.
type event interface {
	apply(p *placement, at time.Time)
}

type timed struct {
	event
	at time.Time
}

// NewInbox is an empty one.
func NewInbox() *Inbox { return &Inbox{news: make(chan struct{}, 1)} }

// Agreed is a target's yes to a segment.
func (b *Inbox) Agreed(from core.ID, m wire.TaskAgree) {
	b.put(answered{from, m.Segment, placements.Answer{Agreed: true, Have: m.Have}})
}

// Refused is a target's no.
func (b *Inbox) Refused(from core.ID, m wire.TaskRefuse) {
	b.put(answered{from, m.Segment, placements.Answer{Code: m.Code, Reason: m.Reason}})
}

// Receipt is a receipt that came from a node, which need not be the one that signed it.
func (b *Inbox) Receipt(from core.ID, envelope []byte) { b.put(receipt{from, envelope}) }

// Came is a node whose session has begun, over a link whose capacity is settled.
func (b *Inbox) Came(id core.ID) { b.put(came{id}) }

// Gone is a node whose session has ended.
func (b *Inbox) Gone(id core.ID) { b.put(gone{id}) }

// Fails is a target that keeps nothing of what it is sent.
func (b *Inbox) Fails(id core.ID, why string) { b.put(fails{id, why}) }

// Unknown is a target that knows nothing of what it agreed to.
func (b *Inbox) Unknown(id core.ID) { b.put(unknown{id}) }

func (b *Inbox) put(e event) {
	b.mu.Lock()
	b.events = append(b.events, timed{e, time.Now()})
	b.mu.Unlock()
	select {
	case b.news <- struct{}{}:
	default:
	}
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

type answered struct {
	from    core.ID
	segment int
	placements.Answer
}

func (e answered) apply(p *placement, _ time.Time) {
	if e.Agreed {
		p.note(placements.Agreed, e.from, e.segment, e.Have.Ranges())
	}
	if p.watch != nil {
		p.watch.Answered(e.from, e.segment, e.Answer)
	} else {
		p.Standing.Answered(e.from, e.segment, e.Answer)
	}
}

type receipt struct {
	from     core.ID
	envelope []byte
}

func (e receipt) apply(p *placement, at time.Time) {
	r, err := license.OpenReceipt(e.envelope)
	if err == nil {
		err = p.Standing.Expects(r)
	}
	if err == nil {
		err = p.Ledger.AppendReceipt(e.envelope)
	}
	if err != nil {
		p.Log.Warn("receipt", "from", e.from.Short(), "error", err)
		return
	}
	p.Standing.Receipted(at, r)
	p.note(placements.Receipted, r.Target, r.Segment, r.Runs)
	p.countersign(r.Target, e.envelope)
}

// countersign gives a target its receipt back with the word of who signs its licences, as far as the target hears of it.
func (p *placement) countersign(target core.ID, receipt []byte) {
	envelope, err := license.SignCountersigned(core.Countersigned{Owner: p.ownerID(), Time: time.Now().Unix(),
		Delegation: p.delegation()}, receipt, p.signer())
	if err != nil {
		p.Log.Warn("countersign", "target", target.Short(), "error", err)
		return
	}
	p.Peers.Send([]core.ID{target}, wire.Countersigned{Receipt: receipt, Envelope: envelope})
}

type came struct{ id core.ID }

func (e came) apply(p *placement, _ time.Time) {
	if p.watch != nil { // else nothing is owed yet
		p.watch.Came(e.id)
	}
}

type gone struct{ id core.ID }

func (e gone) apply(p *placement, at time.Time) {
	if _, known := p.Survey.Index[e.id]; known {
		p.Standing.Lost[e.id] = at
	}
}

type fails struct {
	id  core.ID
	why string
}

func (e fails) apply(p *placement, _ time.Time) {
	if p.watch != nil {
		p.watch.GiveUp(e.id, e.why)
	}
}

type unknown struct{ id core.ID }

func (e unknown) apply(p *placement, at time.Time) {
	if p.watch != nil && p.watch.Unknown(at, e.id) {
		p.noteLost(e.id, 0, nil)
	}
}
