// SPDX-License-Identifier: Apache-2.0

package disk_test

import (
	"testing"

	"github.com/bkp-tool/bkp/core/storage"
	"github.com/bkp-tool/bkp/core/storage/disk"
	"github.com/bkp-tool/bkp/core/storage/storagetest"
)

// conforming is a directory under test.
type conforming struct {
	dir      string
	packSize int64
}

func (c conforming) Open() (storage.Collector, error) { return disk.OpenSized(c.dir, c.packSize) }

func TestConformance(t *testing.T) {
	for name, size := range map[string]int64{"one pack": 64 << 20, "small packs": 4 << 10} {
		t.Run(name, func(t *testing.T) {
			storagetest.Test(t, func(t *testing.T) storagetest.Place { return conforming{t.TempDir(), size} })
		})
	}
}
