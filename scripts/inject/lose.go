// SPDX-License-Identifier: Apache-2.0

//go:build linux && amd64

package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// After a sync that failed, Linux takes what was to be written for written: a later sync succeeds, and after the next
// start the bytes are not there. So that trust in such bytes shows, they become zeros once the process has ended.

type inode struct{ device, number uint64 }

// A loss is what was written to a file since its last good sync.
type loss struct {
	of       inode
	file     *os.File
	from, to int64
	again    bool // all of it was written once more: the next good sync makes it last
}

// sizes is how long each file below the directories is: all of that is taken for durable.
func sizes(dirs []string) map[inode]int64 {
	all := map[inode]int64{}
	for _, dir := range dirs {
		filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.Type().IsRegular() {
				return nil
			}
			if info, err := entry.Info(); err == nil {
				all[inodeOf(info)] = info.Size()
			}
			return nil
		})
	}
	return all
}

func inodeOf(info fs.FileInfo) inode {
	stat := info.Sys().(*syscall.Stat_t)
	return inode{stat.Dev, stat.Ino}
}

// synced notes how much of a file a sync makes durable.
func (t *tracer) synced(tid int, fd uint64) {
	info, err := os.Stat(openFile(tid, fd))
	if err != nil || !info.Mode().IsRegular() {
		return
	}
	id := inodeOf(info)
	t.before[id] = max(t.before[id], info.Size())
	t.lost = slices.DeleteFunc(t.lost, func(l loss) bool {
		over := l.of == id && l.again
		if over {
			l.file.Close()
		}
		return over
	})
}

// wrote notes what is written to a file once more that a failed sync had lost.
func (t *tracer) wrote(tid int, fd uint64, at, size int64) {
	if len(t.lost) == 0 {
		return
	}
	info, err := os.Stat(openFile(tid, fd))
	if err != nil {
		return
	}
	for i, l := range t.lost {
		if l.of == inodeOf(info) && at <= l.from && at+size >= l.to {
			t.lost[i].again = true
		}
	}
}

func (t *tracer) loses(tid int, fd uint64) {
	file, err := os.OpenFile(openFile(tid, fd), os.O_RDWR, 0)
	if err != nil {
		return // a directory
	}
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		file.Close()
		return
	}
	id := inodeOf(info)
	t.lost = append(t.lost, loss{of: id, file: file, from: t.before[id], to: info.Size()})
	t.before[id] = info.Size() // a later sync has nothing left to write
}

func lose(all []loss) error {
	var errs []error
	for _, l := range all {
		info, err := l.file.Stat()
		if err == nil {
			to := min(l.to, info.Size()) // it may have been cut since
			_, err = l.file.WriteAt(make([]byte, max(0, to-l.from)), l.from)
		}
		errs = append(errs, err, l.file.Close())
	}
	return errors.Join(errs...)
}
