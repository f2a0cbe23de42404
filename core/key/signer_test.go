// SPDX-License-Identifier: Apache-2.0

package key_test

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"strings"
	"testing"

	"github.com/bkp-tool/bkp/core/key"
)

func TestSignerFromSeed(t *testing.T) {
	s := signer(1)
	if got, want := s.ID().String(), "qnlbvwzzr7mh7dt63azrx7zpzokfom6mgajiphfz7kyhskdgobra"; got != want {
		t.Errorf("ID of the seed 01 01 …: %s, want %s", got, want)
	}
	if key.SignerFromSeed(s.Seed()).ID() != s.ID() {
		t.Error("Seed does not make the same key pair again")
	}
	if !s.Public().Verify([]byte("word"), s.Sign([]byte("word"))) {
		t.Error("signature does not fit")
	}
	if !s.Private().Equal(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, 32))) {
		t.Error("another private key")
	}
}

func TestNewSignerDrawsFromItsReader(t *testing.T) {
	s, err := key.NewSigner(bytes.NewReader(bytes.Repeat([]byte{1}, 32)))
	if err != nil || s.ID() != signer(1).ID() {
		t.Errorf("%v, %v", s, err)
	}
	_, err = key.NewSigner(bytes.NewReader(make([]byte, 31)))
	wantError(t, err, "draw a key")
	_, err = key.NewOwner(bytes.NewReader(make([]byte, 63)))
	wantError(t, err, "dedup secret")
}

// What a signer signed before its key was rotated stays good, and what it signs then is under the same ID.
func TestRotate(t *testing.T) {
	first := signer(1)
	second, err := first.Rotate(bytes.NewReader(bytes.Repeat([]byte{2}, 32)))
	if err != nil || second.ID() != first.ID() || second.Seed() == first.Seed() {
		t.Fatalf("%v, %v", second, err)
	}
	o := owner(t)
	for name, s := range map[string]*key.Signer{"before": first, "after": second} {
		delegation, err := o.Delegate(s.ID(), key.AllRights, noon)
		if err != nil {
			t.Fatal(err)
		}
		r := release(t)
		r.Owner, r.Delegation = o.ID(), delegation
		envelope, err := s.SignRelease(r)
		if err != nil {
			t.Fatal(err)
		}
		r, err = key.OpenRelease(envelope)
		if err != nil || key.IDOf(r.Key) != first.ID() {
			t.Errorf("%s: %v, %v", name, r, err)
		}
	}
	if _, err := key.RotatedSigner(first.Seed(), second.Public()); err == nil {
		t.Error("the key from before is taken for the last")
	}
	if again, err := key.RotatedSigner(second.Seed(), second.Public()); err != nil || again.ID() != first.ID() {
		t.Errorf("%v, %v", again, err)
	}
}

// A log line with a signer or an owner in it must not give the key away, whatever the verb.
func TestPrintingShowsNoSecret(t *testing.T) {
	s, o := signer(1), owner(t)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		line := fmt.Sprintf(verb+" "+verb, s, o)
		if strings.Contains(line, "1, 1, 1") || strings.Contains(line, "1 1 1") || strings.Contains(line, "9 9") ||
			strings.Contains(line, "0x9") || strings.Contains(line, "SECRET") {
			t.Errorf("%s: %s", verb, line)
		}
	}
}

func TestDeriveSecret(t *testing.T) {
	var secret [32]byte
	a, b := key.DeriveSecret("bkp test a", secret), key.DeriveSecret("bkp test b", secret)
	if a == b || a == secret {
		t.Error("the context makes no difference")
	}
	if got, want := fmt.Sprintf("%x", a), deriveA; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

const deriveA = "a3aeb45095ab032aeeeb295034ba8386124fb48c7c95c66594324f241be49eec"
