// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"context"
	"os"
	"time"

	"github.com/bkp-tool/bkp/core/durable"
	"github.com/bkp-tool/bkp/core/storage/disk/files"
	"github.com/bkp-tool/bkp/core/storage/disk/pack"
)

// Packs is where the packs of a store are written and read. The store's directory has a file for each that is finished,
// as long as the pack is up to its end and with its table: the pack itself, or its shadow (pack.Shadow), which appears
// when the pack is durable where it stands. pack.Writer tells what Append, Rotate, Flush and Broken are; one goroutine
// at a time calls those, and Close.
type Packs interface {
	Append(r pack.Row, data []byte) (name string, at pack.Row, err error)
	Rotate() error
	Flush(names bool) (makeDurable func() error)
	Broken() error
	MakesRoom(yes bool)
	Close()

	// Use calls f with what reads the record at an offset of a pack. That the pack is gone is fs.ErrNotExist; what
	// could not be found out is an error of Use and none of what f reads.
	Use(ctx context.Context, name string, offset uint32, f func(pack.Reader) error) error
	// Rebuild is pack.Rebuild: of a pack whose table cannot be read.
	Rebuild(name string, mend bool) ([]pack.Row, error)
	// Remove removes a finished pack and its file.
	Remove(name string) error
}

// LockedPacks is Packs of which nobody can remove some before a time, as collect.Locker tells.
type LockedPacks interface {
	Packs
	Locked(name string) (until time.Time, err error)
}

// local is packs that are files of the store's own directory.
type local struct {
	*pack.Writer
	dir  string
	open *files.Cache
}

// Use opens a pack, which stays open for those that are read next.
func (l *local) Use(_ context.Context, name string, _ uint32, f func(pack.Reader) error) error {
	return l.open.Use(name, func() (*os.File, error) { return pack.Open(l.dir, name) },
		func(file *os.File) error { return f(packReader{l.Writer, name, file}) })
}

func (l *local) Rebuild(name string, mend bool) ([]pack.Row, error) {
	return pack.Rebuild(l.dir, name, mend)
}

func (l *local) Remove(name string) error { return durable.Remove(pack.Path(l.dir, name)) }

// packReader reads from one pack, what of it stands in buffers included.
type packReader struct {
	writer *pack.Writer
	pack   string
	file   *os.File
}

// Name is the pack's name.
func (r packReader) Name() string { return r.pack }

func (r packReader) ReadAt(dst []byte, at int64) (int, error) {
	if err := r.writer.ReadAt(r.pack, r.file, dst, at); err != nil {
		return 0, err
	}
	return len(dst), nil
}
