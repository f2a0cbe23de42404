// SPDX-License-Identifier: Apache-2.0

// Package check looks for damage in the files of a store, and changes nothing.
package check

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/storage/disk/damage"
	"github.com/bkp-tool/bkp/core/storage/disk/pack"
)

// Damage is something wrong in a file of a store.
type Damage struct {
	File   string    `json:"file"`   // below the store's directory
	Offset int64     `json:"offset"` // of the record, the header or the table
	Chunk  core.Hash `json:"chunk,omitzero"`
	Reason string    `json:"reason"`
}

// Checked is a pack that was looked through.
type Checked struct {
	Pack   string
	Bytes  core.Size // read
	Damage []Damage
}

// Packs looks through every finished pack of the store in dir whose name comes after the one given, in order, and
// changes nothing: its header, its table, every record, and the data of those chunks that read says yes to. What Open
// would mend is damage too. Packs that are being written are left out.
func Packs(ctx context.Context, dir, after string, read func(core.Hash) bool, visit func(Checked) error) error {
	dir = filepath.Join(dir, "packs")
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("check store: %w", err)
	}
	c := checker{read: read}
	for _, e := range entries { // ReadDir sorts
		if _, finished, ok := pack.NameOf(e.Name()); !ok || !finished || e.Name() <= after {
			continue
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		err := c.pack(filepath.Join(dir, e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // swept meanwhile
		}
		if err != nil {
			return fmt.Errorf("check pack %s: %w", e.Name(), err)
		}
		if err := visit(c.found); err != nil {
			return err
		}
	}
	return nil
}

// checker looks through one pack after another.
type checker struct {
	read  func(core.Hash) bool
	found Checked
	data  []byte
}

func (c *checker) damage(offset int64, hash core.Hash, format string, args ...any) {
	c.found.Damage = append(c.found.Damage, Damage{"packs/" + c.found.Pack, offset, hash, fmt.Sprintf(format, args...)})
}

func (c *checker) pack(path string) error {
	c.found = Checked{Pack: filepath.Base(path)}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	switch whole, err := pack.CheckHeader(f); {
	case err == io.EOF:
		c.damage(0, core.Hash{}, "it is cut off in its header")
		return nil
	case err != nil:
		return err
	case !whole:
		c.damage(0, core.Hash{}, "its header is damaged")
	}
	rows, err := pack.ReadTable(f, info.Size())
	if err != nil {
		c.damage(info.Size(), core.Hash{}, "its table is lost, which the next gc makes anew: %v", err)
		return c.scan(f, info.Size())
	}
	slices.SortFunc(rows, func(a, b pack.Row) int { return int(int64(a.Offset) - int64(b.Offset)) })
	for _, r := range rows {
		if err := c.record(f, r); err != nil {
			return err
		}
	}
	return nil
}

// record holds a record against the row that stands for it.
func (c *checker) record(f *os.File, want pack.Row) error {
	whole, err := pack.CheckRecord(f, want)
	if err != nil {
		return err // inside the file, by the table
	}
	c.found.Bytes += pack.RecordHeader
	if !whole {
		c.damage(int64(want.Offset), want.Hash, "the header of its record is damaged")
		return nil
	}
	if !c.read(want.Hash) {
		return nil
	}
	data, err := pack.ReadData(f, want, c.data[:0])
	switch {
	case core.CodeOf(err) == core.CodeWrong:
		c.damage(int64(want.Offset), want.Hash, "its data do not match its hash")
		return nil
	case err != nil:
		return err
	}
	c.data = data
	c.found.Bytes += core.Size(len(data))
	return nil
}

// scan looks for records in a pack whose table is lost.
func (c *checker) scan(f *os.File, size int64) error {
	var rows []pack.Row
	end, err := pack.Scan(f, pack.HeaderSize, size, func(r pack.Row) { rows = append(rows, r) })
	if err != nil {
		return err
	}
	for _, r := range rows {
		if err := c.record(f, r); err != nil {
			return err
		}
	}
	if end < size {
		c.damage(end, core.Hash{}, "no whole record from here to its end at %d", size)
	}
	return nil
}

// Note makes a damaged record that was found known to whoever has the store in dir open, or opens it: it is no reason
// not to put its chunk again.
func Note(dir string, d Damage) {
	name, finished, ok := pack.NameOf(strings.TrimPrefix(d.File, "packs/"))
	if ok && finished && !d.Chunk.IsZero() && 0 < d.Offset && d.Offset < 1<<32 {
		damage.Notes(filepath.Join(dir, "damaged")).Add(name, uint32(d.Offset))
	}
}
