// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/account"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/task"
	"github.com/bkp-tool/bkp/core/wire"
	"golang.org/x/time/rate"
)

// TestRunsArriveAtThePaceOfTheirLease sends 2 MiB under a lease of half the link.
func TestRunsArriveAtThePaceOfTheirLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := meet(t)
		began := time.Now()
		g := p.a.give(7, 8, 4, 64*core.KiB, capacity/2)
		var took time.Duration
		for settled := 0; settled < 8 && took < time.Minute; took = time.Since(began) {
			time.Sleep(10 * time.Millisecond)
			p.a.Ask(func(*Flows) { settled = len(g.settled) })
		}
		if least := time.Duration(4 * core.WireOverhead * 1e9); took < least*98/100 || took > least*105/100 {
			t.Errorf("2 MiB at 512 KiB/s took %s", took)
		}
		p.quiet(time.Second)
		for run := range 8 {
			if !g.whole(run) {
				t.Errorf("run %d came otherwise than it was sent", run)
			}
		}
		for _, e := range []*end{p.a, p.b} {
			l := e.Leases()
			if len(l) != 1 || l[0].State != "done" || l[0].Bytes != 2*core.MiB || l[0].Rate != capacity/2 {
				t.Errorf("node %d held %+v", e.id[0], l)
			}
		}
		if g.timed < 3*time.Second || len(g.back) > 0 {
			t.Errorf("it was timed for %s, and %d runs came back", g.timed, len(g.back))
		}
	})
}

// TestARaisedLeaseIsUsedAtOnce raises a lease under which the message that is to be written next waits for a minute.
func TestARaisedLeaseIsUsedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &writer{session: unpacedSession{}, limiter: rate.NewLimiter(0, 0), faster: make(chan struct{}, 1)}
		w.setRate(256)
		w.limiter.AllowN(time.Now(), w.limiter.Burst())
		began, done := time.Now(), make(chan error)
		go func() {
			_, err := w.await(t.Context(), minFrame)
			done <- err
		}()
		time.Sleep(5 * time.Second)
		w.setRate(capacity)
		if err := <-done; err != nil || time.Since(began) > 6*time.Second {
			t.Errorf("it was written after %s: %v", time.Since(began), err)
		}
	})
}

// unpacedSession is one whose kernel sends at once.
type unpacedSession struct{ Session }

func (unpacedSession) Pace(core.Rate) {}

// TestLostSessionGivesEverythingBack ends the session in the middle of a run.
func TestLostSessionGivesEverythingBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := meet(t)
		g := p.a.give(7, 4, 4, 64*core.KiB, capacity)
		time.Sleep(600 * time.Millisecond)
		p.part()
		p.quiet(time.Second)
		if n := len(g.settled); n == 0 || n+len(g.back) != 4 {
			t.Errorf("%d runs arrived, %d are to be sent again", n, len(g.back))
		}
		for _, e := range []*end{p.a, p.b} {
			if l := e.Leases(); len(l) != 1 || l[0].State != "aborted" || e.Active() {
				t.Errorf("node %d: %+v, active %t", e.id[0], l, e.Active())
			}
		}
		if begun := len(told[wire.TransmissionBegin](p.b)); p.b.takes.dropped != begun-len(g.settled) {
			t.Errorf("%d of %d runs that began were dropped, %d arrived", p.b.takes.dropped, begun, len(g.settled))
		}
	})
}

// TestChunkThatIsGoneFailsItsRunOnly has the store of the sender lose the second chunk of a run.
func TestChunkThatIsGoneFailsItsRunOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := meet(t)
		g := p.a.give(7, 3, 2, 64*core.KiB, capacity)
		p.a.Ask(func(*Flows) { g.lost[chunk.Hash(g.runs[1][1])] = true })
		p.quiet(2 * time.Second)
		if len(g.back) != 1 || g.back[1] != core.ReasonInternal || !g.whole(0) || !g.whole(2) {
			t.Errorf("came back: %v", g.back)
		}
		if aborts := told[wire.TransmissionAbort](p.b); len(aborts) != 1 || aborts[0].Transfer == 0 {
			t.Errorf("the receiver was told %+v", aborts)
		}
		if p.b.takes.dropped != 1 {
			t.Errorf("%d runs were dropped half-way, want 1", p.b.takes.dropped)
		}
	})
}

// TestAbortedRunIsNotWrittenOn has the receiver give up the first of two runs of 1 MiB after a quarter of it.
func TestAbortedRunIsNotWrittenOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := meet(t)
		g := p.a.give(7, 2, 4, 256*core.KiB, capacity)
		time.Sleep(300 * time.Millisecond)
		p.b.Ask(func(fs *Flows) {
			fs.Step(p.b.takes.flow, task.Event{Kind: task.RunFailed, Run: 0, Reason: core.ReasonHave})
		})
		p.quiet(5 * time.Second)
		if sent := core.Size(p.a.data.Load()); sent > 3*core.MiB/2 || !g.whole(1) || g.back[0] != core.ReasonHave {
			t.Errorf("%s were written, the second run is whole: %t, came back: %v", sent, g.whole(1), g.back)
		}
	})
}

// TestDamagedDataFailsItsRun changes a byte on the way, leaves some out, and sends more than was announced.
func TestDamagedDataFailsItsRun(t *testing.T) {
	data := []byte("the bytes of a chunk")
	for name, c := range map[string]struct {
		offset uint32
		sent   string
		reason core.Reason
	}{
		"another byte": {0, "the bytes of a chynk", core.ReasonCorrupt},
		"a gap":        {4, "bytes of a chunk", core.ReasonInternal},
		"too much":     {0, "the bytes of a chunk and more", core.ReasonInternal},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := meet(t)
				p.a.deaf = true
				list := []core.Chunk{{Hash: chunk.Hash(data), Size: core.Size(len(data))}}
				p.b.Ask(func(*Flows) {
					p.b.hear(wire.StorageApply{Flow: 7, Rate: capacity, Size: 20, Runs: []core.Range{{Start: 0, Length: 1}}})
					p.b.hear(wire.TransmissionBegin{Transfer: 70, Flow: 7, Hash: chunk.RunHash(list), Chunks: list})
				})
				p.b.Arrivals.Receive(session{p.b}, wire.Data{Transfer: 70, Offset: c.offset, Bytes: []byte(c.sent)})
				p.b.Arrivals.Receive(session{p.b}, wire.Data{Transfer: 70, Offset: 90, Bytes: data}) // late, and dropped
				p.quiet(time.Second)
				aborts := told[wire.TransmissionAbort](p.a)
				if len(aborts) != 1 || aborts[0].Code != c.reason || aborts[0].Transfer != 70 || p.b.closed != "" {
					t.Errorf("%+v, closed: %s", aborts, p.b.closed)
				}
			})
		})
	}
}

// TestDataWaitsForItsBegin has data overtake the message that announces it, and data come that none announces.
func TestDataWaitsForItsBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := meet(t)
		p.a.deaf = true
		data := []byte("early")
		list := []core.Chunk{{Hash: chunk.Hash(data), Size: 5}}
		p.b.Ask(func(*Flows) {
			p.b.hear(wire.StorageApply{Flow: 7, Rate: capacity, Size: 5, Runs: []core.Range{{Start: 0, Length: 1}}})
		})
		go p.b.Arrivals.Receive(session{p.b}, wire.Data{Transfer: 70, Bytes: data})
		time.Sleep(beginPatience / 2)
		p.b.Ask(func(*Flows) {
			p.b.hear(wire.TransmissionBegin{Transfer: 70, Flow: 7, Hash: chunk.RunHash(list), Chunks: list})
		})
		p.quiet(time.Second)
		if string(p.b.takes.here[0]) != "early" || p.b.closed != "" {
			t.Errorf("%q came, closed: %s", p.b.takes.here[0], p.b.closed)
		}
		began := time.Now()
		p.b.Arrivals.Receive(session{p.b}, wire.Data{Transfer: 71, Bytes: data})
		synctest.Wait()
		if !strings.Contains(p.b.closed, "transfer 71") || time.Since(began) != beginPatience {
			t.Errorf("after %s closed: %q", time.Since(began), p.b.closed)
		}
	})
}

// TestBeginThatIsRefusedIsAnswered announces runs of no flow, of another hash, and twice.
func TestBeginThatIsRefusedIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := meet(t)
		p.a.deaf = true
		data := []byte("once")
		list := []core.Chunk{{Hash: chunk.Hash(data), Size: 4}}
		begin := wire.TransmissionBegin{Transfer: 70, Flow: 7, Hash: chunk.RunHash(list), Chunks: list}
		other, again := begin, begin
		other.Transfer, other.Hash, again.Transfer = 71, core.Hash{1}, 72
		p.b.Ask(func(*Flows) {
			p.b.hear(begin)
			p.b.hear(wire.StorageApply{Flow: 7, Rate: capacity, Size: 4, Runs: []core.Range{{Start: 0, Length: 1}}})
			p.b.hear(other)
			begin.Transfer = 73
			p.b.hear(begin)
			p.b.hear(again)
		})
		for _, transfer := range []uint64{70, 71, 72} {
			p.b.Arrivals.Receive(session{p.b}, wire.Data{Transfer: transfer, Bytes: data}) // dropped
		}
		p.b.Arrivals.Receive(session{p.b}, wire.Data{Transfer: 73, Bytes: data})
		p.quiet(time.Second)
		var refused []uint64
		for _, m := range told[wire.TransmissionAbort](p.a) {
			refused = append(refused, m.Transfer)
		}
		if len(refused) != 3 || refused[0] != 70 || refused[1] != 71 || refused[2] != 72 ||
			string(p.b.takes.here[0]) != "once" || p.b.closed != "" {
			t.Errorf("refused: %v, came: %q, closed: %s", refused, p.b.takes.here[0], p.b.closed)
		}
	})
}

// TestCompletedIsHeardOnce says so twice, and of a transfer that never was.
func TestCompletedIsHeardOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := meet(t)
		g := p.a.give(7, 1, 1, 64*core.KiB, capacity)
		p.quiet(time.Second)
		done := told[wire.TransmissionComplete](p.a)
		if len(done) != 1 || len(g.settled) != 1 {
			t.Fatalf("%d words, %d runs", len(done), len(g.settled))
		}
		p.a.Ask(func(*Flows) { p.a.hear(done[0]) })
		p.quiet(time.Second)
		if aborts := told[wire.TransmissionAbort](p.b); len(aborts) > 0 || len(g.settled) != 1 {
			t.Errorf("the same word again: %+v, %d runs", aborts, len(g.settled))
		}
		p.a.Ask(func(*Flows) { p.a.hear(wire.TransmissionComplete{Transfer: 99, Received: true}) })
		p.quiet(time.Second)
		if aborts := told[wire.TransmissionAbort](p.b); len(aborts) != 1 || aborts[0].Transfer != 99 {
			t.Errorf("of a transfer that never was: %+v", aborts)
		}
	})
}

// TestShrunkLinkLowersLeasesAtBothEnds takes three quarters of the sender's uplink away.
func TestShrunkLinkLowersLeasesAtBothEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := meet(t)
		p.a.give(7, 16, 1, 256*core.KiB, capacity)
		time.Sleep(time.Second)
		p.a.Ask(func(fs *Flows) { fs.SetCapacity(account.Up, capacity/4) })
		time.Sleep(time.Second)
		synctest.Wait()
		for _, e := range []*end{p.a, p.b} {
			e.Ask(func(fs *Flows) {
				if l := fs.Leases(); len(l) != 1 || l[0].Rate != capacity/4 || l[0].State != "live" {
					t.Errorf("node %d holds %+v", e.id[0], l)
				}
			})
		}
		p.quiet(time.Minute)
	})
}

// TestFlowsOfAPeerAreBounded opens as many as there may be, and one more.
func TestFlowsOfAPeerAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := meet(t)
		refused := 0
		p.b.Ask(func(fs *Flows) {
			for id := range uint64(maxFlows + 1) {
				Asked(fs, p.a.id, id+1, false, func(code core.Reason, _ string) {
					if refused++; code != core.ReasonBusy || id != maxFlows {
						t.Errorf("flow %d: %v", id, code)
					}
				}, func(f *Flow) *taking { return &taking{end: p.b, flow: f} })
			}
			Asked(fs, p.a.id, 1, false, func(code core.Reason, _ string) { refused++ },
				func(*Flow) *probed { return nil })
		})
		if refused != 2 {
			t.Errorf("%d were refused, want the one too many and the one of another kind", refused)
		}
	})
}

// TestUnheardGrantIsGivenBack answers a flow that is gone.
func TestUnheardGrantIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := meet(t)
		p.a.Ask(func(*Flows) { p.a.hear(wire.StorageAgree{Flow: 5, Lease: 9, Rate: 1}) })
		p.quiet(time.Second)
		if aborts := told[wire.TransmissionAbort](p.b); len(aborts) != 1 || aborts[0].Flow != 5 {
			t.Errorf("%+v", aborts)
		}
	})
}

// TestExpiredLeaseEndsItsFlow has the receiver fall silent.
func TestExpiredLeaseEndsItsFlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := meet(t)
		p.b.deaf = true
		g := p.a.give(7, 2, 1, 64*core.KiB, capacity)
		time.Sleep(task.Hold)
		p.a.Ask(func(fs *Flows) { fs.Expire() })
		p.quiet(0)
		if l := p.a.Leases(); len(l) != 1 || l[0].State != "expired" || len(g.back) != 2 {
			t.Errorf("%+v, %d runs are to be sent again", l, len(g.back))
		}
	})
}

// TestProbeSeesWhatALinkCarries probes a link that carries half of what it was given, and one that is in use.
func TestProbeSeesWhatALinkCarries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := meet(t)
		p.rate = capacity / 2
		probe := func() (carried, lease core.Rate, err error) {
			var pr *Probe
			p.a.Ask(func(fs *Flows) { pr, err = fs.Probe(p.b.id, make([]byte, core.MiB)) })
			if err != nil {
				return 0, 0, err
			}
			<-pr.Done()
			p.a.Ask(func(*Flows) {
				l, found, failed := pr.End()
				carried, lease, err = found.Carried, l, failed
			})
			return carried, lease, err
		}
		carried, lease, err := probe()
		if err != nil || lease != capacity || carried < capacity*49/100 || carried > capacity*51/100 {
			t.Errorf("it carries %s of %s: %v", carried, lease, err)
		}
		if got := p.a.Measures.To(p.b.id).Low(); got != carried {
			t.Errorf("the estimate says %s", got)
		}
		p.quiet(time.Second)
		p.a.give(7, 8, 1, 256*core.KiB, capacity)
		time.Sleep(time.Second)
		if _, _, err := probe(); err == nil || !strings.Contains(err.Error(), "transfers have leased it") {
			t.Errorf("a link in use: %v", err)
		}
		p.quiet(time.Minute)
	})
}
