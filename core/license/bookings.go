// SPDX-License-Identifier: Apache-2.0

package license

import (
	"errors"
	"fmt"

	"github.com/bkp-tool/bkp/core"
)

// OutrunError says that another node coordinates a version.
type OutrunError struct {
	Node core.ID
	Term int
}

func (e *OutrunError) Error() string {
	return fmt.Sprintf("node %s coordinates it in term %d, by the order", e.Node.Short(), e.Term)
}

// Bookings is what one version's part of an order says so far: who coordinates it, and which licences are booked. The
// zero value has read nothing.
type Bookings struct {
	Entries int64 // read, also of those that say nothing
	node    core.ID
	term    int
	handed  bool
	begun   bool
	now     map[core.LicenseID]bool // booked by who coordinates it now
	before  map[core.LicenseID]bool // by those who did
}

// Coordinator is who coordinates the version; false while nobody does.
func (b *Bookings) Coordinator() (node core.ID, term int, begun bool) { return b.node, b.term, b.begun }

// Add takes in the next entry. An error is why it says nothing: it is no booking of the version, it is of one who may not
// book, or of one who was outrun already. Everybody who reads the order leaves out the same.
func (b *Bookings) Add(envelope []byte, p Party, open OpenDelegation) error {
	b.Entries++
	next, handed, err := OpenBooking(envelope, open)
	if err != nil {
		return err
	}
	if next.Owner != p.Owner || next.Alias != p.Alias || next.Version != p.Version {
		return errors.New("it is of another version")
	}
	if err := b.Refuses(next.Node, next.Term, handed); err != nil {
		return err
	}
	for _, id := range next.Licenses {
		if b.now[id] || b.before[id] {
			return fmt.Errorf("licence %s was booked before", id)
		}
	}
	b.take(next, handed)
	return nil
}

func (b *Bookings) take(next core.Booking, handed bool) {
	if b.now == nil {
		b.now, b.before = map[core.LicenseID]bool{}, map[core.LicenseID]bool{}
	}
	if b.node != next.Node || b.term != next.Term {
		for id := range b.now {
			b.before[id] = true
		}
		clear(b.now)
	}
	b.node, b.term, b.handed, b.begun = next.Node, next.Term, handed, true
	for _, id := range next.Licenses {
		b.now[id] = true
	}
}

// Refuses is an OutrunError where a node cannot book in a term: another has booked in the same term or in a higher one, or
// it itself has in a higher. Of the same term the node that the owner handed the version over to comes before the owner's
// own.
func (b *Bookings) Refuses(node core.ID, term int, handed bool) error {
	switch {
	case !b.begun, term > b.term, node == b.node && term == b.term, term == b.term && handed && !b.handed:
		return nil
	}
	return &OutrunError{Node: b.node, Term: b.term}
}

// Booked is an error where a licence is not booked by who coordinates the version.
func (b *Bookings) Booked(id core.LicenseID) error {
	switch {
	case b.now[id]:
		return nil
	case b.before[id]:
		return fmt.Errorf("licence %s is of a coordinator that was outrun: %w", id, &OutrunError{Node: b.node, Term: b.term})
	}
	return fmt.Errorf("licence %s is not booked", id)
}
