// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"golang.org/x/sys/unix"

	"github.com/bkp-tool/bkp/core"
)

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
