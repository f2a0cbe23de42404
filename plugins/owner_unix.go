// SPDX-License-Identifier: Apache-2.0

//go:build unix

package plugins

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// ours is an error where somebody else could put another program in the place of what is at path: it is not this user's
// or root's, or others may write it. A group may that is this user's own, as many systems give one to each user.
func ours(path string, info fs.FileInfo) error {
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	writable := info.Mode().Perm()
	switch {
	case owner.Uid != 0 && int(owner.Uid) != os.Geteuid():
		return fmt.Errorf("%s is user %d's: a plugin is not run that another user may change", path, owner.Uid)
	case writable&0o002 != 0, writable&0o020 != 0 && int(owner.Gid) != os.Getegid():
		return fmt.Errorf("%s may be written by others (mode %04o): a plugin is not run that another user may change",
			path, writable)
	}
	return nil
}
