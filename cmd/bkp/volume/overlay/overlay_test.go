// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable/durabletest"
)

// version is what an overlay lies over: bytes of a length that is no multiple of a block, without zeros.
func version(size int) ([]byte, Under) {
	data := make([]byte, size)
	rand.NewChaCha8([32]byte{3}).Read(data)
	for i := range data {
		data[i] |= 1
	}
	return data, Under{Root: core.Hash{1}, Size: core.Size(size), Version: "vms/disk.img@2"}
}

func check(t interface {
	Helper()
	Fatal(...any)
}, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestLikeASliceOfBytes: whatever is written, zeroed, filled, and closed and taken up again meanwhile, reads give what
// a slice of bytes gives; what was trimmed is what it was, or zeros.
func TestLikeASliceOfBytes(t *testing.T) {
	const size = 20*unit + 1234
	base, under := version(size)
	original := bytes.Clone(base)
	dir := t.TempDir()
	run := 0
	rapid.Check(t, func(t *rapid.T) {
		run++
		path := filepath.Join(dir, fmt.Sprint(run))
		open := func() *Overlay {
			o, err := Open(path, under, bytes.NewReader(base))
			check(t, err)
			return o
		}
		if rapid.Bool().Draw(t, "temporary") {
			open = func() *Overlay {
				o, err := Temporary(dir, under, bytes.NewReader(base))
				check(t, err)
				return o
			}
		}
		o, want := open(), bytes.Clone(base)
		stretch := func() (at, end int64) {
			at = rapid.Int64Range(0, size).Draw(t, "at")
			if rapid.Bool().Draw(t, "aligned") {
				at = at / unit * unit
			}
			most := rapid.SampledFrom([]int64{10, 2 * unit, size}).Draw(t, "most")
			return at, rapid.Int64Range(at, min(size, at+most)).Draw(t, "end")
		}
		t.Repeat(map[string]func(*rapid.T){
			"write": func(t *rapid.T) {
				at, end := stretch()
				p := bytes.Repeat([]byte{byte(rapid.IntRange(0, 255).Draw(t, "byte"))}, int(end-at))
				copy(want[at:], p)
				if n, err := o.WriteAt(p, at); err != nil || n != len(p) {
					t.Fatalf("write: %d, %v", n, err)
				}
			},
			"zero": func(t *rapid.T) {
				at, end := stretch()
				clear(want[at:end])
				check(t, o.Zero(at, end-at))
			},
			"fill": func(t *rapid.T) {
				at, end := stretch()
				at, end = at/unit*unit, min((end+unit-1)/unit*unit, size)
				check(t, o.Fill(base[at:end], at))
				if at < end && o.Lacks(at, end) {
					t.Fatal("it lacks what it was filled with")
				}
			},
			"trim": func(t *rapid.T) {
				at, end := stretch()
				check(t, o.Trim(at, end-at))
				got := make([]byte, end-at)
				if _, err := o.ReadAt(got, at); err != nil {
					t.Fatal(err)
				}
				for i, b := range got {
					if b != 0 && b != want[at+int64(i)] {
						t.Fatalf("trimmed: at %d is neither what it was nor zero", at+int64(i))
					}
				}
				copy(want[at:], got)
			},
			"again": func(t *rapid.T) {
				if o.lock != nil {
					check(t, o.Close())
					o = open()
				}
			},
			"sync": func(t *rapid.T) { check(t, o.Flush()) },
			"": func(t *rapid.T) {
				at, end := stretch()
				got := make([]byte, end-at+5)
				n, err := o.ReadAt(got, at)
				if wantN := min(len(got), size-int(at)); n != wantN || err != nil && err != io.EOF ||
					!bytes.Equal(got[:n], want[at:int(at)+n]) {
					t.Fatalf("read %d at %d: %d, %v", len(got), at, n, err)
				}
			},
		})
		check(t, o.Close())
		if !bytes.Equal(base, original) {
			t.Fatal("the version was changed")
		}
	})
	left, err := filepath.Glob(filepath.Join(dir, "overlay-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// TestManyWriteToOneBlock: parts of one block that many write at the same time are all there.
func TestManyWriteToOneBlock(t *testing.T) {
	base, under := version(64 * unit)
	o, err := Temporary(t.TempDir(), under, bytes.NewReader(base))
	check(t, err)
	defer o.Close()
	want := bytes.Repeat([]byte("w"), len(base))
	var all sync.WaitGroup
	for part := range 8 {
		all.Go(func() {
			for at := part * 512; at < len(want); at += unit {
				if _, err := o.WriteAt(want[at:at+512], int64(at)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Go(func() {
		for at := 0; at < len(base); at += unit {
			if err := o.Fill(base[at:at+unit], int64(at)); err != nil {
				t.Error(err)
			}
		}
	})
	all.Wait()
	got := make([]byte, len(want))
	if _, err := o.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
		t.Errorf("not all is there that was written (%v)", err)
	}
}

// meanwhile is a version during whose first reading something else happens.
type meanwhile struct {
	io.ReaderAt
	once sync.Once
	do   func()
}

func (m *meanwhile) ReadAt(p []byte, at int64) (int, error) {
	n, err := m.ReaderAt.ReadAt(p, at)
	m.once.Do(m.do)
	return n, err
}

// TestSlowVersionUndoesNoWrite: the rest of a block that comes late does not take the place of what was written there.
func TestSlowVersionUndoesNoWrite(t *testing.T) {
	base, under := version(unit)
	m := &meanwhile{ReaderAt: bytes.NewReader(base)}
	o, err := Temporary(t.TempDir(), under, m)
	check(t, err)
	defer o.Close()
	want := bytes.Repeat([]byte("w"), unit)
	m.do = func() {
		if _, err := o.WriteAt(want, 0); err != nil {
			t.Error(err)
		}
	}
	copy(want[100:], "late")
	_, err = o.WriteAt([]byte("late"), 100)
	check(t, err)
	got := make([]byte, unit)
	if _, err := o.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%.200q, %v", got, err)
	}
}

// broken is a version that cannot be read.
type broken struct{}

func (broken) ReadAt([]byte, int64) (int, error) { return 0, errors.New("no holder is there") }

// TestWhatIsThereNeedsNoVersion: whole blocks are written and read without the version; a part of one is not.
func TestWhatIsThereNeedsNoVersion(t *testing.T) {
	_, under := version(10*unit + 5)
	o, err := Temporary(t.TempDir(), under, broken{})
	check(t, err)
	defer o.Close()
	p := bytes.Repeat([]byte("w"), 2*unit)
	_, err = o.WriteAt(p, unit)
	check(t, err)
	_, err = o.WriteAt(p[:5], 10*unit)
	check(t, err)
	check(t, o.Zero(5*unit, unit))
	_, err = o.ReadAt(make([]byte, 2*unit), unit)
	check(t, err)
	if _, err := o.WriteAt(p[:10], 4*unit); err == nil {
		t.Error("a part of a block was written without the rest")
	}
	if n, err := o.ReadAt(make([]byte, 3*unit), unit); err == nil || n != 2*unit {
		t.Errorf("%d bytes, %v", n, err)
	}
	if !o.Lacks(unit, 4*unit) || o.Lacks(unit, 3*unit) {
		t.Error("it does not know what it lacks")
	}
}

// TestRefused: an overlay goes on with its own content alone, for one user at a time, and nothing else is taken for
// one.
func TestRefused(t *testing.T) {
	base, under := version(10 * unit)
	path := filepath.Join(t.TempDir(), "changes")
	o, err := Open(path, under, bytes.NewReader(base))
	check(t, err)
	_, err = o.WriteAt([]byte("written"), 9*unit+5)
	check(t, err)
	refused := func(what string, u Under, code core.Code, words string) {
		t.Helper()
		o, err := Open(path, u, bytes.NewReader(base))
		if err == nil {
			o.Close()
		}
		if core.CodeOf(err) != code || core.HintOf(err) == "" || !strings.Contains(fmt.Sprint(err), words) {
			t.Errorf("%s: %v (code %d, hint %q)", what, err, core.CodeOf(err), core.HintOf(err))
		}
	}
	refused("in use", under, core.CodeBusy, "in use")
	check(t, o.Close())
	other := under
	other.Root[0]++
	other.Version = "vms/disk.img@3"
	refused("other content", other, core.CodeRefused, "lies over vms/disk.img@2")
	renamed := under
	renamed.Version = "copy@1"
	o, err = Open(path, renamed, bytes.NewReader(base))
	check(t, err)
	check(t, o.Close())

	whole, err := os.ReadFile(path)
	check(t, err)
	for what, content := range map[string][]byte{"empty": {}, "text": []byte("my diary"), "cut": whole[:len(whole)-1],
		"no header": append([]byte(magic+"\n{\"root\"\n"), whole[30:]...),
		"newer":     append([]byte(magic[:12]+"2"), whole[13:]...)} {
		check(t, os.WriteFile(path, content, 0o600))
		refused(what, under, core.CodeWrong, "")
		if left, err := os.ReadFile(path); err != nil || !bytes.Equal(left, content) {
			t.Errorf("%s: the file was changed (%v)", what, err)
		}
	}
	path = filepath.Join(t.TempDir(), "none", "changes")
	refused("nowhere", under, core.CodeFailed, "")
}

// TestLongNameFitsTheHeader: the name is for a person, and may be any.
func TestLongNameFitsTheHeader(t *testing.T) {
	base, under := version(unit)
	under.Version = strings.Repeat("\x01\xff", 5000)
	path := filepath.Join(t.TempDir(), "changes")
	for range 2 {
		o, err := Open(path, under, bytes.NewReader(base))
		check(t, err)
		check(t, o.Close())
	}
}

// TestPowerLossOverlay: after each sync all that was written before is there, whatever else is: a block is what it was
// after the last sync or what was written to it since, never anything else.
func TestPowerLossOverlay(t *testing.T) {
	const blocks = 6
	root := durabletest.Dir(t)
	path := filepath.Join(root, "changes")
	base, under := version(blocks * unit)
	r := durabletest.Record(t, root)
	o, err := Open(path, under, bytes.NewReader(base))
	check(t, err)
	r.Promise("made")
	now := bytes.Clone(base)
	history := [][]byte{bytes.Clone(now)} // after each write
	synced := []int{0}                    // by sync: the state that it made durable
	write := func(b byte, at, length int) {
		copy(now[at:], bytes.Repeat([]byte{b}, length))
		var err error
		if b == 0 {
			err = o.Zero(int64(at), int64(length))
		} else {
			_, err = o.WriteAt(now[at:at+length], int64(at))
		}
		check(t, err)
		history = append(history, bytes.Clone(now))
	}
	sync := func() {
		check(t, o.Flush())
		synced = append(synced, len(history)-1)
		r.Promise("synced")
	}
	write('a', 0, unit)
	write('b', unit+100, 50)
	sync()
	write('c', 2*unit-10, 20)
	write(0, 3*unit, unit)
	write('d', unit+120, 50)
	sync()
	sync()
	write('e', 5*unit+7, 9)
	check(t, o.Close())
	synced = append(synced, len(history)-1)
	r.Promise("closed")
	r.Stop()
	r.Check(t, 2000, func(roots []string, promises []any) error {
		if len(promises) == 0 {
			return nil
		}
		o, err := Open(filepath.Join(roots[0], "changes"), under, bytes.NewReader(base))
		if err != nil {
			return err
		}
		defer o.Close()
		got := make([]byte, len(base))
		if _, err := o.ReadAt(got, 0); err != nil {
			return err
		}
		for i, b := range got {
			possible := false
			for _, h := range history[synced[len(promises)-1]:] {
				possible = possible || h[i] == b
			}
			if !possible {
				return fmt.Errorf("after %d syncs byte %d of block %d is %q", len(promises)-1, i%unit, i/unit, b)
			}
		}
		return nil
	})
}
