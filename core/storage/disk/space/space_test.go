// SPDX-License-Identifier: Apache-2.0

package space_test

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/storage/disk/space"
)

// A large disk keeps 256 MiB free, a small one a hundredth.
func TestALittleIsLeftFree(t *testing.T) {
	for _, c := range []struct {
		free, all, more core.Size
		full            bool
	}{
		{256 * core.MiB, core.TiB, 0, false},
		{256 * core.MiB, core.TiB, 1, true},
		{257 * core.MiB, core.TiB, core.MiB, false},
		{10 * core.MiB, core.GiB, 0, true},
		{20 * core.MiB, core.GiB, 9 * core.MiB, false},
		{20 * core.MiB, core.GiB, 10 * core.MiB, true},
	} {
		err := space.Admit(c.free, c.all, c.more)
		if (err != nil) != c.full || c.full && (!space.IsFull(err) || core.HintOf(err) == "") {
			t.Errorf("%s more where %s of %s are free: %v", c.more, c.free, c.all, err)
		}
	}
}

func TestRoomIsWhatMayBeWritten(t *testing.T) {
	dir := t.TempDir()
	free, all, err := space.Of(dir)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip("this system does not tell")
	}
	if err != nil || free > all {
		t.Fatalf("%s of %s, %v", free, all, err)
	}
	if room, err := space.Room(dir); err != nil || room > all-min(256*core.MiB, all/100) {
		t.Errorf("%s of %s may be written, %v", room, all, err)
	}
	if _, err := space.Room(dir + "/none"); err == nil {
		t.Error("there is room where there is no directory")
	}
}

// Who meets a full disk, or a quota, is told which disk, and what to do.
func TestAFullDiskIsExplained(t *testing.T) {
	for _, full := range []error{syscall.ENOSPC, syscall.EDQUOT} {
		err := space.Explain(fmt.Errorf("write: %w", full), "/data")
		if !errors.Is(err, full) || !strings.Contains(err.Error(), "/data") || !strings.Contains(core.HintOf(err), "bkp gc") {
			t.Errorf("got %v, hint %q", err, core.HintOf(err))
		}
	}
	if err := space.Explain(syscall.EIO, "/data"); err != syscall.EIO {
		t.Errorf("got %v", err)
	}
}
