// SPDX-License-Identifier: Apache-2.0

package damage_test

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/bkp-tool/bkp/core/storage/disk/damage"
)

func TestNotesStayUntilTheirPackIsGone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "damaged")
	n := damage.Notes(dir)
	if all := n.All(); len(all) > 0 {
		t.Errorf("at first there are %v", all)
	}
	for range 2 {
		n.Add("a", 16)
		n.Add("a", 1<<32-1)
		n.Add("b", 96)
	}
	for _, other := range []string{"a", "a.", "a.x", "a.4294967296"} {
		if err := os.WriteFile(filepath.Join(dir, other), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]map[uint32]bool{"a": {16: true, 1<<32 - 1: true}, "b": {96: true}}
	if all := n.All(); !reflect.DeepEqual(all, want) {
		t.Errorf("noted are %v, want %v", all, want)
	}
	n.Tidy(func(pack string) bool { return pack == "a" })
	delete(want, "a")
	if all := n.All(); !reflect.DeepEqual(all, want) {
		t.Errorf("when a is gone: %v, want %v", all, want)
	}
}

func TestTheLastNoteTakesTheDirectoryWithIt(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "damaged")
	n := damage.Notes(dir)
	n.Add("a", 16)
	n.Tidy(func(string) bool { return true })
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("it is still there: %v", err)
	}
}

// Who may not write there loses the note and nothing else.
func TestANoteThatCannotBeWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "damaged")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	n := damage.Notes(path)
	n.Add("a", 16)
	if all := n.All(); len(all) > 0 {
		t.Errorf("noted are %v", all)
	}
}
