// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/account"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/measure"
	"github.com/bkp-tool/bkp/core/task"
	"github.com/bkp-tool/bkp/core/wire"
)

// pair is two nodes, each with a loop of its own, and a session between them that carries so much.
type pair struct {
	a, b *end
	rate core.Rate // of data from a to b; 0: without limits
}

// end is one of them.
type end struct {
	*Flows
	t      *testing.T
	id     core.ID
	peer   *end
	pair   *pair
	events chan func()
	acts   sync.WaitGroup
	life   context.Context
	last   uint64
	heard  []wire.Message // in events
	gone   chan struct{}  // the session's end
	closed string         // why, in events
	data   atomic.Int64   // bytes it wrote
	paced  core.Rate      // what the kernel was told, in events
	deaf   bool           // it hears, and does nothing
	post   chan letter    // messages on their way to it
	takes  *taking        // of an end that is sent runs
}

// letter is a message on its way.
type letter struct {
	due time.Time
	m   wire.Message
}

const capacity = core.Rate(core.MiB)

// meet starts two nodes; a test calls it in a bubble.
func meet(t *testing.T) *pair {
	t.Helper()
	life, stop := context.WithCancel(t.Context())
	p := &pair{a: &end{id: core.ID{1}, last: 1 << 20}, b: &end{id: core.ID{2}, last: 2 << 20}}
	for _, e := range []*end{p.a, p.b} {
		e.t, e.pair, e.life, e.events, e.gone = t, p, life, make(chan func(), 64), make(chan struct{})
		e.post = make(chan letter, 999)
		e.peer = p.a
		if e == p.a {
			e.peer = p.b
		}
		book := account.New()
		for _, name := range []string{account.Up, account.Down, account.In(e.peer.id), account.Out(e.peer.id)} {
			book.SetCapacity(name, capacity)
		}
		e.Flows = New(Config{Book: book, Measures: measure.New(), Arrivals: NewArrivals(), Life: life,
			Started: time.Now().Add(-time.Hour), Log: slog.New(slog.DiscardHandler)}, e, e)
		e.acts.Go(e.deliver)
		e.acts.Go(func() {
			for {
				select {
				case event := <-e.events:
					event()
				case <-life.Done():
					return
				}
			}
		})
	}
	t.Cleanup(func() { stop(); p.a.acts.Wait(); p.b.acts.Wait() })
	return p
}

// It is the loop of its flows,
func (e *end) Post(event func(*Flows)) {
	select {
	case e.events <- func() { event(e.Flows) }:
	case <-e.life.Done():
	}
}

func (e *end) Ask(event func(*Flows)) bool {
	done := make(chan struct{})
	e.Post(func(fs *Flows) { event(fs); close(done) })
	select {
	case <-done:
		return true
	case <-e.life.Done():
		return false
	}
}

func (e *end) Act(f func()) { e.acts.Go(f) }

// their node,
func (e *end) Send(to core.ID, m wire.Message) bool {
	select {
	case <-e.gone:
		return false
	default:
	}
	e.peer.post <- letter{time.Now().Add(10 * time.Millisecond), m}
	return to == e.peer.id
}

// deliver brings messages in the order in which they were sent.
func (e *end) deliver() {
	for {
		select {
		case l := <-e.post:
			time.Sleep(time.Until(l.due))
			e.Post(func(*Flows) { e.hear(l.m) })
		case <-e.life.Done():
			return
		}
	}
}

func (e *end) Session(id core.ID) (Session, core.Rate) {
	select {
	case <-e.gone:
		return nil, 0
	default:
		return session{e}, capacity
	}
}

func (e *end) Number() uint64 { e.last++; return e.last }
func (e *end) Freed()         {}
func (e *end) Broken(err error) {
	e.t.Errorf("node %d: %v", e.id[0], err)
}

// and this end of the session.
type session struct{ *end }

func (s session) SendData(ctx context.Context, transfer uint64, chunk, offset uint32, data []byte) error {
	if rate := s.pair.rate; rate > 0 && s.end == s.pair.a {
		time.Sleep(time.Duration(float64(len(data)) * core.WireOverhead / float64(rate) * 1e9))
	}
	select {
	case <-s.gone:
		return errors.New("the session is gone")
	default:
	}
	s.data.Add(int64(len(data)))
	s.peer.Arrivals.Receive(session{s.peer}, wire.Data{Transfer: transfer, Chunk: chunk, Offset: offset, Bytes: data})
	return nil
}

func (s session) Pace(more core.Rate)                { s.paced += more }
func (s session) Delay() time.Duration               { return 10 * time.Millisecond }
func (s session) Done() <-chan struct{}              { return s.gone }
func (s session) Close(_ core.Reason, reason string) { s.Post(func(*Flows) { s.closed = reason }) }

// part ends the session at both ends.
func (p *pair) part() {
	close(p.a.gone)
	close(p.b.gone)
	for _, e := range []*end{p.a, p.b} {
		e.Ask(func(fs *Flows) { fs.Lost(e.peer.id, session{e}) })
	}
}

// hear is what a node does with messages.
func (e *end) hear(m wire.Message) {
	e.heard = append(e.heard, m)
	if e.deaf {
		return
	}
	switch m := m.(type) {
	case wire.StorageApply:
		refuse := func(code core.Reason, reason string) {
			e.Send(e.peer.id, wire.StorageRefuse{Flow: m.Flow, Code: code, Reason: reason})
		}
		f, side := Asked(e.Flows, e.peer.id, m.Flow, false, refuse, func(f *Flow) *taking {
			e.takes = &taking{end: e, flow: f, here: map[int][]byte{}}
			return e.takes
		})
		if f == nil {
			return
		}
		event := task.Event{Kind: task.Applied}
		for _, r := range m.Runs {
			for run := r.Start; run < r.Start+r.Length; run++ {
				event.Runs = append(event.Runs, task.Run{Number: run, Size: m.Size / core.Size(r.Length)})
			}
		}
		side.runs = m.Runs
		e.Grant(f, m.Rate, event)
	case wire.ProbeApply:
		e.Probed(e.peer.id, m)
	case wire.StorageAgree:
		e.Agreed(e.peer.id, m)
	case wire.StorageRefuse:
		e.Refused(e.peer.id, m)
	case wire.TransmissionBegin:
		e.Began(e.peer.id, m)
	case wire.TransmissionComplete:
		e.Completed(e.peer.id, m)
	case wire.TransmissionAbort:
		e.Aborted(e.peer.id, m)
	case wire.LeaseRevise:
		e.Revised(e.peer.id, m)
	}
}

// giving is the side that sends runs.
type giving struct {
	*end
	flow    *Flow
	runs    map[int][][]byte
	lost    map[core.Hash]bool // chunks that its store cannot give
	settled []int
	back    map[int]core.Reason // requeued
	timed   time.Duration
}

// give applies for a lease over runs of that many chunks of that size.
func (e *end) give(id uint64, runs, chunks int, size core.Size, rate core.Rate) *giving {
	g := &giving{end: e, runs: map[int][][]byte{}, back: map[int]core.Reason{}, lost: map[core.Hash]bool{}}
	random := rand.NewChaCha8([32]byte{byte(id)})
	e.Ask(func(fs *Flows) {
		g.flow = fs.Open(e.peer.id, id, task.Asker, true, g)
		ask := task.Event{Kind: task.Ask, Rate: rate}
		for run := range runs {
			for range chunks {
				data := make([]byte, size)
				random.Read(data)
				g.runs[run] = append(g.runs[run], data)
			}
			ask.Runs = append(ask.Runs, task.Run{Number: run, Size: size * core.Size(chunks)})
		}
		fs.Step(g.flow, ask)
	})
	return g
}

func (g *giving) chunks(run int) (list []core.Chunk) {
	for _, data := range g.runs[run] {
		list = append(list, core.Chunk{Hash: chunk.Hash(data), Size: core.Size(len(data))})
	}
	return list
}

func (g *giving) Get(_ context.Context, hash core.Hash, dst []byte) ([]byte, error) {
	for _, run := range g.runs {
		for _, data := range run {
			if chunk.Hash(data) == hash && !g.lost[hash] {
				return append(dst, data...), nil
			}
		}
	}
	return nil, fmt.Errorf("chunk %s: %w", hash, core.ErrNotFound)
}

func (g *giving) Purpose() string { return PurposeStore }
func (g *giving) More(f *Flow)    { g.BeginMore(f) }

func (g *giving) Apply(f *task.Flow, runs []task.Run, rate core.Rate) wire.Message {
	m := wire.StorageApply{Flow: f.ID, Rate: rate, Runs: []core.Range{{Start: 0, Length: len(runs)}}}
	for _, r := range runs {
		m.Size += r.Size
	}
	return m
}

func (g *giving) Outgoing(number int) (Run, bool) {
	return Run{Begin: wire.TransmissionBegin{Hash: chunk.RunHash(g.chunks(number)), Chunks: g.chunks(number)}, Store: g}, true
}

func (g *giving) Agreed(f *Flow, m wire.StorageAgree) {
	e := task.Event{Kind: task.Agreed, Lease: m.Lease, Rate: m.Rate, Term: Seconds(m.ExpiresS)}
	for _, number := range slices.Sorted(maps.Keys(g.runs)) {
		e.Runs = append(e.Runs, task.Run{Number: number, Size: core.Size(len(g.runs[number]) * len(g.runs[number][0]))})
	}
	g.Step(f, e)
}

func (g *giving) Refused(f *Flow, m wire.StorageRefuse) {
	g.Step(f, task.Event{Kind: task.Refused, Reason: m.Code, Retry: Seconds(m.RetryS)})
}

func (g *giving) Settled(number int) { g.settled = append(g.settled, number) }

func (g *giving) Requeue(_ *task.Flow, runs []task.Run, why core.Reason) {
	for _, r := range runs {
		g.back[r.Number] = why
	}
}

func (g *giving) Timed(_, took time.Duration, _ core.Size, _ float64, _ time.Duration) {
	g.timed += took
}

// taking is the side that is sent them.
type taking struct {
	*end
	flow    *Flow
	runs    []core.Range
	here    map[int][]byte
	dropped int
}

func (k *taking) Purpose() string { return PurposeStore }
func (k *taking) More(*Flow)      {}

func (k *taking) Agree(f *task.Flow, a task.Action, now time.Duration) wire.Message {
	return wire.StorageAgree{Flow: f.ID, Lease: a.Lease, Rate: a.Rate, Runs: k.runs, ExpiresS: (a.At - now).Seconds()}
}

func (k *taking) Refuse(f *task.Flow, a task.Action) wire.Message {
	return wire.StorageRefuse{Flow: f.ID, Code: a.Reason, RetryS: a.Retry.Seconds()}
}

func (k *taking) Begin(_ *task.Flow, m wire.TransmissionBegin) (Incoming, int, error) {
	var data []byte
	return Incoming{
		Chunks:  m.Chunks,
		Keep:    func(_ int, _ core.Chunk, b []byte) error { data = append(data, b...); return nil },
		Dropped: func() { k.dropped++ },
		Done: func(err error) {
			k.Ask(func(fs *Flows) {
				k.here[m.Run] = data
				fs.Ended(k.flow, m.Run, err)
			})
		},
	}, m.Run, nil
}

// quiet waits until nothing happens any more for a while, and holds the end against what is always so.
func (p *pair) quiet(wait time.Duration) {
	time.Sleep(wait)
	synctest.Wait()
	for _, e := range []*end{p.a, p.b} {
		e.Ask(func(fs *Flows) {
			for _, l := range fs.Leases() {
				if l.State == "live" {
					e.t.Errorf("node %d still holds %+v", e.id[0], l)
				}
			}
			if e.paced != 0 {
				e.t.Errorf("node %d still has the kernel send %s", e.id[0], e.paced)
			}
			for _, a := range fs.Book.Accounts() {
				if a.Leased != 0 {
					e.t.Errorf("node %d: %s of account %s are still leased", e.id[0], a.Leased, a.Name)
				}
			}
		})
	}
}

// whole reports that a run came as it was sent.
func (g *giving) whole(run int) bool {
	return bytes.Equal(g.peer.takes.here[run], slices.Concat(g.runs[run]...))
}

// told are the messages of a type that an end heard.
func told[M wire.Message](e *end) (all []M) {
	e.Ask(func(*Flows) {
		for _, m := range e.heard {
			if one, ok := m.(M); ok {
				all = append(all, one)
			}
		}
	})
	return all
}
