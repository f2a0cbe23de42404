// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/account"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/flow"
	"github.com/bkp-tool/bkp/core/measure"
	"github.com/bkp-tool/bkp/core/wire"
)

// stage is a node whose transfers are looked at; the other nodes are played by it.
type stage struct {
	*Transfers
	t           *testing.T
	events      chan func()
	acts        sync.WaitGroup
	life        context.Context
	last        uint64
	peers       map[core.ID]*played
	said        []said // in events
	coordinated bool
	failed      []core.ID
	unknown     []core.ID       // targets that know nothing of the task
	kept        map[int]Segment // by number
	known       map[core.Hash][]core.Chunk
	sought      []core.Hash
	again       []core.Range
}

type said struct {
	to core.ID
	m  wire.Message
}

// played is another node: it agrees to what it is asked to take, and takes it.
type played struct {
	*stage
	id     core.ID
	zone   string
	breaks core.Reason // it gives up every run for that reason
	sizes  map[uint64]core.Size
	got    []int // runs
}

const (
	capacity = core.Rate(core.MiB)
	runSize  = 64 * core.KiB
)

var (
	task1     = core.TaskID{1}
	self      = core.ID{9}
	a, b, c   = core.ID{1}, core.ID{2}, core.ID{3}
	runChunks = func(run int) []core.Chunk { return []core.Chunk{{Hash: core.Hash{byte(run), 1}, Size: runSize}} }
)

// newStage starts a node that is connected to others; a test calls it in a bubble.
func newStage(t *testing.T, others ...core.ID) *stage {
	t.Helper()
	life, stop := context.WithCancel(t.Context())
	w := &stage{t: t, life: life, events: make(chan func(), 64), peers: map[core.ID]*played{}, kept: map[int]Segment{},
		known: map[core.Hash][]core.Chunk{}}
	book := account.New()
	book.SetCapacity(account.Up, capacity)
	book.SetCapacity(account.Down, capacity)
	for _, id := range others {
		w.peers[id] = &played{stage: w, id: id, sizes: map[uint64]core.Size{}}
		book.SetCapacity(account.Out(id), capacity)
		book.SetCapacity(account.In(id), capacity)
	}
	flows := flow.New(flow.Config{Book: book, Measures: measure.New(), Arrivals: flow.NewArrivals(), Life: life,
		Started: time.Now().Add(-time.Hour), Log: slog.New(slog.DiscardHandler)}, flowLoop{w}, w)
	w.Transfers = New(Config{Self: self, Book: book, Flows: flows, Log: slog.New(slog.DiscardHandler)}, w, w)
	w.acts.Go(func() {
		tick := time.NewTicker(250 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case event := <-w.events:
				event()
			case <-tick.C:
				w.Wake()
			case <-life.Done():
				return
			}
			w.Drive()
		}
	})
	t.Cleanup(func() { stop(); w.acts.Wait() })
	return w
}

// do runs f on the loop.
func (w *stage) do(f func()) {
	done := make(chan struct{})
	w.events <- func() { f(); close(done) }
	<-done
}

// wait lets time pass.
func (w *stage) wait(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (w *stage) post(f func()) {
	select {
	case w.events <- f:
	case <-w.life.Done():
	}
}

func (w *stage) Post(e func(*Transfers)) { w.post(func() { e(w.Transfers) }) }

func (w *stage) Ask(e func(*Transfers)) bool {
	w.do(func() { e(w.Transfers) })
	return true
}

type flowLoop struct{ w *stage }

func (l flowLoop) Post(e func(*flow.Flows)) { l.w.post(func() { e(l.w.Flows) }) }
func (l flowLoop) Ask(e func(*flow.Flows)) bool {
	l.w.do(func() { e(l.w.Flows) })
	return true
}
func (l flowLoop) Act(f func()) { l.w.acts.Go(f) }

func (w *stage) Send(to core.ID, m wire.Message) bool {
	w.said = append(w.said, said{to, m})
	if p := w.peers[to]; p != nil {
		time.AfterFunc(20*time.Millisecond, func() { w.post(func() { p.hear(m) }) })
	}
	return w.peers[to] != nil
}

func (w *stage) Session(id core.ID) (flow.Session, core.Rate) {
	if p := w.peers[id]; p != nil {
		return p, capacity
	}
	return nil, 0
}

func (w *stage) Zone(id core.ID) string {
	if p := w.peers[id]; p != nil {
		return p.zone
	}
	return ""
}

func (w *stage) Number() uint64                        { w.last++; return w.last }
func (w *stage) Freed()                                { w.Wake() }
func (w *stage) Broken(err error)                      { w.t.Error(err) }
func (w *stage) Coordinates(core.TaskID) bool          { return w.coordinated }
func (w *stage) Share(core.TaskID) float64             { return 1 }
func (w *stage) Unknown(_ core.TaskID, target core.ID) { w.unknown = append(w.unknown, target) }
func (w *stage) Fails(_ core.TaskID, target core.ID)   { w.failed = append(w.failed, target) }
func (w *stage) ReceiptAgain(_ core.TaskID, _ int, runs []core.Range) {
	w.again = append(w.again, runs...)
}

func (w *stage) Kept(_ core.TaskID, number int, _ core.ID) (Segment, bool) {
	s, ok := w.kept[number]
	return s, ok
}

func (w *stage) Chunks(run core.Hash, then func([]core.Chunk)) {
	w.sought = append(w.sought, run)
	time.AfterFunc(time.Millisecond, func() { w.post(func() { then(w.known[run]) }) })
}

// Get makes it the store.
func (w *stage) Get(_ context.Context, _ core.Hash, dst []byte) ([]byte, error) {
	return append(dst, make([]byte, runSize)...), nil
}

// hear is what a played node does with messages.
func (p *played) hear(m wire.Message) {
	switch m := m.(type) {
	case wire.StorageApply:
		p.Flows.Agreed(p.id, wire.StorageAgree{Flow: m.Flow, Lease: m.Flow, Rate: m.Rate, Runs: m.Runs, ExpiresS: 60})
	case wire.TransmissionBegin:
		if p.breaks != core.ReasonNone {
			p.Flows.Aborted(p.id, wire.TransmissionAbort{Flow: m.Flow, Transfer: m.Transfer, Code: p.breaks})
		}
		p.got = append(p.got, m.Run)
	}
}

func (p *played) SendData(_ context.Context, transfer uint64, _, _ uint32, data []byte) error {
	if p.sizes[transfer] += core.Size(len(data)); p.sizes[transfer] == runSize && p.breaks == core.ReasonNone {
		time.AfterFunc(20*time.Millisecond, func() {
			p.post(func() { p.Flows.Completed(p.id, wire.TransmissionComplete{Transfer: transfer, Received: true}) })
		})
	}
	return nil
}

func (p *played) Pace(core.Rate)            {}
func (p *played) Delay() time.Duration      { return 10 * time.Millisecond }
func (p *played) Done() <-chan struct{}     { return p.life.Done() }
func (p *played) Close(core.Reason, string) {}

// segment is one of so many runs that the source, or another node, spreads to those that keep all of it.
func (w *stage) segment(source core.ID, runs int, targets ...core.ID) Segment {
	s := Segment{Task: task1, Source: source, Runs: runs, Store: w, File: func(run int) core.File {
		return core.File{Name: "x", Hash: chunk.RunHash(runChunks(run)), Size: runSize}
	}}
	for _, id := range targets {
		s.Locations = append(s.Locations, core.Span{Node: id, Start: 0, Length: runs})
	}
	return s
}

// begin has this node, its source, spread a segment.
func (w *stage) begin(s Segment) (t *Transfer) {
	w.coordinated = true
	w.do(func() {
		t = w.Begin(s, func(core.ID) core.Bitmap { return nil })
		for run := range s.Runs {
			t.Give(s.Number, run, runChunks(run))
		}
		w.Wake()
	})
	return t
}

// share is what this node keeps of a segment.
type share struct {
	runs    int
	have    []int
	durable bool
}

func (k *share) Has(run int) bool       { return slices.Contains(k.have, run) }
func (k *share) Durable(run int) bool   { return k.durable && k.Has(run) }
func (k *share) Lacks(run int) bool     { return !k.Has(run) }
func (k *share) Arriving() []core.Range { return nil }
func (k *share) Missing() core.Size     { return core.Size(k.runs-len(k.have)) * runSize }
func (k *share) Complete() bool         { return len(k.have) == k.runs }
func (k *share) Here(visit func(run int)) {
	for _, run := range k.have {
		visit(run)
	}
}

// hints are what was said to a node.
func (w *stage) hints(to core.ID) (all []wire.Want) {
	w.do(func() {
		for _, s := range w.said {
			if m, ok := s.m.(wire.Want); ok && s.to == to {
				all = append(all, m)
			}
		}
	})
	return all
}
