// SPDX-License-Identifier: Apache-2.0

package durable

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// setDirect makes writes go past the page cache, or through it; false where the file system cannot.
func setDirect(f *os.File, on bool) bool {
	raw, err := f.SyscallConn()
	if err != nil {
		return false
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		var flags int
		if flags, failed = unix.FcntlInt(fd, unix.F_GETFL, 0); failed != nil {
			return
		}
		if flags &^= unix.O_DIRECT; on {
			flags |= unix.O_DIRECT
		}
		_, failed = unix.FcntlInt(fd, unix.F_SETFL, flags)
	})
	return err == nil && failed == nil
}

func exchange(a, b string) error {
	return unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
}

// allocate reserves room in a file, which grows by it. errors.ErrUnsupported where the file system cannot.
func allocate(f *os.File, from, size int64) error { return fallocate(f, 0, from, size) }

// punch makes bytes of a file zeros that take no room. errors.ErrUnsupported where the file system cannot.
func punch(f *os.File, from, size int64) error {
	return fallocate(f, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, from, size)
}

func fallocate(f *os.File, mode uint32, from, size int64) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		for {
			if failed = unix.Fallocate(int(fd), mode, from, size); failed != unix.EINTR {
				return
			}
		}
	})
	if failed == unix.EOPNOTSUPP || failed == unix.ENOSYS {
		return errors.ErrUnsupported
	}
	return errors.Join(err, failed)
}
