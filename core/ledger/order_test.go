// SPDX-License-Identifier: Apache-2.0

package ledger_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/ledger"
	"github.com/bkp-tool/bkp/core/ledger/ledgertest"
	"github.com/bkp-tool/bkp/core/license"
)

func signerOf(b byte) *key.Signer { return key.SignerFromSeed([32]byte(bytes.Repeat([]byte{b}, 32))) }

func booking(t *testing.T, node byte, term int, id byte) []byte {
	t.Helper()
	owner := signerOf(1)
	envelope, err := license.SignBooking(core.Booking{Owner: owner.ID(), Alias: "abc", Version: 1, Node: signerOf(node).ID(),
		Term: term, Licenses: []core.LicenseID{{id}}, Time: 1}, owner)
	if err != nil {
		t.Fatal(err)
	}
	return envelope
}

func licensed(id byte) core.License {
	return core.License{ID: core.LicenseID{id}, Alias: "abc", Version: 1, TaskSource: core.TaskSource{Owner: signerOf(1).ID()}}
}

// TestOrderOfTwo: of two coordinators that book in one term the second is told of the first; in a higher term it goes
// first, and the first one's licences count no more, for whoever asks.
func TestOrderOfTwo(t *testing.T) {
	e := &ledgertest.Engine{}
	x, y, target := ledger.NewOrder(e), ledger.NewOrder(e), ledger.NewOrder(e)
	if err := x.Book(t.Context(), booking(t, 2, 0, 1)); err != nil {
		t.Fatal(err)
	}
	outrun, is := errors.AsType[*license.OutrunError](y.Book(t.Context(), booking(t, 3, 0, 2)))
	if !is || outrun.Node != signerOf(2).ID() {
		t.Fatalf("the second in term 0: %v", outrun)
	}
	if err := target.Booked(t.Context(), licensed(1)); err != nil {
		t.Error(err)
	}
	if err := y.Book(t.Context(), booking(t, 3, 1, 3)); err != nil {
		t.Fatal(err)
	}
	if _, is := errors.AsType[*license.OutrunError](x.Book(t.Context(), booking(t, 2, 0, 4))); !is {
		t.Error("the first goes on as if it were not outrun")
	}
	for id, want := range map[byte]core.Code{1: core.CodeRefused, 2: core.CodeRefused, 3: core.CodeOK, 4: core.CodeRefused} {
		if err := target.Booked(t.Context(), licensed(id)); core.CodeOf(err) != want {
			t.Errorf("licence %d: %v", id, err)
		}
	}
}

// TestLostAnswer: a booking whose answer is lost stands once, however often it is told.
func TestLostAnswer(t *testing.T) {
	e := &ledgertest.Engine{}
	o, envelope := ledger.NewOrder(e), booking(t, 2, 0, 1)
	e.LoseAnswer(errors.New("gone"))
	if err := o.Book(t.Context(), envelope); err == nil {
		t.Fatal("it was not lost")
	}
	for _, o := range []*ledger.Order{o, ledger.NewOrder(e), o} {
		if err := o.Book(t.Context(), envelope); err != nil {
			t.Error(err)
		}
	}
	if entries, err := e.Read(t.Context(), e.Scopes()[0], 0, 10); err != nil || len(entries) != 1 {
		t.Errorf("%d entries, %v", len(entries), err)
	}
}

// TestOrderThatWasCut: an engine that lost what it had is told, and nothing is entered as if nothing had been there.
func TestOrderThatWasCut(t *testing.T) {
	e := &ledgertest.Engine{}
	o := ledger.NewOrder(e)
	if err := o.Book(t.Context(), booking(t, 2, 0, 1)); err != nil {
		t.Fatal(err)
	}
	e.Cut(e.Scopes()[0], 0)
	if err := o.Book(t.Context(), booking(t, 2, 0, 2)); core.CodeOf(err) != core.CodeWrong || !strings.Contains(err.Error(), "was cut") {
		t.Error(err)
	}
}

// TestHeadsInOrder: a head stands there once; one that does not follow on the node's before it is told, and whatever is
// no head says nothing.
func TestHeadsInOrder(t *testing.T) {
	e := &ledgertest.Engine{}
	head := func(node byte, size int64, root byte) ledger.SignedHead {
		return key.SignHead(size, core.Hash{root}, signerOf(node))
	}
	var wrong []string
	x := ledger.NewOrder(e).Heads(0, func(_ ledger.SignedHead, err error) {
		if err != nil {
			wrong = append(wrong, err.Error())
		}
	})
	y := ledger.NewOrder(e).Heads(0, func(ledger.SignedHead, error) {})
	z := ledger.NewOrder(e).Heads(0, func(ledger.SignedHead, error) {})
	record := func(h *ledger.Heads, head ledger.SignedHead) {
		t.Helper()
		if err := h.Record(t.Context(), head); err != nil {
			t.Fatal(err)
		}
	}
	record(x, head(2, 5, 1))
	record(x, head(2, 5, 1))
	record(y, head(3, 7, 1))
	if y.After() != 2 {
		t.Errorf("%d entries of two nodes", y.After())
	}
	for _, junk := range []string{"{}", "x", `{"size":9}`} {
		if a, err := e.Append(t.Context(), "heads", y.After(), []byte(junk)); err != nil || !a.OK {
			t.Fatal(a, err)
		}
		if err := y.Read(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	after := ledger.NewOrder(e).Heads(y.After(), func(ledger.SignedHead, error) {}) // it has not read the first ones
	record(after, head(2, 4, 1))
	record(ledger.NewOrder(e).Heads(after.After(), func(ledger.SignedHead, error) {}), head(3, 7, 2))
	if err := x.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(wrong) != 2 || !strings.Contains(wrong[0], "it has 4 entries, and had 5") || !strings.Contains(wrong[1], "two heads over 7") {
		t.Errorf("told: %q", wrong)
	}
	e.Cut("heads", 1)
	if err := x.Record(t.Context(), head(2, 9, 1)); core.CodeOf(err) != core.CodeWrong {
		t.Errorf("after a cut: %v", err)
	}
	record(z, head(2, 9, 1)) // who has read nothing cannot know
}
