// SPDX-License-Identifier: Apache-2.0

package license_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/license"
)

// bookers are the nodes of TestBookings: "o1" and "o2" book with the owner's key, "h1" and "h2" with its word that they
// coordinate in the term, "w" with the right to write, "x" without any.
type bookers struct {
	t     *testing.T
	owner *key.Owner
	nodes map[string]*key.Signer
	next  byte
}

func newBookers(t *testing.T) *bookers {
	t.Helper()
	o, err := key.NewOwner(bytes.NewReader(bytes.Repeat([]byte{7}, 1<<10)))
	if err != nil {
		t.Fatal(err)
	}
	b := &bookers{t: t, owner: o, nodes: map[string]*key.Signer{}}
	for i, name := range []string{"o1", "o2", "h1", "h2", "w", "x"} {
		b.nodes[name] = key.SignerFromSeed([32]byte(bytes.Repeat([]byte{byte(20 + i)}, 32)))
	}
	return b
}

func (b *bookers) party() license.Party {
	return license.Party{TaskSource: core.TaskSource{Owner: b.owner.ID()}, Alias: b.owner.Alias("disk.img"), Version: 3}
}

func (b *bookers) book(name string, term int) []byte {
	b.t.Helper()
	b.next++
	p, node := b.party(), b.nodes[name]
	x := core.Booking{Owner: p.Owner, Alias: p.Alias, Version: p.Version, Node: node.ID(), Term: term, Time: noon.Unix(),
		Licenses: []core.LicenseID{{b.next}}}
	var signer license.Signer = node
	var err error
	switch name[0] {
	case 'o':
		signer = b.owner.Signer()
	case 'h':
		x.Delegation, err = b.owner.DelegateKeep(node.ID(), p.Alias, p.Version, term, 1, noon.Add(time.Hour))
	case 'w':
		x.Delegation, err = b.owner.Delegate(node.ID(), []key.Right{key.RightWrite}, noon.Add(time.Hour))
	}
	if err != nil {
		b.t.Fatal(err)
	}
	envelope, err := license.SignBooking(x, signer)
	if err != nil {
		b.t.Fatal(err)
	}
	return envelope
}

// TestBookings: whoever reads an order finds the same coordinator; a booking that its signer had no right to, or that came
// too late, says nothing.
func TestBookings(t *testing.T) {
	for _, tc := range []struct {
		order string // NODE TERM, in their order
		want  string // for each: = it counts, or a part of why not
	}{
		{"o1 0, o1 0", "=, ="},
		{"o1 0, o2 0", "=, coordinates it in term 0"},
		{"o1 0, o2 1, o1 0, o1 2", "=, =, coordinates it in term 1, ="},
		{"o1 1, h1 1, o1 1", "=, =, coordinates it in term 1"},
		{"o1 1, h1 1, h2 1, h2 2", "=, =, coordinates it in term 1, ="},
		{"h1 2, o1 2, o1 3", "=, coordinates it in term 2, ="},
		{"x 9, o1 0", "shows no delegation, ="},
		{"w 0, o1 0, o1 1", "=, coordinates it in term 0, ="},
		{"o1 3, o1 2", "=, coordinates it in term 3"},
	} {
		b, of := newBookers(t), license.Bookings{}
		wants := strings.Split(tc.want, ", ")
		for i, step := range strings.Split(tc.order, ", ") {
			name, term, _ := strings.Cut(step, " ")
			envelope := b.book(name, int(term[0]-'0'))
			err := of.Add(envelope, b.party(), key.DelegationFields)
			if want := wants[i]; want == "=" && err != nil || want != "=" && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("%s: entry %d: %v, want %q", tc.order, i+1, err, want)
			}
			x, _, _ := license.OpenBooking(envelope, key.DelegationFields)
			if err == nil && of.Booked(x.Licenses[0]) != nil {
				t.Errorf("%s: entry %d: its licence is not booked", tc.order, i+1)
			}
			if err != nil && len(x.Licenses) > 0 && of.Booked(x.Licenses[0]) == nil {
				t.Errorf("%s: entry %d: its licence is booked", tc.order, i+1)
			}
		}
		if of.Entries != int64(len(wants)) {
			t.Errorf("%s: %d entries", tc.order, of.Entries)
		}
	}
}

// TestOutrunLicences: what a coordinator booked is worth nothing once another has booked in a higher term, and an id is
// booked once.
func TestOutrunLicences(t *testing.T) {
	b, of := newBookers(t), license.Bookings{}
	first, second := b.book("o1", 0), b.book("o2", 1)
	for _, envelope := range [][]byte{first, second} {
		if err := of.Add(envelope, b.party(), key.DelegationFields); err != nil {
			t.Fatal(err)
		}
	}
	outrun, is := errors.AsType[*license.OutrunError](of.Booked(core.LicenseID{1}))
	if !is || outrun.Node != b.nodes["o2"].ID() || outrun.Term != 1 {
		t.Errorf("the licence that was outrun: %v", of.Booked(core.LicenseID{1}))
	}
	if of.Booked(core.LicenseID{2}) != nil || of.Booked(core.LicenseID{3}) == nil {
		t.Error("2 is booked, and 3 is not")
	}
	if err := of.Add(second, b.party(), key.DelegationFields); err == nil {
		t.Error("the same booking counts twice")
	}
	other := b.party()
	other.Version++
	if err := of.Add(b.book("o2", 1), other, key.DelegationFields); err == nil {
		t.Error("the booking of another version counts")
	}
}

// TestBookingThatIsChanged: no byte of a booking can be changed so that it says something else.
func TestBookingThatIsChanged(t *testing.T) {
	b := newBookers(t)
	envelope := b.book("h1", 2)
	for at := range envelope {
		bad := bytes.Clone(envelope)
		bad[at] ^= 1
		if x, _, err := license.OpenBooking(bad, key.DelegationFields); err == nil && x.Licenses[0] != (core.LicenseID{1}) {
			t.Fatalf("with byte %d flipped it books %s", at, x.Licenses[0])
		}
	}
	ids := make([]core.LicenseID, license.MaxBooked)
	x, _, err := license.OpenBooking(envelope, key.DelegationFields)
	if err != nil {
		t.Fatal(err)
	}
	x.Licenses = ids
	if long, err := license.SignBooking(x, b.nodes["h1"]); err != nil || len(long) > int(core.MaxEngineEntry) {
		t.Errorf("as many as one may have: %d bytes, %v", len(long), err)
	}
	x.Licenses = append(ids, core.LicenseID{})
	if _, err := license.SignBooking(x, b.nodes["h1"]); err == nil {
		t.Error("one more is signed")
	}
}
