// SPDX-License-Identifier: Apache-2.0

package commands_test

import (
	"testing"

	"github.com/bkp-tool/bkp/core/commands"
	"github.com/bkp-tool/bkp/core/control"
)

// TestUnusedLeaseGoesToOthers sends to two targets beside one that receives an eighth of what it is leased at first:
// they get what that one leaves.
func TestUnusedLeaseGoesToOthers(t *testing.T) {
	long(t)
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.start("a", "", c.owned, func(conf *commands.Config) { conf.Uplink = calendar("4MiB") })
		slow := c.start("slow", "a-8MiB", behind(steady(0.25)))
		c.start("d", "a-8MiB")
		c.start("e", "a-8MiB")
		a.split("one.img", 1, content(1, 12<<20))
		c.settle()
		r := a.place(control.PlaceArgs{Replicas: 3})
		for _, p := range r.Placements {
			if p.Node != slow.ID() && p.Seconds > 9 { // 12.7 s where the lease stayed
				t.Errorf("%s has its copy after %.1f s", p.Address, p.Seconds)
			}
		}
	})
}
