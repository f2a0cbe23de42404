// SPDX-License-Identifier: Apache-2.0

package check

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/storage/disk/index"
	"github.com/bkp-tool/bkp/core/storage/disk/pack"
	"github.com/bkp-tool/bkp/core/storage/disk/table"
	"github.com/bkp-tool/bkp/core/storage/disk/writers"
)

const mends = "what it says is read from the packs, and the next split or gc makes it anew"

// Index looks through the merged tables of the store in dir and the list of its condemned packs, and changes
// nothing; rows says whether every row is read as well. All that is damaged there is made anew from the packs, and
// loses nothing.
func Index(ctx context.Context, dir string, rows bool) (damage []Damage, read core.Size, err error) {
	where := index.Dir(dir)
	if _, err := writers.Dir(filepath.Join(dir, "writers")).Condemned(); core.CodeOf(err) == core.CodeWrong {
		damage = append(damage, Damage{File: "writers/CONDEMNED", Reason: err.Error() + "; the next gc makes it anew"})
	}
	names, err := index.Current(where)
	if core.CodeOf(err) == core.CodeWrong {
		return append(damage, Damage{File: "index/CURRENT", Reason: err.Error() + "; " + mends}), 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("check index: %w", err)
	}
	there, err := pack.List(filepath.Join(dir, "packs"))
	if len(names) == 0 && err == nil && len(there) > 4*index.ManyLoose {
		damage = append(damage, Damage{File: "index", Reason: "it is lost; " + mends})
	}
	for _, name := range names {
		if ctx.Err() != nil {
			return nil, read, context.Cause(ctx)
		}
		n, at, err := table.Check(index.TablePath(where, name), rows)
		read += core.Size(n)
		if errors.Is(err, fs.ErrNotExist) {
			if now, err := index.Current(where); err != nil || !slices.Contains(now, name) {
				continue // merged into another meanwhile
			}
			err = core.Fail(core.CodeWrong, "index: a table that CURRENT names is lost")
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
