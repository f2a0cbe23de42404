package node_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/link"
	"github.com/bkp-tool/bkp/core/node"
	"github.com/bkp-tool/bkp/core/wire"
)

func TestReleasedBytesComeBackByThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.start("a", "", c.owned)
		b := c.start("b", "a-20MiB", func(conf *node.Config) { conf.Capacity = 3 * core.MiB })
		a.split("disk.img", 1, content(1, 2<<20))
		c.settle()
		a.place(control.PlaceArgs{Name: "disk.img", Replicas: 1})
		_, err := a.Remove(t.Context(), control.RemoveArgs{Name: "disk.img"}, quiet)
		check(t, err)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if s := b.status(); s.Used != 0 || s.Remaining != 3*core.MiB {
			t.Errorf("half a minute after it was released %s are kept, and %s offered", s.Used, s.Remaining)
		}
	})
}

func TestReleasedBytesAreRoomAtOnceForWhoAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.start("a", "", c.owned)
		c.start("b", "a-20MiB", func(conf *node.Config) { conf.Capacity = 3 * core.MiB })
		c.settle()
		for seed, name := range []string{"one.img", "two.img", "three.img"} {
			a.split(name, 1, content(byte(seed), 2<<20))
			a.place(control.PlaceArgs{Name: name, Replicas: 1})
			_, err := a.Remove(t.Context(), control.RemoveArgs{Name: name}, quiet)
			check(t, err)
		}
	})
}

// otherDisk is one that others write to as well.
type otherDisk struct{ free atomic.Int64 }

func (d *otherDisk) room() (core.Size, error) {
	if d.free.Load() < 0 {
		return 0, errors.New("input/output error")
	}
	return core.Size(d.free.Load()), nil
}

func TestNodeOffersWhatItsDiskHas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.start("a", "", c.owned)
		var d otherDisk
		d.free.Store(5 << 20)
		b := c.start("b", "a-20MiB", func(conf *node.Config) { conf.Capacity, conf.Room = 10*core.MiB, d.room })
		offers := func(want core.Size) {
			t.Helper()
			time.Sleep(5 * time.Second)
			synctest.Wait()
			if s := b.status(); s.Remaining != want {
				t.Errorf("with %d bytes free and %s kept it offers %s, want %s", d.free.Load(), s.Used, s.Remaining,
					want)
			}
		}
		offers(5 << 20)
		a.split("disk.img", 1, content(1, 2<<20))
		c.settle()
		a.place(control.PlaceArgs{Name: "disk.img", Replicas: 1})
		used := b.status().Used
		if s := b.status(); s.Remaining > 5<<20-used {
			t.Errorf("before it looked again it offers %s beside %s", s.Remaining, used)
		}
		d.free.Store(100 << 20)
		offers(10<<20 - used)
		d.free.Store(1 << 20)
		offers(1 << 20)
		d.free.Store(0)
		offers(0)
		d.free.Store(-1)
		offers(0)
		if s := b.status(); len(s.Reasons) != 1 || !s.Reasons[0].Refuses {
			t.Errorf("a disk that does not answer: %+v", s.Reasons)
		}
		d.free.Store(5 << 20)
		offers(5 << 20)
		if s := b.status(); s.Health != control.HealthReady {
			t.Errorf("the disk is well again, and the node %s", s.Health)
		}
	})
}

// withPromise runs a test in which a source has been promised all the room that b has, and has sent nothing.
func withPromise(t *testing.T, test func(t *testing.T, c *cluster, b *member, source *rogue, o offered)) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		b := c.start("b", "", func(conf *node.Config) { conf.Capacity = 150 * core.KiB })
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

func TestPromiseOfALostSourceIsItsOwnersToUse(t *testing.T) {
	withPromise(t, func(t *testing.T, c *cluster, b *member, r *rogue, o offered) {
		other := c.rogue("b")
		next := other.another(b, 3)
		other.say(next.task)
		if m := hear[wire.TaskRefuse](other); m.Code != core.ReasonSpace {
			t.Errorf("the first source is there, and another is refused with %d: %s", m.Code, m.Reason)
		}
		check(t, r.hub.Close(t.Context()))
		synctest.Wait()
		other.say(next.task)
		hear[wire.TaskAgree](other)
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
