// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/bkp-tool/bkp/core"
)

// Reader reads a log, beside its writer or without one. It may be used from many goroutines.
type Reader struct {
	dir                             string
	entries, heads, hashes, offsets *os.File
	keys                            core.PublicKey // the node's where its key was rotated, else empty
}

// OpenRead opens the log in dir for reading. A directory without a log, or with one
// that was never begun, gives core.ErrNotFound.
func OpenRead(dir string) (*Reader, error) {
	r := &Reader{dir: dir}
	if err := r.open(os.Open); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			err = fmt.Errorf("%w (%w)", core.ErrNotFound, err)
		}
		return nil, fmt.Errorf("open ledger %s: %w", dir, err)
	}
	if begun, err := r.begun(); err != nil || !begun {
		if err == nil {
			err = core.ErrNotFound
		}
		return nil, fmt.Errorf("open ledger %s: %w", dir, errors.Join(err, r.Close()))
	}
	return r, nil
}

// begun reports whether an entry may stand in the log: what failed or was killed before the first head was signed
// leaves files with nothing in them, which the next writer takes over.
func (r *Reader) begun() (bool, error) {
	_, number, err := lastMark(r.heads, r.keys)
	if err != nil || number >= 0 {
		return true, nil // what is damaged is told by who reads it
	}
	info, err := r.entries.Stat()
	return err == nil && info.Size() > int64(len(magic)), err
}

// open opens the log's files, or none of them.
func (r *Reader) open(open func(path string) (*os.File, error)) error {
	for _, f := range []struct {
		name string
		file **os.File
	}{{"entries", &r.entries}, {"heads", &r.heads}, {"hashes", &r.hashes}, {"offsets", &r.offsets}} {
		opened, err := open(filepath.Join(r.dir, f.name))
		if err != nil {
			return errors.Join(err, r.Close())
		}
		*f.file = opened
	}
	raw, err := os.ReadFile(filepath.Join(r.dir, "key"))
	if err == nil {
		r.keys, err = core.ParsePublicKey(raw)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return errors.Join(fmt.Errorf("the node's public key: %w", err), r.Close())
	}
	return nil
}

// Close closes the files.
func (r *Reader) Close() error {
	var errs []error
	for _, f := range []*os.File{r.entries, r.heads, r.hashes, r.offsets} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// Head is the newest signed head; what it covers is durable.
func (r *Reader) Head() (SignedHead, error) {
	m, err := r.newest()
	return m.SignedHead, err
}

func (r *Reader) newest() (mark, error) {
	m, number, err := lastMark(r.heads, r.keys)
	if err == nil && number < 0 {
		err = core.Fail(core.CodeWrong, "no signed head")
	}
	if err != nil {
		return mark{}, fmt.Errorf("ledger %s: %w", r.dir, err)
	}
	return m, nil
}

// pageBytes is how many bytes of envelopes Entries returns at most, or one envelope where that is longer.
const pageBytes = 4 * core.MiB

// Entries returns entries in order from number after on (so after is how many the caller has seen): at most limit,
// fewer where they are long, none at the end. Only entries that the newest head covers are returned.
func (r *Reader) Entries(after int64, limit int) ([]Entry, error) {
	newest, err := r.newest()
	if err != nil || after < 0 || after >= newest.Size {
		return nil, err
	}
	s, err := r.seek(after, newest)
	if err != nil {
		return nil, fmt.Errorf("ledger %s: %w", r.dir, err)
	}
	var page []Entry
	for bytes := 0; len(page) < limit && bytes < int(pageBytes) && s.next < newest.Size; {
		e, err := s.scan()
		if err != nil {
			return nil, core.Fail(core.CodeWrong, "ledger %s: damaged: %w", r.dir, err)
		}
		page = append(page, e)
		bytes += len(e.Envelope)
	}
	return page, nil
}

// seek returns a scanner at entry index, by the file of offsets or, where that does not lead to the entry, from the
// beginning.
func (r *Reader) seek(index int64, newest mark) (*scanner, error) {
	var raw [8]byte
	if _, err := r.offsets.ReadAt(raw[:], index*8); err == nil {
		at := int64(binary.LittleEndian.Uint64(raw[:]))
		if at >= int64(len(magic)) && at < newest.bytes {
			if _, err := newScanner(r.entries, index, at, newest.bytes).scan(); err == nil {
				return newScanner(r.entries, index, at, newest.bytes), nil
			}
		}
	}
	s := newScanner(r.entries, 0, int64(len(magic)), newest.bytes)
	for s.next < index {
		if _, err := s.scan(); err != nil {
			if err == io.EOF {
				err = errTorn
			}
			return nil, core.Fail(core.CodeWrong, "damaged: %w", err)
		}
	}
	return s, nil
}
