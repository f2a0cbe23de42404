// SPDX-License-Identifier: Apache-2.0

package durable_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable"
	"github.com/bkp-tool/bkp/core/durable/durabletest"
)

// TestPowerLossReplace replaces a file again and again: what was acknowledged last, or what was on its way, is there
// whole.
func TestPowerLossReplace(t *testing.T) {
	dir := t.TempDir()
	r := durabletest.Record(t, dir)
	for v := 1; v <= 3; v++ {
		if err := durable.Replace(filepath.Join(dir, "f"), fmt.Appendf(nil, "content %d", v), 0o600); err != nil {
			t.Fatal(err)
		}
		r.Promise(v)
	}
	r.Check(t, 400, func(roots []string, promises []any) error {
		got, err := os.ReadFile(filepath.Join(roots[0], "f"))
		if len(promises) == 0 && errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		for _, v := range []int{len(promises), len(promises) + 1} {
			if v > 0 && string(got) == fmt.Sprintf("content %d", v) {
				return nil
			}
		}
		return fmt.Errorf("%d versions were acknowledged, and the file is %q (%v)", len(promises), got, err)
	})
}

// TestPowerLossNew makes a file below directories that it makes, once.
func TestPowerLossNew(t *testing.T) {
	dir := t.TempDir()
	r := durabletest.Record(t, dir)
	path := filepath.Join("a", "b", "f")
	if err := durable.MkdirAll(filepath.Join(dir, "a", "b")); err != nil {
		t.Fatal(err)
	}
	if err := durable.New(filepath.Join(dir, path), []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.Promise("made")
	if err := durable.New(filepath.Join(dir, path), []byte("other"), 0o600); !errors.Is(err, fs.ErrExist) {
		t.Errorf("New over a file: %v", err)
	}
	r.Check(t, 400, func(roots []string, promises []any) error {
		got, err := os.ReadFile(filepath.Join(roots[0], path))
		if string(got) != "content" && (len(promises) > 0 || err == nil) {
			return fmt.Errorf("promised: %v; content %q, %v", promises, got, err)
		}
		return nil
	})
}

// TestPowerLossInADirectoryThatAnotherMade writes where another process was killed before it made the directory's name
// durable.
func TestPowerLossInADirectoryThatAnotherMade(t *testing.T) {
	dir := t.TempDir()
	r := durabletest.Record(t, dir)
	if err := durable.Mkdir(filepath.Join(dir, "d")); err != nil {
		t.Fatal(err)
	}
	if err := durable.MkdirAll(filepath.Join(dir, "d")); err != nil {
		t.Fatal(err)
	}
	if err := durable.Replace(filepath.Join(dir, "d", "f"), []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.Promise("made")
	r.Check(t, 400, func(roots []string, promises []any) error {
		got, err := os.ReadFile(filepath.Join(roots[0], "d", "f"))
		if len(promises) > 0 && string(got) != "content" {
			return fmt.Errorf("content %q, %v", got, err)
		}
		return nil
	})
}

// TestPowerLossDB counts in a database, which is always whole and never behind.
func TestPowerLossDB(t *testing.T) {
	dir := t.TempDir()
	r := durabletest.Record(t, dir)
	count(t, filepath.Join(dir, "db"), 5, func(n int) { r.Promise(n) })
	r.Check(t, 600, func(roots []string, promises []any) error {
		db, err := durable.OpenDB(filepath.Join(roots[0], "db"), len(promises) == 0)
		if err != nil {
			return err
		}
		defer db.Close()
		got := 0
		err = db.View(func(tx *bbolt.Tx) error {
			if b := tx.Bucket([]byte("b")); b != nil {
				got = int(b.Get([]byte("n"))[0])
			}
			for err := range tx.Check() {
				return err
			}
			return nil
		})
		if got < len(promises) || got > len(promises)+1 {
			return fmt.Errorf("%d were acknowledged, and %d are there", len(promises), got)
		}
		return err
	})
}

func count(t *testing.T, path string, to int, counted func(int)) {
	t.Helper()
	db, err := durable.OpenDB(path, true)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for n := 1; n <= to; n++ {
		err := db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte("b"))
			if err != nil {
				return err
			}
			return b.Put([]byte("n"), []byte{byte(n)})
		})
		if err != nil {
			t.Fatal(err)
		}
		counted(n)
	}
}

// TestRecorderFindsWhatIsNotSynced makes sure that the tests above can fail: each program lacks one sync.
func TestRecorderFindsWhatIsNotSynced(t *testing.T) {
	programs := map[string]func(dir string){
		"the content": func(dir string) {
			f, _ := durable.Create(filepath.Join(dir, "temp"), 0o600)
			f.WriteAt([]byte("content"), 0)
			durable.Rename(f.Name(), filepath.Join(dir, "f"))
			durable.SyncDir(dir)
		},
		"the name": func(dir string) {
			f, _ := durable.Create(filepath.Join(dir, "f"), 0o600)
			f.WriteAt([]byte("content"), 0)
			f.Sync()
		},
		"the directory's own name": func(dir string) {
			durable.Mkdir(filepath.Join(dir, "d"))
			durable.Replace(filepath.Join(dir, "d", "f"), []byte("content"), 0o600)
			durable.Link(filepath.Join(dir, "d", "f"), filepath.Join(dir, "d", "again"))
		},
	}
	for lacks, program := range programs {
		t.Run(lacks, func(t *testing.T) {
			dir := t.TempDir()
			r := durabletest.Record(t, dir)
			program(dir)
			r.Promise("done")
			if r.Survives(100, func(roots []string, promises []any) error {
				for _, name := range []string{"f", "d/f"} {
					if got, _ := os.ReadFile(filepath.Join(roots[0], name)); string(got) == "content" {
						return nil
					}
				}
				if len(promises) == 0 {
					return nil
				}
				return errors.New("lost")
			}) == nil {
				t.Error("no state shows that it is missing")
			}
		})
	}
}

func TestFailedSyncPoisons(t *testing.T) {
	dir := t.TempDir()
	r := durabletest.Record(t, dir)
	f, err := durable.Create(filepath.Join(dir, "f"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r.Fail(func(op durabletest.Op) error {
		if op.Kind == "sync" && op.Nth == 0 || op.Kind == "syncdir" && op.Nth == 0 {
			return syscall.EIO
		}
		return nil
	})
	first := f.Sync()
	if !errors.Is(first, syscall.EIO) {
		t.Fatalf("the first sync: %v", first)
	}
	if again := f.Sync(); again != first {
		t.Errorf("a second sync: %v", again)
	}
	if _, err := f.WriteAt([]byte("x"), 0); err != first {
		t.Errorf("a write after it: %v", err)
	}
	if err := f.Rename(filepath.Join(dir, "g")); err != first {
		t.Errorf("a rename after it: %v", err)
	}
	if err := durable.SyncDir(dir); !errors.Is(err, syscall.EIO) {
		t.Fatalf("the first sync of the directory: %v", err)
	}
	if err := durable.SyncDir(dir); !errors.Is(err, syscall.EIO) {
		t.Errorf("a second sync of the directory: %v", err)
	}
}

func TestDirectoriesThatCannotBeSynced(t *testing.T) {
	dir := t.TempDir()
	r := durabletest.Record(t, dir)
	for _, errno := range []error{syscall.EINVAL, syscall.ENOTSUP} {
		r.Fail(func(op durabletest.Op) error {
			if op.Kind == "syncdir" {
				return &fs.PathError{Op: "sync", Path: op.Path, Err: errno}
			}
			return nil
		})
		if err := durable.Replace(filepath.Join(dir, "f"), nil, 0o600); err != nil {
			t.Errorf("where the file system says %v: %v", errno, err)
		}
	}
}

func TestFailedCommitClosesTheDatabase(t *testing.T) {
	dir := t.TempDir()
	r := durabletest.Record(t, dir)
	db, err := durable.OpenDB(filepath.Join(dir, "db"), true)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	nothing := func(*bbolt.Tx) error { return nil }
	r.Fail(func(op durabletest.Op) error {
		if op.Kind == "commit" && op.Nth == 0 {
			return syscall.EIO
		}
		return nil
	})
	if err := db.Update(nothing); !errors.Is(err, syscall.EIO) {
		t.Fatalf("the commit: %v", err)
	}
	if err := db.Update(nothing); !errors.Is(err, syscall.EIO) {
		t.Errorf("the next one: %v", err)
	}
	if err := db.View(nothing); !errors.Is(err, syscall.EIO) {
		t.Errorf("reading: %v", err)
	}
}

// TestDamagedDatabaseIsAnError damages a database in every page, and cuts it: each way is an error or goes unnoticed,
// never a panic.
func TestDamagedDatabaseIsAnError(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "db")
	count(t, path, 40, func(int) {})
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	damage := map[string][]byte{"emptied": {}, "text": []byte("no database"), "cut": whole[:len(whole)/2+100],
		"cut short": whole[:len(whole)-4096]}
	for page := 0; page < len(whole); page += 4096 {
		b := append([]byte(nil), whole...)
		for i := page; i < page+4096; i++ {
			b[i] ^= 0x5a
		}
		damage[fmt.Sprintf("page %d", page/4096)] = b
	}
	for how, content := range damage {
		t.Run(how, func(t *testing.T) {
			at := filepath.Join(t.TempDir(), "db")
			if err := os.WriteFile(at, content, 0o600); err != nil {
				t.Fatal(err)
			}
			db, err := durable.OpenDB(at, true)
			if err == nil {
				defer db.Close()
				err = db.Update(func(tx *bbolt.Tx) error {
					return tx.Bucket([]byte("b")).Put([]byte("m"), make([]byte, 5000))
				})
			}
			if err != nil && core.CodeOf(err) != core.CodeWrong {
				t.Errorf("it is told as %v", err)
			}
		})
	}
}

func TestMissingDatabase(t *testing.T) {
	if _, err := durable.OpenDB(filepath.Join(t.TempDir(), "db"), false); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("opening one that is not there: %v", err)
	}
}

// TestZero: bytes become zeros inside a file and past its end, which the twin sees, and those beside them stay.
func TestZero(t *testing.T) {
	const mib = 1 << 20
	dir := durabletest.Dir(t)
	r := durabletest.Record(t, dir)
	f, err := durable.Create(filepath.Join(dir, "f"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	want := bytes.Repeat([]byte("w"), 3*mib)
	_, err = f.WriteAt(want, 0)
	err = errors.Join(err, f.Zero(5000, 2*mib), f.Zero(3*mib-10, 30), f.Zero(0, 0), f.Sync(), durable.SyncDir(dir))
	if err != nil {
		t.Fatal(err)
	}
	clear(want[5000 : 5000+2*mib])
	clear(want[3*mib-10:])
	want = append(want, make([]byte, 20)...)
	r.Promise("zeroed")
	same := func(dir string) error {
		if got, err := os.ReadFile(filepath.Join(dir, "f")); err != nil || !bytes.Equal(got, want) {
			return fmt.Errorf("%d bytes that are others (%w)", len(got), err)
		}
		return nil
	}
	if err := same(dir); err != nil {
		t.Error(err)
	}
	r.Fail(func(op durabletest.Op) error {
		if op.Kind == "sync" {
			return syscall.EIO
		}
		return nil
	})
	first := f.Sync()
	if err := f.Zero(0, 1); first == nil || err != first {
		t.Errorf("after a failed sync: %v", err)
	}
	r.Check(t, 50, func(roots []string, promises []any) error {
		if len(promises) == 0 {
			return nil
		}
		return same(roots[0])
	})
}
