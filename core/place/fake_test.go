// SPDX-License-Identifier: Apache-2.0

package place

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/audit"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/license"
	"github.com/bkp-tool/bkp/core/manifest"
	"github.com/bkp-tool/bkp/core/placements"
	"github.com/bkp-tool/bkp/core/spread"
	"github.com/bkp-tool/bkp/core/storage/live"
	"github.com/bkp-tool/bkp/core/version"
	"github.com/bkp-tool/bkp/core/wire"
	"github.com/bkp-tool/bkp/plugins/strategies/seed"
)

// town is a coordinator and peers that a test plays: they answer after 10 ms, and sign for what they are to keep after
// a second. It lives in a synctest bubble. mu guards what the peers do.
type town struct {
	*Coordinator
	t     *testing.T
	owner *key.Owner
	store memory
	kept  string          // the directory of its records
	refs  []version.Found // of this machine
	gone  []version.Gone
	told  []string // warnings

	mu       sync.Mutex
	peers    []*peer
	inboxes  map[string]*Inbox // by alias, of tasks under way
	licenses int               // in the ledger
	receipts int
	swept    int
	brought  [2]int // runs and chunks that were brought back
	tables   int    // times that a transfer was told of other rates
	apart    bool   // the peers have no links to each other
	segments []*placements.Segment
	from     version.Chunks
	sealed   map[core.Hash][]byte // all that was ever sealed here
}

// peer is one of the town.
type peer struct {
	*key.Signer
	name     string
	degraded []string
	free     core.Size
	away     bool
	refuses  core.Reason   // segments; 0: none
	silent   bool          // it answers no segment
	signs    time.Duration // how long it takes until it signs for what it is to keep; below 0: never
	refs     []version.Found
	old      bool // it reads refs of version 1 only
	noRefs   bool // it takes none
	mute     bool // it answers no question
	liar     bool // it has none of the bytes that it signs for
	forgets  bool // it has lost what it signed for, and says so
	deaf     bool // it answers no audit, and sends nothing
	audits   int  // that it answered
	far      bool // it is reached through others
	asked    int  // for its state

	keeps    map[core.TaskID]map[int]core.Bitmap // what it signed for, by task and segment
	released []core.TaskID
	buried   []int // versions that it was told to be removed
	wants    []wire.Want
	got      [][]byte // refs
	records  [][]byte
}

func newTown(t *testing.T, names ...string) *town {
	random := rand.NewChaCha8([32]byte{1})
	owner, err := key.NewOwner(random)
	check(t, err)
	self, err := key.NewSigner(random)
	check(t, err)
	w := &town{t: t, owner: owner, store: memory{chunks: map[core.Hash][]byte{}}, sealed: map[core.Hash][]byte{},
		inboxes: map[string]*Inbox{}, kept: t.TempDir()}
	ctx, cancel := context.WithCancelCause(context.Background())
	t.Cleanup(func() {
		cancel(nil)
		check(t, w.Records.Close())
	})
	w.Coordinator = &Coordinator{
		Node: self.ID(), Life: ctx, Owner: func(string) (*key.Owner, error) { return owner, nil },
		Peers: w, Network: w, Transfers: w, Versions: w, Refs: w, Records: placements.OpenRecords(w.kept),
		Ledger: w, Staging: &w.store, Pins: &live.Pins{},
		Here: &w.store, Log: slog.New(slog.DiscardHandler),
		Strategy: func(context.Context, string) (core.Strategy, io.Closer, error) {
			return seed.New(), io.NopCloser(nil), nil
		},
		Bring: w.bring, Cover: w.cover, Sweep: func(context.Context) (core.Collected, error) {
			w.swept++
			return core.Collected{Freed: 42}, nil
		},
	}
	for _, name := range names {
		w.join(name, random)
	}
	return w
}

func (w *town) join(name string, random io.Reader, setup ...func(*peer)) {
	signer, err := key.NewSigner(random)
	check(w.t, err)
	p := &peer{Signer: signer, name: name, free: core.GiB, signs: time.Second,
		keeps: map[core.TaskID]map[int]core.Bitmap{}}
	for _, f := range setup {
		f(p)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.peers = append(w.peers, p)
}

func (w *town) named(name string) *peer {
	return w.peers[slices.IndexFunc(w.peers, func(p *peer) bool { return p.name == name })]
}

func (w *town) peer(id core.ID) *peer {
	if i := slices.IndexFunc(w.peers, func(p *peer) bool { return p.ID() == id }); i >= 0 {
		return w.peers[i]
	}
	return nil
}

// split makes a version of a name, of so many chunks of 1 KiB.
func (w *town) split(name string, number, from, to int) {
	sealer, err := chunk.NewSealer(chunk.NewSecrets(w.owner.DedupSecret), chunk.LevelDefault)
	check(w.t, err)
	s := stager{sealer, w}
	tree := manifest.NewBuilder(s)
	for i := from; i < to; i++ {
		sealed, err := s.seal(core.KindChunk, plain(i))
		check(w.t, err)
		check(w.t, tree.Add(sealed))
	}
	size := core.Size(to-from) * core.KiB
	root, err := tree.Finish(manifest.Info{Size: size, Method: "fixed", Min: 1024, Avg: 1024, Max: 1024})
	check(w.t, err)
	envelope, err := w.owner.SealRef(key.Ref{Version: number, Created: time.Now().Unix()},
		key.RefBody{Name: name, Root: root, Size: size})
	check(w.t, err)
	check(w.t, w.Put(w.owner.Alias(name), number, envelope))
}

// plain is the bytes of a chunk; they do not compress.
func plain(i int) []byte {
	data := make([]byte, 1024)
	rand.NewChaCha8([32]byte{byte(i), byte(i >> 8), 1}).Read(data)
	return data
}

// stager seals into the town's staging.
type stager struct {
	*chunk.Sealer
	w *town
}

func (s stager) SealNode(plain []byte) (core.Sealed, error) { return s.seal(core.KindNode, plain) }

func (s stager) seal(kind core.Kind, plain []byte) (core.Sealed, error) {
	_, k := s.Identify(kind, plain)
	stored, err := s.Seal(nil, kind, k, plain)
	sealed := core.Sealed{Hash: chunk.Hash(stored), Size: core.Size(len(stored)), Key: k, Plain: core.Size(len(plain))}
	s.w.store.chunks[sealed.Hash], s.w.sealed[sealed.Hash] = stored, stored
	return sealed, err
}

// Ask makes the town wire.Asker.
func (w *town) Ask(ctx context.Context, to core.ID, question func(uint64) wire.Message) (wire.Message, error) {
	timer := time.NewTimer(10 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.peer(to)
	m := question(1)
	if _, state := m.(wire.StateQuery); state && p != nil {
		p.asked++
	}
	if p == nil || p.away || p.mute {
		return nil, fmt.Errorf("peer %s is not connected", to.Short())
	}
	switch m := m.(type) {
	case wire.StateQuery:
		return wire.StateReport{Remaining: p.free, Capacity: core.TiB, Up: 1 << 20, Down: 1 << 20, Degraded: p.degraded,
			Links: w.links(p)}, nil
	case wire.Audit:
		if p.deaf || p.old {
			return nil, fmt.Errorf("peer %s did not answer", to.Short())
		}
		return w.proof(p, m), nil
	case wire.RefPut:
		return p.put(m), nil
	case wire.Release:
		r, err := key.OpenRelease(m.Envelope)
		p.released = append(p.released, r.Task)
		if m.Tombstone != nil {
			p.buried = append(p.buried, r.Version)
		}
		return wire.ReleaseDone{}, err
	case wire.RefGet:
		return wire.RefReport{Data: w.store.chunks[m.Record]}, nil
	default:
		return nil, fmt.Errorf("nobody answers %s", m.Type())
	}
}

// proof is what a peer answers an audit with: who keeps nothing signs what it can.
func (w *town) proof(p *peer, m wire.Audit) wire.Message {
	var slices [][]byte
	for _, r := range m.Ranges {
		hash := w.segments[m.Segment].Runs[r.Run].Chunks[r.Chunk].Hash
		stored, err := w.from.Get(w.t.Context(), hash, nil)
		if err != nil { // it is here no more
			stored = w.sealed[hash]
		}
		if p.liar {
			stored = make([]byte, len(stored))
		}
		if kept := p.keeps[m.Task][m.Segment]; !kept.Has(r.Run) || p.forgets {
			return wire.AuditRefuse{Code: core.ReasonUnknown, Reason: "it is not here",
				Lost: []core.Range{{Start: r.Run, Length: 1}}}
		}
		slice, err := audit.Slice(stored, r.Offset)
		if err != nil {
			return wire.AuditRefuse{Code: core.ReasonInternal, Reason: err.Error()}
		}
		slices = append(slices, slice)
	}
	p.audits++
	return wire.AuditProof{Proof: audit.Prove(m.Challenge, slices, p)}
}

func (w *town) links(from *peer) (links []wire.LinkReport) {
	for _, p := range w.peers {
		if p != from && !w.apart {
			links = append(links, wire.LinkReport{ID: p.ID(), Address: p.name, Capacity: 1 << 20})
		}
	}
	return append(links, wire.LinkReport{ID: w.Node, Capacity: 1 << 20})
}

func (p *peer) put(m wire.RefPut) wire.RefOK {
	switch {
	case p.noRefs:
		return wire.RefOK{Code: core.ReasonInternal, Reason: "it takes none"}
	case m.Record.IsZero():
		p.got = append(p.got, m.Ref)
	case m.Offset > 0:
		last := len(p.records) - 1
		p.records[last] = append(p.records[last], m.Data...)
	default:
		p.records = append(p.records, bytes.Clone(m.Data))
	}
	return wire.RefOK{}
}

func (w *town) Await(context.Context) {}

// Reach finds those that are said to be far.
func (w *town) Reach(_ context.Context, ids []core.ID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range ids {
		if p := w.peer(id); p != nil {
			p.far = false
		}
	}
}

func (w *town) Unreached() []string { return []string{"wss://nobody:8001: connection refused"} }

func (w *town) Named(name string) (ids []core.ID, known bool) {
	for _, p := range w.peers {
		if p.name+":8001" == name {
			ids = append(ids, p.ID())
		}
	}
	return ids, len(ids) > 0 || name == "nobody:8001"
}

func (w *town) Connected() (ids []core.ID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.peers {
		if !p.away {
			ids = append(ids, p.ID())
		}
	}
	return ids
}

func (w *town) Known(ids []core.ID) map[core.ID]Peer {
	w.mu.Lock()
	defer w.mu.Unlock()
	known := map[core.ID]Peer{}
	for _, id := range ids {
		if p := w.peer(id); p != nil {
			known[id] = Peer{Address: p.name + ":8001", Reachable: !p.away, Connected: !p.away,
				Capacity: 1 << 20, Refs2: !p.old, Stripes: !p.old, Keeps: !p.old,
				Audited: p.far || !p.old, Far: p.far}
		}
	}
	return known
}

// Send has peers judge a segment.
func (w *town) Send(to []core.ID, m wire.Message) (unsent []core.ID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range to {
		p := w.peer(id)
		if p.away {
			unsent = append(unsent, id)
			continue
		}
		if want, ok := m.(wire.Want); ok {
			p.wants = append(p.wants, want)
		}
		inbox := w.inboxes["task"]
		if task, ok := m.(wire.StorageTask); ok && !p.silent && inbox != nil {
			time.AfterFunc(10*time.Millisecond, func() { w.judge(p, inbox, task) })
		}
	}
	return unsent
}

func (w *town) judge(p *peer, inbox *Inbox, m wire.StorageTask) {
	w.mu.Lock()
	defer w.mu.Unlock()
	asked := core.Size(0)
	for _, span := range m.Locations {
		for run := span.Start; span.Node == p.ID() && run < min(span.Start+span.Length, len(m.Files)); run++ {
			if !p.keeps[m.Task][m.Segment].Has(run) {
				asked += m.Files[run].Size
			}
		}
	}
	if asked > p.free {
		inbox.Refused(p.ID(), wire.TaskRefuse{Task: m.Task, Segment: m.Segment, Code: core.ReasonSpace,
			Reason: "it is full"})
		return
	}
	if p.refuses != 0 {
		inbox.Refused(p.ID(), wire.TaskRefuse{Task: m.Task, Segment: m.Segment, Code: p.refuses, Reason: "so it says"})
		return
	}
	inbox.Agreed(p.ID(), wire.TaskAgree{Task: m.Task, Segment: m.Segment, Have: bytes.Clone(p.keeps[m.Task][m.Segment])})
}

// Self makes the town Network.
func (w *town) Self() core.NodeState { return core.NodeState{ID: w.Node, Address: "self", Up: 1 << 20} }

func (w *town) Ends(ids []core.ID) map[core.ID]LinkEnd {
	ends := map[core.ID]LinkEnd{}
	for id, p := range w.Known(ids) {
		if p.Reachable {
			ends[id] = LinkEnd{Address: w.peer(id).name + ":8001", Direct: true, Capacity: 1 << 20}
		}
	}
	return ends
}

func (w *town) Beyond(map[core.ID]wire.StateReport, map[core.ID]bool) []core.ID { return nil }

// Local makes the town Versions, and Refs.
func (w *town) Local(alias string) ([]version.Found, error) {
	return slices.DeleteFunc(slices.Clone(w.refs),
		func(r version.Found) bool { return alias != "" && r.Ref.Alias != alias }), nil
}

func (w *town) At(_ context.Context, alias string, number int) (found []version.Found, problems []error) {
	for _, p := range w.peers {
		for _, r := range p.refs {
			if r.Ref.Alias == alias && (number == 0 || r.Ref.Version == number) {
				found = append(found, r)
			}
		}
	}
	return found, nil
}

func (w *town) Put(alias string, number int, envelope []byte) error {
	w.Remove(alias, number)
	r, err := version.Open(w.owner, envelope)
	w.refs = append(w.refs, r)
	return err
}

func (w *town) Remove(alias string, number int) error {
	w.refs = slices.DeleteFunc(w.refs, func(r version.Found) bool {
		return r.Ref.Alias == alias && r.Ref.Version == number
	})
	return nil
}

func (w *town) Learn(_ string, _ int, tombstone []byte) error {
	g, err := version.OpenGone(w.owner, tombstone)
	w.gone = append(w.gone, g)
	return err
}

func (w *town) Forget(alias string, number int) error {
	w.gone = slices.DeleteFunc(w.gone, func(g version.Gone) bool { return g.Alias == alias && g.Version == number })
	return nil
}

func (w *town) Gone(alias string) ([]version.Gone, error) {
	return slices.DeleteFunc(slices.Clone(w.gone),
		func(g version.Gone) bool { return alias != "" && g.Alias != alias }), nil
}

func (w *town) SetAway(alias string, number int, away bool) error {
	for i, r := range w.refs {
		if r.Ref.Alias == alias && r.Ref.Version == number {
			w.refs[i].Away = away
		}
	}
	return nil
}

// AppendLicense makes the town Ledger.
func (w *town) AppendLicense(envelope []byte) error {
	w.licenses++
	_, _, _, err := license.Open(envelope)
	return err
}

func (w *town) AppendReceipt([]byte) error { w.receipts++; return nil }
func (w *town) Sync() error                { return nil }

func (w *town) bring(_ context.Context, _ string, wanted []spread.Wanted,
	keep func(run, index int, data []byte) error) (left []int, err error) {
	for run, r := range wanted {
		if p := w.peer(r.Holders[0]); p != nil && p.deaf {
			left = append(left, run)
			continue
		}
		w.brought[0]++
		for i := range r.Chunks {
			if r.Needed.Has(i) {
				w.brought[1]++
				if err := keep(run, i, w.sealed[r.Chunks[i].Hash]); err != nil {
					return nil, err
				}
			}
		}
	}
	return left, nil
}

// cover counts holders on record.
func (w *town) cover(ctx context.Context, refs []version.Found) (func(core.Hash) int, error) {
	copies := map[core.Hash]int{}
	for _, ref := range refs {
		for _, sealed := range ref.Body.Records {
			r, err := version.NewReader(ctx, w.Here).Record(sealed)
			if err != nil {
				return nil, err
			}
			for number, run := range r.Runs {
				for i, c := range run.Chunks {
					if run.Used.Has(i) {
						copies[c.Hash] = max(copies[c.Hash], len(r.Holders(number)))
					}
				}
			}
		}
	}
	return func(h core.Hash) int { return copies[h] }, nil
}

// AwaitStopped has nothing to wait for.
func (w *town) AwaitStopped(context.Context, string) {}

// Enter makes the town Transfers.
func (w *town) Enter(_ context.Context, task core.TaskID, alias string, _ bool, inbox *Inbox) Transfer {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.inboxes[alias] != nil {
		return nil
	}
	w.inboxes[alias], w.inboxes["task"] = inbox, inbox
	return &transfer{w: w, task: task, alias: alias, lacks: map[core.ID]map[int]core.Size{}}
}

// transfer brings each target its runs at once; the target signs for them later, if it does.
type transfer struct {
	w     *town
	task  core.TaskID
	alias string
	lacks map[core.ID]map[int]core.Size
}

func (x *transfer) Begin(segments []*placements.Segment, from version.Chunks, here func(*placements.Segment, int) bool) {
	for _, s := range segments {
		for run := range s.Runs {
			lacks := slices.ContainsFunc(s.Targets, func(id core.ID) bool {
				return slices.Contains(s.Share(id), run) && !s.Has[id].Has(run)
			})
			if run < s.Fresh && lacks && !here(s, run) {
				x.w.t.Errorf("new run %d of segment %d is not here", run, s.Number)
			}
		}
		for _, id := range s.Targets {
			x.bring(s, id)
		}
	}
	x.w.mu.Lock()
	defer x.w.mu.Unlock()
	x.w.segments, x.w.from = segments, from
}

// bring has a target sign for its share of a segment.
func (x *transfer) bring(s *placements.Segment, id core.ID) {
	p := x.w.peer(id)
	share := s.Share(id)
	x.w.mu.Lock()
	defer x.w.mu.Unlock()
	if p.keeps[x.task] == nil {
		p.keeps[x.task] = map[int]core.Bitmap{}
	}
	if p.signs < 0 || len(share) == 0 {
		return
	}
	if p.keeps[x.task][s.Number] == nil {
		p.keeps[x.task][s.Number] = core.NewBitmap(len(s.Runs))
	}
	l, _, _, err := license.Open(s.Message.License)
	check(x.w.t, err)
	envelope, err := license.SignReceipt(core.Receipt{License: l.ID, Task: x.task, Segment: s.Number,
		Runs: core.Ranges(share), Bytes: s.SizeOf(share), RetainUntil: l.RetainUntil, Time: time.Now().Unix()}, p)
	check(x.w.t, err)
	time.AfterFunc(p.signs, func() {
		x.w.mu.Lock()
		defer x.w.mu.Unlock()
		if inbox := x.w.inboxes[x.alias]; inbox != nil && !p.away {
			for _, run := range share {
				p.keeps[x.task][s.Number].Set(run)
			}
			inbox.Receipt(id, envelope)
		}
	})
}

func (x *transfer) Left([]int) map[core.ID]core.Size  { return nil }
func (x *transfer) Loose(int) map[core.ID]core.Bitmap { return nil }
func (x *transfer) Narrow(*placements.Segment)        {}
func (x *transfer) Tables(*placements.Segment)        { x.w.tables++ }
func (x *transfer) Forget(core.ID)                    {}
func (x *transfer) End()                              {}
func (x *transfer) Join(s *placements.Segment, _ []core.Span, id core.ID, _ core.Bitmap) {
	x.bring(s, id)
}

func (x *transfer) Leave() {
	x.w.mu.Lock()
	defer x.w.mu.Unlock()
	delete(x.w.inboxes, x.alias)
	delete(x.w.inboxes, "task")
}

// memory is a storage.Store in memory.
type memory struct{ chunks map[core.Hash][]byte }

func (m *memory) Put(_ context.Context, c core.Chunk, _ core.Hash, data []byte) (bool, error) {
	m.chunks[c.Hash] = bytes.Clone(data)
	return true, nil
}

func (m *memory) Get(_ context.Context, hash core.Hash, dst []byte) ([]byte, error) {
	data, ok := m.chunks[hash]
	if !ok {
		return dst, core.ErrNotFound
	}
	return append(dst, data...), nil
}

func (m *memory) Has(_ context.Context, hash core.Hash) (bool, error) {
	_, ok := m.chunks[hash]
	return ok, nil
}

func (m *memory) Find(context.Context, core.Hash) (core.Chunk, bool, error) {
	return core.Chunk{}, false, nil
}
func (m *memory) Barrier(context.Context) error           { return nil }
func (m *memory) Used(context.Context) (core.Size, error) { return 0, nil }
func (m *memory) Close() error                            { return nil }

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
