package file_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bkp-tool/bkp/core"
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
