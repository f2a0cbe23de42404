// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/bkp-tool/bkp/core/control"
)

// notify tells the service manager how the node is, where it listens for that; see sd_notify(3).
func notify(state string) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	if path[0] == '@' { // an abstract socket
		path = "\x00" + path[1:]
	}
	conn, err := net.Dial("unixgram", path)
	if err != nil {
		return // who started the node does not listen: nobody to tell
	}
	defer conn.Close()
	_, _ = conn.Write([]byte(state))
}

// watchdog tells the service manager, twice in the time that it allows, that the node answers. One that hangs does not,
// and is started anew.
func watchdog(ctx context.Context, n control.Caller) {
	micros, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64)
	if err != nil || micros <= 0 {
		return
	}
	if pid := os.Getenv("WATCHDOG_PID"); pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return
	}
	allowed := time.Duration(micros) * time.Microsecond
	ticks := time.NewTicker(allowed / 2)
	defer ticks.Stop()
	for {
		asking, cancel := context.WithTimeout(ctx, allowed/2)
		var r control.StatusResult
		if n.Call(asking, control.CommandStatus, control.None{}, &r, nil) == nil {
			notify(fmt.Sprintf("WATCHDOG=1\nSTATUS=%s, %d peers connected", r.Health, r.Peers))
		}
		cancel()
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return
		}
	}
}
