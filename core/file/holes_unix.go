// SPDX-License-Identifier: Apache-2.0

//go:build linux || darwin || freebsd

package file

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// nextHole is the first hole at or after from. Where there is none it is empty and stands at the end of the file.
func nextHole(f *os.File, from int64) (start, end int64, err error) {
	if start, err = f.Seek(from, unix.SEEK_HOLE); err != nil {
		return 0, 0, err
	}
	end, err = f.Seek(start, unix.SEEK_DATA)
	if errors.Is(err, syscall.ENXIO) { // nothing but a hole follows
		end, err = f.Seek(0, 2)
	}
	return start, end, err
}

// inode tells a file from others, and from itself before its last change: who writes can set back when it was modified,
// but not when it was changed.
func inode(f *os.File) (text string, changed time.Time) {
	var s unix.Stat_t
	if unix.Fstat(int(f.Fd()), &s) != nil {
		return "", time.Time{}
	}
	text = fmt.Sprintf("%d on %d, changed %d.%09d", s.Ino, s.Dev, s.Ctim.Sec, s.Ctim.Nsec)
	return text, time.Unix(int64(s.Ctim.Sec), int64(s.Ctim.Nsec))
}

// links is how many names a file has.
func links(info fs.FileInfo) uint64 {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(s.Nlink)
	}
	return 1
}
