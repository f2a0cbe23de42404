// SPDX-License-Identifier: Apache-2.0

package files

import "golang.org/x/sys/unix"

// limit is how many files the process may have open.
func limit() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur > 1<<20 {
		return 1 << 20
	}
	return int(limit.Cur)
}
