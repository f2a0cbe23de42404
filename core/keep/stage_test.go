// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/flow"
	"github.com/bkp-tool/bkp/core/keep/keeptest"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/license"
	"github.com/bkp-tool/bkp/core/storage/holdings"
	"github.com/bkp-tool/bkp/core/task"
	"github.com/bkp-tool/bkp/core/wire"
)

// stage is one target, with a loop, among peers that a test plays. It lives in a bubble.
type stage struct {
	t        *testing.T
	target   *Target
	events   chan func(*State)
	ctx      context.Context
	acts     sync.WaitGroup
	store    *keeptest.Store
	holdings *holdings.Holdings
	ledger   *keeptest.Ledger
	owners   map[string]*key.Owner
	signers  map[string]*key.Signer
	flows    map[uint64]*end
	log      *bytes.Buffer

	mu      sync.Mutex
	heard   []string        // by peers and transfers, since it was asked last
	away    map[string]bool // peers that cannot be reached
	reasons map[string]string
	lacking bool
	proof   core.Proof           // the last
	mine    map[core.TaskID]bool // coordinated here
	config  Config
	stop    func()
}

// newStage starts a target of 1 MB, unless change says otherwise.
func newStage(t *testing.T, change func(*Config)) *stage {
	t.Helper()
	random := rand.NewChaCha8([32]byte{7})
	w := &stage{t: t, store: &keeptest.Store{}, owners: map[string]*key.Owner{}, signers: map[string]*key.Signer{},
		away: map[string]bool{}, reasons: map[string]string{}, mine: map[core.TaskID]bool{}}
	for _, name := range []string{"self", "source", "carrier", "other"} {
		signer, err := key.NewSigner(random)
		check(t, err)
		w.signers[name] = signer
	}
	for _, name := range []string{"owner", "stranger"} {
		owner, err := key.NewOwner(random)
		check(t, err)
		w.owners[name] = owner
	}
	watch := keeptest.NewOffLoop(t, (*stage).loop)
	w.ledger = &keeptest.Ledger{Node: w.id("self"), Watch: watch}
	w.store.Watch = watch
	var err error
	w.holdings, err = holdings.Open(filepath.Join(t.TempDir(), "holdings.db"), true)
	check(t, err)
	t.Cleanup(func() { w.stop(); w.holdings.Close() })
	w.config = Config{Signer: w.signers["self"], Capacity: 1e6, Keeping: w.store,
		Holdings: keeptest.Holdings{Holdings: w.holdings, Watch: watch},
		Ledger:   w.ledger, Health: w}
	if change != nil {
		change(&w.config)
	}
	w.start()
	return w
}

// start opens the target, as a node does that starts.
func (w *stage) start() {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	w.ctx, w.events, w.log, w.flows = ctx, make(chan func(*State), 256), &bytes.Buffer{}, map[uint64]*end{}
	w.config.Log = slog.New(slog.NewTextHandler(w.log, nil))
	target, state, err := Open(ctx, w.config, w, w, (*played)(w))
	check(w.t, err)
	w.target = target
	ended := make(chan bool)
	go func() {
		defer close(ended)
		w.loop(state)
	}()
	target.Start(true)
	synctest.Wait()
	w.stop = func() {
		cancel()
		<-ended
		w.acts.Wait()
		check(w.t, target.Close())
		w.stop = func() {}
	}
}

func (w *stage) loop(s *State) {
	for {
		select {
		case event := <-w.events:
			event(s)
		case <-w.ctx.Done():
			return
		}
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Post, Ask and Act make the stage a Loop.
func (w *stage) Post(event func(*State)) {
	select {
	case w.events <- event:
	case <-w.ctx.Done():
	}
}

func (w *stage) Ask(event func(*State)) bool {
	done := make(chan bool)
	w.Post(func(s *State) { event(s); close(done) })
	select {
	case <-done:
		return true
	case <-w.ctx.Done():
		return false
	}
}

func (w *stage) Act(f func()) { w.acts.Go(f) }

// Send and Reachable make it Peers.
func (w *stage) Send(to core.ID, m wire.Message) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	name := w.name(to)
	if !w.away[name] {
		w.heard = append(w.heard, fmt.Sprintf("%s hears %s", name, w.tell(m)))
	}
	return !w.away[name]
}

func (w *stage) Far(core.ID) bool { return false }

func (w *stage) Reachable(id core.ID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.away[w.name(id)]
}

// Degrade, Recover and Refuses make it a Health.
func (w *stage) Degrade(key, text string, refuses bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if refuses {
		w.reasons[key] = text
	}
}

func (w *stage) Recover(key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.reasons, key)
}

func (w *stage) Refuses() (why string, is bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, key := range slices.Sorted(maps.Keys(w.reasons)) {
		return w.reasons[key], true
	}
	return "", false
}

// played is the stage as Transfers.
type played stage

func (p *played) note(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heard = append(p.heard, fmt.Sprintf(format, args...))
}

func (p *played) Coordinates(task core.TaskID) bool { return p.mine[task] }
func (p *played) Lacking(core.TaskID) bool          { return p.lacking }
func (p *played) Coming(task core.TaskID)           { p.note("runs of t%d are coming", task[0]) }
func (p *played) Released(task core.TaskID)         { p.note("t%d is released", task[0]) }

func (p *played) Accepted(seg *Segment) {
	p.note("t%d.%d is accepted, has %s", seg.Task[0], seg.Number, runsOf(seg.Runs(), seg.Has))
}

func (p *played) Narrowed(seg *Segment) { p.note("t%d.%d is narrowed", seg.Task[0], seg.Number) }

func (p *played) Forgot(seg *Segment) { p.note("t%d.%d lacks what it had", seg.Task[0], seg.Number) }

func (p *played) Arrived(seg *Segment, run int, chunks []core.Chunk) {
	p.note("t%d.%d has run %d of %d chunks", seg.Task[0], seg.Number, run, len(chunks))
}

// said is what peers and transfers heard since it was asked last, once all is quiet.
func (w *stage) said() string {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	all := strings.Join(w.heard, "\n")
	w.heard = nil
	return all
}

func (w *stage) id(name string) core.ID { return w.signers[name].ID() }

func (w *stage) name(id core.ID) string {
	for name, s := range w.signers {
		if s.ID() == id {
			return name
		}
	}
	return id.Short()
}

func runsOf(end int, has func(int) bool) string {
	var runs []int
	for run := range end {
		if has(run) {
			runs = append(runs, run)
		}
	}
	return rangesText(core.Ranges(runs))
}

func rangesText(ranges []core.Range) string {
	if len(ranges) == 0 {
		return "none"
	}
	var texts []string
	for _, r := range ranges {
		text := strconv.Itoa(r.Start)
		if r.Length > 1 {
			text += "-" + strconv.Itoa(r.Start+r.Length-1)
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, ",")
}

// tell is a message in short.
func (w *stage) tell(m wire.Message) string {
	refused := func(code core.Reason, reason string) string {
		if code == core.ReasonNone {
			return ""
		}
		reason, _, _ = strings.Cut(reason, "input/output") // what follows differs
		return fmt.Sprintf(" code %d: %s", code, w.known(reason))
	}
	text := m.Type()
	switch m := m.(type) {
	case wire.TaskAgree:
		return fmt.Sprintf("%s has %s", text, runsOf(8*len(m.Have), m.Have.Has))
	case wire.TaskRefuse:
		return text + refused(m.Code, m.Reason)
	case wire.StorageAgree:
		return fmt.Sprintf("%s runs %s, has %s", text, rangesText(m.Runs), rangesText(m.Have))
	case wire.StorageRefuse:
		return fmt.Sprintf("%s%s, has %s", text, refused(m.Code, m.Reason), rangesText(m.Have))
	case wire.GainAgree:
		return fmt.Sprintf("%s %d runs, misses %d", text, len(m.Runs), len(m.Missing))
	case wire.GainRefuse:
		return fmt.Sprintf("%s%s, misses %d", text, refused(m.Code, m.Reason), len(m.Missing))
	case wire.TransmissionComplete:
		r, err := license.OpenReceipt(m.Receipt)
		check(w.t, err)
		return fmt.Sprintf("a receipt of %s under licence %d: runs %s of t%d.%d, %s", w.name(r.Target),
			r.License[0], rangesText(r.Runs), r.Task[0], r.Segment, kB(r.Bytes))
	case wire.AuditProof:
		w.proof = m.Proof
		return fmt.Sprintf("%s %d slices", text, len(m.Slices))
	case wire.AuditRefuse:
		return fmt.Sprintf("%s%s, lost %s", text, refused(m.Code, m.Reason), rangesText(m.Lost))
	case wire.ReleaseDone:
		return fmt.Sprintf("%s %d runs, %s%s", text, m.Runs, kB(m.Bytes), refused(m.Code, m.Reason))
	case wire.RefOK:
		return text + refused(m.Code, m.Reason)
	case wire.RefReport:
		return fmt.Sprintf("%s %d refs, %s of %s, more %v%s", text, len(m.Refs), kB(core.Size(len(m.Data))),
			kB(m.Size), m.More, refused(m.Code, m.Reason))
	}
	return text
}

// kB is a size in thousands of bytes, rounded up: what the packs have to say of holdings takes a little, too.
func kB(size core.Size) string { return fmt.Sprintf("%d kB", (size+999)/1000) }

// known puts names in the place of numbers. Tasks and licences have the same.
func (w *stage) known(text string) string {
	for i := range 9 {
		text = strings.ReplaceAll(text, core.TaskID{byte(i)}.String(), "t"+strconv.Itoa(i))
	}
	for name, s := range w.signers {
		text = strings.ReplaceAll(text, s.ID().String(), name)
	}
	for _, o := range w.owners {
		text = strings.ReplaceAll(text, o.Alias("abc"), "abc")
	}
	return text
}

// piece is a run of a test, named "a:100+200": chunks of so many kB, alike wherever the name is alike.
type piece struct {
	core.Run
	data [][]byte
}

func run(text string, order int) (p piece) {
	name, sizes, _ := strings.Cut(text, ":")
	for i, s := range strings.Split(sizes, "+") {
		size, err := strconv.Atoi(s)
		if err != nil {
			panic(err)
		}
		data := make([]byte, 1000*size)
		seed := [32]byte{byte(i)}
		copy(seed[1:], name)
		rand.NewChaCha8(seed).Read(data)
		p.data = append(p.data, data)
		p.Chunks = append(p.Chunks, core.Chunk{Hash: chunk.Hash(data), Size: core.Size(len(data))})
		p.Size += core.Size(len(data))
	}
	p.File = core.File{Name: fmt.Sprintf("abc.1.%d", order), Type: core.TypeFile, Order: order,
		Hash: chunk.RunHash(p.Chunks), Size: p.Size}
	return p
}

// offered is a segment that a source offers.
type offered struct {
	wire.StorageTask
	pieces  []piece
	license core.License
}

// offer makes a segment of runs for this target, all of them unless change says otherwise.
func (w *stage) offer(number int, runs []string, change func(*offered)) offered {
	w.t.Helper()
	owner, now := w.owners["owner"].Signer(), time.Now()
	o := offered{StorageTask: wire.StorageTask{Task: core.TaskID{byte(number)}, Alias: "abc", Version: 1}}
	for i, text := range runs {
		p := run(text, i)
		o.pieces, o.Files = append(o.pieces, p), append(o.Files, p.File)
	}
	o.Locations = []core.Span{{Node: w.id("self"), From: w.id("source"), Start: 0, Length: len(runs)}}
	o.license = core.License{V: 1, ID: core.LicenseID{byte(number)}, TaskSource: core.TaskSource{Owner: owner.ID(),
		Node: w.id("source")}, Targets: []core.ID{w.id("self")}, Op: "store", MaxBytes: 1 << 30, MaxRuns: 100,
		NotBefore: now.Unix(), Expires: now.Add(time.Hour).Unix(), RetainUntil: now.Add(100 * time.Hour).Unix(),
		Key: owner.Public()}
	o.license.Task = o.Task
	if change != nil {
		change(&o)
	}
	if o.license.Root.IsZero() {
		o.license.Root = chunk.LicenseRoot(o.Files, o.Reused)
	}
	envelope, err := license.Sign(o.license, owner)
	check(w.t, err)
	o.License = envelope
	return o
}

// end is the receiving end of a flow, stepped as a node's loop does it.
type end struct {
	w     *stage
	peer  string
	flow  *task.Flow
	r     *Receiver
	in    map[int]flow.Incoming
	began time.Time
}

func (w *stage) flow(s *State, id uint64, peer string) *end {
	e := w.flows[id]
	if e == nil {
		e = &end{w: w, peer: peer, flow: task.NewFlow(id, task.Grantor, false), in: map[int]flow.Incoming{},
			began: time.Now()}
		e.r = s.Receive(e)
		w.flows[id] = e
	}
	return e
}

func (e *end) step(ev task.Event) {
	ev.Now = time.Since(e.began)
	actions, err := e.flow.Step(ev)
	if err != nil {
		(*played)(e.w).note("flow %d: %v", e.flow.ID, err)
	}
	for _, a := range actions {
		switch a.Kind {
		case task.SendAgree:
			e.w.Send(e.w.id(e.peer), e.r.Agree(e.flow, a, ev.Now))
		case task.SendRefuse:
			e.w.Send(e.w.id(e.peer), e.r.Refuse(e.flow, a))
		case task.DoRequeue:
			for _, r := range a.Runs {
				if in, begun := e.in[r.Number]; begun {
					in.Dropped()
					delete(e.in, r.Number)
				}
			}
			e.r.Requeue(e.flow, a.Runs, ev.Reason)
		case task.SendComplete:
			(*played)(e.w).note("run %d is received", a.Run)
		case task.SendAbort:
			(*played)(e.w).note("run %d is given up, reason %d", a.Run, a.Reason)
		default: // accounts
		}
	}
	e.r.Stepped(e.flow)
}

func (e *end) Received(number int) { e.step(task.Event{Kind: task.Received, Run: number}) }

func (e *end) Failed(number int, _ error) {
	e.step(task.Event{Kind: task.RunFailed, Run: number, Reason: core.ReasonInternal})
}

// apply asks for a lease over runs of a segment.
func (w *stage) apply(flow uint64, peer string, o offered, runs ...core.Range) {
	w.Ask(func(s *State) {
		e := w.flow(s, flow, peer)
		ev := e.r.Apply(e.flow, w.id(peer), wire.StorageApply{Flow: flow, Task: o.Task, Segment: o.Segment, Rate: 1000,
			Runs: runs})
		ev.Rate, ev.Free, ev.Nominal, ev.Lease = 1000, 1000, 1000, flow
		e.step(ev)
	})
}

// begin announces a run; what is done with it, nil where that is refused.
func (w *stage) begin(id uint64, o offered, run int, p piece) (in *flow.Incoming, err error) {
	w.Ask(func(s *State) {
		e := w.flows[id]
		var number int
		var made flow.Incoming
		made, number, err = e.r.Begin(e.flow, wire.TransmissionBegin{Flow: id, Task: o.Task, Segment: o.Segment,
			Run: run, Hash: p.Hash, Chunks: p.Chunks})
		if err == nil {
			e.in[number], in = made, &made
			e.step(task.Event{Kind: task.Begun, Run: number})
		}
	})
	return in, err
}

// bring sends a run whole.
func (w *stage) bring(flow uint64, o offered, run int) error {
	p := o.pieces[run]
	in, err := w.begin(flow, o, run, p)
	if err != nil {
		return err
	}
	for i, data := range p.data {
		if err = in.Keep(i, p.Chunks[i], data); err != nil {
			break
		}
	}
	in.Done(err)
	return err
}

// abort ends a flow as its other end asks.
func (w *stage) abort(flow uint64) {
	w.Ask(func(*State) { w.flows[flow].step(task.Event{Kind: task.Aborted, Reason: core.ReasonStopped}) })
}

// release lets a task go, signed by who says to be its owner.
func (w *stage) release(task core.TaskID, owner, from string) {
	o := w.owners[owner]
	envelope, err := o.SignRelease(key.Release{Owner: o.ID(), Task: task, Alias: o.Alias("abc"), Version: 1,
		Time: time.Now().Unix()})
	check(w.t, err)
	w.Ask(func(s *State) { s.Release(w.id(from), wire.Release{Query: 1, Envelope: envelope}) })
}

// space is what is used, promised and left.
func (w *stage) space() (used, reserved, remaining core.Size) {
	w.Ask(func(s *State) { reserved, remaining = s.Reserved(), s.remaining() })
	used, _ = w.store.Used(w.ctx)
	return used, reserved, remaining
}

var errDown = errors.New("input/output error")
