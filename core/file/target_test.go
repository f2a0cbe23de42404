// SPDX-License-Identifier: Apache-2.0

package file_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable"
	"github.com/bkp-tool/bkp/core/durable/durabletest"
	"github.com/bkp-tool/bkp/core/file"
)

func create(t *testing.T, path string, size core.Size, force bool) *file.Target {
	t.Helper()
	target, err := file.Create(path, "tag", size, force)
	if err != nil {
		t.Fatal(err)
	}
	return target
}

func write(t *testing.T, target *file.Target, s string, at int64) {
	t.Helper()
	if n, err := target.WriteAt([]byte(s), at); n != len(s) || err != nil {
		t.Fatal(n, err)
	}
}

func wantFile(t *testing.T, path, want string) {
	t.Helper()
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		t.Errorf("%s holds %q, %v, want %q", filepath.Base(path), got, err, want)
	}
}

// wantAlone makes sure that no temporary file stayed behind.
func wantAlone(t *testing.T, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if strings.Join(got, " ") != strings.Join(names, " ") {
		t.Errorf("there is %q, want %q", got, names)
	}
}

func TestATargetAppearsWhenItIsWhole(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "out")
	target := create(t, path, 10, false)
	write(t, target, "world", 5)
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Error("there is something under the name before it is whole")
	}
	write(t, target, "hel", 0)
	if err := target.Commit(); err != nil {
		t.Fatal(err)
	}
	wantFile(t, path, "hel\x00\x00world")
	wantAlone(t, dir, "out")
}

func TestATargetThatIsGivenUp(t *testing.T) {
	dir := t.TempDir()
	target := create(t, filepath.Join(dir, "out"), 10, false)
	write(t, target, "half", 0)
	target.Abort(false)
	wantAlone(t, dir)
}

func TestATargetHasItsSize(t *testing.T) {
	target := create(t, filepath.Join(t.TempDir(), "out"), 10, false)
	defer target.Abort(false)
	for _, at := range []int64{-1, 7, 10, 1 << 62} {
		if _, err := target.WriteAt([]byte("four"), at); err == nil {
			t.Errorf("wrote at %d", at)
		}
	}
}

func TestNothingIsReplacedWithoutForce(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "out")
	early := create(t, path, 5, false) // nothing is there yet
	write(t, early, "early", 0)
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := file.Create(path, "other", 5, false); err == nil || !strings.Contains(core.HintOf(err), "--force") {
		t.Errorf("create: %v, hint %q", err, core.HintOf(err))
	}
	if err := early.Commit(); err == nil || !strings.Contains(core.HintOf(err), "--force") {
		t.Errorf("commit: %v, hint %q", err, core.HintOf(err))
	}
	wantFile(t, path, "mine")
	wantAlone(t, dir, "out")

	forced := create(t, path, 5, true)
	write(t, forced, "other", 0)
	wantFile(t, path, "mine")
	if err := forced.Commit(); err != nil {
		t.Fatal(err)
	}
	wantFile(t, path, "other")
	wantAlone(t, dir, "out")
}

func TestPlacesThatCannotBeWritten(t *testing.T) {
	dir := t.TempDir()
	if _, err := file.Create(dir, "tag", 5, true); core.CodeOf(err) != core.CodeUsage {
		t.Errorf("a directory: %v", err)
	}
	if _, err := file.Create(filepath.Join(dir, "none", "out"), "tag", 5, false); err == nil {
		t.Error("created in a directory that is not there")
	}
	if _, err := file.Create("/dev/null", "tag", 5, true); err == nil {
		t.Error("replaced a device")
	}
}

func TestAnInterruptedTargetIsTakenUp(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "out")
	first := create(t, path, 10, false)
	write(t, first, "hello", 0)
	if _, err := file.Create(path, "tag", 10, false); core.CodeOf(err) != core.CodeBusy {
		t.Errorf("a second writer: %v, want code 11", err)
	}
	first.Abort(true)

	again := create(t, path, 10, false)
	got := make([]byte, 5)
	if n, err := again.ReadAt(got, 0); n != 5 || err != nil || string(got) != "hello" {
		t.Errorf("took up %q, %v", got[:n], err)
	}
	write(t, again, "world", 5)
	if err := again.Commit(); err != nil {
		t.Fatal(err)
	}
	wantFile(t, path, "helloworld")
	wantAlone(t, dir, "out")
}

// TestACommitThatFailsLeavesTheNameAsItWas: when the names cannot be made durable, or the last call before fails, there
// is an error and the old state, never an error and the new file.
func TestACommitThatFailsLeavesTheNameAsItWas(t *testing.T) {
	for _, test := range []struct {
		fails      string // the kind of operation
		old, force bool
		want       string // what stands under the name; the file is "new"
	}{
		{"syncdir", false, false, ""},
		{"syncdir", false, true, ""},
		{"syncdir", true, true, "old"},
		{"link", false, false, ""}, // as on a file system without links: it is renamed
		{"remove", false, false, "new"},
		{"remove", true, true, "new"},
	} {
		t.Run(fmt.Sprintf("%s old=%v force=%v", test.fails, test.old, test.force), func(t *testing.T) {
			if test.old && test.force && runtime.GOOS != "linux" && test.fails == "syncdir" {
				t.Skip("two files cannot take each other's name here")
			}
			dir := t.TempDir()
			path := filepath.Join(dir, "out")
			if test.old {
				if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			target := create(t, path, 3, test.force)
			write(t, target, "new", 0)
			failed := 0
			durabletest.Record(t, dir).Fail(func(op durabletest.Op) error {
				if op.Kind == test.fails || test.fails == "link" && op.Kind == "rename" {
					failed++
					return syscall.EIO
				}
				return nil
			})
			err := target.Commit()
			if failed == 0 {
				t.Fatalf("no %s was made", test.fails)
			}
			if (err == nil) != (test.want == "new") {
				t.Errorf("%v, with %q under the name", err, test.want)
			}
			if test.want == "" {
				wantAlone(t, dir)
				return
			}
			wantFile(t, path, test.want)
			if test.fails != "remove" {
				wantAlone(t, dir, "out")
			}
		})
	}
}

// TestAKilledCommitIsNotWrittenInPlace: its part and its file were one, under two names.
func TestAKilledCommitIsNotWrittenInPlace(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "out")
	create(t, path, 3, false).Abort(true)
	parts, err := filepath.Glob(filepath.Join(dir, ".bkp-*"))
	if err != nil || len(parts) != 1 {
		t.Fatal(parts, err)
	}
	if err := os.Link(parts[0], path); err != nil {
		t.Skip(err)
	}
	if err := os.WriteFile(path, []byte("used"), 0o600); err != nil {
		t.Fatal(err)
	}
	target := create(t, path, 3, true)
	write(t, target, "new", 0)
	wantFile(t, path, "used")
	if err := target.Commit(); err != nil {
		t.Fatal(err)
	}
	wantFile(t, path, "new")
	wantAlone(t, dir, "out")
}

// What interrupted fetches of other versions left goes once the file is whole; not what somebody writes still, nor
// another file's.
func TestPartsOfOtherVersionsGo(t *testing.T) {
	dir, s := t.TempDir(), memory()
	path := filepath.Join(dir, "f")
	root := splitBytes(t, s, noise(3, 100_000))
	parts := map[string]bool{ // name: it stays
		".bkp-f-0123abcd.part":          false,
		".bkp-f-0123abcd-4096.part":     false,
		".bkp-f-89abcdef.part":          true, // locked
		".bkp-f-g-0123abcd.part":        true, // of the file f-g
		".bkp-f-notes.part":             true,
		".bkp-other-0123abcd.part":      true,
		".bkp-f-0123abcd.part.precious": true,
	}
	for name := range parts {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	lock := durable.LockOf(filepath.Join(dir, ".bkp-f-89abcdef.part"))
	if got, err := lock.TryLock(); err != nil || !got {
		t.Fatal(got, err)
	}
	defer lock.Close()
	run(t, restore(root, s, path))
	for name, stays := range parts {
		if _, err := os.Stat(filepath.Join(dir, name)); (err == nil) != stays {
			t.Errorf("%s: %v, stays is %t", name, err, stays)
		}
	}
}

// A target that was killed when it had its mode, and not yet its name, is no obstacle to who is not root.
func TestAPartThatCannotBeWrittenIsMadeAnew(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may write anything")
	}
	dir, s := t.TempDir(), memory()
	path := filepath.Join(dir, "f")
	data := noise(3, 100_000)
	r := restore(splitBytes(t, s, data), s, path)
	r.Mode = 0o100444
	part := filepath.Join(dir, fmt.Sprintf(".bkp-f-%.8s.part", r.Root.Hash))
	if err := os.WriteFile(part, data, 0o444); err != nil {
		t.Fatal(err)
	}
	run(t, r)
	wantFile(t, path, string(data))
	wantAlone(t, dir, "f")
}
