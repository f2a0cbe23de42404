// SPDX-License-Identifier: Apache-2.0

package s3

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/storage/disk/check"
	"github.com/bkp-tool/bkp/core/storage/disk/pack"
)

// Check looks through every pack whose name comes after the one given, in order, and changes nothing: whether the
// bucket has it, and the records of those chunks that read says yes to. It asks for as much as it looks at, but for
// whole packs where that is half of one; of those it looks at the table too.
func (s *Store) Check(ctx context.Context, after string, read func(core.Hash) bool, visit func(check.Checked) error) error {
	here, _, err := listShadows(s.packs.dir)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(here)) {
		if name+".pack" <= after {
			continue
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		found, err := s.packs.check(ctx, name, read)
		if errors.Is(err, fs.ErrNotExist) {
			continue // swept meanwhile
		}
		if err != nil {
			return fmt.Errorf("check pack %s: %w", name, err)
		}
		if err := visit(found); err != nil {
			return err
		}
	}
	return nil
}

func (p *packs) check(ctx context.Context, name string, read func(core.Hash) bool) (found check.Checked, err error) {
	found = check.Checked{Pack: name + ".pack"}
	damage := func(offset int64, hash core.Hash, format string, args ...any) {
		found.Damage = append(found.Damage, check.Damage{File: packKey(name), Offset: offset, Chunk: hash,
			Reason: fmt.Sprintf(format, args...)})
	}
	rows, err := pack.Rows(p.dir, name)
	if err != nil {
		if rows, err = p.Rebuild(name, true); err != nil {
			return found, err
		}
	}
	size, err := p.bucket.size(ctx, packKey(name))
	if errors.Is(err, fs.ErrNotExist) {
		if err = p.gone(name, err); core.CodeOf(err) == core.CodeWrong {
			damage(0, core.Hash{}, "it is gone from the bucket")
			return found, nil
		}
	}
	if err != nil {
		return found, err
	}
	var chosen []pack.Row
	wanted := int64(0)
	for _, r := range rows {
		if read(r.Hash) {
			chosen = append(chosen, r)
			wanted += pack.RecordHeader + int64(r.Size)
		}
	}
	var whole []byte
	if 2*wanted >= size {
		if whole, _, err = p.bucket.get(ctx, packKey(name), 0, size); err != nil {
			return found, err
		}
		found.Bytes = core.Size(len(whole))
		if _, err := pack.ReadTable(reader{name, 0, whole}, size); err != nil {
			damage(size, core.Hash{}, "its table is lost, which costs time where nothing else tells of it: %v", err)
		}
	}
	for _, r := range chosen {
		from, bytes := int64(0), whole
		if whole == nil {
			from = int64(r.Offset)
			if bytes, _, err = p.bucket.get(ctx, packKey(name), from, r.End()-from); err != nil {
				return found, err
			}
			found.Bytes += core.Size(len(bytes))
		}
		if reason := wrong(reader{name, from, bytes}, r); reason != "" {
			damage(int64(r.Offset), r.Hash, "%s", reason)
		}
	}
	return found, nil
}

// wrong is what is wrong with a record; "" for nothing.
func wrong(f pack.Reader, want pack.Row) string {
	switch whole, err := pack.CheckRecord(f, want); {
	case err != nil:
		return "it is cut off"
	case !whole:
		return "the header of its record is damaged"
	}
	if _, err := pack.ReadData(f, want, nil); err != nil {
		return "its data do not match its hash"
	}
	return ""
}
