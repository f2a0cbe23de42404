// SPDX-License-Identifier: Apache-2.0

package commands_test

import (
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core/control"
)

// TestHolderThatCameBackIsThere: a holder of the peer list that was away for long is tried at once when something of it
// is wanted, and looking for it in vain, where others say that it is, drops nobody from the list.
func TestHolderThatCameBackIsThere(t *testing.T) {
	virtual(t, func(t *testing.T) {
		data := content(7, 1<<20)
		c := newCluster(t)
		a := c.start("a", "b-20MiB,c-20MiB", c.owned)
		b := c.start("b", "")
		c.start("c", "b-20MiB")
		a.split("disk.img", 1, data)
		c.settle()
		a.place(control.PlaceArgs{Name: "disk.img", Replicas: 1, Strategy: "seed", Only: []string{b.ID().String()}})
		z := c.start("z", "b-20MiB,c-20MiB", c.owned)
		c.settle()

		b.stop()
		time.Sleep(time.Minute)
		for range 2 { // c tells where b was
			if _, err := z.Fetch(t.Context(), control.FetchArgs{Name: "disk.img", Output: t.TempDir() + "/out"}, quiet); err == nil {
				t.Fatal("fetched from nobody")
			}
		}
		b.run()
		z.fetch("disk.img", 0, data)
	})
}
