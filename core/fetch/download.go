// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/account"
	"github.com/bkp-tool/bkp/core/flow"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/spread"
	"github.com/bkp-tool/bkp/core/task"
	"github.com/bkp-tool/bkp/core/wire"
)

// PurposeGain is the purpose of flows that carry the runs of a fetch.
const PurposeGain = "gain"

// Node is the node that downloads. It is used in events only.
type Node interface {
	// Session leads to a peer over a link of that capacity, 0 while it is not settled; nil where none does.
	Session(id core.ID) (s flow.Session, capacity core.Rate)
	// Address is where a peer is reached, empty where it was never met.
	Address(id core.ID) string
	// Number draws a number that no other flow of the node has.
	Number() uint64
}

// Loop is the loop of the node, as what goes on beside it sees it.
type Loop interface {
	// Post hands an event to the loop, which drops it once the node has ended.
	Post(event func(*Downloading))
	// Ask returns when an event has run; false where the node ended first. It is never called in an event.
	Ask(event func(*Downloading)) bool
}

// Downloading is the downloads under way at a node. The loop owns it.
type Downloading struct {
	book  *account.Book
	flows *flow.Flows
	node  Node
	log   *slog.Logger
	open  map[*download]struct{}
}

// NewDownloading is that of a node that downloads nothing yet.
func NewDownloading(book *account.Book, flows *flow.Flows, log *slog.Logger, node Node) *Downloading {
	return &Downloading{book: book, flows: flows, node: node, log: log, open: map[*download]struct{}{}}
}

// Active reports whether any download is under way.
func (ds *Downloading) Active() bool { return len(ds.open) > 0 }

// Wake has every download go on when Drive is called next: bandwidth came free, a peer came up, or time passed.
func (ds *Downloading) Wake() {
	for d := range ds.open {
		d.due = true
	}
}

// Drive lets downloads go on for which something happened. The loop calls it after every event.
func (ds *Downloading) Drive() {
	for d := range ds.open {
		if !d.due {
			continue
		}
		at := reach{ds, d}
		for a, more := d.Next(ds.flows.Now(), at); more; a, more = d.Next(ds.flows.Now(), at) {
			d.do(ds, a)
		}
		d.due = false
	}
}

// download carries out over flows what spread.Download decides. What stands below end is the loop's.
type download struct {
	order    Order
	owner    core.ID
	loop     Loop
	log      *slog.Logger
	keep     func(run, index int, data []byte) error
	arriving []arrivingRun
	end      chan struct{}         // closed when it has ended
	outcome  spread.DownloadAction // from then on

	*spread.Download
	flows map[core.ID]*flow.Flow
	due   bool // something happened since it was driven last
}

// arrivingRun is a wanted run as holders send it.
type arrivingRun struct {
	sent    []core.Chunk
	indexes []int         // of sent, in Run.Chunks
	turn    chan struct{} // holds one token: who has it keeps a chunk (a lock that a virtual clock can see waiting)
	kept    core.Bitmap   // of sent, by whoever was first; the token guards it
}

func newArrivingRun(w spread.Wanted) (r arrivingRun) {
	for i, c := range w.Chunks {
		if w.Needed.Has(i) {
			r.sent, r.indexes = append(r.sent, c), append(r.indexes, i)
		}
	}
	r.turn, r.kept = make(chan struct{}, 1), core.NewBitmap(len(r.sent))
	return r
}

// once keeps a chunk unless another holder brought it before. It returns when the chunk is kept, by whomever.
func (r *arrivingRun) once(i int, keep func() error) error {
	r.turn <- struct{}{}
	defer func() { <-r.turn }()
	if r.kept.Has(i) {
		return nil
	}
	err := keep()
	if err == nil {
		r.kept.Set(i)
	}
	return err
}

// Loops is Downloads by way of the loop of a node, whose owner that is. It ends with ctx.
type Loops struct {
	Loop
	Owner func() *key.Owner
	Life  context.Context // ends when the node closes
	Log   *slog.Logger
}

// Download makes it Downloads. It is never called in an event.
func (l Loops) Download(ctx context.Context, o Order) (left, wrong []int, why error) {
	if len(o.Wanted) == 0 {
		return nil, nil, nil
	}
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	if o.Owner.IsZero() {
		o.Owner = l.Owner().ID()
	}
	d := &download{order: o, owner: o.Owner, loop: l.Loop, log: l.Log, flows: map[core.ID]*flow.Flow{},
		end: make(chan struct{})}
	d.keep = func(run, index int, data []byte) error {
		err := o.Keep(run, index, data)
		if err != nil {
			end(err)
		}
		return err
	}
	for _, w := range o.Wanted {
		d.arriving = append(d.arriving, newArrivingRun(w))
	}
	d.Download = spread.NewDownload(o.Wanted, o.Holders, o.Judges)
	l.Ask(func(ds *Downloading) { d.due = true; ds.open[d] = struct{}{} })
	defer l.Ask(d.stop)
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-d.end:
			if len(d.outcome.Left) > 0 {
				why = d.unreachable(o.Wanted[d.outcome.Left[0]])
			}
			return d.outcome.Left, d.outcome.Wrong, why
		case <-tick.C:
			l.Post(func(*Downloading) { d.due = true })
		case <-ctx.Done():
			return nil, nil, context.Cause(ctx)
		case <-l.Life.Done():
			return nil, nil, context.Cause(l.Life)
		}
	}
}

// stop ends every flow that is left.
func (d *download) stop(ds *Downloading) {
	delete(ds.open, d)
	maps.Copy(d.order.Holders, d.Standings())
	for _, f := range d.flows {
		ds.flows.Step(f, task.Event{Kind: task.Stop, Reason: core.ReasonStopped})
	}
}

func (d *download) unreachable(w spread.Wanted) error {
	var why []string
	d.loop.Ask(func(ds *Downloading) {
		standings := d.Standings()
		for _, id := range w.Holders {
			if lost := standings[id].Lost; lost != "" {
				why = append(why, fmt.Sprintf("%s: %s", cmp.Or(ds.node.Address(id), id.Short()), lost))
			}
		}
	})
	if len(why) == 0 {
		return core.Fail(core.CodeRedundant, "%s run %s (%s) is whole at none of its holders", d.order.What, w.Name,
			w.Size)
	}
	return core.WithHint(core.Fail(core.CodeRedundant, "%s run %s (%s) is at no reachable holder (%s)", d.order.What,
		w.Name, w.Size, strings.Join(why, "; ")),
		"start those nodes, or name them with --peers, and fetch again")
}

func (d *download) do(ds *Downloading, a spread.DownloadAction) {
	switch a.Kind {
	case spread.DownloadAsk:
		if d.flows[a.Holder] == nil {
			d.flows[a.Holder] = ds.flows.Open(a.Holder, ds.node.Number(), task.Asker, false, downloadFrom{d, ds, a.Holder})
		}
		ds.flows.Step(d.flows[a.Holder], task.Event{Kind: task.Ask, Runs: a.Runs, Rate: a.Rate})
	case spread.DownloadStop:
		f := d.flows[a.Holder]
		if f.Begun(a.Number) {
			ds.flows.Step(f, task.Event{Kind: task.RunFailed, Run: a.Number, Reason: core.ReasonHave})
		}
	case spread.DownloadLose:
		ds.log.Warn("holder lost", "peer", a.Holder.Short(), "reason", a.Reason)
	case spread.DownloadEnd:
		d.outcome = a
		close(d.end)
	}
}

// reach is the node as spread.Holders.
type reach struct {
	*Downloading
	d *download
}

func (h reach) Holder(id core.ID) (r spread.Reach) {
	session, capacity := h.node.Session(id)
	if session == nil {
		return r
	}
	accounts := []string{account.Down, account.In(id)}
	r = spread.Reach{Connected: true, Capacity: capacity > 0, Delay: session.Delay(),
		Free: h.book.Free(accounts...), Nominal: h.book.Nominal(accounts...)}
	if f := h.d.flows[id]; f != nil {
		r.State, r.Rate = f.State, f.Rate
	}
	return r
}

func (h reach) Down() core.Rate { return h.book.Free(account.Down) }

// downloadFrom is what the flow from one holder is for.
type downloadFrom struct {
	*download
	in     *Downloading
	holder core.ID
}

// Purpose makes it a flow.Side.
func (d downloadFrom) Purpose() string { return PurposeGain }

// Apply makes it flow.Asking.
func (d downloadFrom) Apply(f *task.Flow, runs []task.Run, rate core.Rate) wire.Message {
	m := wire.GainApply{Flow: f.ID, Owner: d.owner, Name: d.order.Alias, Rate: rate}
	asked := map[int]int{}
	for number, run := range d.Asked(d.holder) {
		asked[number] = run
	}
	for _, r := range runs {
		w := d.order.Wanted[asked[r.Number]]
		g := wire.GainRun{Hash: w.Hash}
		if len(d.arriving[asked[r.Number]].sent) < len(w.Chunks) {
			g.Chunks = w.Needed
		}
		m.Runs = append(m.Runs, g)
	}
	return m
}

// Requeue makes it flow.Requeueing.
func (d downloadFrom) Requeue(_ *task.Flow, runs []task.Run, reason core.Reason) {
	d.Back(d.holder, numbersOf(runs), reason)
}

// Settled makes it flow.Settling.
func (d downloadFrom) Settled(number int) {
	d.Came(d.in.flows.Now(), d.holder, number)
	d.due = true
}

// More makes it a flow.Side.
func (d downloadFrom) More(f *flow.Flow) {
	d.due = true
	if f == d.flows[d.holder] && f.State == task.Closed {
		delete(d.flows, d.holder)
		session, _ := d.in.node.Session(d.holder)
		d.Ended(d.in.flows.Now(), d.holder, f.Reason, session != nil)
	}
}

// numbered finds what the holder was asked for by the run's hash.
func (d downloadFrom) numbered(hash core.Hash) (number, run int, ok bool) {
	for number, run := range d.Asked(d.holder) {
		if d.order.Wanted[run].Hash == hash {
			return number, run, true
		}
	}
	return 0, 0, false
}

func (d downloadFrom) numbers(hashes []core.Hash) (numbers []int) {
	for _, hash := range hashes {
		if number, _, ok := d.numbered(hash); ok {
			numbers = append(numbers, number)
		}
	}
	return numbers
}

func numbersOf(runs []task.Run) (numbers []int) {
	for _, r := range runs {
		numbers = append(numbers, r.Number)
	}
	return numbers
}

// Agreed takes a holder's grant. What it misses is asked of others.
func (ds *Downloading) Agreed(holder core.ID, m wire.GainAgree) {
	f, d, ok := flow.SideOf[downloadFrom](ds.flows, holder, m.Flow)
	if !ok {
		ds.flows.NoSuchFlow(holder, m.Flow)
		return
	}
	d.Agreed(holder, m.Rate, d.numbers(m.Missing))
	e := task.Event{Kind: task.Agreed, Lease: m.Lease, Rate: m.Rate, Term: flow.Seconds(m.ExpiresS)}
	for _, hash := range m.Runs {
		if number, run, ok := d.numbered(hash); ok {
			e.Runs = append(e.Runs, task.Run{Number: number, Size: d.order.Wanted[run].Bytes()})
		}
	}
	ds.flows.Step(f, e)
}

// Refused takes a holder's no.
func (ds *Downloading) Refused(holder core.ID, m wire.GainRefuse) {
	f, d, ok := flow.SideOf[downloadFrom](ds.flows, holder, m.Flow)
	if !ok {
		return
	}
	d.Refused(holder, m.Code, m.Reason, d.numbers(m.Missing))
	ds.flows.Step(f, task.Event{Kind: task.Refused, Reason: m.Code, Retry: flow.Seconds(m.RetryS)})
}

// Begin makes the incoming run of a granted run.
func (d downloadFrom) Begin(_ *task.Flow, m wire.TransmissionBegin) (in flow.Incoming, number int, err error) {
	number, run, ok := d.numbered(m.Hash)
	if !ok {
		return in, 0, fmt.Errorf("run %s was not asked for", m.Hash)
	}
	r := &d.arriving[run]
	if !slices.Equal(m.Chunks, r.sent) {
		return in, 0, fmt.Errorf("run %s comes with other chunks than were asked for", m.Hash)
	}
	d.Begun(d.holder, number)
	f, holder, on := d.flows[d.holder], d.holder, d.download
	return flow.Incoming{
		Chunks: m.Chunks,
		Keep: func(i int, c core.Chunk, data []byte) error {
			return r.once(i, func() error { return on.keep(run, r.indexes[i], data) })
		},
		Done: func(err error) {
			if err != nil {
				on.log.Warn("run refused", "from", holder.Short(), "run", on.order.Wanted[run].Name, "error", err)
			}
			on.loop.Ask(func(ds *Downloading) { ds.flows.Ended(f, number, err) })
		},
	}, number, nil
}
