// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable"
)

const (
	unit  = 4096            // a block, as most file systems write them; header and bitmap end at its multiples
	magic = "bkp overlay 1" // what the file begins with; the last is the format's version
)

// Under is what an overlay lies over.
type Under struct {
	Root    core.Hash `json:"root"` // of the content
	Size    core.Size `json:"size"`
	Version string    `json:"version"` // NAME@VERSION, for a person
}

// layout is where the parts of the file for a version of size bytes begin, and where it ends.
func layout(size core.Size) (blocks, data, end int64) {
	blocks = (int64(size) + unit - 1) / unit
	data = unit + (blocks+inPage-1)/inPage*unit
	return blocks, data, data + blocks*unit
}

// Temporary makes an overlay in a directory that goes when it is closed, or the process ends.
func Temporary(dir string, u Under, base io.ReaderAt) (*Overlay, error) {
	path := filepath.Join(dir, "overlay-"+rand.Text())
	f, err := durable.Create(path, 0o600)
	if err == nil {
		err = durable.Remove(path) // what is open stays until it is closed
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("overlay: %w", err), closed(f))
	}
	o := over(f, u, base)
	_, _, end := layout(u.Size)
	if err := f.Truncate(end); err != nil {
		return nil, errors.Join(fmt.Errorf("overlay: %w", err), f.Close())
	}
	return o, nil
}

func closed(f *durable.File) error {
	if f == nil {
		return nil
	}
	return f.Close()
}

// Open takes up the overlay at path, or makes one where there is none. One that lies over another content, or that
// another process uses, is refused.
func Open(path string, u Under, base io.ReaderAt) (_ *Overlay, err error) {
	fail := func(err error) (*Overlay, error) {
		return nil, fmt.Errorf("overlay %s: %w", core.Printable(path), err)
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := durable.New(path, header(u), 0o600); err != nil && !errors.Is(err, fs.ErrExist) {
			return fail(core.WithHint(err,
				"name a file in a directory that is there and can be written, with --overlay"))
		}
	}
	lock := durable.LockOf(path)
	if err := take(lock); err != nil {
		return fail(err)
	}
	f, err := durable.Open(path)
	if err != nil {
		return fail(errors.Join(err, lock.Close()))
	}
	o := over(f, u, base)
	o.lock = lock
	if err := o.load(u); err != nil {
		return fail(errors.Join(err, f.Close(), lock.Close()))
	}
	return o, nil
}

// patience is how long somebody may still have the file who was told to end: a node syncs it after its command has
// left.
const patience = 2 * time.Second

func take(lock *durable.Lock) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := lock.TryLockContext(ctx, 50*time.Millisecond); ctx.Err() == nil {
		return err
	}
	return core.WithHint(core.Fail(core.CodeBusy, "it is in use"),
		"wait for the other bkp serve to end, or name another file with --overlay")
}

// header is the first unit of the file.
func header(u Under) []byte {
	u.Version = strings.ToValidUTF8(fmt.Sprintf("%.500s", u.Version), "?") // so that it fits, escaped as it may be
	text, err := json.Marshal(u)
	if err != nil {
		panic(err) // strings and numbers
	}
	h := make([]byte, unit)
	copy(h, magic+"\n"+string(text)+"\n")
	return h
}

// load holds the file against what it is to lie over, and reads its bitmap.
func (o *Overlay) load(u Under) error {
	h := make([]byte, unit)
	if _, err := o.file.ReadAt(h, 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	const other = "name another file with --overlay, or none: it is only for this time then"
	rest, is := bytes.CutPrefix(h, []byte(magic[:len(magic)-1]))
	if !is {
		return core.WithHint(core.Fail(core.CodeWrong, "this is no overlay of bkp"), other)
	}
	format, rest, _ := bytes.Cut(rest, []byte("\n"))
	if string(format) != magic[len(magic)-1:] {
		return core.WithHint(core.Fail(core.CodeWrong, "its format %.20q is not known here", format),
			"use it with a newer bkp, or name another file with --overlay")
	}
	text, _, _ := bytes.Cut(rest, []byte("\n"))
	var was Under
	if err := json.Unmarshal(text, &was); err != nil {
		return core.WithHint(core.Fail(core.CodeWrong, "its header is damaged: %w", err), other)
	}
	if was.Root != u.Root || was.Size != u.Size {
		return core.WithHint(core.Fail(core.CodeRefused, "it lies over %s, which is other content than %s",
			core.Printable(was.Version), core.Printable(u.Version)),
			"serve %s with it, or name another file with --overlay", core.Printable(was.Version))
	}
	return o.loadBitmap(u.Size)
}

func (o *Overlay) loadBitmap(size core.Size) error {
	info, err := o.file.Stat()
	if err != nil {
		return err
	}
	for number := range o.there.pages {
		p := new(page)
		at := unit + int64(number)*unit
		if at >= info.Size() {
			break
		}
		if n, err := o.file.ReadAt(p[:], at); err != nil && !(errors.Is(err, io.EOF) && n > 0) {
			return err
		}
		if *p != (page{}) {
			o.there.pages[number] = p
		}
	}
	blocks, data, end := layout(size)
	last := o.there.last()
	if last >= blocks || data+(last+1)*unit > max(info.Size(), data) {
		return core.WithHint(core.Fail(core.CodeWrong, "it has %s, and tells of more", core.Size(info.Size())),
			"it was cut: take it from where it was kept whole, or begin anew with another file")
	}
	if info.Size() < end {
		return o.file.Truncate(end)
	}
	return nil
}
