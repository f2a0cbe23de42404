// SPDX-License-Identifier: Apache-2.0

package datadir

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/bkp-tool/bkp/core/key"
)

func TestFollow(t *testing.T) {
	first := key.SignerFromSeed([32]byte(bytes.Repeat([]byte{1}, 32)))
	rotate := func(s *key.Signer, seed byte) *key.Signer {
		next, err := s.Rotate(bytes.NewReader(bytes.Repeat([]byte{seed}, 32)))
		if err != nil {
			t.Fatal(err)
		}
		return next
	}
	second := rotate(first, 2)
	third, fork := rotate(second, 3), rotate(first, 4)

	dir := Dir(t.TempDir())
	follow := func(s *key.Signer, want string) {
		t.Helper()
		pins, err := dir.OpenPins(dir) // anew each time: what is remembered is in the file
		if err != nil {
			t.Fatal(err)
		}
		err = pins.Follow(s.Public())
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%v, want %q", err, want)
		}
		if pins.Known(first.ID()) {
			t.Error("a key that is followed is not admitted for that")
		}
	}
	follow(first, "")
	if _, err := os.Stat(dir.Path("rotations.json")); err == nil {
		t.Error("nothing is written of who has its first key")
	}
	follow(second, "")
	follow(second, "")
	follow(first, "this is key 1, key 2 is in use")
	follow(fork, "two different keys claim the place")
	follow(third, "")
	follow(second, "this is key 2, key 3 is in use")

	pins, err := dir.OpenPins(dir)
	if err != nil {
		t.Fatal(err)
	}
	if ids, err := pins.Forget(first.ID().String()); err != nil || len(ids) != 1 {
		t.Fatalf("%v, %v", ids, err)
	}
	follow(fork, "")
	follow(third, "two different keys claim the place")
}
