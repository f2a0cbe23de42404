// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/account"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/flow"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/measure"
	"github.com/bkp-tool/bkp/core/spread"
	"github.com/bkp-tool/bkp/core/wire"
)

// downloader is a node that downloads; the holders are played by it.
type downloader struct {
	*Downloading
	events  chan func()
	acts    sync.WaitGroup
	life    context.Context
	last    uint64
	book    *account.Book
	runs    map[core.Hash][]byte // each of one chunk
	holders map[core.ID]*holds
	end     chan struct{}

	mu   sync.Mutex
	kept map[int]string
}

// holds is a holder, which sends what it is asked for.
type holds struct {
	*downloader
	id      core.ID
	lacks   map[core.Hash]bool
	refuses core.Reason
	damages bool
	gone    bool
}

// newDownloader starts one whose holders have the runs; a test calls it in a bubble.
func newDownloader(t *testing.T, holders int, runs ...string) (*downloader, Order) {
	t.Helper()
	life, stop := context.WithCancel(t.Context())
	d := &downloader{life: life, events: make(chan func(), 64), book: account.New(), runs: map[core.Hash][]byte{},
		holders: map[core.ID]*holds{}, kept: map[int]string{}, end: make(chan struct{})}
	d.book.SetCapacity(account.Down, core.Rate(core.MiB))
	o := Order{Alias: "a", Holders: map[core.ID]spread.Standing{}, What: "fetch"}
	var ids []core.ID
	for i := range holders {
		id := core.ID{byte(i + 1)}
		ids = append(ids, id)
		d.book.SetCapacity(account.In(id), core.Rate(core.MiB))
		d.holders[id] = &holds{downloader: d, id: id, lacks: map[core.Hash]bool{}}
	}
	for _, text := range runs {
		c := core.Chunk{Hash: chunk.Hash([]byte(text)), Size: core.Size(len(text))}
		run := core.Run{Chunks: []core.Chunk{c}, File: core.File{Name: text, Size: c.Size}}
		run.Hash = chunk.RunHash(run.Chunks)
		d.runs[run.Hash] = []byte(text)
		o.Wanted = append(o.Wanted, spread.Wanted{Run: run, Needed: core.FullBitmap(1), Holders: ids})
	}
	o.Keep = func(run, _ int, data []byte) error {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.kept[run] = string(data)
		return nil
	}
	flows := flow.New(flow.Config{Book: d.book, Measures: measure.New(), Arrivals: flow.NewArrivals(), Life: life,
		Started: time.Now().Add(-time.Hour), Log: slog.New(slog.DiscardHandler)}, flowsLoop{d}, played{d, t})
	d.Downloading = NewDownloading(d.book, flows, slog.New(slog.DiscardHandler), played{d, t})
	d.acts.Go(func() {
		for {
			select {
			case event := <-d.events:
				event()
				d.Drive()
			case <-life.Done():
				return
			}
		}
	})
	t.Cleanup(func() { stop(); close(d.end); d.acts.Wait() })
	return d, o
}

func (d *downloader) post(f func()) {
	select {
	case d.events <- f:
	case <-d.life.Done():
	}
}

func (d *downloader) ask(f func()) bool {
	done := make(chan struct{})
	d.post(func() { f(); close(done) })
	select {
	case <-done:
		return true
	case <-d.life.Done():
		return false
	}
}

func (d *downloader) Post(e func(*Downloading))     { d.post(func() { e(d.Downloading) }) }
func (d *downloader) Ask(e func(*Downloading)) bool { return d.ask(func() { e(d.Downloading) }) }

type flowsLoop struct{ d *downloader }

func (l flowsLoop) Post(e func(*flow.Flows))     { l.d.post(func() { e(l.d.flows) }) }
func (l flowsLoop) Ask(e func(*flow.Flows)) bool { return l.d.ask(func() { e(l.d.flows) }) }
func (l flowsLoop) Act(f func())                 { l.d.acts.Go(f) }

// played is the node, as flows and downloads see it.
type played struct {
	*downloader
	t *testing.T
}

func (p played) Session(id core.ID) (flow.Session, core.Rate) {
	if h := p.holders[id]; h != nil && !h.gone {
		return h, core.Rate(core.MiB)
	}
	return nil, 0
}

func (p played) Address(id core.ID) string { return "host-" + string('0'+rune(id[0])) }
func (p played) Number() uint64            { p.last++; return p.last }
func (p played) Freed()                    { p.Wake() }
func (p played) Broken(err error)          { p.t.Error(err) }

func (p played) Send(to core.ID, m wire.Message) bool {
	h := p.holders[to]
	if h == nil || h.gone {
		return false
	}
	if m, ok := m.(wire.GainApply); ok {
		time.AfterFunc(10*time.Millisecond, func() { h.answer(m) })
	}
	return true
}

// answer grants what the holder has, and sends it.
func (h *holds) answer(m wire.GainApply) {
	if h.refuses != core.ReasonNone {
		h.ask(func() { h.Refused(h.id, wire.GainRefuse{Flow: m.Flow, Code: h.refuses, Reason: "it says no"}) })
		return
	}
	agree := wire.GainAgree{Flow: m.Flow, Lease: m.Flow, Rate: m.Rate, ExpiresS: 60}
	for _, r := range m.Runs {
		if h.lacks[r.Hash] {
			agree.Missing = append(agree.Missing, r.Hash)
		} else {
			agree.Runs = append(agree.Runs, r.Hash)
		}
	}
	h.ask(func() { h.Agreed(h.id, agree) })
	for i, hash := range agree.Runs {
		data := slices.Clone(h.runs[hash])
		begin := wire.TransmissionBegin{Transfer: 1000*m.Flow + uint64(i) + uint64(time.Now().Nanosecond()), Flow: m.Flow,
			Run: i, Hash: hash, Chunks: []core.Chunk{{Hash: chunk.Hash(data), Size: core.Size(len(data))}}}
		h.ask(func() { h.flows.Began(h.id, begin) })
		if h.damages {
			data[0]++
		}
		h.flows.Arrivals.Receive(h, wire.Data{Transfer: begin.Transfer, Bytes: data})
	}
}

func (h *holds) SendData(context.Context, uint64, uint32, uint32, []byte) error { return nil }
func (h *holds) Pace(core.Rate)                                                 {}
func (h *holds) Delay() time.Duration                                           { return 5 * time.Millisecond }
func (h *holds) Done() <-chan struct{}                                          { return h.end }
func (h *holds) Close(core.Reason, string)                                      {}

// bring downloads what is ordered.
func (d *downloader) bring(t *testing.T, o Order) (left, wrong []int, why error) {
	owner, err := key.NewOwner(zeros{})
	if err != nil {
		t.Fatal(err)
	}
	left, wrong, why = Loops{Loop: d, Owner: func() *key.Owner { return owner }, Life: d.life,
		Log: slog.New(slog.DiscardHandler)}.Download(t.Context(), o)
	d.ask(func() {
		if d.Active() {
			t.Error("it goes on after its end")
		}
		for _, a := range d.book.Accounts() {
			if a.Leased != 0 {
				t.Errorf("%s of account %s are still leased", a.Leased, a.Name)
			}
		}
	})
	return left, wrong, why
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestRunsComeFromWhoHasThem has holders of which one lacks a run, one sends other bytes, one refuses and one is gone.
func TestRunsComeFromWhoHasThem(t *testing.T) {
	runs := []string{"first", "second", "third", "fourth"}
	for name, spoil := range map[string]func(d *downloader, one *holds){
		"all have all":    func(*downloader, *holds) {},
		"one lacks a run": func(d *downloader, one *holds) { one.lacks[hashOf("third")] = true },
		"one lacks all": func(d *downloader, one *holds) {
			for h := range d.runs {
				one.lacks[h] = true
			}
		},
		"one sends rubbish": func(d *downloader, one *holds) { one.damages = true },
		"one refuses":       func(d *downloader, one *holds) { one.refuses = core.ReasonRights },
		"one is gone":       func(d *downloader, one *holds) { one.gone = true },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, o := newDownloader(t, 2, runs...)
				spoil(d, d.holders[core.ID{1}])
				left, wrong, why := d.bring(t, o)
				if len(left)+len(wrong) > 0 || why != nil {
					t.Errorf("left %v, wrong %v: %v", left, wrong, why)
				}
				got := core.Size(0)
				for i, text := range runs {
					if d.kept[i] != text {
						t.Errorf("run %d is %q, want %q", i, d.kept[i], text)
					}
					got += core.Size(len(text))
				}
				for _, s := range o.Holders {
					got -= s.Got
				}
				if got != 0 {
					t.Errorf("%d bytes more were kept than holders gave: %+v", got, o.Holders)
				}
			})
		})
	}
}

func hashOf(text string) core.Hash {
	return chunk.RunHash([]core.Chunk{{Hash: chunk.Hash([]byte(text)), Size: core.Size(len(text))}})
}

// TestWhatNobodyHasIsLeft says who could not be reached, or that all say that they do not have it.
func TestWhatNobodyHasIsLeft(t *testing.T) {
	for want, spoil := range map[string]func(*holds){
		"whole at none of its holders": func(h *holds) { h.lacks[hashOf("second")] = true },
		"host-2":                       func(h *holds) { h.lacks[hashOf("second")], h.gone = true, h.id == core.ID{2} },
	} {
		synctest.Test(t, func(t *testing.T) {
			d, o := newDownloader(t, 2, "first", "second")
			for _, h := range d.holders {
				spoil(h)
			}
			left, _, why := d.bring(t, o)
			if !slices.Equal(left, []int{1}) || core.CodeOf(why) != core.CodeRedundant || !strings.Contains(why.Error(), want) {
				t.Errorf("left %v: %v, want %q", left, why, want)
			}
		})
	}
}

// TestChunkThatCannotBeKeptEndsTheDownload is told of a full disk.
func TestChunkThatCannotBeKeptEndsTheDownload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, o := newDownloader(t, 2, "first", "second")
		full := errors.New("no space left")
		o.Keep = func(int, int, []byte) error { return full }
		if _, _, why := d.bring(t, o); why != full {
			t.Errorf("it ended with %v", why)
		}
	})
}
