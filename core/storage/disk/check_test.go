// SPDX-License-Identifier: Apache-2.0

package disk_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/storage/disk"
)

// checked is the damage that Check finds in the only pack of a store.
func checked(t *testing.T, dir string) (damage []disk.Damage) {
	t.Helper()
	err := disk.Check(context.Background(), dir, "", func(core.Hash) bool { return true }, func(c disk.Checked) error {
		damage = append(damage, c.Damage...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return damage
}

func TestCheckNamesEveryFlippedBit(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	for i := range 3 {
		put(t, s, makePiece(i+1, 40))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	packs, err := filepath.Glob(filepath.Join(dir, "packs", "*.pack"))
	if err != nil || len(packs) != 1 {
		t.Fatalf("packs %v, %v", packs, err)
	}
	whole, err := os.ReadFile(packs[0])
	if err != nil {
		t.Fatal(err)
	}
	if d := checked(t, dir); len(d) > 0 {
		t.Fatalf("a whole pack: %+v", d)
	}
	write := func(data []byte) {
		t.Helper()
		if err := os.WriteFile(packs[0], data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for at := range whole {
		for bit := range 8 {
			whole[at] ^= 1 << bit
			write(whole)
			whole[at] ^= 1 << bit
			if len(checked(t, dir)) == 0 {
				t.Fatalf("bit %d of byte %d of %d flipped: nothing is named", bit, at, len(whole))
			}
		}
	}
	for size := range whole {
		write(whole[:size])
		if len(checked(t, dir)) == 0 {
			t.Fatalf("cut off at %d of %d: nothing is named", size, len(whole))
		}
	}
	write(whole)
	err = disk.Check(t.Context(), dir, filepath.Base(packs[0]), nil, func(c disk.Checked) error {
		t.Errorf("pack %s comes not after itself", c.Pack)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
