// SPDX-License-Identifier: Apache-2.0

package disk_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bkp-tool/bkp/core/storage/disk"
)

// testdata/v1 is a store as the first version wrote it: a finished pack of three pieces. It must be readable for ever,
// and the same pieces must make the same pack for as long as the version is 1.
func TestGoldenPack(t *testing.T) {
	dir, pack := finishedStore(t, makePieces(3, 40))
	got, err := os.ReadFile(pack)
	if err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "v1", "packs", strings.Repeat("0123456789abcdef", 2)+".pack")
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is written as\n%x\nwant\n%x", dir, got, want)
	}
	s, err := disk.OpenRead(filepath.Join("testdata", "v1"))
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, s)
	for _, p := range makePieces(3, 40) {
		wantPiece(t, s, p)
		if _, ok := found(s, p.id); !ok {
			t.Errorf("%s is not found by its id", p.Hash)
		}
	}
}
