// SPDX-License-Identifier: Apache-2.0

package durable

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/bkp-tool/bkp/core/durable/internal/tap"
)

// tempMark stands in the names of files that Replace and New have not finished: .NAME.new-RANDOM.
const tempMark = ".new-"

// Replace puts content under a name, in place of what is there, all or nothing, and durable when it returns nil.
func Replace(path string, content []byte, perm fs.FileMode) error {
	return ReplaceWith(path, perm, func(w io.Writer) error { return only(w.Write(content)) })
}

// New is Replace for a name that must not exist (fs.ErrExist).
func New(path string, content []byte, perm fs.FileMode) error {
	return NewWith(path, perm, func(w io.Writer) error { return only(w.Write(content)) })
}

// ReplaceWith is Replace for what is too long for memory.
func ReplaceWith(path string, perm fs.FileMode, write func(io.Writer) error) error {
	return put(path, perm, write, Rename)
}

// NewWith is New for what is too long for memory.
func NewWith(path string, perm fs.FileMode, write func(io.Writer) error) error {
	return put(path, perm, write, func(temp, path string) error {
		err := Link(temp, path)
		switch {
		case err == nil:
			return Remove(temp)
		case errors.Is(err, fs.ErrExist):
			return err
		}
		if _, err := os.Lstat(path); err == nil { // a file system without links: look, then rename
			return &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
		}
		return Rename(temp, path)
	})
}

func only(_ int, err error) error { return err }

func put(path string, perm fs.FileMode, write func(io.Writer) error, name func(temp, path string) error) error {
	var random [8]byte
	rand.Read(random[:]) // never fails
	dir := filepath.Dir(path)
	f, err := Create(filepath.Join(dir, "."+filepath.Base(path)+tempMark+hex.EncodeToString(random[:])), perm)
	if err != nil {
		return err
	}
	if err = write(io.NewOffsetWriter(f, 0)); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = name(f.Name(), path)
	}
	if err != nil {
		_ = Remove(f.Name())
		return err
	}
	return SyncDir(dir)
}

// Sweep removes what a process that was killed left of Replace or New in a directory, once it is an hour old.
func Sweep(dir string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") || !strings.Contains(e.Name(), tempMark) {
			continue
		}
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() && time.Since(info.ModTime()) > time.Hour {
			_ = Remove(filepath.Join(dir, e.Name()))
		}
	}
}

// Rename moves a file or directory, in place of what is there. Durable after SyncDir of both directories.
func Rename(from, to string) error {
	return tap.Do(tap.Op{Kind: tap.Rename, Path: from, To: to}, func() error { return os.Rename(from, to) })
}

// Exchange has two files in one directory take each other's name, at once; errors.ErrUnsupported where the system
// cannot. Durable after SyncDir.
func Exchange(a, b string) error {
	return tap.Do(tap.Op{Kind: tap.Exchange, Path: a, To: b}, func() error { return exchange(a, b) })
}

// Link gives a file a second name, which must not exist (fs.ErrExist). Durable after SyncDir.
func Link(from, to string) error {
	return tap.Do(tap.Op{Kind: tap.Link, Path: from, To: to}, func() error { return os.Link(from, to) })
}

// Remove removes a name, of a file or of an empty directory. Durable after SyncDir.
func Remove(path string) error {
	return tap.Do(tap.Op{Kind: tap.Remove, Path: path}, func() error {
		err := os.Remove(path)
		if name, absErr := filepath.Abs(path); err == nil && absErr == nil {
			settled.Delete(name)
		}
		return err
	})
}

// RemoveAll removes a directory and all in it, deepest first; what is not there is gone already. Durable after SyncDir
// of the directory that it stood in.
func RemoveAll(path string) error {
	info, err := os.Lstat(path)
	if err == nil && info.IsDir() {
		var entries []os.DirEntry
		entries, err = os.ReadDir(path)
		for _, e := range entries {
			err = errors.Join(err, RemoveAll(filepath.Join(path, e.Name())))
		}
	}
	if err == nil {
		err = Remove(path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// MkdirAll makes a directory, 0700, and the parents that it lacks, all of them durable when it returns nil. The name of
// one that is there is synced once, since who made it may have been killed before it did.
func MkdirAll(path string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	parent := filepath.Dir(path)
	if info, err := os.Stat(path); err == nil {
		if !info.IsDir() {
			return &fs.PathError{Op: "mkdir", Path: path, Err: syscall.ENOTDIR}
		}
		if _, known := settled.LoadOrStore(path, true); known {
			return nil
		}
		// a parent that we may not read is not of our making
		if err := SyncDir(parent); err != nil && !errors.Is(err, fs.ErrPermission) {
			settled.Delete(path)
			return err
		}
		return nil
	}
	if parent != path {
		if err := MkdirAll(parent); err != nil {
			return err
		}
	}
	if err := Mkdir(path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := SyncDir(parent); err != nil {
		return err
	}
	settled.Store(path, true)
	return nil
}

// Mkdir makes a directory, 0700, in one that is there. Durable after SyncDir of that one.
func Mkdir(path string) error {
	return tap.Do(tap.Op{Kind: tap.Mkdir, Path: path}, func() error { return os.Mkdir(path, 0o700) })
}

var (
	poisonedDirs sync.Map // absolute path → the sync that failed
	settled      sync.Map // absolute paths of directories whose names this process knows to be durable
	toldOnce     sync.Once
)

// SyncDir makes the names in a directory durable. After a failure every further call for this directory fails.
func SyncDir(path string) error {
	name, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	if err, poisoned := poisonedDirs.Load(name); poisoned {
		return err.(error)
	}
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	err = tap.Do(tap.Op{Kind: tap.SyncDir, Path: path}, d.Sync)
	d.Close()
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported):
		toldOnce.Do(func() {
			slog.Warn("this file system cannot sync directories: after a power loss new files may be missing", "dir",
				path)
		})
		return nil
	}
	err = fmt.Errorf("cannot make the names in %s durable: %w", path, err)
	poisonedDirs.Store(name, err)
	return err
}
