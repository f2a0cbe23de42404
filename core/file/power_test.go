// SPDX-License-Identifier: Apache-2.0

package file

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/bkp-tool/bkp/core/durable/durabletest"
)

// TestPowerLossDevice restores in place: once that is committed every byte is there.
func TestPowerLossDevice(t *testing.T) {
	root := durabletest.Dir(t)
	path := filepath.Join(root, "device") // a file that stands for one
	if err := os.WriteFile(path, make([]byte, 64<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	r := durabletest.Record(t, root)
	d, err := OpenDevice(path, 64<<10)
	if err != nil {
		t.Fatal(err)
	}
	want := bytes.Repeat([]byte("restored"), 6<<10)
	for at := 0; at < len(want); at += 4 << 10 {
		_, writeErr := d.WriteAt(want[at:at+4<<10], int64(at))
		err = errors.Join(err, writeErr)
	}
	if err := errors.Join(err, d.Commit()); err != nil {
		t.Fatal(err)
	}
	r.Promise("restored")
	r.Check(t, 200, func(roots []string, promises []any) error {
		got, err := os.ReadFile(filepath.Join(roots[0], "device"))
		if err == nil && len(promises) > 0 && !bytes.HasPrefix(got, want) {
			err = fmt.Errorf("what was restored is not there")
		}
		return err
	})
}
