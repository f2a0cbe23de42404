// SPDX-License-Identifier: Apache-2.0

package commands_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/commands"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/file"
	"github.com/bkp-tool/bkp/core/storage"
)

// drowsy is a store that takes its time with what is read from it.
type drowsy struct {
	storage.Collector
	each time.Duration
}

func (s drowsy) Get(ctx context.Context, hash core.Hash, dst []byte) ([]byte, error) {
	time.Sleep(s.each)
	return s.Collector.Get(ctx, hash, dst)
}

// deliveries counts how often each chunk is handed to who puts a fetched file together.
type deliveries struct {
	mu    sync.Mutex
	times map[core.Hash]int
}

func (d *deliveries) count(conf *commands.Config) {
	d.times = map[core.Hash]int{}
	conf.Restore = through(func(h core.Hash, data []byte, deliver func(core.Hash, []byte) error) error {
		d.mu.Lock()
		d.times[h]++
		d.mu.Unlock()
		return deliver(h, data)
	})
}

// through has a fetched file put together out of chunks that go through a function.
func through(pass func(core.Hash, []byte, func(core.Hash, []byte) error) error) func(file.Restore,
	context.Context) (file.Assembled, error) {
	return func(r file.Restore, ctx context.Context) (file.Assembled, error) {
		r.Remote = passing{r.Remote, pass}
		return r.Run(ctx)
	}
}

type passing struct {
	file.Remote
	pass func(core.Hash, []byte, func(core.Hash, []byte) error) error
}

func (p passing) Bring(ctx context.Context, wanted []core.Sealed,
	deliver func(core.Hash, []byte) error) ([]core.Hash, error) {
	return p.Remote.Bring(ctx, wanted, func(h core.Hash, data []byte) error { return p.pass(h, data, deliver) })
}

// more lists how many chunks came more than once.
func (d *deliveries) more() (count int) {
	for _, times := range d.times {
		if times > 1 {
			count++
		}
	}
	return count
}

// twoHolders places a file on b and c, each of which sends 2 MiB/s, and starts the empty machine z that counts
// deliveries.
func twoHolders(c *cluster, data []byte, slow func(*commands.Config)) (z *member, d *deliveries) {
	a := c.start("a", "", c.owned)
	c.start("b", "a-20MiB", uplink("2MiB"))
	c.start("c", "a-20MiB,b-20MiB", uplink("2MiB"), slow)
	a.split("disk.img", 1, data)
	c.settle()
	a.place(control.PlaceArgs{Replicas: 2})
	a.stop()
	d = &deliveries{}
	z = c.start("z", "b-20MiB,c-20MiB", c.owned, d.count)
	c.settle()
	return z, d
}

func uplink(rate string) func(*commands.Config) {
	return func(conf *commands.Config) { conf.Uplink = calendar(rate) }
}

// TestFetchIsNotHeldUpByASlowHolder has a holder that agrees to 2 MiB/s and brings a twentieth: the other brings the
// rest, and in the end what that one is late with.
func TestFetchIsNotHeldUpByASlowHolder(t *testing.T) {
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		data := content(3, 8<<20)
		z, d := twoHolders(c, data, func(conf *commands.Config) {
			conf.Keeping = drowsy{conf.Keeping,
				160 * time.Millisecond}
		})
		got := z.fetch("disk.img", 0, data)
		if got.Seconds > 5 { // 8 MiB at 2 MiB/s and the wire's part take 4.2 s
			t.Errorf("it took %.1f s, as long as the slow holder needs for what it was asked for", got.Seconds)
		}
		z.stop()
		if !strings.Contains(z.trace.String(), "cannot go on") {
			t.Error("nothing was asked for twice and stopped")
		}
		if n := d.more(); n > 0 {
			t.Errorf("%d chunks were delivered more than once", n)
		}
	})
}

// TestFetchEndsWhenItsBytesCannotBeKept has every write fail here: the holders are not asked for the same runs for
// ever.
func TestFetchEndsWhenItsBytesCannotBeKept(t *testing.T) {
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		data := content(5, 8<<20)
		a := c.start("a", "", c.owned)
		c.start("b", "a-20MiB")
		a.split("disk.img", 1, data)
		c.settle()
		a.place(control.PlaceArgs{Replicas: 1})
		z := c.start("z", "b-20MiB", c.owned, func(conf *commands.Config) {
			conf.Restore = through(func(core.Hash, []byte, func(core.Hash, []byte) error) error {
				return syscall.ENOSPC
			})
		})
		c.settle()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := z.Fetch(ctx, control.FetchArgs{Name: "disk.img", Output: filepath.Join(t.TempDir(), "fetched")},
			quiet)
		if !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%v, want that there is no space", err)
		}
	})
}

// TestFetchIsNotHeldUpByASilentHolder cuts a holder off without a word; pings tell after 15 s.
func TestFetchIsNotHeldUpByASilentHolder(t *testing.T) {
	long(t)
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		data := content(4, 8<<20)
		z, d := twoHolders(c, data, func(*commands.Config) {})
		time.AfterFunc(time.Second, func() { c.net.Silence("c") })
		got := z.fetch("disk.img", 0, data)
		if got.Seconds > 6 {
			t.Errorf("it took %.1f s", got.Seconds)
		}
		if at := slices.IndexFunc(got.Sources, func(s control.Source) bool { return s.Address == "c:8001" }); at < 0 {
			t.Error("the silent holder brought nothing before it fell silent: the test shows nothing")
		}
		if n := d.more(); n > 0 {
			t.Errorf("%d chunks were delivered more than once", n)
		}
	})
}
