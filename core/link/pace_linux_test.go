// SPDX-License-Identifier: Apache-2.0

package link

import (
	"math"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bkp-tool/bkp/core"
)

// What is handed over at once leaves at the pace that all its users asked for together, until the last has gone.
func TestPace(t *testing.T) {
	dialler, _, _, atListener := loopback(t, "wss")
	const total, rate = 4 << 20, core.Rate(4 << 20)
	dialler.Pace(rate)
	dialler.Pace(rate)
	began := time.Now()
	stream(t, dialler, atListener, 256<<10, total)
	if d := time.Since(began); d < 250*time.Millisecond {
		t.Errorf("%d bytes at %d a second took %v", total, 2*rate, d)
	}
	dialler.Pace(-rate)
	dialler.Pace(-rate)
	raw, err := dialler.out.raw.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		if limit, err := unix.GetsockoptUint64(int(fd), unix.SOL_SOCKET, unix.SO_MAX_PACING_RATE); err != nil ||
			limit != math.MaxUint64 {
			t.Errorf("nobody slows the socket down, and its limit is %d, %v", limit, err)
		}
	})
}
