// SPDX-License-Identifier: Apache-2.0

package commands_test

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/commands"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/storage"
)

// narrow is a conn that its owner cannot read faster than a rate: as if the line behind its socket were that slow.
type narrow struct {
	net.Conn
	line *line
}

// line is what several conns share.
type line struct {
	mu   sync.Mutex
	rate func() core.Rate // now
	free time.Time        // when the line has passed on all it was given
}

func (c narrow) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p[:min(len(p), 64<<10)])
	c.line.mu.Lock()
	now := time.Now()
	if c.line.free.Before(now) {
		c.line.free = now
	}
	c.line.free = c.line.free.Add(time.Duration(float64(n) / float64(c.line.rate()) * 1e9))
	wait := c.line.free.Sub(now)
	c.line.mu.Unlock()
	time.Sleep(wait)
	return n, err
}

// behind lets a node dial over a line.
func behind(l *line) func(*commands.Config) {
	return func(conf *commands.Config) {
		dial := conf.Dial
		conf.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dial(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return narrow{conn, l}, nil
		}
	}
}

func steady(mib float64) *line {
	return &line{rate: func() core.Rate { return core.Rate(mib * float64(core.MiB)) }}
}

// row is what a node says of its link to a peer.
func (m *member) row(peer *member) control.PeerRow {
	t := m.cluster.t
	t.Helper()
	r, err := m.ListPeers(t.Context(), control.PeersArgs{}, quiet)
	check(t, err)
	for _, row := range r.Peers {
		if row.ID == peer.ID() {
			return row
		}
	}
	t.Fatalf("%s does not know %s", m.name, peer.name)
	return control.PeerRow{}
}

func about(t *testing.T, what string, got core.Rate, mib float64) {
	t.Helper()
	if want := core.Rate(mib * float64(core.MiB)); got < want*88/100 || got > want*112/100 {
		t.Errorf("%s: %s, want about %s", what, got, want)
	}
}

// TestSlowLinkIsMeasuredAndRecovers places over a link that carries a quarter of what both sides declare, and then all
// of it.
func TestSlowLinkIsMeasuredAndRecovers(t *testing.T) {
	long(t)
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		var slow sync.Mutex
		mib := 0.25
		l := &line{rate: func() core.Rate {
			slow.Lock()
			defer slow.Unlock()
			return core.Rate(mib * float64(core.MiB))
		}}
		memory := &memory{}
		a := c.start("a", "", c.owned, func(conf *commands.Config) { conf.Memory = memory })
		b := c.start("b", "a-1MiB", behind(l))
		a.split("one.img", 1, content(1, 5<<20))
		c.settle()
		if row := a.row(b); row.Measured != 0 || row.Declared != 1<<20 {
			t.Errorf("before anything moved: %+v", row)
		}
		a.place(control.PlaceArgs{Replicas: 1})
		about(t, "measured", a.row(b).Measured, 0.25)
		about(t, "measured, as the receiver shows it", b.row(a).MeasuredIn, 0.25)

		// The plan counts on it, after a restart too.
		a.stop()
		a.run()
		c.settle()
		a.split("two.img", 1, content(2, 3<<20))
		dry := a.place(control.PlaceArgs{Name: "two.img", Replicas: 1, DryRun: true})
		about(t, "planned after a restart", core.Rate(1.05*float64(dry.Bytes)/(dry.PredictedS-dry.FillS)), 0.25)
		a.place(control.PlaceArgs{Name: "two.img", Replicas: 1})

		slow.Lock()
		mib = 6
		slow.Unlock()
		a.split("three.img", 1, content(3, 30<<20))
		a.place(control.PlaceArgs{Name: "three.img", Replicas: 1})
		if got := a.row(b).Measured; got < 900<<10 {
			t.Errorf("the link carries 1 MiB/s again, measured is %s", got)
		}
	})
}

type memory struct{ text []byte }

func (m *memory) Read() ([]byte, error) {
	if m.text == nil {
		return nil, core.ErrNotFound
	}
	return m.text, nil
}

func (m *memory) Write(text []byte) error { m.text = text; return nil }

// sleepy is a store that takes its time with what arrives.
type sleepy struct {
	storage.Collector
	each func(core.Size) time.Duration
}

func (s sleepy) Put(ctx context.Context, c core.Chunk, id core.Hash, data []byte) (bool, error) {
	time.Sleep(s.each(c.Size))
	return s.Collector.Put(ctx, c, id, data)
}

// TestWhatIsNotTheLinkIsNotMeasured has a receiver whose disk is slow, an uplink that is shared by leases, and a
// receiver whose own downlink is declared low: no link is slow in any of them.
func TestWhatIsNotTheLinkIsNotMeasured(t *testing.T) {
	long(t)
	slowDisk := func(conf *commands.Config) {
		conf.Keeping = sleepy{conf.Keeping, func(s core.Size) time.Duration { return time.Duration(float64(s) / (256 << 10) * 1e9) }}
	}
	nap := func(conf *commands.Config) {
		var naps atomic.Int64
		conf.Keeping = sleepy{conf.Keeping, func(core.Size) time.Duration {
			if naps.Add(1)%75 == 0 {
				return 3 * time.Second
			}
			return 0
		}}
	}
	for name, test := range map[string]struct {
		a, b []func(*commands.Config)
	}{
		"a disk of 256 KiB/s":         {b: []func(*commands.Config){slowDisk}},
		"a reader that sleeps":        {b: []func(*commands.Config){nap}},
		"a downlink of 384 KiB/s":     {b: []func(*commands.Config){func(conf *commands.Config) { conf.Downlink = calendar("384") }}},
		"an uplink of 384 KiB/s":      {a: []func(*commands.Config){func(conf *commands.Config) { conf.Uplink = calendar("384") }}},
		"a calendar, here and there":  {a: []func(*commands.Config){func(conf *commands.Config) { conf.Uplink = calendar("00:00-00:01=128,00:01-00:02=384,else=256") }}},
		"an uplink that others share": {a: []func(*commands.Config){func(conf *commands.Config) { conf.Uplink = calendar("768") }}},
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T) {
				c := newCluster(t)
				a := c.start("a", "", append(test.a, c.owned)...)
				b := c.start("b", "a-1MiB", test.b...)
				d := c.start("d", "a-1MiB,b-1MiB")
				a.split("one.img", 1, content(1, 5<<20))
				c.settle()
				a.place(control.PlaceArgs{Replicas: 2})
				for _, link := range [][2]*member{{a, b}, {a, d}, {b, d}, {d, b}} {
					if got := link[0].row(link[1]).Measured; got != 0 && got < 900<<10 {
						t.Errorf("the link from %s to %s seems to carry %s", link[0].name, link[1].name, got)
					}
				}
			})
		})
	}
}

// TestSlowUplinkIsNotSeveralSlowLinks sends to three targets over a line that they share.
func TestSlowUplinkIsNotSeveralSlowLinks(t *testing.T) {
	long(t)
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		shared := steady(0.375)
		a := c.start("a", "", c.owned)
		targets := []*member{c.start("b", "a-1MiB", behind(shared)), c.start("d", "a-1MiB", behind(shared)),
			c.start("e", "a-1MiB", behind(shared))}
		a.split("one.img", 1, content(1, 4<<20))
		c.settle()
		a.place(control.PlaceArgs{Replicas: 3})
		about(t, "the uplink", a.limit(control.LimitArgs{}).Limits[0].Measured, 0.375)
		for _, b := range targets {
			if got := a.row(b).Measured; got != 0 && got < 256<<10 {
				t.Errorf("the link to %s seems to carry %s", b.name, got)
			}
		}
	})
}

// TestProbeMeasuresWithinItsLease probes a slow link, one that carries all that it was given, one that a limit holds
// down, and a receiver that is slow itself.
func TestProbeMeasuresWithinItsLease(t *testing.T) {
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.start("a", "", c.owned)
		slow := c.start("slow", "a-8MiB", behind(steady(1.5)))
		fast := c.start("fast", "a-8MiB")
		low := c.start("low", "a-8MiB", func(conf *commands.Config) { conf.Downlink = calendar("2MiB") })
		c.settle()
		began := time.Now()
		r, err := a.Probe(t.Context(), control.ProbeArgs{}, quiet)
		check(t, err)
		if took := time.Since(began); took > 8*time.Second {
			t.Errorf("three probes took %s", took)
		}
		byID := map[core.ID]control.ProbeRow{}
		for _, row := range r.Probes {
			byID[row.ID] = row
		}
		about(t, "slow", byID[slow.ID()].Carried, 1.5)
		about(t, "fast", byID[fast.ID()].Carried, 8)
		about(t, "low", byID[low.ID()].Carried, 2)
		for m, atLeast := range map[*member]bool{slow: false, fast: false, low: true} {
			row := byID[m.ID()]
			if row.AtLeast != atLeast || row.Problem != "" || row.Carried > row.Lease || row.Bytes > 17<<20 ||
				row.Seconds > 2.2 {
				t.Errorf("%s: %+v", m.name, row)
			}
		}
		about(t, "slow, in the table", a.row(slow).Measured, 1.5)
		if got := a.row(low).Measured; got != 0 && got < 7<<20 {
			t.Errorf("the link to low seems to carry %s, its downlink was what held the probe back", got)
		}
		synctest.Wait()
		for _, m := range c.nodes {
			for _, account := range m.status().Accounts {
				if account.Leased != 0 {
					t.Errorf("%s: account %s still has %s leased", m.name, account.Name, account.Leased)
				}
			}
			if m.status().Used != 0 {
				t.Errorf("%s keeps what a probe sent", m.name)
			}
		}
		one, err := a.Probe(t.Context(), control.ProbeArgs{Peer: "fast:8001"}, quiet)
		if err != nil || len(one.Probes) != 1 || one.Probes[0].ID != fast.ID() {
			t.Errorf("one peer: %+v, %v", one, err)
		}
		if _, err := a.Probe(t.Context(), control.ProbeArgs{Peer: "nobody:1"},
			quiet); core.CodeOf(err) != core.CodeNoName {
			t.Errorf("an unknown peer: %v", err)
		}
	})
}

// TestProbeLeavesTransfersWhatTheyLeased probes a link that a placement has leased wholly.
func TestProbeLeavesTransfersWhatTheyLeased(t *testing.T) {
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.start("a", "", c.owned)
		b := c.start("b", "a-1MiB")
		a.split("one.img", 1, content(1, 8<<20))
		c.settle()
		done := make(chan control.PlaceResult, 1)
		go func() { done <- a.place(control.PlaceArgs{Replicas: 1}) }()
		time.Sleep(3 * time.Second)
		r, err := a.Probe(t.Context(), control.ProbeArgs{Peer: b.ID().String()}, quiet)
		check(t, err)
		if row := r.Probes[0]; row.Problem == "" && row.Lease > 300<<10 {
			t.Errorf("the probe was leased %s of a link that is in use", row.Lease)
		}
		placed := <-done
		if placed.Seconds > placed.PredictedS*1.1 {
			t.Errorf("the placement took %.1f s, predicted were %.1f s", placed.Seconds, placed.PredictedS)
		}
	})
}
