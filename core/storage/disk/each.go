// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"slices"

	"github.com/bkp-tool/bkp/core/storage/disk/pack"
)

// Records is what stands in one pack, and what reads it: Read appends a record's data to dst, and what is damaged is
// core.CodeWrong.
type Records struct {
	Rows []pack.Row
	Read func(r pack.Row, dst []byte) ([]byte, error)
}

// EachPack calls visit with what stands in every pack, in the order of their names, condemned ones included, and step
// after each.
func (s *Store) EachPack(ctx context.Context, visit func(Records) error, step func(done, packs int)) error {
	if err := s.usable(ctx); err != nil {
		return err
	}
	packs := s.index.Packs()
	for i, name := range slices.Sorted(maps.Keys(packs)) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		rows, err := s.rowsOf(name, packs[name])
		if errors.Is(err, fs.ErrNotExist) {
			continue // swept meanwhile
		}
		if err == nil {
			err = visit(Records{rows, func(r pack.Row, dst []byte) (data []byte, err error) {
				err = s.packs.Use(ctx, name, r.Offset, func(f pack.Reader) error {
					data, err = pack.ReadData(f, r, dst)
					return err
				})
				return data, err
			}})
		}
		if err != nil {
			return err
		}
		step(i+1, len(packs))
	}
	return nil
}

// rowsOf is the records of a pack, of one that is being written as far as it is.
func (s *Store) rowsOf(name string, finished bool) (rows []pack.Row, err error) {
	if mine := s.index.Writing(name); mine != nil {
		return mine, nil
	}
	if finished {
		if rows, err = pack.Rows(s.packsDir(), name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			rows, err = s.packs.Rebuild(name, !s.readOnly)
		}
		return rows, err
	}
	f, err := pack.Open(s.packsDir(), name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil {
		_, err = pack.Scan(f, pack.HeaderSize, info.Size(), func(r pack.Row) { rows = append(rows, r) })
	}
	return rows, err
}
