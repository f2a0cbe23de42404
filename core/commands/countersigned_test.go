// SPDX-License-Identifier: Apache-2.0

package commands_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/commands"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/keep"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/ledger"
	"github.com/bkp-tool/bkp/core/license"
	"github.com/bkp-tool/bkp/core/wire"
)

// acknowledged is of how many licences under which a node gave receipts the newest is countersigned, and who signed.
func (m *member) acknowledged() (licenses, countersigned int, signers map[core.ID]bool) {
	m.cluster.t.Helper()
	newest, signers := map[core.LicenseID]core.Hash{}, map[core.ID]bool{}
	open := map[core.Hash]bool{}
	for _, e := range m.ledger.Entries() {
		switch e.Kind {
		case ledger.KindReceipt:
			r, err := license.OpenReceipt(e.Envelope)
			check(m.cluster.t, err)
			newest[r.License] = license.ReceiptHash(e.Envelope)
		case ledger.KindCountersigned:
			c, signer, err := license.OpenCountersigned(e.Envelope)
			check(m.cluster.t, err)
			open[c.Receipt], signers[signer] = true, true
		default:
		}
	}
	for _, hash := range newest {
		if open[hash] {
			countersigned++
		}
	}
	return len(newest), countersigned, signers
}

// Holders show that the owner knows what they keep; one that speaks an earlier release's features is asked for nothing
// and keeps as before.
func TestReceiptsAreCountersigned(t *testing.T) {
	long(t)
	for _, features := range [][]wire.Feature{wire.Features, {wire.FeatureRefs2, wire.FeatureAudit, wire.FeatureKeep}} {
		t.Run(fmt.Sprintf("%d features", len(features)), func(t *testing.T) {
			all := wire.Features
			wire.Features = features
			defer func() { wire.Features = all }()
			synctest.Test(t, func(t *testing.T) { // not beside others, for whom all nodes have all features
				cl := newCluster(t)
				b := cl.start("b", "")
				c := cl.start("c", "b-20MiB")
				a := cl.start("a", "b-20MiB,c-20MiB", cl.owned)
				a.split("disk.img", 1, content(64, 9<<20))
				cl.settle()
				a.place(control.PlaceArgs{Name: "disk.img", Replicas: 2})
				cl.settle()
				has := slices.Contains(features, wire.FeatureCountersigned)
				for _, m := range []*member{b, c} {
					licenses, answered, signers := m.acknowledged()
					switch {
					case licenses == 0 || has && answered != licenses || !has && answered != 0:
						t.Errorf("%s has %d of %d licences countersigned", m.name, answered, licenses)
					case has && (len(signers) != 1 || !signers[cl.owner.ID()]):
						t.Errorf("%s: signed by %v", m.name, signers)
					}
				}
			})
		})
	}
}

// A coordinator countersigns for its owner what it places.
func TestCoordinatorCountersigns(t *testing.T) {
	virtual(t, func(t *testing.T) {
		cl := newCluster(t)
		a, b := coordinated(cl)
		a.split("disk.img", 1, content(64, 2<<20))
		cl.settle()
		if err := a.handOver("disk.img", 2); core.CodeOf(err) != core.CodePartial {
			t.Fatalf("handed over: %v", err)
		}
		rec := b.coordinates(2 * time.Minute)
		cl.settle()
		seen := 0
		for name, m := range cl.nodes {
			licenses, answered, signers := m.acknowledged()
			if answered != licenses {
				t.Errorf("%s has %d of %d licences countersigned", name, answered, licenses)
			}
			if name == "b" && licenses > 0 && !signers[cl.owner.ID()] || name != "b" && licenses > 0 && !signers[b.signer.ID()] {
				t.Errorf("%s: signed by %v", name, signers)
			}
			seen += licenses
		}
		if seen < rec.Copies {
			t.Errorf("%d licences of %d copies", seen, rec.Copies)
		}
	})
}

// askedOf is what a verifier was last asked, which says yes.
type askedOf struct{ core.VerifyRequest }

func (a *askedOf) Verify(_ context.Context, req core.VerifyRequest) (core.Verdict, error) {
	a.VerifyRequest = req
	return core.Verdict{OK: true}, nil
}

// What a member may try with countersignatures: only one that is right is kept, once, and it is charged to its owner.
func TestCountersignaturesThatAreNone(t *testing.T) {
	virtual(t, func(t *testing.T) {
		var asked askedOf
		cl := newCluster(t)
		b := cl.start("b", "", cl.remembers(), func(conf *commands.Config) {
			conf.Verifiers = append(conf.Verifiers, keep.NamedVerifier{Name: "asked", Verifier: &asked})
		})
		cl.settle()
		s := cl.stolen("b")
		o, answer := s.writes(b, unchanged)
		if _, ok := answer.(wire.TaskAgree); !ok {
			t.Fatalf("%+v", answer)
		}
		s.give(o, 5, 9)
		receipt := hear[wire.TransmissionComplete](s.rogue).Receipt
		stranger := cl.rogue("b")
		sign := func(by *key.Signer, change func(*core.Countersigned)) wire.Countersigned {
			c := core.Countersigned{Owner: cl.owner.ID(), Time: time.Now().Unix(), Delegation: s.word}
			change(&c)
			envelope, err := license.SignCountersigned(c, receipt, by)
			check(t, err)
			return wire.Countersigned{Receipt: receipt, Envelope: envelope}
		}
		as := func(*core.Countersigned) {}
		foreign, err := license.SignReceipt(core.Receipt{License: o.lic.ID, Task: o.task.Task, Runs: []core.Range{{Length: 1}},
			RetainUntil: 1, Time: 1}, s.signer)
		check(t, err)
		good := sign(s.signer, as)
		otherReceipt, ofForeign := good, good
		ofForeign.Receipt = foreign
		ofForeign.Envelope, err = license.SignCountersigned(core.Countersigned{Owner: cl.owner.ID(), Time: time.Now().Unix(),
			Delegation: s.word}, foreign, s.signer)
		check(t, err)
		otherReceipt.Receipt = foreign
		for name, m := range map[string]wire.Countersigned{
			"wrong key":               sign(stranger.signer, as),
			"no delegation":           sign(s.signer, func(c *core.Countersigned) { c.Delegation = nil }),
			"another owner":           sign(s.signer, func(c *core.Countersigned) { c.Owner = core.ID{5} }),
			"yesterday":               sign(s.signer, func(c *core.Countersigned) { c.Time -= 86400 }),
			"other receipt":           otherReceipt,
			"a receipt of its own":    ofForeign,
			"a receipt as one":        {Receipt: receipt, Envelope: receipt},
			"neither is an envelope":  {Receipt: []byte("x"), Envelope: []byte("y")},
			"a receipt that is wrong": {Receipt: append([]byte(" "), receipt...), Envelope: good.Envelope},
		} {
			s.say(m)
			synctest.Wait()
			if n := b.ledger.Count(ledger.KindCountersigned); n != 0 {
				t.Errorf("%s: %d in the ledger", name, n)
			}
		}
		if err := s.to.Send(wire.Countersigned{Receipt: receipt, Envelope: make([]byte, license.MaxCountersigned+1)}); err == nil {
			t.Error("one that is too large is sent")
		}
		stranger.say(good) // who did not place the runs
		synctest.Wait()
		if n := b.ledger.Count(ledger.KindCountersigned); n != 0 {
			t.Error("it is taken from a stranger")
		}
		for range 300 {
			s.say(good)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := b.ledger.Count(ledger.KindCountersigned); n != 1 {
			t.Errorf("%d are in the ledger", n)
		}
		s.writes(b, unchanged)
		used := o.chunk.Size + core.Size(len(o.task.License)+2*256+len(good.Envelope)+256)
		if asked.UsedBytes != used {
			t.Errorf("the owner has %d bytes, want %d", asked.UsedBytes, used)
		}
	})
}
