// SPDX-License-Identifier: Apache-2.0

package link

import (
	"math"
	"net"

	"golang.org/x/sys/unix"

	"github.com/bkp-tool/bkp/core"
)

// pace has the kernel send at most so many bytes a second; 0 is as fast as it can.
func pace(conn net.Conn, rate core.Rate) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	limit := uint64(rate)
	if rate == 0 {
		limit = math.MaxUint64
	}
	if raw, err := tcp.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) {
			// what cannot pace sends in bursts
			_ = unix.SetsockoptUint64(int(fd), unix.SOL_SOCKET, unix.SO_MAX_PACING_RATE, limit)
		})
	}
}
