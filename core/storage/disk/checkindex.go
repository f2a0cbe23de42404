// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/bkp-tool/bkp/core"
)

const mends = "what it says is read from the packs, and the next split or gc makes it anew"

// CheckIndex looks through the merged tables of the store in dir and the list of its condemned packs, and changes
// nothing; rows says whether every row is read as well. All that is damaged there is made anew from the packs, and
// loses nothing.
func CheckIndex(ctx context.Context, dir string, rows bool) (damage []Damage, read core.Size, err error) {
	s := newStore(filepath.Join(dir, "packs"))
	if _, err := parseCondemned(s.condemnedPath()); core.CodeOf(err) == core.CodeWrong {
		damage = append(damage, Damage{File: "writers/CONDEMNED", Reason: err.Error() + "; the next gc makes it anew"})
	}
	names, err := s.readCurrent()
	if core.CodeOf(err) == core.CodeWrong {
		return append(damage, Damage{File: "index/CURRENT", Reason: err.Error() + "; " + mends}), 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("check index: %w", err)
	}
	if there, err := listPacks(s.dir); len(names) == 0 && err == nil && len(there) > 4*maxLoosePacks {
		damage = append(damage, Damage{File: "index", Reason: "it is lost; " + mends})
	}
	for _, name := range names {
		if ctx.Err() != nil {
			return nil, read, context.Cause(ctx)
		}
		n, at, err := checkTable(s.tablePath(name), rows)
		read += core.Size(n)
		if errors.Is(err, fs.ErrNotExist) {
			if now, err := s.readCurrent(); err != nil || !slices.Contains(now, name) {
				continue // merged into another meanwhile
			}
			err = damaged("a table that CURRENT names is lost")
		}
		if core.CodeOf(err) == core.CodeWrong || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
			damage = append(damage, Damage{File: "index/" + name + ".idx", Offset: at,
				Reason: err.Error() + "; " + mends})
			continue
		}
		if err != nil {
			return nil, read, fmt.Errorf("check index %s: %w", name, err)
		}
	}
	return damage, read, nil
}

// checkTable reads a merged table and says where the first damage is.
func checkTable(path string, rows bool) (read, at int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, 0, err
	}
	t, err := openMerged(f, info.Size())
	if err != nil {
		return 0, info.Size(), err
	}
	for _, s := range []section{t.hashes, t.ids} {
		if !rows {
			break
		}
		c := newCursor(f, s, func([]byte) bool { return true })
		for more := true; more; {
			at = s.at + int64(s.rows-c.left)*int64(s.size)
			if more, err = c.next(); err != nil {
				return at, at, err
			}
		}
	}
	return info.Size(), 0, nil
}

// mendIndex makes the merged tables anew where any of their rows is damaged: others notice that only when they look for
// it.
func (s *Store) mendIndex() error {
	damage, _, err := CheckIndex(context.Background(), filepath.Dir(s.dir), true)
	if err != nil || len(damage) == 0 {
		return err
	}
	if err := s.forgetTables(true); err != nil {
		return err
	}
	return s.compact()
}
