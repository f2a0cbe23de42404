// SPDX-License-Identifier: Apache-2.0

package volume

import "syscall"

// detach takes a directory that is in use out of sight.
func detach(dir string) { _ = syscall.Unmount(dir, syscall.MNT_DETACH) }
