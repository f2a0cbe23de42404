// SPDX-License-Identifier: Apache-2.0

package datadir

import (
	"testing"

	"github.com/bkp-tool/bkp/core"
)

// BAD-INPUT 73: a key that changed behind an address which was trusted on first use.
func TestFirstUsePins(t *testing.T) {
	dir := Dir(t.TempDir())
	first, second := core.ID{1}, core.ID{2}
	meet := func(id, want core.ID) *Pins {
		t.Helper()
		pins, err := dir.OpenPins(dir) // as the next command does
		if err != nil {
			t.Fatal(err)
		}
		if other, err := pins.Meet(id, "h:1"); err != nil || other != want {
			t.Errorf("%s at the address: %s was there first, %v; want %s", id.Short(), other.Short(), err, want.Short())
		}
		return pins
	}
	meet(first, core.ID{})
	meet(first, core.ID{})
	pins := meet(second, first)
	if pins.Known(second) {
		t.Error("the second is known")
	}
	if forgotten, err := pins.Forget("h:1"); err != nil || len(forgotten) != 1 || forgotten[0] != first {
		t.Errorf("forgotten: %v, %v", forgotten, err)
	}
	meet(second, core.ID{})
	pins, err := dir.OpenPins(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := pins.Under([]byte("a token that came later")); err != nil || pins.Known(second) {
		t.Errorf("under a token, who was trusted without one is known: %v", err)
	}
}

// TestPinsAreBounded: who has the token may come as any number of nodes. Those that came before stay known, who is met
// without a token is pinned all the same, and room that is made is used.
func TestPinsAreBounded(t *testing.T) {
	dir := Dir(t.TempDir())
	pins, err := dir.OpenPins(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := pins.Under([]byte("a token")); err != nil {
		t.Fatal(err)
	}
	for i := range maxPins - 1 { // not by the file, which would be written as often
		pins.met[core.ID{1, byte(i), byte(i >> 8)}] = pin{By: pins.by}
	}
	at := func(n byte) core.ID { return core.ID{2, n} }
	for n := range byte(3) {
		if err := pins.Pin(at(n), "h:1"); err != nil {
			t.Fatal(err)
		}
	}
	if !pins.Known(at(0)) || pins.Known(at(1)) || pins.Known(at(2)) || pins.Len() != maxPins {
		t.Errorf("%d are known", pins.Len())
	}
	if err := pins.Pin(at(0), "h:2"); err != nil || pins.met[at(0)].Address != "h:2" {
		t.Errorf("one that moved is at %+v, %v", pins.met[at(0)], err)
	}
	if _, err := pins.Meet(at(3), "h:3"); err != nil || pins.met[at(3)].By != firstUse {
		t.Errorf("at first use: %+v, %v", pins.met[at(3)], err)
	}
	for _, n := range []byte{0, 3} {
		if _, err := pins.Forget(at(n).String()); err != nil {
			t.Fatal(err)
		}
	}
	if err := pins.Pin(at(1), "h:1"); err != nil || !pins.Known(at(1)) {
		t.Errorf("there is room again, and it is not taken: %v", err)
	}
}
