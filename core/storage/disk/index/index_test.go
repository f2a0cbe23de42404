// SPDX-License-Identifier: Apache-2.0

package index

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/zeebo/blake3"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/storage/disk/files"
	"github.com/bkp-tool/bkp/core/storage/disk/pack"
)

// newStore is a directory of packs, and what is known of it.
func newStore(t testing.TB) (dir string, x *Index) {
	t.Helper()
	dir = t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "packs"), 0o700); err != nil {
		t.Fatal(err)
	}
	return dir, reading(t, dir, false)
}

func reading(t testing.TB, dir string, readOnly bool) *Index {
	t.Helper()
	x := New(dir, readOnly, &files.Cache{})
	t.Cleanup(x.files.Forget)
	t.Cleanup(x.Wait)
	refresh(t, x)
	return x
}

func refresh(t testing.TB, x *Index) {
	t.Helper()
	if err := x.Refresh(true); err != nil {
		t.Fatal(err)
	}
}

func record(n int) (pack.Row, []byte) {
	data := fmt.Appendf(nil, "record %d", n)
	return pack.Row{Hash: blake3.Sum256(data), ID: blake3.Sum256(data[1:])}, data
}

// add writes a pack of the records from and up to but to, told to owner, and returns its name.
func add(t testing.TB, dir string, owner pack.Owner, from, to int) (name string) {
	t.Helper()
	w := pack.NewWriter(filepath.Join(dir, "packs"), pack.Size, owner)
	defer w.Close()
	for n := from; n < to; n++ {
		r, data := record(n)
		in, at, err := w.Append(r, data)
		if err != nil {
			t.Fatal(err)
		}
		if x, ok := owner.(*Index); ok {
			x.Add(in, at)
		}
		name = in
	}
	if err := w.Rotate(); err != nil {
		t.Fatal(err)
	}
	return name
}

// deaf is another process.
type deaf struct{}

func (deaf) Began(string)    {}
func (deaf) Finished(string) {}

// wantRecords holds that the records below to and none of the next ten are found, by hash and by id.
func wantRecords(t testing.TB, dir string, x *Index, to int) {
	t.Helper()
	size := core.Size(0)
	for n := range to + 10 {
		r, data := record(n)
		if n < to {
			size += core.Size(len(data))
		}
		at, ok, err := x.At(r.Hash)
		if err != nil || ok != (n < to) {
			t.Fatalf("record %d is found: %v, %v", n, ok, err)
		}
		if ok {
			f, err := pack.Open(filepath.Join(dir, "packs"), at.Pack())
			if err != nil {
				t.Fatal(err)
			}
			there, err := pack.ReadHeader(f, at.Offset)
			if f.Close(); err != nil || there.Hash != r.Hash {
				t.Fatalf("record %d is not at %d of pack %s: %v", n, at.Offset, at.Pack(), err)
			}
		}
		c, found, err := x.Find(r.ID, func(at Place) (pack.Row, error) {
			f, err := pack.Open(filepath.Join(dir, "packs"), at.Pack())
			if err != nil {
				return pack.Row{}, err
			}
			defer f.Close()
			return pack.ReadHeader(f, at.Offset)
		})
		want := core.Chunk{Hash: r.Hash, Size: core.Size(len(data))}
		if err != nil || found != (n < to) || found && c != want {
			t.Fatalf("record %d is found by its id as %v, %v, %v", n, c, found, err)
		}
	}
	if x.Used() != size {
		t.Errorf("used %d, want %d", x.Used(), size)
	}
}

// Packs of this process and of others, merged again and again: everything is found, and there are few tables.
func TestWhatIsMergedIsFoundAsBefore(t *testing.T) {
	dir, x := newStore(t)
	to := 0
	for round := range 12 {
		owner := []pack.Owner{x, deaf{}}[round%2]
		add(t, dir, owner, to, to+10*(round%4+1))
		to += 10 * (round%4 + 1)
		refresh(t, x)
		wantRecords(t, dir, x, to)
		if round%3 == 2 {
			if err := x.Compact(); err != nil {
				t.Fatal(err)
			}
			if tables, loose := x.Counts(); tables == 0 || tables > 4 || loose > 0 {
				t.Errorf("round %d: %d tables and %d records in memory", round, tables, loose)
			}
			wantRecords(t, dir, x, to)
		}
	}
	wantRecords(t, dir, reading(t, dir, true), to)
	if left, _ := filepath.Glob(filepath.Join(dir, "index", "*.idx")); len(left) > 4 {
		t.Errorf("%d tables are left", len(left))
	}
}

// A pack that goes takes its records with it, whether a table covers it or not.
func TestAPackThatIsGoneStandsForNothing(t *testing.T) {
	for _, merge := range []bool{false, true} {
		dir, x := newStore(t)
		kept := add(t, dir, deaf{}, 0, 5)
		gone := add(t, dir, deaf{}, 5, 9)
		refresh(t, x)
		if merge {
			if err := x.Compact(); err != nil {
				t.Fatal(err)
			}
		}
		wantRecords(t, dir, x, 9)
		if err := os.Remove(pack.Path(filepath.Join(dir, "packs"), gone)); err != nil {
			t.Fatal(err)
		}
		refresh(t, x)
		wantRecords(t, dir, x, 5)
		if packs := x.Packs(); len(packs) != 1 || !packs[kept] {
			t.Errorf("packs are %v, want %s", packs, kept)
		}
	}
}

// Of two records of a chunk the one is found that may be leaned on, in whichever order they came; where there is no
// such one, the other.
func TestTheRecordToLeanOnIsFound(t *testing.T) {
	for _, merge := range []bool{false, true} {
		for _, how := range []string{"condemned", "damaged"} {
			dir, x := newStore(t)
			packs := []string{add(t, dir, deaf{}, 0, 3), add(t, dir, deaf{}, 0, 3)}
			refresh(t, x)
			if merge {
				if err := x.Compact(); err != nil {
					t.Fatal(err)
				}
			}
			r, _ := record(1)
			spoil := func(name string, condemned map[string]uint64) {
				if how == "condemned" {
					condemned[name] = 1
					if err := x.Condemn(condemned); err != nil {
						t.Fatal(err)
					}
					return
				}
				at, _, err := x.At(r.Hash)
				if err != nil || at.Pack() != name || !x.Distrust(at) || x.Distrust(at) {
					t.Fatalf("the record in pack %s cannot be distrusted once: %v", name, err)
				}
				if !x.Damaged(name, at.Offset) {
					t.Error("nobody knows of it")
				}
			}
			at, ok, err := x.At(r.Hash)
			if !ok || err != nil {
				t.Fatal(err)
			}
			first := at.Pack()
			other := packs[1-slices.Index(packs, first)]
			condemned := map[string]uint64{}
			spoil(first, condemned)
			refresh(t, x)
			if err := x.Condemn(condemned); err != nil { // reads all anew
				t.Fatal(err)
			}
			if at, ok, err = x.At(r.Hash); !ok || err != nil || at.Pack() != other || !x.Trusts(at) {
				t.Errorf("%s, merged %v: found in %s, want %s", how, merge, at.Pack(), other)
			}
			if has, err := x.Has(r.Hash); !has || err != nil {
				t.Errorf("it would be put again: %v", err)
			}
			spoil(other, condemned)
			if at, ok, err = x.At(r.Hash); !ok || err != nil || x.Trusts(at) {
				t.Errorf("%s, merged %v: trusted %v, found %v, %v", how, merge, ok && x.Trusts(at), ok, err)
			}
			if has, err := x.Has(r.Hash); has || err != nil {
				t.Errorf("it would not be put again: %v", err)
			}
		}
	}
}

// What another process is writing is found, and counts only for who puts nothing.
func TestAnothersPackGrows(t *testing.T) {
	dir, x := newStore(t)
	reader := reading(t, dir, true)
	w := pack.NewWriter(filepath.Join(dir, "packs"), pack.Size, deaf{})
	defer w.Close()
	for n := range 3 {
		r, data := record(n)
		if _, _, err := w.Append(r, data); err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(true)(); err != nil {
			t.Fatal(err)
		}
		for _, x := range []*Index{x, reader} {
			at, ok, err := x.Look(r.Hash)
			if !ok || err != nil || !x.Grows(at) {
				t.Errorf("record %d: found %v, %v", n, ok, err)
			}
			if has, err := x.Has(r.Hash); has != x.readOnly || err != nil {
				t.Errorf("record %d need not be put again: %v, %v", n, has, err)
			}
		}
	}
	if err := w.Rotate(); err != nil {
		t.Fatal(err)
	}
	refresh(t, x)
	wantRecords(t, dir, x, 3)
	if !x.TakeNames() || x.TakeNames() {
		t.Error("its name may not be durable, which is told once")
	}
}

// Every byte of CURRENT is looked at, and without it everything is found; then it is made anew.
func TestADamagedCurrent(t *testing.T) {
	dir, x := newStore(t)
	add(t, dir, x, 0, 20)
	if err := x.Compact(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "index", "CURRENT")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for at := range whole {
		whole[at] ^= 1
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
		whole[at] ^= 1
		if names, err := Current(Dir(dir)); core.CodeOf(err) != core.CodeWrong {
			t.Fatalf("byte %d: %v, %v", at, names, err)
		}
	}
	x = reading(t, dir, false)
	wantRecords(t, dir, x, 20)
	if !x.WantsMerge() {
		t.Error("nobody makes it anew")
	}
	if err := x.Remake(); err != nil {
		t.Fatal(err)
	}
	if names, err := Current(Dir(dir)); len(names) != 1 || err != nil {
		t.Errorf("%v, %v", names, err)
	}
	wantRecords(t, dir, reading(t, dir, true), 20)
}

// Who was killed while it merged leaves files that the next one takes away, and those of the index stay.
func TestTidy(t *testing.T) {
	dir, x := newStore(t)
	add(t, dir, x, 0, 20)
	if err := x.Compact(); err != nil {
		t.Fatal(err)
	}
	for _, left := range []string{"0123456789abcdef0123456789abcdef.idx", ".CURRENT123"} {
		if err := os.WriteFile(filepath.Join(dir, "index", left), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	x.Tidy()
	if left, err := os.ReadDir(filepath.Join(dir, "index")); err != nil || len(left) != 3 { // a table, CURRENT and lock
		t.Errorf("left are %v, %v", left, err)
	}
	wantRecords(t, dir, reading(t, dir, true), 20)
}
