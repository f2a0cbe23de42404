//go:build linux || darwin || freebsd

package file

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

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

// inode tells a file from others.
func inode(info fs.FileInfo) string {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return fmt.Sprintf("%d on %d", s.Ino, s.Dev)
	}
	return ""
}
