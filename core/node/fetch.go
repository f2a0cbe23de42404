package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/manifest"
)

// Target is a file that is being written. core/file has the one that appears under its name only when it is whole.
type Target interface {
	WriteAt(plain []byte, at int64) (int, error)
	Commit() error
	Abort()
}

// orphanPatience is how long a fetch waits for a lost holder to come back when nobody else has a run.
const orphanPatience = 10 * time.Second

// fetching is one fetch under way.
type fetching struct {
	n       *Node
	args    FetchArgs
	status  func(Status)
	vault   *vault
	version foundRef
	at      []core.ID // peers that have the ref

	runs    []recordedRun
	holders [][]core.ID // by run
	where   map[core.Hash]runChunk
	lost    map[core.ID]string
	got     map[core.ID]core.Size
	local   core.Size // stored bytes read on this machine

	target  Target
	wants   map[core.Hash]*want
	openers sync.Map // core.ID → *chunk.Opener; one data reader a holder
	done    atomic.Int64
}

// runChunk is where a chunk stands: its run, and its place in that.
type runChunk struct{ run, index int }

// want is a chunk and every place of the file where it goes.
type want struct {
	sealed  core.Sealed
	offsets []core.Size
}

// Fetch brings a version back: what is local first, the rest from all holders at once. Every chunk is verified against
// the manifest; the file appears under its name only when every byte is in place.
func (n *Node) Fetch(ctx context.Context, args FetchArgs, status func(Status)) (FetchResult, error) {
	began := time.Now()
	if _, err := n.identity("fetch"); err != nil {
		return FetchResult{}, err
	}
	v, err := n.vault()
	if err != nil {
		return FetchResult{}, err
	}
	f := &fetching{n: n, args: args, status: status, vault: v, where: map[core.Hash]runChunk{}, wants: map[core.Hash]*want{},
		lost: map[core.ID]string{}, got: map[core.ID]core.Size{}}
	if err := f.run(ctx); err != nil {
		return f.result(began), fmt.Errorf("fetch %s: %w", args.Name, err)
	}
	return f.result(began), nil
}

func (f *fetching) run(ctx context.Context) error {
	f.status(Status{Phase: "find"})
	if err := f.find(ctx); err != nil {
		return err
	}
	if err := f.readRecords(ctx); err != nil {
		return err
	}
	if err := f.bringNodes(ctx); err != nil {
		return err
	}
	target, err := f.n.Target(f.args.Output, f.version.Body.Size, f.args.Force)
	if err != nil {
		return err
	}
	f.target = target
	if err := f.bringChunks(ctx); err != nil {
		target.Abort()
		return err
	}
	return target.Commit()
}

func (f *fetching) result(began time.Time) FetchResult {
	r := FetchResult{
		Name: f.args.Name, Version: f.version.Ref.Version, Output: f.args.Output, Bytes: f.version.Body.Size, Seconds: time.Since(began).Seconds(),
	}
	if f.local > 0 {
		r.Sources = append(r.Sources, Source{Address: "this machine", Bytes: f.local})
	}
	f.n.ask(func() {
		for id, bytes := range f.got {
			r.Sources = append(r.Sources, Source{Node: id, Address: f.n.addressOf(id), Bytes: bytes})
		}
		for id, reason := range f.lost {
			r.Lost = append(r.Lost, Refused{Node: id, Address: f.n.addressOf(id), Reason: reason})
		}
	})
	slices.SortFunc(r.Sources, func(a, b Source) int { return cmp.Compare(b.Bytes, a.Bytes) })
	slices.SortFunc(r.Lost, func(a, b Refused) int { return a.Node.Compare(b.Node) })
	return r
}

// addressOf is where a peer is reached, as far as this node has met it. Loop only.
func (n *Node) addressOf(id core.ID) string {
	if p := n.peers[id]; p != nil {
		return p.address
	}
	return ""
}

// find chooses the version: the highest that this machine or any reachable peer knows, or the one that was asked for.
func (f *fetching) find(ctx context.Context) error {
	n := f.n
	alias := n.owner().Alias(f.args.Name)
	refs, err := n.localRefs(alias)
	if err != nil {
		return err
	}
	n.awaitPeers(ctx)
	remote, problems := n.refsAt(ctx, alias, f.args.Version)
	refs = append(refs, remote...)
	refs = slices.DeleteFunc(refs, func(r foundRef) bool {
		return f.args.Version != 0 && r.Ref.Version != f.args.Version
	})
	if len(refs) == 0 {
		err := core.Fail(core.CodeNoName, "no version%s is known here or at a reachable peer%s", versionSuffix(f.args.Version), because(problems))
		return core.WithHint(err, "bkp ls lists what there is; is the right identity in place, and are the peers up (bkp peers)?")
	}
	f.version = slices.MaxFunc(refs, func(a, b foundRef) int {
		return cmp.Or(cmp.Compare(a.Ref.Version, b.Ref.Version), cmp.Compare(len(a.Body.Records), len(b.Body.Records)), cmp.Compare(a.Ref.Created, b.Ref.Created))
	})
	for _, r := range refs {
		if !r.At.IsZero() && r.Ref.Version == f.version.Ref.Version {
			f.at = append(f.at, r.At)
		}
	}
	return nil
}

func versionSuffix(version int) string {
	if version == 0 {
		return ""
	}
	return fmt.Sprintf(" %d", version)
}

func because(problems []string) string {
	if len(problems) == 0 {
		return ""
	}
	return " (" + strings.Join(problems, "; ") + ")"
}

// localRefs opens this machine's refs of an alias, or all where it is empty.
func (n *Node) localRefs(alias string) ([]foundRef, error) {
	stored, err := n.Refs.List()
	if err != nil {
		return nil, fmt.Errorf("list refs: %w", err)
	}
	var found []foundRef
	for _, s := range stored {
		if alias != "" && s.Alias != alias {
			continue
		}
		ref, body, err := n.openRef(s.Envelope)
		if err != nil {
			return nil, fmt.Errorf("DATA/refs/%s/%d: %w", s.Alias, s.Version, err)
		}
		found = append(found, foundRef{Ref: ref, Body: body, Envelope: s.Envelope})
	}
	return found, nil
}

// readRecords brings the segment records and indexes their runs.
func (f *fetching) readRecords(ctx context.Context) error {
	for i, sealed := range f.version.Body.Records {
		stored, err := f.record(ctx, sealed)
		if err != nil {
			return fmt.Errorf("segment record %d: %w", i, err)
		}
		r, err := f.vault.openRecord(sealed, stored)
		if err != nil {
			return fmt.Errorf("segment record %d: %w", i, err)
		}
		for number, run := range r.Runs {
			for index, c := range run.Chunks {
				f.where[c.Hash] = runChunk{len(f.runs), index}
			}
			f.runs = append(f.runs, run)
			f.holders = append(f.holders, r.holders(number))
		}
	}
	return nil
}

func (f *fetching) record(ctx context.Context, sealed core.Sealed) ([]byte, error) {
	stored, err := f.vault.stored(sealed.Hash)
	if err == nil {
		return stored, nil
	}
	err = core.Fail(core.CodeRedundant, "no reachable peer has it")
	for _, id := range f.at {
		if stored, err = f.n.getRecord(ctx, id, f.version.Ref, sealed); err == nil {
			return stored, nil
		}
	}
	return nil, err
}

// isLocal reports whether sealed bytes are on this machine.
func (f *fetching) isLocal(hash core.Hash) bool {
	_, brought := f.vault.nodes[hash]
	return brought || f.n.Staging.Has(hash) || f.n.Keeping.Has(hash)
}

// bringNodes makes every tree node of the manifest local.
func (f *fetching) bringNodes(ctx context.Context) error {
	f.vault.nodes = map[core.Hash][]byte{}
	var wanted []*wantedRun
	for i, run := range f.runs {
		need := core.NewBitmap(len(run.Chunks))
		for index, c := range run.Chunks {
			if run.Type == core.TypeDirectory && run.Used.Has(index) && !f.isLocal(c.Hash) {
				need.Set(index)
			}
		}
		if need.Count(len(run.Chunks)) > 0 {
			wanted = append(wanted, newWantedRun(run.Run, need, f.holders[i]))
		}
	}
	var mu sync.Mutex
	return f.gather(ctx, wanted, "manifest", func(_ core.ID, _ int, _ *wantedRun, c core.Chunk, data []byte) error {
		mu.Lock()
		defer mu.Unlock()
		f.vault.nodes[c.Hash] = slices.Clone(data)
		return nil
	})
}

// bringChunks walks the manifest, writes what is local and gathers the rest.
func (f *fetching) bringChunks(ctx context.Context) error {
	need := map[int]core.Bitmap{}
	var order []int
	err := manifest.Walk(f.version.Body.Root, f.vault, func(e manifest.Entry) error {
		if e.Hole() {
			f.done.Add(int64(e.Span))
			return nil
		}
		w := f.wants[e.Chunk.Hash]
		if w == nil {
			w = &want{sealed: e.Chunk}
			f.wants[e.Chunk.Hash] = w
			if at, ok := f.where[e.Chunk.Hash]; ok && !f.isLocal(e.Chunk.Hash) {
				if need[at.run] == nil {
					need[at.run] = core.NewBitmap(len(f.runs[at.run].Chunks))
					order = append(order, at.run)
				}
				need[at.run].Set(at.index)
			}
		}
		w.offsets = append(w.offsets, e.Offset)
		return nil
	})
	if errors.Is(err, core.ErrNotFound) {
		return core.WithHint(core.Fail(core.CodeRedundant, "the manifest is not on this machine and was never placed: %w", err), "bkp place it from the machine that split it")
	}
	if err != nil {
		return err
	}
	stop := f.report("fetch")
	defer stop()
	if err := f.writeLocal(ctx); err != nil {
		return err
	}
	var wanted []*wantedRun
	for _, run := range order {
		wanted = append(wanted, newWantedRun(f.runs[run].Run, need[run], f.holders[run]))
	}
	return f.gather(ctx, wanted, "fetch", f.write)
}

// writeLocal writes every wanted chunk that this machine has.
func (f *fetching) writeLocal(ctx context.Context) error {
	opener := chunk.NewOpener()
	for hash, w := range f.wants {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if !f.isLocal(hash) {
			if _, placed := f.where[hash]; !placed {
				return core.WithHint(core.Fail(core.CodeRedundant, "chunk %s at byte %d is neither on this machine nor placed", hash, w.offsets[0]),
					"if the file is still there, bkp split it again")
			}
			continue
		}
		stored, err := f.vault.stored(hash)
		if err != nil {
			return fmt.Errorf("chunk at byte %d: %w", w.offsets[0], err)
		}
		if err := f.put(opener, w, stored); err != nil {
			return err
		}
		f.local += core.Size(len(stored))
	}
	return nil
}

// write opens a chunk that a holder sent and writes it wherever it goes. It runs on that holder's data reader.
func (f *fetching) write(from core.ID, _ int, _ *wantedRun, c core.Chunk, data []byte) error {
	made, ok := f.openers.Load(from)
	if !ok {
		made, _ = f.openers.LoadOrStore(from, chunk.NewOpener())
	}
	return f.put(made.(*chunk.Opener), f.wants[c.Hash], data)
}

func (f *fetching) put(opener *chunk.Opener, w *want, stored []byte) error {
	plain, err := opener.OpenSealed(nil, core.KindChunk, w.sealed, stored)
	if err != nil {
		return fmt.Errorf("chunk at byte %d: %w", w.offsets[0], err)
	}
	for _, at := range w.offsets {
		if _, err := f.target.WriteAt(plain, int64(at)); err != nil {
			return fmt.Errorf("write %s: %w", f.args.Output, err)
		}
		f.done.Add(int64(len(plain)))
	}
	return nil
}

// report posts progress until stop is called.
func (f *fetching) report(phase string) (stop func()) {
	ctx, cancel := context.WithCancel(f.n.ctx)
	began := time.Now()
	finished := make(chan struct{})
	f.n.act(func() {
		defer close(finished)
		for {
			f.status(Status{Phase: phase, Done: core.Size(f.done.Load()), Total: f.version.Body.Size, Seconds: time.Since(began).Seconds()})
			if !f.n.pause(ctx, 250*time.Millisecond) {
				return
			}
		}
	})
	return func() { cancel(); <-finished }
}

// gather brings wanted runs, or says which run nobody left can bring.
func (f *fetching) gather(ctx context.Context, wanted []*wantedRun, phase string, keep func(core.ID, int, *wantedRun, core.Chunk, []byte) error) error {
	if len(wanted) == 0 {
		return nil
	}
	n := f.n
	g := &gather{
		n: n, owner: n.owner().ID(), alias: f.version.Ref.Alias, pending: wanted, takers: map[core.ID]*taker{},
		lost: f.lost, got: f.got, changed: make(chan struct{}, 1), keep: keep,
	}
	n.ask(g.start)
	defer n.ask(g.stop)
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	var orphaned time.Time
	for {
		var open int
		var orphan *wantedRun
		n.ask(func() {
			open = g.open
			g.forgive()
			orphan, _ = g.orphan()
			g.driveAll()
		})
		switch {
		case open == 0:
			return nil
		case orphan == nil:
			orphaned = time.Time{}
		case orphaned.IsZero():
			orphaned = time.Now()
		case time.Since(orphaned) > orphanPatience:
			return f.unreachable(orphan, phase)
		}
		select {
		case <-g.changed:
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-n.ctx.Done():
			return errStopped
		}
	}
}

func (f *fetching) unreachable(r *wantedRun, phase string) error {
	var why []string
	f.n.ask(func() {
		for _, id := range r.holders {
			why = append(why, fmt.Sprintf("%s: %s", cmp.Or(f.n.addressOf(id), id.Short()), f.lost[id]))
		}
	})
	return core.WithHint(core.Fail(core.CodeRedundant, "%s run %s (%s) is at no reachable holder (%s)", phase, r.Name, r.Size, strings.Join(why, "; ")),
		"start those nodes, or name them with --peers, and fetch again")
}
