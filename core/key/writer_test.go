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

// noted is notes in memory.
type noted map[core.Hash][]byte

func (n noted) Note(_ string, _ int, sealed core.Hash, body []byte) error {
	n[sealed] = body
	return nil
}

func (n noted) Noted(_ string, _ int, sealed core.Hash) ([]byte, error) {
	if body, ok := n[sealed]; ok {
		return body, nil
	}
	return nil, core.ErrNotFound
}

// drawn is an identity that may only write, as it comes out of its file.
func drawn(t *testing.T, o *Owner, expires time.Time) *Owner {
	t.Helper()
	w, err := o.Writer(expires, rand.NewChaCha8([32]byte{5}))
	if err != nil {
		t.Fatal(err)
	}
	text, err := w.marshal("", 1)
	if err != nil {
		t.Fatal(err)
	}
	seed := o.signer.Seed()
	for name, secret := range map[string][]byte{"seed": seed[:], "age identity": []byte(o.age.String())} {
		if bytes.Contains(text, secret) || strings.Contains(string(text), "owner_seed") {
			t.Errorf("the %s of the owner is in it", name)
		}
	}
	if w, err = ParseOwner(text, ""); err != nil {
		t.Fatal(err)
	}
	return w
}

// What a machine writes by an identity that may only write its owner reads; the machine itself knows what it noted,
// and no key any more of what it forgot.
func TestWriter(t *testing.T) {
	o, notes := testOwner(t), noted{}
	w := drawn(t, o, time.Unix(1_900_000_000, 0))
	w.Notes = notes
	if w.ID() != o.ID() || w.Alias("f") != o.Alias("f") || w.Recipient() != o.Recipient() || w.DedupSecret != o.DedupSecret {
		t.Error("it names and cuts otherwise than its owner")
	}
	body := RefBody{Name: "f", Root: core.Sealed{Hash: core.Hash{1}, Key: core.Key{2}}, Size: 7,
		Records: []core.Sealed{{Hash: core.Hash{3}, Key: core.Key{4}}}}
	envelope, err := w.SealRef(Ref{Version: 1, Created: 1_796_000_000}, body)
	if err != nil {
		t.Fatal(err)
	}
	r, err := OpenRef(envelope)
	if err != nil || r.Owner != o.ID() || IDOf(r.Key) != w.Node().ID() || r.Allowed(time.Unix(1_796_000_000, 0)) != nil {
		t.Fatalf("%+v, %v", r, err)
	}
	if got, err := o.OpenRefBody(r); err != nil || got.Root != body.Root {
		t.Errorf("its owner reads %+v, %v", got, err)
	}
	if got, err := w.OpenRefBody(r); err != nil || got.Root != body.Root {
		t.Errorf("what it noted: %+v, %v", got, err)
	}
	if notes[SealedBy(r)], err = Forget(notes[SealedBy(r)]); err != nil {
		t.Fatal(err)
	}
	got, err := w.OpenRefBody(r)
	if err != nil || !got.Forgotten() || got.Name != "f" || got.Records[0] != body.Records[0] {
		t.Errorf("what it forgot: %+v, %v", got, err)
	}
	got.Records = append(got.Records, core.Sealed{Hash: core.Hash{5}}) // it is placed again
	if envelope, err = w.SealRef(Ref{Version: 1, Created: 1_796_000_000}, got); err != nil {
		t.Fatal(err)
	}
	if r, err = OpenRef(envelope); err != nil {
		t.Fatal(err)
	}
	if again, err := o.OpenRefBody(r); err != nil || again.Root != body.Root || len(again.Records) != 2 || again.RootKey != nil {
		t.Errorf("what it wrote after it forgot: %+v, %v", again, err)
	}
	if got, err := w.OpenRefBody(r); err != nil || !got.Forgotten() {
		t.Errorf("it remembers %+v, %v", got, err)
	}
	got.RootKey = nil
	if _, err := w.SealRef(Ref{Version: 1, Created: 1_796_000_000}, got); err == nil {
		t.Error("it seals what nobody can open any more")
	}
	clear(notes)
	if _, err := w.OpenRefBody(r); core.CodeOf(err) != core.CodeWrong {
		t.Errorf("what it never knew: %v", err)
	}
	if _, err := w.SealRef(Ref{V: 1, Version: 1, Created: 1_796_000_000}, body); err != nil || len(notes) != 0 {
		t.Errorf("what others are sent alone is noted: %v", err)
	}
}

// It signs nothing that only its owner does.
func TestWriterOnlyWrites(t *testing.T) {
	o := testOwner(t)
	w := drawn(t, o, time.Unix(1_900_000_000, 0))
	if o.MayRead() != nil || w.MayRead() == nil || o.Node() != nil || o.Delegation() != nil {
		t.Error("who may read is not told")
	}
	second := func(_ []byte, err error) error { return err }
	for what, err := range map[string]error{
		"delegate": second(w.Delegate(core.ID{1}, AllRights, time.Unix(1_900_000_000, 0))),
		"release":  second(w.SignRelease(Release{})),
		"revoke":   second(w.Revoke(Revocations{}, core.Revoked{}, 1)),
	} {
		if core.CodeOf(err) != core.CodeRefused || !strings.Contains(err.Error(), "may only write") {
			t.Errorf("%s: %v", what, err)
		}
	}
	d, err := OpenDelegation(w.Delegation())
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1_796_000_000, 0)
	if d.Allows(w.Node().ID(), RightWrite, now) != nil || d.Allows(w.Node().ID(), RightRead, now) == nil ||
		d.Allows(w.Node().ID(), RightRelease, now) == nil {
		t.Errorf("it is given %v", d.Rights)
	}
}

func TestBadWriters(t *testing.T) {
	o, other := testOwner(t), SignerFromSeed([32]byte{7})
	w, err := o.Writer(time.Unix(1_900_000_000, 0), rand.NewChaCha8([32]byte{5}))
	if err != nil {
		t.Fatal(err)
	}
	all, err := o.Delegate(w.Node().ID(), AllRights, time.Unix(1_900_000_000, 0))
	if err != nil {
		t.Fatal(err)
	}
	for words, change := range map[string]func(*writer){
		"is of something else": func(w *writer) { w.node = other },
		"of something else":    func(w *writer) { w.owner = other.ID() },
		"something else":       func(w *writer) { w.delegation = all },
		"delegation":           func(w *writer) { w.delegation = nil },
	} {
		bad := *w
		inner := *w.writer
		change(&inner)
		bad.writer = &inner
		text, err := bad.marshal("", 1)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseOwner(text, ""); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v", words, err)
		}
	}
}
