// SPDX-License-Identifier: Apache-2.0

package writers

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable"
)

func newDir(t *testing.T) Dir {
	t.Helper()
	d := Dir(filepath.Join(t.TempDir(), "writers"))
	for range 2 {
		if err := d.Make(); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

func (d Dir) enter(t *testing.T) (*Writer, Condemned) {
	t.Helper()
	w, c, err := d.Enter()
	if err != nil {
		t.Fatal(err)
	}
	return w, c
}

func (d Dir) close(t *testing.T) *durable.Lock {
	t.Helper()
	gate, err := d.CloseGate()
	if err != nil {
		t.Fatal(err)
	}
	return gate
}

func (d Dir) others(t *testing.T, self *Writer) (living, gone int) {
	t.Helper()
	l, g, err := d.Others(self)
	if err != nil {
		t.Fatal(err)
	}
	return len(l), len(g)
}

// Who enters after a condemnation knows of it, and who condemned finds who entered before.
func TestACondemnationIsKnownOnEitherSide(t *testing.T) {
	d := newDir(t)
	self, c := d.enter(t)
	if c.Epoch != 0 || len(c.Packs) > 0 {
		t.Errorf("at first %+v is condemned", c)
	}
	early, _ := d.enter(t)
	gate := d.close(t)
	want := Condemned{Epoch: 7, Packs: map[string]uint64{"a": 7, "b": 3}}
	if err := d.Condemn(want); err != nil {
		t.Fatal(err)
	}
	late, c := d.enter(t)
	if !reflect.DeepEqual(c, want) || late.Epoch != 7 || early.Epoch != 0 {
		t.Errorf("who came late is told %+v, under epoch %d", c, late.Epoch)
	}
	living, _, err := d.Others(self)
	if err != nil || len(living) != 2 || living[0].PID != os.Getpid() || living[0].Since.IsZero() {
		t.Errorf("%+v write, %v", living, err)
	}
	for _, w := range []*Writer{early, late, self} {
		if err := w.Leave(); err != nil {
			t.Error(err)
		}
	}
	if living, gone := d.others(t, &Writer{}); living != 0 || gone != 3 {
		t.Errorf("%d live and %d are gone; want the traces of all three that went while the gate was closed", living, gone)
	}
	if err := gate.Close(); err != nil {
		t.Error(err)
	}
	w, _ := d.enter(t)
	if err := w.Leave(); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(string(d), "*.*.*")); len(left) > 0 {
		t.Errorf("where nobody collects %v is left of who went", left)
	}
}

func TestOneGate(t *testing.T) {
	d := newDir(t)
	gate := d.close(t)
	if _, err := d.CloseGate(); err != os.ErrDeadlineExceeded {
		t.Errorf("a second one: %v", err)
	}
	if err := gate.Close(); err != nil {
		t.Error(err)
	}
	if err := d.close(t).Close(); err != nil {
		t.Error(err)
	}
}

// A list of which a bit is wrong, or the end is missing, condemns nothing, and whoever enters then counts as older than
// every condemnation.
func TestADamagedListCondemnsNothing(t *testing.T) {
	d := newDir(t)
	if err := d.Condemn(Condemned{Epoch: 12, Packs: map[string]uint64{strings.Repeat("0a", 16): 12}}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(string(d), "CONDEMNED")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	wrong := func(text []byte) {
		t.Helper()
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Condemned(); core.CodeOf(err) != core.CodeWrong {
			t.Errorf("%q: %v", text, err)
		}
		w, c := d.enter(t)
		if w.Epoch != 0 || c.Epoch != 0 || c.Packs == nil || len(c.Packs) > 0 {
			t.Errorf("%q: entered under epoch %d, with %+v", text, w.Epoch, c)
		}
		if err := w.Leave(); err != nil {
			t.Error(err)
		}
	}
	for at := range whole {
		whole[at] ^= 1
		wrong(whole)
		whole[at] ^= 1
		wrong(whole[:at])
	}
}

func TestOtherFilesAreNoWriters(t *testing.T) {
	for _, name := range []string{"lock", "CONDEMNED", ".CONDEMNED123", "1.2", "1.2.0123", "x.2.0123456789abcdef",
		"1.x.0123456789abcdef", "1.2.3.0123456789abcdef"} {
		if w, ok := parse(name); ok {
			t.Errorf("%s is %+v", name, w)
		}
	}
	if w, ok := parse("3.21.0123456789abcdef"); !ok || w.Epoch != 3 || w.PID != 21 {
		t.Errorf("%+v, %v", w, ok)
	}
}

func TestTidyTakesHalfWrittenLists(t *testing.T) {
	d := newDir(t)
	half := filepath.Join(string(d), ".CONDEMNED123")
	if err := os.WriteFile(half, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d.Tidy()
	if _, err := os.Stat(half); !os.IsNotExist(err) {
		t.Errorf("it is still there: %v", err)
	}
}
