package node_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/node"
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
func behind(l *line) func(*node.Config) {
	return func(conf *node.Config) {
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
func (m *member) row(peer *member) node.PeerRow {
	t := m.cluster.t
	t.Helper()
	r, err := m.ListPeers(t.Context(), node.PeersArgs{}, quiet)
	check(t, err)
	for _, row := range r.Peers {
		if row.ID == peer.ID() {
			return row
		}
	}
	t.Fatalf("%s does not know %s", m.name, peer.name)
	return node.PeerRow{}
}

func about(t *testing.T, what string, got core.Rate, mib float64) {
	t.Helper()
	if want := core.Rate(mib * float64(core.MiB)); got < want*88/100 || got > want*112/100 {
		t.Errorf("%s: %s, want about %s", what, got, want)
	}
}

// TestSlowLinkIsMeasuredAndRecovers places over a link that carries a quarter of what both sides declare, and then all of it.
func TestSlowLinkIsMeasuredAndRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		var slow sync.Mutex
		mib := 0.25
		l := &line{rate: func() core.Rate {
			slow.Lock()
			defer slow.Unlock()
			return core.Rate(mib * float64(core.MiB))
		}}
		memory := &memory{}
		a := c.start("a", "", c.owned, func(conf *node.Config) { conf.Memory = memory })
		b := c.start("b", "a-1MiB", behind(l))
		a.split("one.img", 1, content(1, 5<<20))
		c.settle()
		if row := a.row(b); row.Measured != 0 || row.Declared != 1<<20 {
			t.Errorf("before anything moved: %+v", row)
		}
		a.place(node.PlaceArgs{Replicas: 1})
		about(t, "measured", a.row(b).Measured, 0.25)
		about(t, "measured, as the receiver shows it", b.row(a).MeasuredIn, 0.25)

		// The plan counts on it, after a restart too.
		a.stop()
		a.run()
		c.settle()
		a.split("two.img", 1, content(2, 3<<20))
		dry := a.place(node.PlaceArgs{Name: "two.img", Replicas: 1, DryRun: true})
		about(t, "planned after a restart", core.Rate(1.05*float64(dry.Bytes)/(dry.PredictedS-dry.FillS)), 0.25)
		a.place(node.PlaceArgs{Name: "two.img", Replicas: 1})

		slow.Lock()
		mib = 6
		slow.Unlock()
		a.split("three.img", 1, content(3, 30<<20))
		a.place(node.PlaceArgs{Name: "three.img", Replicas: 1})
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
	node.Store
	each func(core.Size) time.Duration
}

func (s sleepy) Put(c core.Chunk, id core.Hash, data []byte) (bool, error) {
	time.Sleep(s.each(c.Size))
	return s.Store.Put(c, id, data)
}

// TestWhatIsNotTheLinkIsNotMeasured has a receiver whose disk is slow, an uplink that is shared by leases, and a receiver whose
// own downlink is declared low: no link is slow in any of them.
func TestWhatIsNotTheLinkIsNotMeasured(t *testing.T) {
	slowDisk := func(conf *node.Config) {
		conf.Keeping = sleepy{conf.Keeping, func(s core.Size) time.Duration { return time.Duration(float64(s) / (256 << 10) * 1e9) }}
	}
	nap := func(conf *node.Config) {
		naps := 0
		conf.Keeping = sleepy{conf.Keeping, func(core.Size) time.Duration {
			if naps++; naps%75 == 0 {
				return 6 * time.Second
			}
			return 0
		}}
	}
	for name, test := range map[string]struct {
		a, b []func(*node.Config)
	}{
		"a disk of 256 KiB/s":         {b: []func(*node.Config){slowDisk}},
		"a reader that sleeps":        {b: []func(*node.Config){nap}},
		"a downlink of 384 KiB/s":     {b: []func(*node.Config){func(conf *node.Config) { conf.Downlink = calendar("384") }}},
		"an uplink of 384 KiB/s":      {a: []func(*node.Config){func(conf *node.Config) { conf.Uplink = calendar("384") }}},
		"a calendar, here and there":  {a: []func(*node.Config){func(conf *node.Config) { conf.Uplink = calendar("00:00-00:01=128,00:01-00:02=384,else=256") }}},
		"an uplink that others share": {a: []func(*node.Config){func(conf *node.Config) { conf.Uplink = calendar("768") }}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t)
				a := c.start("a", "", append(test.a, c.owned)...)
				b := c.start("b", "a-1MiB", test.b...)
				d := c.start("d", "a-1MiB,b-1MiB")
				a.split("one.img", 1, content(1, 5<<20))
				c.settle()
				a.place(node.PlaceArgs{Replicas: 2})
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
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		shared := steady(0.375)
		a := c.start("a", "", c.owned)
		targets := []*member{c.start("b", "a-1MiB", behind(shared)), c.start("d", "a-1MiB", behind(shared)), c.start("e", "a-1MiB", behind(shared))}
		a.split("one.img", 1, content(1, 4<<20))
		c.settle()
		a.place(node.PlaceArgs{Replicas: 3})
		about(t, "the uplink", a.limit(node.LimitArgs{}).Limits[0].Measured, 0.375)
		for _, b := range targets {
			if got := a.row(b).Measured; got != 0 && got < 256<<10 {
				t.Errorf("the link to %s seems to carry %s", b.name, got)
			}
		}
	})
}
