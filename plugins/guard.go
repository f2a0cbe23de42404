// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"fmt"
	"time"

	"github.com/bkp-tool/bkp/core"
)

const (
	defaultMemory    = 512 * core.MiB
	defaultProcesses = 64
	guardEvery       = time.Second
	guardClosely     = 10 // times of which one is a close look in any case: others may end threads meanwhile
)

// limits is what a plugin may use of the machine.
type limits struct {
	memory    core.Size // that each of its processes may write to
	processes int       // its own and all that it starts
}

func (h *Host) limits() limits {
	l := limits{h.Memory, h.Processes}
	if l.memory <= 0 {
		l.memory = defaultMemory
	}
	if l.processes <= 0 {
		l.processes = defaultProcesses
	}
	return l
}

// guard ends a plugin that has started more processes than it may. The kernel counts the processes of a user, and none
// of root's, so bkp counts itself; it looks closely when the machine has got more threads than it had, and now and
// then.
func (c *child) guard() {
	ticks := time.NewTicker(guardEvery)
	defer ticks.Stop()
	calm := threads()
	for look := 1; ; look++ {
		select {
		case <-c.done:
			return
		case <-ticks.C:
		}
		now := threads()
		calm = min(calm, now)
		if now-calm < c.limits.processes/2 && look%guardClosely != 0 {
			continue
		}
		if found := 1 + len(c.family()); found > c.limits.processes {
			words := fmt.Sprintf("ended by bkp: it had %d processes, and may have %d", found, c.limits.processes)
			c.over.Store(&words)
			c.kill()
			return
		}
		calm = now - c.limits.processes/4
	}
}
