// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"bytes"
	"context"
	"fmt"
	"sync"

	"github.com/go-json-experiment/json"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/license"
)

// Engine keeps the order; *plugins.KeptEngine is one.
type Engine interface {
	Append(ctx context.Context, scope string, after int64, entry []byte) (core.Appended, error)
	Read(ctx context.Context, scope string, after int64, limit int) ([][]byte, error)
}

const (
	headsScope = "heads"
	pageOf     = 256 // entries that are asked for at once
	// maxBookings is of how many versions it is remembered what is booked, some 100 KiB each at 10 TiB. Of others it is
	// read again.
	maxBookings = 256
)

// Order is the one order that an engine gives several ledgers: of what their nodes book as coordinators, and of their
// heads. Bodies stay in the ledgers. Whatever anybody appends is judged by who reads it, and all judge alike: see
// license.Bookings. It may be used from many goroutines.
type Order struct {
	engine Engine

	mu       sync.Mutex
	bookings map[string]*booked
}

// booked is what is known of one version.
type booked struct {
	mu    sync.Mutex
	party license.Party
	license.Bookings
}

// NewOrder is that of an engine.
func NewOrder(e Engine) *Order { return &Order{engine: e, bookings: map[string]*booked{}} }

// scopeOf is that of a version.
func scopeOf(owner core.ID, alias string, version int) string {
	return fmt.Sprintf("version/%s/%s/%d", owner, alias, version)
}

// of is what is known of a version. Which one is forgotten for it does not matter.
func (o *Order) of(owner core.ID, alias string, version int) (string, *booked) {
	scope := scopeOf(owner, alias, version)
	o.mu.Lock()
	defer o.mu.Unlock()
	b := o.bookings[scope]
	if b == nil {
		for other := range o.bookings {
			if len(o.bookings) < maxBookings {
				break
			}
			delete(o.bookings, other)
		}
		b = &booked{party: license.Party{TaskSource: core.TaskSource{Owner: owner}, Alias: alias, Version: version}}
		o.bookings[scope] = b
	}
	return scope, b
}

// read takes in what the order has of a scope since, and reports whether an entry was among it. b.mu is held.
func (o *Order) read(ctx context.Context, scope string, b *booked, wanted []byte) (found bool, err error) {
	for {
		entries, err := o.engine.Read(ctx, scope, b.Entries, pageOf)
		if err != nil {
			return false, err
		}
		for _, e := range entries {
			good := b.Add(e, b.party, key.DelegationFields) == nil // else it says nothing
			found = found || good && bytes.Equal(e, wanted)
		}
		if len(entries) == 0 {
			return found, nil
		}
	}
}

// Coordinator is who coordinates a version by the order, and in which term; false: nobody has booked yet.
func (o *Order) Coordinator(ctx context.Context, owner core.ID, alias string, version int) (core.ID, int, bool, error) {
	scope, b := o.of(owner, alias, version)
	b.mu.Lock()
	defer b.mu.Unlock()
	_, err := o.read(ctx, scope, b, nil)
	node, term, begun := b.Coordinator()
	return node, term, begun, err
}

// Book enters a signed booking. It is a *license.OutrunError where another node coordinates the version. After any other
// error the same booking is entered again, and stands once whatever became of it the first time.
func (o *Order) Book(ctx context.Context, envelope []byte) error {
	want, handed, err := license.OpenBooking(envelope, key.DelegationFields)
	if err != nil {
		return err
	}
	scope, b := o.of(want.Owner, want.Alias, want.Version)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.Booked(want.Licenses[0]) == nil { // the answer of an earlier try was lost, and it was read since
		return nil
	}
	for {
		found, err := o.read(ctx, scope, b, envelope)
		if found || err != nil {
			return err
		}
		if err := b.Refuses(want.Node, want.Term, handed); err != nil {
			return err
		}
		a, err := o.engine.Append(ctx, scope, b.Entries, envelope)
		switch {
		case err != nil:
			return err
		case a.OK:
			return b.Add(envelope, b.party, key.DelegationFields)
		case a.Entries < b.Entries:
			return cutError(scope, b.Entries, a.Entries)
		}
	}
}

// cutError says that an engine has lost what it had.
func cutError(scope string, had, has int64) error {
	return core.WithHint(core.Fail(core.CodeWrong, "the order was cut: %s had %d entries, and has %d", scope, had, has),
		"its engine lost what it kept: restore that, or have all nodes begin a new order with another prefix")
}

// Booked is an error where a licence is not booked by who coordinates its version, as the order says now: one of
// core.CodeRefused where the order says so, another where it cannot be asked.
func (o *Order) Booked(ctx context.Context, l core.License) error {
	if l.Alias == "" {
		return core.Fail(core.CodeRefused, "licence %s is not booked: its coordinator has no engine", l.ID)
	}
	scope, b := o.of(l.TaskSource.Owner, l.Alias, l.Version)
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, err := o.read(ctx, scope, b, nil); err != nil {
		return err
	}
	if err := b.Booked(l.ID); err != nil {
		return core.Fail(core.CodeRefused, "%w", err)
	}
	return nil
}

// Heads are the heads of all nodes' ledgers as the order has them, from an entry on. One goroutine has it.
type Heads struct {
	engine Engine
	after  int64
	last   map[core.ID]SignedHead
	met    func(SignedHead, error) // of each head in its order; an error where it does not follow on the one before it
}

// Heads reads heads behind the first after entries.
func (o *Order) Heads(after int64, met func(SignedHead, error)) *Heads {
	return &Heads{engine: o.engine, after: after, last: map[core.ID]SignedHead{}, met: met}
}

// After is how many entries were read.
func (h *Heads) After() int64 { return h.after }

// Read takes in what came since.
func (h *Heads) Read(ctx context.Context) error {
	for {
		entries, err := h.engine.Read(ctx, headsScope, h.after, pageOf)
		if err != nil || len(entries) == 0 {
			return err
		}
		for _, e := range entries {
			h.after++
			h.take(e)
		}
	}
}

// take judges one entry: a head that is not signed says nothing, for it may be anybody's.
func (h *Heads) take(entry []byte) {
	var head SignedHead
	if json.Unmarshal(entry, &head, json.RejectUnknownMembers(true)) != nil || head.Check() != nil {
		return
	}
	last, known := h.last[head.Node()]
	switch {
	case known && head.Size < last.Size:
		h.met(head, core.Fail(core.CodeWrong, "it has %d entries, and had %d, in the order", head.Size, last.Size))
		return
	case known && head.Size == last.Size && head.Root != last.Root:
		h.met(head, core.Fail(core.CodeWrong, "it signed two heads over %d entries", head.Size))
		return
	}
	h.last[head.Node()] = head
	h.met(head, nil)
}

// Record appends a node's head, unless the order has it as the node's newest.
func (h *Heads) Record(ctx context.Context, head SignedHead) error {
	entry, err := json.Marshal(head)
	if err != nil {
		return err
	}
	for {
		if err := h.Read(ctx); err != nil {
			return err
		}
		if last, known := h.last[head.Node()]; known && last.Size >= head.Size {
			return nil
		}
		a, err := h.engine.Append(ctx, headsScope, h.after, entry)
		switch {
		case err != nil:
			return err
		case a.OK:
			h.after++
			h.take(entry)
			return nil
		case a.Entries < h.after:
			return cutError(headsScope, h.after, a.Entries)
		}
	}
}

// Verify judges licences by the order, as a verifier of a node's chain: none is accepted that is not booked by who
// coordinates its version now. So a coordinator that was outrun, and does not know it yet, books nothing anywhere.
func (o *Order) Verify(ctx context.Context, req core.VerifyRequest) (core.Verdict, error) {
	l, _, _, err := license.Open(req.Envelope)
	if err == nil {
		err = o.Booked(ctx, l)
	}
	if core.CodeOf(err) == core.CodeRefused {
		return core.Verdict{Code: "unbooked", Reason: err.Error()}, nil
	}
	return core.Verdict{OK: err == nil}, err
}
