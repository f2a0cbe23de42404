// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/flow"
	"github.com/bkp-tool/bkp/core/license"
	"github.com/bkp-tool/bkp/core/storage"
	"github.com/bkp-tool/bkp/core/storage/live"
	"github.com/bkp-tool/bkp/core/wire"
)

// A run begins only as it was granted, and as its task says.
func TestRunsBeginAsTheyWereGranted(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*wire.TransmissionBegin)
		want   string
	}{
		{"as granted", func(*wire.TransmissionBegin) {}, ""},
		{"another task", func(m *wire.TransmissionBegin) { m.Task = core.TaskID{2} }, "was not granted"},
		{"another segment", func(m *wire.TransmissionBegin) { m.Segment = 1 }, "was not granted"},
		{"a run that was not applied for", func(m *wire.TransmissionBegin) { m.Run = 1 }, "was not granted"},
		{"a run that is none", func(m *wire.TransmissionBegin) { m.Run = 9 }, "was not granted"},
		{"another hash", func(m *wire.TransmissionBegin) { m.Hash = core.Hash{1} }, "another hash"},
		{"larger", func(m *wire.TransmissionBegin) { m.Chunks = append(m.Chunks, m.Chunks[0]) },
			"has 200000 bytes, its task says 100000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newStage(t, nil)
				o := w.offer(1, []string{"a:100", "b:100"}, nil)
				w.judged(o, "source")
				w.apply(1, "source", o, core.Range{Start: 0, Length: 1})
				m := wire.TransmissionBegin{Flow: 1, Task: o.Task, Hash: o.pieces[0].Hash,
					Chunks: o.pieces[0].Chunks[:1:1]}
				c.change(&m)
				var err error
				w.Ask(func(*State) { _, _, err = w.flows[1].r.Begin(w.flows[1].flow, m) })
				if got := errText(err); !strings.Contains(got, c.want) || (got == "") != (c.want == "") {
					t.Errorf("%q, want %q", got, c.want)
				}
			})
		})
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// pinnedNow is how many of a run's chunks are pinned.
func (w *stage) pinnedNow(p piece) (count int) {
	pinned := w.target.pins.Pinned()
	for _, c := range p.Chunks {
		if pinned.Has(c.Hash) {
			count++
		}
	}
	return count
}

// What arrives is pinned until its holding names it, or it is given up.
func TestChunksArePinnedWhileTheyArrive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newStage(t, nil)
		o := w.offer(1, []string{"a:100+50"}, nil)
		w.judged(o, "source")
		p := o.pieces[0]
		first := func(flow uint64) *flow.Incoming {
			w.apply(flow, "source", o, core.Range{Start: 0, Length: 1})
			in, err := w.begin(flow, o, 0, p)
			check(t, err)
			check(t, in.Keep(0, p.Chunks[0], p.data[0]))
			return in
		}
		first(1)
		if n := w.pinnedNow(p); n != 1 {
			t.Errorf("%d pinned with one chunk here", n)
		}
		w.abort(1)
		if n := w.pinnedNow(p); n != 0 {
			t.Errorf("%d pinned of a run that was given up", n)
		}
		in := first(2)
		w.abort(2)
		if err := in.Keep(1, p.Chunks[1], p.data[1]); err != live.ErrGivenUp || w.pinnedNow(p) != 0 {
			t.Errorf("a chunk of a run that was given up: %v, %d pinned", err, w.pinnedNow(p))
		}
		in.Done(nil) // its reader did not hear of it
		in = first(3)
		check(t, in.Keep(1, p.Chunks[1], p.data[1]))
		w.lacking = true // no barrier yet
		in.Done(nil)
		synctest.Wait() // those that were given up hurry no barrier
		if n := w.pinnedNow(p); n != 2 {
			t.Errorf("%d pinned before the barrier", n)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if n := w.pinnedNow(p); n != 0 {
			t.Errorf("%d pinned though there is a holding", n)
		}
	})
}

// The bytes of a run may be here before its task is gone: then it is not kept, and pins nothing.
func TestRunOfATaskThatIsReleasedMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newStage(t, nil)
		w.keep(w.offer(1, []string{"a:100"}, nil)) // so that the task is known to the holdings
		o := w.offer(1, []string{"a:100", "b:50"}, func(o *offered) {
			o.Segment, o.license.Segment, o.license.ID = 1, 1, core.LicenseID{5}
		})
		w.judged(o, "source")
		w.apply(7, "source", o, core.Range{Start: 1, Length: 1})
		in, err := w.begin(7, o, 1, o.pieces[1])
		check(t, err)
		check(t, in.Keep(0, o.pieces[1].Chunks[0], o.pieces[1].data[0]))
		w.release(o.Task, "owner", "source")
		w.said()
		in.Done(nil)
		if said := w.said(); !strings.Contains(said, "is given up") || w.pinnedNow(o.pieces[1]) != 0 {
			t.Errorf("%s; %d pinned", said, w.pinnedNow(o.pieces[1]))
		}
		if freed, err := w.target.Collect(t.Context()); err != nil || freed.Freed < 150_000 {
			t.Errorf("a collection frees %s, %v", freed.Freed, err)
		}
	})
}

// A run becomes durable after a collection has looked at the holdings, and before it sweeps.
func TestCollectionSparesWhatIsReceiptedMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newStage(t, func(c *Config) {
			c.Holdings, c.Keeping = slowHoldings{c.Holdings}, slowStore{c.Keeping}
		})
		o := w.offer(1, []string{"a:100"}, nil)
		w.judged(o, "source")
		w.apply(1, "source", o, core.Range{Start: 0, Length: 1})
		w.lacking = true
		check(t, w.bring(1, o, 0))
		time.Sleep(barrierPause + time.Second/2) // the store is at its barrier
		if _, err := w.target.Collect(t.Context()); err != nil {
			t.Error(err)
		}
		time.Sleep(2 * time.Second)
		if said := w.said(); !strings.Contains(said, "a receipt of self") {
			t.Errorf("no receipt: %s", said)
		}
		if there, _ := w.store.Has(t.Context(), o.pieces[0].Chunks[0].Hash); !there {
			t.Error("a receipted chunk was collected")
		}
	})
}

// slowStore takes a second for a barrier.
type slowStore struct{ storage.Collector }

func (s slowStore) Barrier(ctx context.Context) error {
	time.Sleep(time.Second)
	return s.Collector.Barrier(ctx)
}

// slowHoldings answer five seconds late what must stay.
type slowHoldings struct{ Holdings }

func (h slowHoldings) Live(visit func(core.Chunk)) error {
	err := h.Holdings.Live(visit)
	time.Sleep(5 * time.Second)
	return err
}

// So many bytes do not wait for the second to be over.
func TestManyBytesAreABarrierAtOnce(t *testing.T) {
	var a arrivals
	a.init()
	add := func(size core.Size) {
		a.add(arrival{holding: core.Holding{File: core.File{Size: size}}})
	}
	add(barrierBytes - 1)
	if len(a.first) != 1 || len(a.full) != 0 {
		t.Errorf("words: %d that something waits, %d that it is much", len(a.first), len(a.full))
	}
	add(1)
	if len(a.full) != 1 || len(a.take()) != 2 || len(a.take()) != 0 {
		t.Error("64 MiB are no reason for a barrier, or do not wait for one")
	}
	a.flush()
	if len(a.full) != 0 {
		t.Error("what comes next is hurried by what was taken, or by nothing")
	}
	<-a.first
	a.add()
	if len(a.first) != 0 {
		t.Error("nothing is said to wait")
	}
}

// A receipt of another node goes on to who it is for, or to who is nearer, where this node keeps the segment too.
func TestReceiptsOfOthersArePassedOn(t *testing.T) {
	for _, c := range []struct {
		name, to string
		number   int
		away     []string
		want     string
	}{
		{"its source is there", "source", 0, nil, "source hears a receipt of other"},
		{"its source is away", "source", 0, []string{"source"}, "carrier hears a receipt of other"},
		{"nobody is there", "source", 0, []string{"source", "carrier"}, ""},
		{"it is for another", "carrier", 0, nil, ""},
		{"a segment that is not known here", "source", 3, nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newStage(t, nil)
				o := w.offer(1, []string{"a:100"}, func(o *offered) { o.Locations[0].From = w.id("carrier") })
				w.judged(o, "source")
				envelope, err := license.SignReceipt(core.Receipt{V: 1, License: o.license.ID, Task: o.Task,
					Target: w.id("other"), Runs: []core.Range{{Start: 0, Length: 1}}, Bytes: 100_000,
					RetainUntil: time.Now().Add(time.Hour).Unix(), Time: time.Now().Unix(),
					Key: w.signers["other"].Public()}, w.signers["other"])
				check(t, err)
				for _, name := range c.away {
					w.away[name] = true
				}
				w.said()
				w.Ask(func(s *State) {
					s.PassOn(w.id("other"), wire.TransmissionComplete{Task: o.Task, Segment: c.number, To: w.id(c.to),
						Receipt: envelope})
				})
				if said := w.said(); !strings.HasPrefix(said, c.want) || (said == "") != (c.want == "") {
					t.Errorf("%q, want %q", said, c.want)
				}
			})
		})
	}
}

func TestTheSlowestFlowIsPredicted(t *testing.T) {
	self, a, b := core.ID{1}, core.ID{2}, core.ID{3}
	table := []wire.BandwidthRow{
		{From: a, To: self, Rate: 1050, Bytes: 5000}, {From: b, To: self, Rate: 2100, Bytes: 20_000},
		{From: a, To: b, Rate: 1, Bytes: 1e6}, {From: self, To: b, Rate: 1, Bytes: 1e6}, {From: a, To: self, Bytes: 9},
	}
	if got := (wire.StorageTask{Bandwidth: table}).Predicted(self); got < 9.9 || got > 10.1 {
		t.Errorf("%.2f s, want 10", got)
	}
}
