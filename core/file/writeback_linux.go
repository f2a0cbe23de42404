// SPDX-License-Identifier: Apache-2.0

package file

import (
	"os"

	"golang.org/x/sys/unix"
)

// writeOut has the system begin to write a part of a file to the disk, without waiting until it is there.
func writeOut(f *os.File, at, size int64) {
	if raw, err := f.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { // a file system that cannot do it does it when the file is synced
			_ = unix.SyncFileRange(int(fd), at, size, unix.SYNC_FILE_RANGE_WRITE)
		})
	}
}
