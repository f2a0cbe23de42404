// SPDX-License-Identifier: Apache-2.0

package commands_test

import (
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core/control"
)

// A client that left is forgotten soon, and so are its accounts; a node of the peer list stays, and says why it is not
// there.
func TestClientsThatLeftAreForgotten(t *testing.T) {
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		listed := c.start("listed", "")
		a := c.start("a", "listed-20MiB", c.owned)
		for _, name := range []string{"b", "c", "d"} {
			c.start(name, "a-20MiB")
		}
		c.settle()
		if got := len(a.status().Accounts); got != 2+2*4 {
			t.Fatalf("%d accounts with four peers", got)
		}
		for _, m := range []*member{listed, c.nodes["b"], c.nodes["c"], c.nodes["d"]} {
			m.stop()
		}
		time.Sleep(time.Minute)
		if got := len(a.status().Accounts); got != 2+2 {
			t.Errorf("%d accounts with one peer of the list that is gone", got)
		}
		peers, err := a.ListPeers(t.Context(), control.PeersArgs{}, quiet)
		check(t, err)
		if len(peers.Peers) != 1 || peers.Peers[0].Problem == "" {
			t.Errorf("peers: %+v, want that of the list, and why it is not there", peers.Peers)
		}
	})
}
