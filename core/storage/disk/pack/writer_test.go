// SPDX-License-Identifier: Apache-2.0

package pack

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/zeebo/blake3"
	"pgregory.net/rapid"

	"github.com/bkp-tool/bkp/core"
)

func TestMain(m *testing.M) {
	flag.Set("rapid.checks", "8") // every check syncs a few dozen times; a flag on the command line overrules this
	os.Exit(m.Run())
}

// heard is an owner that remembers.
type heard struct {
	mu              sync.Mutex
	began, finished []string
}

func (h *heard) Began(pack string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.began = append(h.began, pack)
}

func (h *heard) Finished(pack string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.finished = append(h.finished, pack)
}

// data is the bytes of the n-th record.
func data(n, size int) []byte {
	b := make([]byte, size)
	h := blake3.New()
	fmt.Fprintf(h, "record %d", n)
	h.Digest().Read(b)
	return b
}

func rowOf(b []byte) Row {
	return Row{Hash: blake3.Sum256(b), ID: blake3.Sum256(append(b[:len(b):len(b)], 'i'))}
}

// named is a pack that is read by way of its writer.
type named struct {
	w    *Writer
	pack string
	*os.File
}

func (n named) ReadAt(b []byte, at int64) (int, error) {
	return len(b), n.w.ReadAt(n.pack, n.File, b, at)
}

func readBack(dir string, w *Writer, pack string, r Row) ([]byte, error) {
	f, err := Open(dir, pack)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	at, err := ReadHeader(named{w, pack, f}, r.Offset)
	if err != nil || at != r {
		return nil, errors.Join(err, fmt.Errorf("header %v, want %v", at, r))
	}
	return ReadData(named{w, pack, f}, r, []byte("before"))
}

// Whatever is appended, flushed and rotated: each record can be read at once, no pack is longer than it should be but
// for its first record, and what is finished says of itself what was appended.
func TestWriterIsAListOfRecords(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "pack")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		const size = 40_000
		owner := &heard{}
		w := NewWriter(dir, size, owner)
		defer w.Close()
		want := map[string][]Row{}
		all := map[core.Hash][]byte{}
		must := func(err error) {
			if err != nil {
				t.Fatal(err)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				b := data(len(all), rapid.SampledFrom([]int{30, 100, 4016, 4017, 8192, 20_000, 50_000}).Draw(t, "size"))
				pack, r, err := w.Append(rowOf(b), b)
				must(err)
				want[pack], all[r.Hash] = append(want[pack], r), b
			},
			"flush":  func(*rapid.T) { must(w.Flush(false)()) },
			"rotate": func(*rapid.T) { must(w.Rotate()) },
			"": func(t *rapid.T) {
				for pack, rows := range want {
					for _, r := range rows[max(0, len(rows)-3):] {
						got, err := readBack(dir, w, pack, r)
						if must(err); string(got) != "before"+string(all[r.Hash]) {
							t.Fatalf("the record at %d of pack %s is another", r.Offset, pack)
						}
					}
				}
			},
		})
		must(w.Rotate())
		for pack, rows := range want {
			got, err := Rows(dir, pack)
			must(err)
			slices.SortFunc(got, func(a, b Row) int { return int(a.Offset) - int(b.Offset) })
			if !slices.Equal(got, rows) {
				t.Fatalf("pack %s says it has %v, want %v", pack, got, rows)
			}
			if last := rows[len(rows)-1].End(); last > size && len(rows) > 1 {
				t.Fatalf("its records end at %d", last)
			}
		}
		slices.Sort(owner.began)
		slices.Sort(owner.finished)
		if len(owner.began) != len(want) || !slices.Equal(owner.began, owner.finished) {
			t.Fatalf("heard of %d packs that began and %d that were finished, want %d", len(owner.began),
				len(owner.finished), len(want))
		}
	})
}

// What nobody finished can be claimed once its writer is gone, and not before; what is whole in it comes back.
func TestAnOrphanIsClaimedOnce(t *testing.T) {
	dir := t.TempDir()
	w := NewWriter(dir, Size, &heard{})
	b := data(1, 5000)
	pack, r, err := w.Append(rowOf(b), b)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(true)(); err != nil {
		t.Fatal(err)
	}
	if o, err := Claim(dir, pack); o != nil || err != nil {
		t.Fatalf("its writer lives, and it is claimed: %v", err)
	}
	w.Close()
	o, err := Claim(dir, pack)
	if o == nil || err != nil {
		t.Fatalf("it is not claimed: %v", err)
	}
	if second, err := Claim(dir, pack); second != nil || err != nil {
		t.Errorf("it is claimed twice: %v", err)
	}
	found := 0
	if err := o.Salvage(func(got Row, whole []byte) error {
		if found++; got != r || !bytes.Equal(whole, b) {
			t.Errorf("%v came back, want %v", got, r)
		}
		return nil
	}); err != nil || found != 1 {
		t.Errorf("%d records came back, %v", found, err)
	}
	o.Release()
	if o, err := Claim(dir, "0123456789abcdef0123456789abcdef"); o != nil || err != nil {
		t.Errorf("what is not there is claimed: %v", err)
	}
}

// A write that fails may have left anything: from then on nothing is durable, whatever is asked.
func TestAfterAFailureNothingIsDurable(t *testing.T) {
	w := NewWriter(t.TempDir(), Size, &heard{})
	defer w.Close()
	b := data(1, 100)
	if _, _, err := w.Append(rowOf(b), b); err != nil {
		t.Fatal(err)
	}
	w.Fail(syscall.EIO)
	w.Fail(syscall.ENOSPC)
	for range 2 {
		if err := w.Flush(false)(); !errors.Is(err, syscall.EIO) {
			t.Errorf("flush: %v", err)
		}
		if err := w.Rotate(); !errors.Is(err, syscall.EIO) {
			t.Errorf("rotate: %v", err)
		}
	}
	if !errors.Is(w.Broken(), syscall.EIO) {
		t.Errorf("broken: %v", w.Broken())
	}
}

// A nearly full disk takes only what makes room.
func TestANearlyFullDiskTakesWhatMakesRoom(t *testing.T) {
	w := NewWriter(t.TempDir(), Size, &heard{})
	defer w.Close()
	w.SetSpace(func(string) (free, all core.Size, err error) { return 200 * core.MiB, core.TiB, nil })
	b := data(1, 100)
	if _, _, err := w.Append(rowOf(b), b); !errors.Is(err, syscall.ENOSPC) || core.HintOf(err) == "" {
		t.Errorf("append: %v", err)
	}
	w.MakesRoom(true)
	if _, _, err := w.Append(rowOf(b), b); err != nil {
		t.Error(err)
	}
	w.MakesRoom(false)
	w.SetSpace(func(string) (free, all core.Size, err error) { return 0, 0, errors.ErrUnsupported })
	big := data(2, 9<<20)
	if _, _, err := w.Append(rowOf(big), big); err != nil {
		t.Errorf("who cannot tell refuses: %v", err)
	}
	if _, _, err := w.Append(Row{}, make([]byte, MaxData+1)); err == nil {
		t.Error("a record of more than a record holds is taken")
	}
}

// A finished pack whose table is lost, and whose header is: what is whole in it is found again, and stands in a new
// table where the pack may be mended.
func TestRebuild(t *testing.T) {
	dir := t.TempDir()
	w := NewWriter(dir, Size, &heard{})
	var pack string
	var rows []Row
	for n := range 4 {
		b := data(n, 300)
		name, r, err := w.Append(rowOf(b), b)
		if err != nil {
			t.Fatal(err)
		}
		pack, rows = name, append(rows, r)
	}
	if err := w.Rotate(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	path := Path(dir, pack)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	wrong := bytes.Clone(whole)
	wrong[3] ^= 1                           // the header
	wrong[rows[1].data()+20] ^= 1           // a record
	wrong = wrong[:rows[3].End()+rowSize/2] // the table
	if err := os.WriteFile(path, wrong, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, mend := range []bool{false, true} {
		if _, err := Rows(dir, pack); err == nil {
			t.Fatal("its table is there")
		}
		got, err := Rebuild(dir, pack, mend)
		if err != nil || len(got) != 3 || got[0] != rows[0] || got[2].Hash != rows[3].Hash {
			t.Fatalf("%v, %v", got, err)
		}
		if !got[1].ID.IsZero() {
			t.Error("behind a damaged stretch an id is believed")
		}
	}
	if got, err := Rows(dir, pack); err != nil || len(got) != 3 {
		t.Errorf("its new table has %v, %v", got, err)
	}
	mended, err := os.ReadFile(path)
	if err != nil || !bytes.HasPrefix(mended, []byte(magic)) {
		t.Errorf("it begins with %q, %v", mended[:HeaderSize], err)
	}
}

func TestNames(t *testing.T) {
	dir := t.TempDir()
	a, b := "0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"
	for _, file := range []string{a + ".open", a + ".pack", b + ".open", b, b[1:] + ".pack", b + ".idx"} {
		if err := os.WriteFile(filepath.Join(dir, file), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := List(dir); err != nil || fmt.Sprint(got) != fmt.Sprint(map[string]bool{a: true, b: false}) {
		t.Errorf("%v, %v", got, err)
	}
	if f, err := Open(dir, b); err != nil || f.Name() != OpenPath(dir, b) {
		t.Errorf("one that is written: %v", err)
	}
	if f, err := Open(dir, a); err != nil || f.Name() != Path(dir, a) {
		t.Errorf("a finished one: %v", err)
	}
	if _, err := Open(dir, "x"); !os.IsNotExist(err) {
		t.Errorf("one that is not there: %v", err)
	}
}
