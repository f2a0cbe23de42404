// SPDX-License-Identifier: Apache-2.0

package key

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
)

func reading(t *testing.T, o *Owner) *Owner {
	t.Helper()
	r, err := o.ReaderFor(time.Unix(1_900_000_000, 0), rand.NewChaCha8([32]byte{9}))
	if err != nil {
		t.Fatal(err)
	}
	text, err := r.Marshal("")
	if err != nil {
		t.Fatal(err)
	}
	if r, err = ParseOwner(text, ""); err != nil {
		t.Fatal(err)
	}
	if again, err := r.Marshal(""); err != nil || !bytes.Equal(again, text) {
		t.Errorf("it reads back as %s, %v", again, err)
	}
	for _, secret := range []string{o.age.String(), "owner_seed", "dedup_secret"} {
		if strings.Contains(string(text), secret) {
			t.Errorf("it has the owner's %s", secret)
		}
	}
	return r
}

func sealedRef(t *testing.T, o *Owner, version int) Ref {
	t.Helper()
	envelope, err := o.SealRef(Ref{Version: version, Created: 1_796_000_000}, RefBody{Name: "f",
		Root: core.Sealed{Hash: core.Hash{1}, Key: core.Key{2}}, Size: 7})
	if err != nil {
		t.Fatal(err)
	}
	r, err := OpenRef(envelope)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// A recipient opens what was sealed while it was one, and nothing else; the owner opens all of it.
func TestRecipients(t *testing.T) {
	o := testOwner(t)
	first, second := reading(t, o), reading(t, o)
	var list []string
	o.Recipients = func() ([]string, error) { return list, nil }
	before := sealedRef(t, o, 1)
	list = []string{first.Recipient(), second.Recipient(), o.Recipient()}
	both := sealedRef(t, o, 2)
	list = list[:1]
	after := sealedRef(t, o, 3)
	for _, tc := range []struct {
		what  string
		who   *Owner
		ref   Ref
		opens bool
	}{
		{"the owner, before", o, before, true}, {"the owner, both", o, both, true}, {"the owner, after", o, after, true},
		{"the first, before", first, before, false}, {"the first, both", first, both, true},
		{"the first, after", first, after, true},
		{"the second, before", second, before, false}, {"the second, both", second, both, true},
		{"the second, after", second, after, false},
	} {
		body, err := tc.who.OpenRefBody(tc.ref)
		if (err == nil) != tc.opens || tc.opens && body.Root.Key != (core.Key{2}) {
			t.Errorf("%s: %+v, %v", tc.what, body, err)
		}
		if err != nil && core.CodeOf(err) != core.CodeRefused {
			t.Errorf("%s: code %d", tc.what, core.CodeOf(err))
		}
	}
	for what, list := range map[string][]string{"too many": make([]string, MaxRecipients+1), "not a key": {"age1x"}} {
		o.Recipients = func() ([]string, error) { return list, nil }
		if _, err := o.SealRef(Ref{Version: 1, Created: 1}, RefBody{Name: "f", Root: core.Sealed{Hash: core.Hash{1}}}); err == nil {
			t.Errorf("%s: sealed to some of them", what)
		}
	}
}

// What a machine that may only write seals is opened by the recipients that it was told, what it had forgotten of it too.
func TestRecipientsOfAWriter(t *testing.T) {
	o, notes := testOwner(t), noted{}
	w, r := drawn(t, o, time.Unix(1_900_000_000, 0)), reading(t, o)
	w.Notes, w.Recipients = notes, func() ([]string, error) { return []string{r.Recipient()}, nil }
	first := sealedRef(t, w, 1)
	var err error
	if notes[SealedBy(first)], err = Forget(notes[SealedBy(first)]); err != nil {
		t.Fatal(err)
	}
	body, err := w.OpenRefBody(first)
	if err != nil {
		t.Fatal(err)
	}
	envelope, err := w.SealRef(Ref{Version: 1, Created: 1_796_000_000}, body)
	if err != nil {
		t.Fatal(err)
	}
	again, err := OpenRef(envelope)
	if err != nil {
		t.Fatal(err)
	}
	for _, ref := range []Ref{first, again} {
		if got, err := r.OpenRefBody(ref); err != nil || got.Root.Key != (core.Key{2}) {
			t.Errorf("the recipient reads %+v, %v", got, err)
		}
	}
}

// An identity that may only read gives itself no other right.
func TestReaderOnlyReads(t *testing.T) {
	o := testOwner(t)
	r := reading(t, o)
	if r.ID() != o.ID() || r.Alias("f") != o.Alias("f") || r.MayRead() != nil || r.MayWrite() == nil || o.MayWrite() != nil ||
		r.DedupSecret != [32]byte{} {
		t.Error("who may do what is not told")
	}
	second := func(_ any, err error) error { return err }
	for what, err := range map[string]error{
		"delegate": second(r.Delegate(core.ID{1}, AllRights, time.Unix(1_900_000_000, 0))),
		"release":  second(r.SignRelease(Release{})),
		"revoke":   second(r.Revoke(Revocations{}, core.Revoked{}, 1)),
		"seal":     second(r.SealRef(Ref{Version: 1, Created: 1}, RefBody{Name: "f", Root: core.Sealed{Hash: core.Hash{1}}})),
		"write":    second(r.Writer(time.Unix(1_900_000_000, 0), rand.NewChaCha8([32]byte{5}))),
		"read on":  second(r.ReaderFor(time.Unix(1_900_000_000, 0), rand.NewChaCha8([32]byte{5}))),
	} {
		if core.CodeOf(err) != core.CodeRefused || !strings.Contains(err.Error(), "may only read") {
			t.Errorf("%s: %v", what, err)
		}
	}
	words, err := r.Words(core.ID{1}, time.Unix(1_900_000_000, 0))
	if err != nil {
		t.Fatal(err)
	}
	d, err := OpenDelegation(words)
	if now := time.Unix(1_796_000_000, 0); err != nil || d.Allows(r.Node().ID(), RightRead, now) != nil ||
		d.Allows(r.Node().ID(), RightWrite, now) == nil || d.Allows(r.Node().ID(), RightRelease, now) == nil {
		t.Errorf("it is given %v, %v", d.Rights, err)
	}
	all, err := o.Delegate(r.Node().ID(), AllRights, time.Unix(1_900_000_000, 0))
	if err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func(*reader){
		"another node":  func(r *reader) { r.node = SignerFromSeed([32]byte{7}) },
		"another owner": func(r *reader) { r.owner = core.ID{7} },
		"more rights":   func(r *reader) { r.delegation = all },
		"no delegation": func(r *reader) { r.delegation = nil },
	} {
		forged := *r.reader
		change(&forged)
		text, err := forged.marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseOwner(text, ""); err == nil {
			t.Errorf("%s: it is taken", what)
		}
	}
}
