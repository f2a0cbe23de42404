package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/spread"
	"github.com/bkp-tool/bkp/core/version"
	"github.com/bkp-tool/bkp/core/wire"
)

// Assembly is what the node asks of who puts files together; core/file does.
type Assembly struct {
	control.FetchArgs
	Root    core.Sealed
	Mode    uint32   // key.RefBody's
	Secrets [32]byte // the owner's dedup secret
	Get     func(ctx context.Context, hash core.Hash, dst []byte) ([]byte, error)
	Bring   func(ctx context.Context, wanted []core.Sealed,
		deliver func(core.Hash, []byte) error) (missing []core.Hash, why error)
	Progress func(done core.Size)
}

// Assembled says where the bytes of a file came from.
type Assembled struct {
	Bytes   core.Size    // plain, in place
	Resumed core.Size    // plain, were in place from before
	Seeded  core.Size    // plain, from a seed
	Stored  core.Size    // stored, from this machine
	Holes   []core.Range // lost, in bytes of the file
	// plain, all from the first wanted byte on that an output took in order: a stream takes nothing twice
	Passed core.Size
}

// fetching is one fetch under way.
type fetching struct {
	n       *Node
	args    control.FetchArgs
	status  func(control.Status)
	reader  *version.Reader
	version version.Found
	at      []core.ID       // peers that have the ref
	offered map[core.ID]int // the version that a peer offered as the newest

	runs    []version.Run
	own     int         // of them: the version's own
	judges  bool        // what holders have, not only what comes of it
	holders [][]core.ID // by run
	where   map[core.Hash]runChunk
	known   map[core.ID]spread.Standing // holders, by what downloads learned of them
	rates   map[core.ID]core.Rate       // what holders say they can send; the loop's

	done Assembled
}

// runChunk is where a chunk stands: its run, and its place in that.
type runChunk struct{ run, index int }

// Fetch brings a version back: what is local first, the rest from all holders at once. Every chunk is verified against
// the manifest; the file appears under its name only when every byte is in place.
func (n *Node) Fetch(ctx context.Context, args control.FetchArgs,
	status func(control.Status)) (control.FetchResult, error) {
	began := time.Now()
	if _, err := n.identity("fetch"); err != nil {
		return control.FetchResult{}, err
	}
	f := newFetching(n, args, status)
	f.reader = n.reader(ctx)
	ctx, done := context.WithCancel(ctx)
	defer done()
	if err := f.run(ctx); err != nil {
		return f.result(began), fmt.Errorf("fetch %s: %w", args.Name, err)
	}
	return f.result(began), nil
}

func newFetching(n *Node, args control.FetchArgs, status func(control.Status)) *fetching {
	return &fetching{n: n, args: args, status: status, where: map[core.Hash]runChunk{},
		known: map[core.ID]spread.Standing{}, rates: map[core.ID]core.Rate{}}
}

func (f *fetching) run(ctx context.Context) error {
	f.status(control.Status{Phase: "find"})
	if err := f.find(ctx); err != nil {
		return err
	}
	if err := f.readRecords(ctx); err != nil {
		return err
	}
	if older := f.withheld(); older != "" {
		f.status(control.Status{Phase: "find", Warning: true, Text: older})
	}
	if err := f.bringNodes(ctx); err != nil {
		return err
	}
	return f.assemble(ctx)
}

// assemble has the file put together: it asks for what this machine has, and for the rest at the holders.
func (f *fetching) assemble(ctx context.Context) (err error) {
	began, total := time.Now(), f.version.Body.Size
	if f.args.End > 0 {
		total = f.args.End - f.args.Start
	}
	var told time.Time
	f.done, err = f.n.Assemble(ctx, Assembly{
		FetchArgs: f.args, Root: f.version.Body.Root, Mode: f.version.Body.Mode, Secrets: f.n.owner().DedupSecret,
		Get: f.get, Bring: f.bring,
		Progress: func(done core.Size) {
			if now := time.Now(); now.Sub(told) > 100*time.Millisecond || done == total {
				told = now
				f.status(control.Status{Phase: "fetch", Done: done, Total: total, Seconds: now.Sub(began).Seconds()})
			}
		},
	})
	if errors.Is(err, core.ErrNotFound) {
		err = core.WithHint(core.Fail(core.CodeRedundant, "the manifest is not on this machine and was never placed: %w", err), "bkp place it from the machine that split it")
	}
	if err == nil {
		err = Lost(f.done.Holes, f.args.Output)
	}
	return err
}

// Lost is the error, core.CodePartial, that holes in an output are; nil without any.
func Lost(holes []core.Range, output string) error {
	var lost core.Size
	for _, h := range holes {
		lost += core.Size(h.Length)
	}
	if lost == 0 {
		return nil
	}
	if output == "-" {
		output = "what was written"
	}
	return core.Fail(core.CodePartial, "%s in %d places could be had from nowhere and are zeros in %s", lost,
		len(holes), output)
}

// get appends the stored bytes of what is on this machine. Safe for many goroutines.
func (f *fetching) get(ctx context.Context, hash core.Hash, dst []byte) ([]byte, error) {
	return f.reader.Get(ctx, hash, dst)
}

// bring gets chunks from their holders, all at once.
func (f *fetching) bring(ctx context.Context, wanted []core.Sealed,
	deliver func(core.Hash, []byte) error) (missing []core.Hash, why error) {
	need := map[int]core.Bitmap{}
	var order []int
	for _, s := range wanted {
		at, placed := f.where[s.Hash]
		if !placed {
			missing = append(missing, s.Hash)
			why = core.WithHint(errNotHere, "if the file is still there, bkp split it again")
			continue
		}
		if need[at.run] == nil {
			need[at.run] = core.NewBitmap(len(f.runs[at.run].Chunks))
			order = append(order, at.run)
		}
		need[at.run].Set(at.index)
	}
	runs := make([]spread.Wanted, len(order))
	for i, run := range order {
		runs[i] = spread.Wanted{Run: f.runs[run].Run, Needed: need[run], Holders: f.holders[run]}
	}
	left, _, err := f.download(ctx, runs, "fetch", func(_ core.ID, run, index int, data []byte) error {
		return deliver(runs[run].Chunks[index].Hash, data)
	})
	for _, run := range left {
		for i, c := range runs[run].Chunks {
			if runs[run].Needed.Has(i) {
				missing = append(missing, c.Hash)
			}
		}
	}
	return missing, cmp.Or(err, why)
}

func (f *fetching) result(began time.Time) control.FetchResult {
	r := control.FetchResult{
		Name: f.args.Name, Version: f.version.Ref.Version, Output: f.args.Output, Bytes: f.version.Body.Size,
		Seconds: time.Since(began).Seconds(),
	}
	r.Resumed, r.Seeded, r.Holes = f.done.Resumed, f.done.Seeded, f.done.Holes
	if f.args.End > 0 {
		r.Bytes = f.args.End - f.args.Start
	}
	if f.done.Stored > 0 {
		r.Sources = append(r.Sources, control.Source{Address: "this machine", Bytes: f.done.Stored})
	}
	f.n.ask(func() {
		for id, s := range f.known {
			if s.Got > 0 {
				r.Sources = append(r.Sources, control.Source{Node: id, Address: f.n.addressOf(id), Bytes: s.Got})
			}
			if s.Lost != "" {
				r.Lost = append(r.Lost, control.Refused{Node: id, Address: f.n.addressOf(id), Reason: s.Lost})
			}
		}
	})
	slices.SortFunc(r.Sources, func(a, b control.Source) int { return cmp.Compare(b.Bytes, a.Bytes) })
	slices.SortFunc(r.Lost, func(a, b control.Refused) int { return a.Node.Compare(b.Node) })
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
	f.hearRates(ctx)
	remote, problems := n.refsAt(ctx, alias, f.args.Version)
	refs = append(refs, remote...)
	refs = slices.DeleteFunc(refs, func(r version.Found) bool {
		return f.args.Version != 0 && r.Ref.Version != f.args.Version
	})
	if len(refs) == 0 {
		err := core.Fail(core.CodeNoName, "no version%s is known here or at a reachable peer%s",
			versionSuffix(f.args.Version), because(append(problems, n.unreached()...)))
		return core.WithHint(err, "bkp ls lists what there is; is the right identity in place, and are the peers up (bkp peers)?")
	}
	f.version = version.Newest(refs)
	if fork := version.Forked(f.version, refs); fork != "" {
		f.status(control.Status{Phase: "find", Warning: true, Text: fork})
	}
	f.offered = map[core.ID]int{}
	for _, r := range refs {
		if f.args.Version == 0 && !r.At.IsZero() {
			f.offered[r.At] = r.Ref.Version
		}
		if !r.At.IsZero() && r.Ref.Version == f.version.Ref.Version {
			f.at = append(f.at, r.At)
		}
	}
	return nil
}

// hearRates asks all peers what they can send. Nothing waits for their answers: who has said nothing when a run is
// wanted is asked for one, to see what it agrees to.
func (f *fetching) hearRates(ctx context.Context) {
	n := f.n
	n.ask(func() {
		for _, p := range n.connected() {
			n.act(func() {
				r, err := query[wire.StateReport](ctx, n, p.id,
					func(id uint64) wire.Message { return wire.StateQuery{Query: id} })
				if err == nil {
					n.post(func() { f.rates[p.id], _ = core.Credible(r.Up, nil, r.LinkTo(n.ID()).Measured) })
				}
			})
		}
	})
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

// readRecords brings the segment records and indexes their runs. A version that was not placed, or in part, may consist
// of chunks that peers keep for others: those of this machine are asked too.
func (f *fetching) readRecords(ctx context.Context) error {
	for i, sealed := range f.version.Body.Records {
		stored, err := f.record(ctx, sealed)
		if err != nil {
			return fmt.Errorf("segment record %d: %w", i, err)
		}
		r, err := f.reader.OpenRecord(sealed, stored)
		if err != nil {
			return fmt.Errorf("segment record %d: %w", i, err)
		}
		f.learn(r)
	}
	f.own = len(f.runs)
	if f.own > 0 && !slices.ContainsFunc(f.holders, func(h []core.ID) bool { return len(h) == 0 }) {
		return nil
	}
	refs, err := f.n.localRefs("")
	if err != nil {
		return err
	}
	for _, ref := range refs {
		for _, sealed := range ref.Body.Records {
			if r, err := f.reader.Record(sealed); err == nil { // what is missed shows where a chunk is found nowhere
				f.learn(r)
			}
		}
	}
	return nil
}

// learn indexes the runs of a record; of two that keep a chunk the one with more holders counts.
func (f *fetching) learn(r version.Record) {
	for number, run := range r.Runs {
		holders := r.Holders(number)
		for index, c := range run.Chunks {
			if old, ok := f.where[c.Hash]; run.Used.Has(index) && (!ok || len(f.holders[old.run]) < len(holders)) {
				f.where[c.Hash] = runChunk{len(f.runs), index}
			}
		}
		f.runs = append(f.runs, run)
		f.holders = append(f.holders, holders)
	}
}

func (f *fetching) record(ctx context.Context, sealed core.Sealed) ([]byte, error) {
	stored, err := f.reader.Stored(sealed.Hash)
	if err == nil {
		return stored, nil
	}
	err = core.Fail(core.CodeRedundant, "no reachable peer has it")
	f.n.ask(func() { // the fastest first
		slices.SortStableFunc(f.at, func(a, b core.ID) int { return cmp.Compare(f.rates[b], f.rates[a]) })
	})
	for _, id := range f.at {
		if stored, err = version.RecordAt(ctx, asker{f.n}, id, f.version.Ref, sealed); err == nil {
			return stored, nil
		}
	}
	return nil, err
}

// isLocal reports whether sealed bytes are on this machine, whole.
func (f *fetching) isLocal(hash core.Hash) bool {
	_, err := f.reader.Stored(hash)
	return err == nil
}

// bringNodes makes every tree node of the manifest local.
func (f *fetching) bringNodes(ctx context.Context) error {
	var wanted []spread.Wanted
	for i, run := range f.runs[:f.own] {
		need := core.NewBitmap(len(run.Chunks))
		for index, c := range run.Chunks {
			if run.Type == core.TypeDirectory && run.Used.Has(index) && !f.isLocal(c.Hash) {
				need.Set(index)
			}
		}
		if need.Count(len(run.Chunks)) > 0 {
			wanted = append(wanted, spread.Wanted{Run: run.Run, Needed: need, Holders: f.holders[i]})
		}
	}
	var mu sync.Mutex
	left, _, err := f.download(ctx, wanted, "manifest", func(_ core.ID, run, index int, data []byte) error {
		mu.Lock()
		defer mu.Unlock()
		f.reader.Add(wanted[run].Chunks[index].Hash, slices.Clone(data))
		return nil
	})
	if err == nil && len(left) > 0 {
		err = core.Fail(core.CodeRedundant, "the manifest is at no reachable holder")
	}
	return err
}

// download brings wanted runs. Those that nobody left can bring come back, with the reason.
func (f *fetching) download(ctx context.Context, wanted []spread.Wanted, what string,
	keep func(from core.ID, run, index int, data []byte) error) (left, wrong []int, why error) {
	f.n.ask(func() {
		for id, rate := range f.rates {
			if s := f.known[id]; s.Rate == 0 {
				s.Rate = rate
				f.known[id] = s
			}
		}
	})
	return f.n.download(ctx, &order{alias: f.version.Ref.Alias, wanted: wanted, holders: f.known, judges: f.judges,
		what: what, keep: keep})
}

// withheld names holders of the version that offered an older one as the newest.
func (f *fetching) withheld() string {
	var who []string
	for _, holders := range f.holders {
		for _, id := range holders {
			if v := f.offered[id]; v > 0 && v < f.version.Ref.Version && !slices.Contains(who, id.Short()) {
				who = append(who, id.Short())
			}
		}
	}
	if len(who) == 0 {
		return ""
	}
	return fmt.Sprintf("by its record version %d is also at %s: an older one is offered there as the newest",
		f.version.Ref.Version, strings.Join(who, ", "))
}
