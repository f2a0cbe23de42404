// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/storage/disk/collect"
	"github.com/bkp-tool/bkp/core/storage/disk/index"
	"github.com/bkp-tool/bkp/core/storage/disk/pack"
	"github.com/bkp-tool/bkp/core/storage/disk/table"
	"github.com/zeebo/blake3"
)

// OpenSized is Open of a store of smaller packs.
func OpenSized(dir string, packSize int64) (*Store, error) { return openSized(dir, packSize) }

// SetPackSize makes the store finish its packs sooner.
func (s *Store) SetPackSize(n int64) {
	s.packSize = n
	s.packs.(*local).SetSize(n)
}

// SetMaxLoose makes the store merge its tables sooner.
func (s *Store) SetMaxLoose(rows int) { s.index.MergeAt(rows) }

// Tables is how many merged tables there are, and how many rows stand in memory.
func (s *Store) Tables() (tables, loose int) { return s.index.Counts() }

// SetSpace makes the store believe in another disk.
func (s *Store) SetSpace(space func(dir string) (free, all core.Size, err error)) {
	s.packs.(*local).SetSpace(space)
}

// SetStepped has a collection tell how far it has come.
func (s *Store) SetStepped(f func(step string)) { s.stepped = f }

// SweepReport says what a collection found and did.
type SweepReport = collect.Report

// Sweep is Collect for who wants to know all of that.
func (s *Store) Sweep(ctx context.Context, live func(core.Hash) (bool, error)) (SweepReport, error) {
	return s.collect(ctx, live, nil)
}

// Break makes the store fail, as a sync in the background does.
func (s *Store) Break(err error) { s.packs.(*local).Fail(err) }

// GenerateIndex makes an index of so many rows over packs that hold nothing, and calls each for every hash.
func GenerateIndex(dir string, rows, perPack int, each func(i int, hash core.Hash)) error {
	s, err := Open(dir)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := os.MkdirAll(index.Dir(dir), 0o700); err != nil {
		return err
	}
	path := func(n int) string { return index.TablePath(index.Dir(dir), fmt.Sprintf("%032x", n)) }
	const most = 1 << 20 // rows of a part: they are sorted in memory
	var parts []string
	for from := 0; from < rows; from += most {
		var packs []table.Loose
		for i := from; i < min(from+most, rows); i++ {
			if n := len(packs); n == 0 || len(packs[n-1].Rows) == perPack {
				packs = append(packs, table.Loose{Name: fmt.Sprintf("%032x", i+1)})
			}
			r := pack.Row{Hash: blake3.Sum256(fmt.Appendf(nil, "hash %d", i)), ID: blake3.Sum256(fmt.Appendf(nil, "id %d", i)),
				Offset: pack.HeaderSize, Size: 1}
			each(i, r.Hash)
			p := &packs[len(packs)-1]
			p.Rows = append(p.Rows, r)
		}
		for _, p := range packs {
			if err := os.WriteFile(pack.Path(filepath.Join(dir, "packs"), p.Name), nil, 0o600); err != nil {
				return err
			}
		}
		parts = append(parts, path(1+len(parts)))
		if err := writeMerged(parts[len(parts)-1], nil, packs); err != nil {
			return err
		}
	}
	if err := writeMerged(path(0), parts, nil); err != nil {
		return err
	}
	return index.SetCurrent(index.Dir(dir), []string{fmt.Sprintf("%032x", 0)})
}

// writeMerged writes a table of what stands in others, which go, and in packs.
func writeMerged(path string, parts []string, packs []table.Loose) error {
	var old []table.Old
	for _, part := range parts {
		t, err := table.Open(part)
		if err != nil {
			return err
		}
		f, err := os.Open(part)
		if err != nil {
			return err
		}
		defer f.Close()
		defer os.Remove(part)
		old = append(old, table.Old{Table: t, File: f, Gone: func(int) bool { return false }})
	}
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	defer out.Close()
	return table.Merge(out, old, packs)
}
