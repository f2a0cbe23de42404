// SPDX-License-Identifier: Apache-2.0

package space

import (
	"golang.org/x/sys/unix"

	"github.com/bkp-tool/bkp/core"
)

// Of is what is free for us on a directory's disk, and all there is.
func Of(dir string) (free, all core.Size, err error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return 0, 0, err
	}
	return core.Size(fs.Bavail) * core.Size(fs.Bsize), core.Size(fs.Blocks) * core.Size(fs.Bsize), nil
}
