package node_test

import (
	"testing"
	"testing/synctest"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/node"
)

// fiveNodes is a source and four targets with unequal links, everybody linked to everybody.
func fiveNodes(c *cluster) *member {
	a := c.start("a", "", c.owned)
	c.start("b", "a-20MiB")
	c.start("c", "a-10MiB,b-10MiB")
	c.start("d", "a-5MiB,b-5MiB,c-5MiB")
	c.start("e", "a-5MiB,b-5MiB,c-5MiB,d-5MiB")
	return a
}

func TestPlaceAndFetchOnFiveNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a := fiveNodes(c)
		data := content(1, 8<<20)
		a.split("disk.img", 1, data)
		c.settle()

		placed := a.place(node.PlaceArgs{Replicas: 2})
		if got := sum(placed.Placements); got != 2*placed.Bytes {
			t.Errorf("placed %d bytes on all nodes, want 2 × %d", got, placed.Bytes)
		}
		t.Logf("predicted %.2f s, took %.2f s", placed.PredictedS, placed.Seconds)

		c.restoreElsewhere(data)
	})
}

func sum(placements []node.Placement) (bytes core.Size) {
	for _, p := range placements {
		bytes += p.Bytes
	}
	return bytes
}

// restoreElsewhere fetches on a new machine that has only the identity and the targets' addresses.
func (c *cluster) restoreElsewhere(data []byte) node.FetchResult {
	c.t.Helper()
	z := c.start("z", "b-50MiB,c-50MiB,d-50MiB,e-50MiB", c.owned, func(conf *node.Config) { conf.Token = nil })
	c.settle()
	return z.fetch("disk.img", 0, data)
}
