// SPDX-License-Identifier: Apache-2.0

package file

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable"
)

// targetWindow is how much of a file is put together at a time: chunks of so much stand in memory as pointers, not
// bytes.
const targetWindow = 4 * core.GiB

// keepPart is how much of a failed target must be in place for it to be kept for the next try.
const keepPart = 16 * core.MiB

// Target is a file being written beside the place where it will stand: .bkp-NAME-TAG.part. Under its name there is
// never a part of it. What an interrupted target left under the same tag is found again.
type Target struct {
	path    string
	size    core.Size
	force   bool
	part    *durable.File
	lock    *durable.Lock
	resumed bool
	direct  *direct // nil: through the page cache
}

// Create makes a target of the given size, all zeros, or takes up the one that an earlier Create with this tag left.
// Without force, a file that is there already stays and is an error, now or at Commit. A target that another process
// writes is core.CodeBusy.
func Create(path, tag string, size core.Size, force bool) (*Target, error) {
	t := &Target{path: path, size: size, force: force}
	if err := t.checkPlace(); err != nil {
		return nil, err
	}
	if err := t.open(partOf(path, tag)); err != nil {
		return nil, err
	}
	if err := t.part.Truncate(int64(size)); err != nil {
		t.Abort(false)
		return nil, fmt.Errorf("create %s of %s: %w", path, size, errors.Unwrap(err))
	}
	return t, nil
}

func (t *Target) open(part string) error {
	file, err := durable.OpenOrCreate(part, 0o600)
	// killed with a mode that lets nobody write, and no name yet
	if errors.Is(err, fs.ErrPermission) && durable.Remove(part) == nil {
		file, err = durable.OpenOrCreate(part, 0o600)
	}
	if err != nil {
		return core.WithHint(fmt.Errorf("create %s: %w", t.path, errors.Unwrap(err)),
			"write to another place with -o FILE")
	}
	t.part, t.lock = file, durable.LockOf(part)
	got, err := t.lock.TryLock()
	if err == nil && !got {
		err = core.WithHint(core.Fail(core.CodeBusy, "%s is being fetched by another process", t.path),
			"wait for it, or write to another place with -o FILE")
	}
	var info fs.FileInfo
	if err == nil {
		info, err = file.Stat()
	}
	// a Commit that was killed: its other name is the file's, which is never written in place
	if err == nil && links(info) > 1 {
		err = durable.Remove(part)
	}
	if err == nil {
		if there, statErr := os.Stat(part); statErr == nil && os.SameFile(info, there) {
			t.resumed = info.Size() > 0
			return nil
		}
	}
	file.Close()
	t.lock.Close()
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return t.open(part) // another process gave it its name before we had the lock
	}
	if _, ok := errors.AsType[*core.Error](err); ok {
		return err
	}
	return core.WithHint(fmt.Errorf("create %s: %w", t.path, err), "write to another place with -o FILE")
}

func (t *Target) checkPlace() error {
	info, err := os.Lstat(t.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("create %s: %w", t.path, errors.Unwrap(err))
	case info.IsDir():
		return core.WithHint(core.Fail(core.CodeUsage, "%s is a directory", t.path), "name the file to write: -o %s",
			filepath.Join(t.path, "FILE"))
	case !t.force:
		return t.exists()
	case !info.Mode().IsRegular() && info.Mode()&fs.ModeSymlink == 0:
		return core.Fail(core.CodeUsage, "%s is not a file", t.path)
	}
	return nil
}

func (t *Target) exists() error {
	return core.WithHint(core.Fail(core.CodeFailed, "%s exists", t.path),
		"write to another place with -o FILE, or add --force to replace it")
}

// Window and Flush make it an Output: its bytes are in place as soon as they are written.
func (t *Target) Window() core.Size     { return targetWindow }
func (t *Target) Flush(core.Size) error { return nil }

// ReadAt reads what an earlier try left; a fresh target has nothing.
func (t *Target) ReadAt(p []byte, at int64) (int, error) {
	if !t.resumed {
		return 0, io.EOF
	}
	return t.part.ReadAt(p, at)
}

// WriteAt writes plain bytes to their place. Safe for many goroutines.
func (t *Target) WriteAt(plain []byte, at int64) (int, error) {
	if at < 0 || core.Size(at) > t.size-core.Size(len(plain)) {
		return 0, fmt.Errorf("write %d bytes at %d of %s: beyond its %d bytes", len(plain), at, t.path, t.size)
	}
	var err error
	if t.direct != nil {
		err = t.direct.write(plain, at)
	} else {
		_, err = t.part.WriteAt(plain, at)
		writeOut(t.part.File, at, int64(len(plain))) // so that little is left to wait for in the end
	}
	if err != nil {
		return 0, fmt.Errorf("write %s: %w", t.path, errors.Unwrap(err))
	}
	return len(plain), nil
}

// Direct has the bytes written past the page cache where that is possible: worth it where they come fast and nearly in
// order.
func (t *Target) Direct() { t.direct = openDirect(t.part.Name(), t.part) }

// setMode gives the file the permissions that it is to have. Up to then nobody but its owner may look at it.
func (t *Target) setMode(mode uint32) error {
	perm := fs.FileMode(mode).Perm()
	if mode == 0 {
		perm = 0o600
	}
	if err := t.part.Chmod(perm); err != nil {
		return fmt.Errorf("set the mode of %s: %w", t.path, errors.Unwrap(err))
	}
	return nil
}

// settle writes what still waits for its block.
func (t *Target) settle() error {
	if t.direct == nil {
		return nil
	}
	err := t.direct.finish()
	t.direct.close()
	t.direct = nil
	return err
}

// Commit makes the file durable and gives it its name. After an error there is nothing left of it, and what stood under
// the name stands there still.
func (t *Target) Commit() error {
	err := t.settle()
	if err == nil {
		err = t.part.Sync()
	}
	if err == nil {
		err = t.place()
	}
	if err == nil {
		t.part.Close()
		t.lock.Close()
		return nil
	}
	t.Abort(false)
	if _, ok := errors.AsType[*core.Error](err); ok {
		return err
	}
	return fmt.Errorf("finish %s: %w", t.path, err)
}

// place gives the part its name, durably, or takes the name away from it again.
func (t *Target) place() error {
	undo, err := t.take()
	if err != nil {
		return err
	}
	if err := durable.SyncDir(filepath.Dir(t.path)); err != nil {
		return core.WithHint(fmt.Errorf("finish %s: %w", t.path, errors.Join(err, undo())),
			"look at that disk, or write to another with -o FILE")
	}
	if err := durable.Remove(t.part.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		// the file is right
		slog.Warn("what was written beside the file could not be removed", "file", t.part.Name(), "error", err)
	}
	return nil
}

// take moves the part to its name; undo moves it back. Without force that is done by linking, which never replaces a
// file. With force the file that is replaced takes the part's name, where the system can do that.
func (t *Target) take() (undo func() error, err error) {
	part := t.part.Name()
	if !t.force {
		err := durable.Link(part, t.path)
		switch {
		case err == nil:
			return func() error { return durable.Remove(t.path) }, nil
		case errors.Is(err, fs.ErrExist):
			return nil, t.exists()
		}
		if err := t.checkPlace(); err != nil { // a file system without links: look, then rename
			return nil, err
		}
	} else if info, err := os.Lstat(t.path); err == nil && info.Mode().IsRegular() &&
		durable.Exchange(part, t.path) == nil {
		return func() error { return durable.Exchange(part, t.path) }, nil
	}
	return func() error { return durable.Rename(t.path, part) }, durable.Rename(part, t.path)
}

// Abort ends it; keep leaves what was written for another try, at the path that it returns.
func (t *Target) Abort(keep bool) (kept string) {
	t.settle() // what it could not write is found missing by the next try
	t.part.Close()
	if keep {
		kept = t.part.Name()
	} else {
		durable.Remove(t.part.Name())
	}
	t.lock.Close()
	return kept
}
