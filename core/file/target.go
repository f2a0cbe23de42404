package file

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/bkp-tool/bkp/core"
)

// Target is a file being written beside the place where it will stand. Under its name there is never a part of it.
type Target struct {
	path  string
	size  core.Size
	force bool
	temp  *os.File
}

// Create makes a target of the given size, all zeros. Without force, a file that is there already stays and is an error,
// now or at Commit.
func Create(path string, size core.Size, force bool) (*Target, error) {
	t := &Target{path: path, size: size, force: force}
	if err := t.checkPlace(); err != nil {
		return nil, err
	}
	temp, err := os.OpenFile(filepath.Join(filepath.Dir(path), ".bkp-"+rand.Text()+".part"), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", path, errors.Unwrap(err))
	}
	t.temp = temp
	if err := temp.Truncate(int64(size)); err != nil {
		t.Abort()
		return nil, fmt.Errorf("create %s of %s: %w", path, size, errors.Unwrap(err))
	}
	return t, nil
}

func (t *Target) checkPlace() error {
	info, err := os.Lstat(t.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("create %s: %w", t.path, errors.Unwrap(err))
	case info.IsDir():
		return core.WithHint(core.Fail(core.CodeUsage, "%s is a directory", t.path), "name the file to write: -o %s", filepath.Join(t.path, "FILE"))
	case !t.force:
		return t.exists()
	case !info.Mode().IsRegular() && info.Mode()&fs.ModeSymlink == 0:
		return core.Fail(core.CodeUsage, "%s is not a file", t.path)
	}
	return nil
}

func (t *Target) exists() error {
	return core.WithHint(core.Fail(core.CodeFailed, "%s exists", t.path), "write to another place with -o FILE, or add --force to replace it")
}

// WriteAt writes plain bytes to their place. Safe for many goroutines.
func (t *Target) WriteAt(plain []byte, at int64) (int, error) {
	if at < 0 || core.Size(at) > t.size-core.Size(len(plain)) {
		return 0, fmt.Errorf("write %d bytes at %d of %s: beyond its %d bytes", len(plain), at, t.path, t.size)
	}
	n, err := t.temp.WriteAt(plain, at)
	if err != nil {
		err = fmt.Errorf("write %s: %w", t.path, errors.Unwrap(err))
	}
	return n, err
}

// Commit makes the file durable and gives it its name. After an error there is nothing left of it.
func (t *Target) Commit() error {
	err := t.temp.Sync()
	if err == nil {
		err = t.temp.Close()
	}
	if err == nil {
		err = t.place()
	}
	if err == nil {
		return syncDir(filepath.Dir(t.path))
	}
	t.Abort()
	if _, ok := errors.AsType[*core.Error](err); ok {
		return err
	}
	return fmt.Errorf("finish %s: %w", t.path, err)
}

// place gives the temporary file its name. Without force that is done by linking, which never replaces a file.
func (t *Target) place() error {
	if t.force {
		return os.Rename(t.temp.Name(), t.path)
	}
	err := os.Link(t.temp.Name(), t.path)
	switch {
	case err == nil:
		return os.Remove(t.temp.Name())
	case errors.Is(err, fs.ErrExist):
		return t.exists()
	}
	if err := t.checkPlace(); err != nil { // a file system without links: look, then rename
		return err
	}
	return os.Rename(t.temp.Name(), t.path)
}

// Abort removes what was written.
func (t *Target) Abort() {
	t.temp.Close()
	os.Remove(t.temp.Name())
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
