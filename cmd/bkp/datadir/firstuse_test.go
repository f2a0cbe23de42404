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
