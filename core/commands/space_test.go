// SPDX-License-Identifier: Apache-2.0

package commands_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/commands"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/link"
	"github.com/bkp-tool/bkp/core/wire"
)

func TestReleasedBytesAreRoomAtOnceForWhoAsks(t *testing.T) {
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.start("a", "", c.owned)
		c.start("b", "a-20MiB", func(conf *commands.Config) { conf.Capacity = 3 * core.MiB })
		c.settle()
		for seed, name := range []string{"one.img", "two.img", "three.img"} {
			a.split(name, 1, content(byte(seed), 2<<20))
			a.place(control.PlaceArgs{Name: name, Replicas: 1})
			_, err := a.Remove(t.Context(), control.RemoveArgs{Name: name}, quiet)
			check(t, err)
		}
	})
}

// withPromise runs a test in which a source has been promised all the room that b has, and has sent nothing.
func withPromise(t *testing.T, test func(t *testing.T, c *cluster, b *member, source *rogue, o offered)) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		b := c.start("b", "", func(conf *commands.Config) { conf.Capacity = 150 * core.KiB })
		r := c.rogue("b")
		o := r.offer(b, unchanged)
		r.say(o.task)
		hear[wire.TaskAgree](r)
		if s := b.status(); s.Reserved != o.chunk.Size {
			t.Fatalf("%s are promised, want %s", s.Reserved, o.chunk.Size)
		}
		test(t, c, b, r, o)
	})
}

func TestPromiseOfASourceThatStartedAnewIsDropped(t *testing.T) {
	withPromise(t, func(t *testing.T, c *cluster, b *member, r *rogue, o offered) {
		check(t, r.hub.Close(t.Context()))
		r.hub = link.New(link.Config{Signer: r.signer, Epoch: 2, Token: c.token, Pins: r, Dial: c.net.From("rogue")}, r)
		t.Cleanup(func() { r.hub.Close(t.Context()) })
		peers, err := core.ParsePeers("wss://b:8001-20MiB")
		check(t, err)
		r.hub.Dial(peers[0])
		r.to = <-r.session
		synctest.Wait()
		if s := b.status(); s.Reserved != 0 {
			t.Errorf("%s are promised to a process that is no more", s.Reserved)
		}
		r.say(wire.BandwidthCoordination{Size: 20 << 20})
		r.say(o.apply(5)) // it goes on all the same
		hear[wire.StorageAgree](r)
		if s := b.status(); s.Reserved != o.chunk.Size {
			t.Errorf("%s are promised to who goes on, want %s", s.Reserved, o.chunk.Size)
		}
	})
}

func TestPromiseOfALostSourceIsDroppedInTheEnd(t *testing.T) {
	withPromise(t, func(t *testing.T, c *cluster, b *member, r *rogue, o offered) {
		check(t, r.hub.Close(t.Context()))
		time.Sleep(65 * time.Second)
		if s := b.status(); s.Reserved != 0 {
			t.Errorf("%s are still promised", s.Reserved)
		}
	})
}
