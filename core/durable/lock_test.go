// SPDX-License-Identifier: Apache-2.0

package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/bkp-tool/bkp/core"
)

// Bad inputs 48, 49 and 86: what keeps a lock from being taken but another process is not "busy" (code 11), and has a
// next step.
func TestWhatIsNotBusyIsExplained(t *testing.T) {
	for _, err := range []error{
		syscall.ENOLCK, syscall.ENOSYS, syscall.ENOTSUP, fmt.Errorf("flock: %w", syscall.ENOLCK),
		&fs.PathError{Op: "open", Path: "refs/lock", Err: syscall.EROFS},
		&fs.PathError{Op: "open", Path: "refs/lock", Err: syscall.EACCES},
	} {
		got := explainLock("data/refs/lock", err)
		if core.CodeOf(got) != core.CodeFailed || core.HintOf(got) == "" || !errors.Is(got, err) ||
			!strings.Contains(got.Error(), "refs/lock") {
			t.Errorf("%v is explained as %v (code %d, hint %q)", err, got, core.CodeOf(got), core.HintOf(got))
		}
	}
	if err := explainLock("lock", nil); err != nil {
		t.Errorf("a lock that was taken: %v", err)
	}
}

// A lock that another has is no error.
func TestHeldLockIsNoError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, second := NewLock(path), NewLock(path)
	if got, err := first.TryLock(); !got || err != nil {
		t.Fatal(got, err)
	}
	if got, err := second.TryLock(); got || err != nil {
		t.Errorf("the second has it too: %v, %v", got, err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := second.TryLock(); !got || err != nil {
		t.Errorf("after the first closed it: %v, %v", got, err)
	}
	_ = second.Close()
}
