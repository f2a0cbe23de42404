// SPDX-License-Identifier: Apache-2.0

//go:build linux || darwin

package link

import "golang.org/x/sys/unix"

// unsentLowWater is how many bytes may wait in the kernel before a write blocks.
const unsentLowWater = 256 << 10

func lowerUnsent(fd uintptr) {
	// A kernel that does not know the option works without it.
	_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsentLowWater)
}
