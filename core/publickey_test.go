// SPDX-License-Identifier: Apache-2.0

package core

import (
	"bytes"
	"crypto/ed25519"
	"slices"
	"strings"
	"testing"
)

// pair is the key pair of a seed of one repeated byte.
func pair(b byte) ed25519.PrivateKey { return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{b}, 32)) }

// rotated is the public key of the first pair, rotated to each that follows.
func rotated(t testing.TB, pairs ...ed25519.PrivateKey) PublicKey {
	t.Helper()
	k := PublicKey(pairs[0].Public().(ed25519.PublicKey))
	for i, next := range pairs[1:] {
		var err error
		k, err = k.Rotated(next.Public().(ed25519.PublicKey), func(m []byte) []byte { return ed25519.Sign(pairs[i], m) })
		if err != nil {
			t.Fatal(err)
		}
	}
	return k
}

func TestRotationKeepsTheID(t *testing.T) {
	first, second, third := rotated(t, pair(1)), rotated(t, pair(1), pair(2)), rotated(t, pair(1), pair(2), pair(3))
	if !bytes.Equal(first.First(), third.First()) || len(first.First()) != 32 {
		t.Errorf("first keys %x and %x", first.First(), third.First())
	}
	said := []byte("keep this")
	if !third.Verify(said, ed25519.Sign(pair(3), said)) || third.Verify(said, ed25519.Sign(pair(1), said)) {
		t.Error("the last key signs, and no other")
	}
	if !third.Extends(second) || !second.Extends(first) || second.Extends(third) ||
		third.Extends(rotated(t, pair(1), pair(4))) {
		t.Error("which key took which one's place")
	}
	var all []PublicKey
	for k := range third.All() {
		all = append(all, k)
	}
	if !slices.EqualFunc(all, []PublicKey{first, second, third}, slices.Equal) || third.Rotations() != 2 {
		t.Errorf("%d keys, %d rotations", len(all), third.Rotations())
	}
}

func TestRotationIsRefused(t *testing.T) {
	good := rotated(t, pair(1), pair(2), pair(3))
	for name, tc := range map[string]struct {
		raw  []byte
		want string
	}{
		"a byte short":               {good[:len(good)-1], "want 32, and 96 more"},
		"a byte long":                {append(bytes.Clone(good), 0), "want 32, and 96 more"},
		"a rotation out":             {slices.Concat(good[:32], good[128:]), "rotation 1 of the public key is not signed"},
		"of another's first key":     {slices.Concat(rotated(t, pair(9)), good[32:]), "rotation 1 of the public key is not signed"},
		"a next key of small order":  {slices.Concat(good[:32], make([]byte, 96)), "small order"},
		"signed by the next key":     {slices.Concat(good[:32], good[32:64], ed25519.Sign(pair(2), PublicKey(good[:32]).rotation(good[32:64]))), "rotation 1"},
		"a rotation taken elsewhere": {slices.Concat(good, good[128:]), "rotation 3 of the public key"},
		"too many":                   {make([]byte, MaxPublicKey+rotationSize), "at most 16"},
	} {
		if _, err := ParsePublicKey(tc.raw); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
	for i := range good {
		bad := bytes.Clone(good)
		if bad[i] ^= 1; i >= 32 {
			if _, err := ParsePublicKey(bad); err == nil {
				t.Fatalf("byte %d changed: taken", i)
			}
		}
	}
	if k, err := ParsePublicKey(rotated(t, slices.Repeat([]ed25519.PrivateKey{pair(1)}, MaxRotations+1)...)); err != nil ||
		len(k) != MaxPublicKey {
		t.Errorf("as many rotations as may be: %d bytes, %v", len(k), err)
	}
}

// Who is asked for a public key by a stranger must not be brought down by what it gets.
func FuzzParsePublicKey(f *testing.F) {
	f.Add([]byte(rotated(f, pair(1))))
	f.Add([]byte(rotated(f, pair(1), pair(2), pair(3))))
	f.Fuzz(func(t *testing.T, raw []byte) {
		k, err := ParsePublicKey(raw)
		if err != nil {
			return
		}
		if !bytes.Equal(k, raw) || len(k.Last()) != ed25519.PublicKeySize {
			t.Errorf("%x of %x", []byte(k), raw)
		}
	})
}
