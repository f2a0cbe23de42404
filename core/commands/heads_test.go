// SPDX-License-Identifier: Apache-2.0

package commands_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/cmd/bkp/datadir"
	"github.com/bkp-tool/bkp/cmd/bkp/datadir/heard"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/commands"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/ledger"
	"github.com/bkp-tool/bkp/core/wire"
)

// logs has a node show its peers a ledger of its own, in a directory of its own, and remember theirs.
type logs struct {
	t   *testing.T
	dir datadir.Dir
	log *ledger.Log
}

func (c *cluster) logs() *logs { return &logs{t: c.t, dir: datadir.Dir(c.t.TempDir())} }

func (l *logs) setup(conf *commands.Config) {
	log, err := ledger.Open(l.dir.Path("ledger"), conf.Signer)
	check(l.t, err)
	l.log = log
	heads, err := heard.OpenHeads(l.dir, l.dir, datadir.NewLogbook(log, conf.Signer.ID()))
	check(l.t, err)
	conf.Heads = heads
}

// grows adds entries, durably.
func (l *logs) grows(what string, entries int) {
	l.t.Helper()
	for i := range entries {
		_, err := l.log.Append(ledger.KindLicense, fmt.Appendf(nil, "%s %d", what, i))
		check(l.t, err)
	}
	check(l.t, l.log.Sync())
}

// stopped ends a node and its ledger.
func (l *logs) stopped(m *member) {
	l.t.Helper()
	m.stop()
	check(l.t, l.log.Close())
}

func (l *logs) copyTo(dir string) {
	l.t.Helper()
	check(l.t, os.RemoveAll(dir))
	check(l.t, os.CopyFS(dir, os.DirFS(l.dir.Path("ledger"))))
}

// blames reports whether a node names another's ledger.
func blames(m, other *member) bool {
	for _, r := range m.Health.Reasons() {
		if strings.Contains(r.Text, "the ledger of node "+other.ID().Short()+" was cut or rewritten") {
			return true
		}
	}
	return false
}

// A ledger that was cut on one node, with its own heads, is named by whoever meets that node next: who knew more of it,
// and who only heard of that from others. So is one that was cut and has grown again. One that grows is not.
func TestCutLedgerIsNamed(t *testing.T) {
	for name, regrown := range map[string]int{"cut": 0, "cut to as long": 4, "cut and grown again": 10} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T) {
				cl := newCluster(t)
				la, lb, lc, ld := cl.logs(), cl.logs(), cl.logs(), cl.logs()
				a := cl.start("a", "", la.setup, cl.owned)
				b := cl.start("b", "a-20MiB,d-20MiB", lb.setup)
				lb.grows("true", 3)
				cl.settle()
				lb.stopped(b)
				before := filepath.Join(t.TempDir(), "before")
				lb.copyTo(before)
				b.run()
				lb.grows("true", 4)
				cl.settle()
				lb.stopped(b) // a met it with 3 entries
				b.run()
				cl.settle()
				if blames(a, b) || len(a.Health.Reasons()) > 0 {
					t.Errorf("a ledger that grew: %+v", a.Health.Reasons())
				}
				c := cl.start("c", "a-20MiB", lc.setup)
				d := cl.start("d", "c-20MiB", ld.setup)
				cl.settle()
				lb.stopped(b)
				d.stop()
				check(t, ld.log.Close())
				d.run() // hears of it from c
				cl.settle()

				check(t, os.RemoveAll(lb.dir.Path("ledger")))
				check(t, os.CopyFS(lb.dir.Path("ledger"), os.DirFS(before)))
				if regrown > 0 {
					log, err := ledger.Open(lb.dir.Path("ledger"), b.signer)
					check(t, err)
					lb.log = log
					lb.grows("false", regrown)
					check(t, log.Close())
				}
				b.run()
				cl.settle()
				cl.settle()
				for name, m := range map[string]*member{"a, the owner's": a, "d, who never met it": d} {
					if !blames(m, b) {
						t.Errorf("%s: %+v", name, m.Health.Reasons())
					}
				}
				if blames(c, b) {
					t.Error("c names it, and has not met it")
				}
				if !strings.Contains(fmt.Sprint(b.Health.Reasons()), "a peer keeps a head that this node signed") {
					t.Errorf("b itself: %+v", b.Health.Reasons())
				}
				for _, l := range []*logs{la, lb, lc, ld} {
					l.log.Close()
				}
			})
		})
	}
}

// A member that says its ledger has grown, and does not show that it goes on from what it was, is named for that.
func TestUnprovedLedgerIsNamed(t *testing.T) {
	virtual(t, func(t *testing.T) {
		cl := newCluster(t)
		lb := cl.logs()
		b := cl.start("b", "", lb.setup)
		defer func() { lb.log.Close() }()
		r := cl.rogue("b")
		says := func(size int64) {
			r.say(wire.Heads{Own: wire.Head(key.SignHead(size, core.Hash{byte(size)}, r.signer))})
			time.Sleep(time.Second)
		}
		says(5)
		again := func() {
			r.to.Close(core.ReasonStopped, "again")
			r.to = <-r.session
			r.say(wire.BandwidthCoordination{Size: 20 << 20})
		}
		again()
		says(9)
		if reasons := b.Health.Reasons(); len(reasons) > 0 {
			t.Errorf("at once: %+v", reasons)
		}
		time.Sleep(time.Minute)
		if text := fmt.Sprint(b.Health.Reasons()); !strings.Contains(text, "does not show that it goes on") {
			t.Errorf("a minute later: %s", text)
		}
		again()
		says(4)
		if text := fmt.Sprint(b.Health.Reasons()); !strings.Contains(text, "it has 4 entries, and had 5") {
			t.Errorf("shorter: %s", text)
		}
	})
}
