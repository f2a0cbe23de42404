// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
)

// copyDir copies a log, as a crash would leave it for the next start.
func copyDir(t testing.TB, dir string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

// resize cuts a file, or lengthens it with zeros.
func resize(t testing.TB, dir, name string, by int64) {
	t.Helper()
	path := filepath.Join(dir, name)
	info, err := os.Stat(path)
	if err == nil {
		err = os.Truncate(path, info.Size()+by)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func extend(t testing.TB, dir, name string, with []byte) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(with); err != nil {
		t.Fatal(err)
	}
}

// wantEntries opens the log for writing, and wants so many entries, a good Verify and a log that goes on.
func wantEntries(t *testing.T, dir string, want int) {
	t.Helper()
	l, err := Open(dir, node)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if got := all(t, l.Reader, 3); len(got) != want {
		t.Errorf("%d entries, want %d", len(got), want)
	}
	for _, f := range []struct {
		name string
		tail tail
	}{{"entries", l.out.entries}, {"heads", l.out.heads}, {"hashes", l.out.hashes}, {"offsets", l.out.offsets}} {
		if got := size(t, dir, f.name); got != f.tail.written {
			t.Errorf("%s: %d bytes are left, want %d: what follows could be taken for entries after the next crash",
				f.name, got, f.tail.written)
		}
	}
	add(t, l, KindLicense, licence(t, 100))
	settle(t, l)
	if report, err := l.Verify(); err != nil || report.Size != int64(want)+1 {
		t.Errorf("%+v, %v", report, err)
	}
}

// kill -9 while entries are written behind the last head: whole ones stay, the torn one goes.
func TestTornEntries(t *testing.T) {
	dir := filled(t)
	l := open(t, dir)
	durable := l.out.entries.written
	add(t, l, KindLicense, licence(t, 3))
	middle := l.out.entries.size()
	add(t, l, KindLicense, licence(t, 4))
	if _, err := l.write(); err != nil {
		t.Fatal(err)
	}
	end := l.out.entries.written
	crash(l)
	for _, tc := range []struct {
		name string
		at   int64
		want int
	}{
		{"nothing of the first", durable, 5},
		{"a byte of the first", durable + 1, 5},
		{"its length", durable + 5, 5},
		{"all but a byte of the first", middle - 1, 5},
		{"all of the first", middle, 6},
		{"a byte of the second", middle + 1, 6},
		{"all but a byte of the second", end - 1, 6},
		{"all of both", end, 7},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := copyDir(t, dir)
			resize(t, dir, "entries", tc.at-end)
			wantEntries(t, dir, tc.want)
		})
	}
}

func TestRubbishBehindTheLastHeadIsCut(t *testing.T) {
	dir := filled(t)
	entries, err := os.ReadFile(filepath.Join(dir, "entries"))
	if err != nil {
		t.Fatal(err)
	}
	for name, rubbish := range map[string][]byte{
		"zeros":           make([]byte, 5000),
		"ones":            bytes.Repeat([]byte{0xff}, 5000),
		"an older record": entries[len(magic):],
	} {
		t.Run(name, func(t *testing.T) {
			dir := copyDir(t, dir)
			extend(t, dir, "entries", rubbish)
			wantEntries(t, dir, 5)
		})
	}
}

// kill -9 while a head is written: entries that it would have covered are whole, so they stay.
func TestTornHead(t *testing.T) {
	dir := filled(t)
	for _, cut := range []int64{1, 64, markSize - 1, markSize} {
		t.Run(fmt.Sprintf("%d bytes are missing", cut), func(t *testing.T) {
			dir := copyDir(t, dir)
			resize(t, dir, "heads", -cut)
			wantEntries(t, dir, 5)
		})
	}
	t.Run("it has its length, but only zeros", func(t *testing.T) {
		dir := copyDir(t, dir)
		resize(t, dir, "heads", -markSize)
		resize(t, dir, "heads", +markSize)
		wantEntries(t, dir, 5)
	})
}

func TestTornHeadOverNothingNew(t *testing.T) {
	dir := filled(t)
	extend(t, dir, "heads", make([]byte, markSize/2))
	wantEntries(t, dir, 5)
}

// kill -9 at the very beginning.
func TestTornStart(t *testing.T) {
	for _, left := range []int{0, 1, len(magic)} {
		t.Run(fmt.Sprintf("%d bytes of the first line", left), func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "entries"), []byte(magic[:left]), 0o600); err != nil {
				t.Fatal(err)
			}
			wantEntries(t, dir, 0)
		})
	}
}

// hashes and offsets are not synced: whatever a crash leaves of them, they are made again, and readers do without.
func TestLostHashesAndOffsets(t *testing.T) {
	damage := map[string]func(t *testing.T, path string, size int64) error{
		"empty":  func(t *testing.T, path string, size int64) error { return os.Truncate(path, 0) },
		"short":  func(t *testing.T, path string, size int64) error { return os.Truncate(path, size-1) },
		"longer": func(t *testing.T, path string, size int64) error { return os.Truncate(path, size+100) },
		"all alike": func(t *testing.T, path string, size int64) error {
			first := binary.LittleEndian.AppendUint64(nil, uint64(len(magic)))
			return os.WriteFile(path, bytes.Repeat(first, int(size/8)), 0o600)
		},
		"all zeros": func(t *testing.T, path string, size int64) error {
			return os.WriteFile(path, make([]byte, size), 0o600)
		},
	}
	full := filled(t)
	for _, name := range []string{"hashes", "offsets"} {
		for what, do := range damage {
			t.Run(name+" "+what, func(t *testing.T) {
				dir := copyDir(t, full)
				path := filepath.Join(dir, name)
				info, err := os.Stat(path)
				if err == nil {
					err = do(t, path, info.Size())
				}
				if err != nil {
					t.Fatal(err)
				}
				if got := all(t, reader(t, dir), 1); len(got) != 5 {
					t.Errorf("a reader sees %d entries, want 5", len(got))
				}
				wantEntries(t, dir, 5)
			})
		}
	}
}

// TestALogThatWasNeverBegunIsNotThere reads what a full disk or a kill leaves of a first start: verify called it
// damage.
func TestALogThatWasNeverBegunIsNotThere(t *testing.T) {
	for name, entries := range map[string]string{"nothing": "", "a part of the magic": magic[:3], "no entry": magic} {
		dir := t.TempDir()
		for _, file := range []string{"entries", "heads", "hashes", "offsets"} {
			if err := os.WriteFile(filepath.Join(dir, file), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, "entries"), []byte(entries), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenRead(dir); !errors.Is(err, core.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
		if log, err := Open(dir, signer(1)); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if err := log.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if r, err := OpenRead(dir); err != nil {
			t.Errorf("%s, begun: %v", name, err)
		} else {
			r.Close()
		}
	}
}

// What no crash does is not repaired but shown.
func TestOpenRefusesWhatNoCrashLeaves(t *testing.T) {
	full := filled(t)
	for _, tc := range []struct {
		name  string
		do    func(t *testing.T, dir string)
		words string
	}{
		{"the last entry that was signed for is cut", func(t *testing.T, dir string) { resize(t, dir, "entries", -1) },
			"cut or damaged: entry 4"},
		{"all entries are cut", func(t *testing.T, dir string) {
			os.Truncate(filepath.Join(dir, "entries"),
				int64(len(magic)))
		}, "cut or damaged: entry 0"},
		{"the heads are gone", func(t *testing.T, dir string) { os.Truncate(filepath.Join(dir, "heads"), 0) },
			"no signed head"},
		{"two heads are damaged", func(t *testing.T, dir string) {
			resize(t, dir, "heads", -2*markSize)
			resize(t, dir, "heads", +2*markSize)
		}, "damaged"},
		{"the last entry is another", func(t *testing.T, dir string) {
			rewrite(t, dir, func(e []Entry) { e[4].Envelope = receiptOf(t, e[4], 9) })
		}, "rewritten"},
		{"another file", func(t *testing.T, dir string) {
			os.WriteFile(filepath.Join(dir, "entries"),
				make([]byte, 4000), 0o600)
		}, "does not begin as"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := copyDir(t, full)
			tc.do(t, dir)
			before, _ := os.ReadFile(filepath.Join(dir, "entries"))
			_, err := Open(dir, node)
			wantError(t, err, core.CodeWrong, tc.words)
			if after, _ := os.ReadFile(filepath.Join(dir, "entries")); !bytes.Equal(before, after) {
				t.Error("the refused entries were changed")
			}
		})
	}
}

// Whatever is appended, synced, crashed and reopened: what was synced is there, in order, and nothing else but
// what was appended after it.
func TestLogAgainstList(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir := t.TempDir()
		var list [][]byte // all that may be there
		var synced int    // how much of it must be there
		var l *Log
		reopen := func() {
			var err error
			if l, err = Open(dir, node); err != nil {
				rt.Fatal(err)
			}
			for _, f := range []*tail{&l.out.entries, &l.out.heads} { // this machine does not lose power: save the time
				f.file = memory{f.file}
			}
			list = list[:l.Size()]
			synced = len(list)
		}
		reopen()
		rt.Repeat(map[string]func(*rapid.T){
			"append": func(rt *rapid.T) {
				envelope := rapid.SliceOfN(rapid.Byte(), 1, 50).Draw(rt, "envelope")
				if _, err := l.Append(KindLicense, envelope); err != nil {
					rt.Fatal(err)
				}
				list = append(list, envelope)
			},
			"sync":  func(rt *rapid.T) { l.Sync(); synced = len(list) },
			"close": func(rt *rapid.T) { l.Close(); reopen() },
			"crash": func(rt *rapid.T) { crash(l); reopen() },
			"crash after some was written": func(rt *rapid.T) {
				unsynced := int(l.out.entries.size() - l.out.entries.written)
				l.write()
				crash(l)
				resize(t, dir, "entries", -int64(rapid.IntRange(0, unsynced).Draw(rt, "bytes lost")))
				reopen()
			},
			"": func(rt *rapid.T) {
				got := all(t, l.Reader, 100)
				if len(got) != synced {
					rt.Fatalf("%d entries, %d were synced", len(got), synced)
				}
				for i, e := range got {
					if !bytes.Equal(e.Envelope, list[i]) {
						rt.Fatalf("entry %d differs", i)
					}
				}
			},
		})
		l.Close()
	})
}

// memory is a file whose Sync does nothing.
type memory struct{ file }

func (memory) Sync() error { return nil }

func FuzzRecover(f *testing.F) {
	f.Add([]byte{}, []byte{})
	f.Add(appendRecord(nil, Entry{Index: 5, Kind: KindLicense, Envelope: []byte("x")}),
		mark{SignedHead: key.SignHead(6, [32]byte{}, node), bytes: 9999}.encode())
	full := filled(f)
	f.Fuzz(func(t *testing.T, behindEntries, behindHeads []byte) {
		dir := copyDir(t, full)
		extend(t, dir, "entries", behindEntries)
		extend(t, dir, "heads", behindHeads)
		l, err := Open(dir, node)
		if err != nil {
			if core.CodeOf(err) != core.CodeWrong && core.CodeOf(err) != core.CodeRefused {
				t.Errorf("code %d: %v", core.CodeOf(err), err)
			}
			return
		}
		defer l.Close()
		if got := all(t, l.Reader, 100); len(got) < 5 {
			t.Errorf("%d entries are left of 5", len(got))
		}
	})
}
