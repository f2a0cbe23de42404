package disk

import (
	"errors"
	"os"

	"github.com/bkp-tool/bkp/core"
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

// allocate reserves room in a file, which grows by it. errors.ErrUnsupported where the file system cannot.
func allocate(f *os.File, from, size int64) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		for {
			if failed = unix.Fallocate(int(fd), 0, from, size); failed != unix.EINTR {
				return
			}
		}
	})
	if failed == unix.EOPNOTSUPP || failed == unix.ENOSYS {
		return errors.ErrUnsupported
	}
	return errors.Join(err, failed)
}

// diskSpace is what is free for us on a directory's disk, and all there is.
func diskSpace(dir string) (free, all core.Size, err error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return 0, 0, err
	}
	return core.Size(fs.Bavail) * core.Size(fs.Bsize), core.Size(fs.Blocks) * core.Size(fs.Bsize), nil
}

// fileLimit is how many files the process may have open.
func fileLimit() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur > 1<<20 {
		return 1 << 20
	}
	return int(limit.Cur)
}
