// SPDX-License-Identifier: Apache-2.0

package mend

import (
	"os"
	"strings"
	"testing"

	"github.com/bkp-tool/bkp/cmd/bkp/datadir"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
)

func quiet(control.Status) {}

// A pins.json that was cut off is written anew with what can be read of it, and kept beside the new one; a dry run only
// says so. A second repair finds nothing.
func TestDamagedPins(t *testing.T) {
	dir := datadir.Dir(t.TempDir())
	pins, err := dir.OpenPins(dir)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		if err := pins.Pin(core.ID{byte(n), 1}, "node.example:8001"); err != nil {
			t.Fatal(err)
		}
	}
	whole, err := os.ReadFile(dir.Path("pins.json"))
	if err != nil {
		t.Fatal(err)
	}
	torn := whole[:len(whole)-20] // in the last of three lines
	if err := os.WriteFile(dir.Path("pins.json"), torn, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name   string
		dry    bool
		damage int
		pins   int
		left   string
	}{
		{"dry run", true, 1, 2, string(torn)},
		{"repair", false, 1, 2, ""},
		{"again", false, 0, 0, ""},
	} {
		r, err := Run(t.Context(), dir, step.dry, quiet)
		if err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if len(r.Damage) != step.damage || r.Pins != step.pins {
			t.Errorf("%s: %+v", step.name, r)
		}
		text, err := os.ReadFile(dir.Path("pins.json"))
		if err != nil {
			t.Fatal(err)
		}
		if step.left != "" && string(text) != step.left {
			t.Errorf("%s: pins.json was changed", step.name)
		}
		for _, aside := range r.Aside {
			if kept, err := os.ReadFile(aside); err != nil || string(kept) != string(torn) {
				t.Errorf("%s: what was replaced is not kept whole: %v", step.name, err)
			}
		}
	}
}

// While a node runs nothing is repaired.
func TestNothingIsRepairedBelowARunningNode(t *testing.T) {
	dir := datadir.Dir(t.TempDir())
	lock, err := dir.LockNode()
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if _, err := Run(t.Context(), dir, false, quiet); core.CodeOf(err) != core.CodeBusy ||
		!strings.Contains(core.HintOf(err), "stop the node") {
		t.Errorf("got %v (%s)", err, core.HintOf(err))
	}
}
