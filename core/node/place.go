package node

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/manifest"
	"github.com/bkp-tool/bkp/core/plan"
	"github.com/bkp-tool/bkp/core/version"
)

// defaultRetain is how long targets are asked to keep a version.
const defaultRetain = 5 * 365 * 24 * time.Hour

// Place gives a version to peers: it asks everybody for their state, has the strategy price them, plans, licenses each
// segment, sends what nobody keeps yet, waits for receipts, and leaves records and the ref with every target.
func (n *Node) Place(ctx context.Context, args control.PlaceArgs,
	status func(control.Status)) (control.PlaceResult, error) {
	if _, err := n.identity("place"); err != nil {
		return control.PlaceResult{}, err
	}
	followPlan(&args)
	if args.Replicas < 1 {
		return control.PlaceResult{}, core.Fail(core.CodeUsage, "place: %d replicas: want at least 1", args.Replicas)
	}
	pl := &placing{n: n, args: args, status: status, reader: n.reader(ctx), changed: make(chan struct{}, 1)}
	if _, err := rand.Read(pl.task[:]); err != nil {
		return control.PlaceResult{}, fmt.Errorf("draw task: %w", err)
	}
	defer func() { n.stagedPins.Release(pl.recalled) }()
	err := pl.run(ctx)
	name := cmp.Or(pl.version.Body.Name, args.Name)
	if err != nil {
		err = fmt.Errorf("place %s: %w", name, err)
	}
	return pl.result, err
}

// placing is one placement under way, at its coordinator. The fields up to segments are set before the loop sees it;
// what stands in segments and below belongs to the loop.
type placing struct {
	n       *Node
	args    control.PlaceArgs
	status  func(control.Status)
	reader  *version.Reader
	version version.Found
	next    key.Ref // what the version's next envelope says, but for Placed
	task    core.TaskID
	from    Chunks        // has the bytes of new runs; nil: staging
	life    time.Duration // of the licences; 0: licenseLife
	result  control.PlaceResult

	snapshot core.Snapshot
	fresh    []core.Run     // new runs
	reused   [][]*reusedRun // by class, one class for each set of holders
	classes  []plan.Class   // the new runs' first
	request  plan.Request
	plan     *plan.Plan
	index    map[core.ID]int    // of nodes in the snapshot
	here     map[core.Hash]bool // reused runs whose bytes are on this machine
	recalled []core.Chunk       // claimed in staging
	far      bool               // some nodes are reached through others only
	changed  chan struct{}      // one word after every change

	segments []*placedSegment
	offered  int                   // of them, to their targets
	lost     map[core.ID]time.Time // targets that are away, since when
	failed   map[core.ID]string    // targets given up, and why
	began    time.Time
	last     time.Time // of the last receipt
	finished map[core.ID]time.Time
	asked    bool // for receipts once more, since none came
	homeless bool // copies of targets that were given up want another place
	pace     *plan.Pace
	heard    map[core.ID]bool // peers that came after the survey
	joined   int              // the first of them in the snapshot, of those that came last
	noMore   map[core.ID]bool // targets that refused a further licence
	barred   map[int]bool     // nodes of the snapshot that the strategy does not allow
	room     []core.Size      // what is left on each node of the snapshot, once somebody asked
	notes    []string         // for the person who waits
}

// reusedRun is a run of an earlier task and what this version uses of it.
type reusedRun struct {
	version.Run
	holders []int // in the snapshot
	whole   bool  // they keep every chunk of it, and can pass it on
}

func (pl *placing) run(ctx context.Context) error {
	n := pl.n
	pl.status(control.Status{Phase: "plan"})
	if err := pl.choose(); err != nil {
		return err
	}
	n.awaitPeers(ctx)
	if err := pl.chain(ctx); err != nil {
		return err
	}
	if err := pl.survey(ctx); err != nil {
		return err
	}
	if err := pl.collect(ctx); err != nil {
		return err
	}
	if err := pl.decide(ctx); err != nil {
		return err
	}
	pl.describe()
	pl.show()
	pl.cut()
	if pl.args.DryRun {
		return nil
	}
	if err := pl.recallUnlinked(ctx); err != nil {
		return err
	}
	if err := pl.licenseAll(); err != nil {
		return err
	}
	if err := pl.enter(); err != nil {
		return err
	}
	defer n.ask(func() { pl.leave() })
	err := pl.offer(ctx)
	if err == nil {
		err = pl.look(ctx)
	}
	if err != nil {
		pl.withdraw(ctx)
		return err
	}
	n.ask(pl.send)
	incomplete := pl.await(ctx)
	if ctx.Err() != nil {
		return pl.interrupted(ctx)
	}
	pl.measured()
	if err := pl.publish(ctx); err != nil {
		if incomplete != nil {
			err = fmt.Errorf("%w; %w", incomplete, err)
		}
		return err
	}
	if incomplete == nil {
		n.stagedPins.Release(pl.recalled)
		pl.recalled = nil
		pl.letGo(ctx)
	}
	return incomplete
}

// lastReceipts is how long the receipts for what just arrived are waited for, where a placement is stopped.
const lastReceipts = 500 * time.Millisecond

// interrupted notes what has receipts, so that the next placement goes on from there, and says so.
func (pl *placing) interrupted(ctx context.Context) error {
	why := fmt.Errorf("stopped: %w", context.Cause(ctx))
	pl.n.ask(func() { pl.leaveSwarm() })
	pl.n.pause(pl.n.ctx, lastReceipts)
	any := false
	pl.n.ask(func() {
		for _, s := range pl.segments {
			any = any || len(s.keptSpans()) > 0
		}
	})
	if !any {
		pl.withdraw(pl.n.ctx)
		return why
	}
	short, cancel := context.WithTimeout(pl.n.ctx, 10*time.Second)
	defer cancel()
	pl.reader = pl.reader.Within(short) // the one that the placement was given has ended
	if err := pl.publish(short); err != nil {
		return fmt.Errorf("%w; what has receipts could not be noted: %w", why, err)
	}
	return core.WithHint(why, "bkp place %s again: what has receipts is not sent twice", pl.version.Body.Name)
}

// enter puts the placement on the loop, unless one of the same name is there.
func (pl *placing) enter() error {
	busy := false
	pl.n.ask(func() {
		for _, other := range pl.n.places {
			busy = busy || other.version.Ref.Alias == pl.version.Ref.Alias
		}
		if !busy {
			pl.n.places[pl.task] = pl
		}
	})
	if busy {
		return core.WithHint(core.Fail(core.CodeBusy, "another placement of it is running"),
			"wait for it: bkp node status")
	}
	return nil
}

// leave takes the placement off the loop. Loop only.
func (pl *placing) leave() {
	delete(pl.n.places, pl.task)
	pl.leaveSwarm()
}

// leaveSwarm stops what this node sends. Loop only.
func (pl *placing) leaveSwarm() {
	if s := pl.n.swarms[pl.task]; s != nil {
		s.end()
	}
}

// choose finds the version on this machine.
func (pl *placing) choose() error {
	n := pl.n
	alias := ""
	if pl.args.Name != "" {
		alias = n.owner().Alias(pl.args.Name)
	}
	refs, err := n.localRefs(alias)
	if err != nil {
		return err
	}
	refs = slices.DeleteFunc(refs, func(r version.Found) bool {
		return pl.args.Version != 0 && r.Ref.Version != pl.args.Version || alias == "" && len(r.Body.Records) > 0
	})
	switch {
	case len(refs) > 0:
	case pl.args.Name == "":
		return core.WithHint(core.Fail(core.CodeNoName, "there is no version that is not placed yet"),
			"bkp split FILE first, or name a version to place again: bkp place NAME")
	default:
		return core.WithHint(core.Fail(core.CodeNoName, "there is no version%s of it on this machine",
			versionSuffix(pl.args.Version)), "bkp ls lists what there is")
	}
	if alias == "" {
		pl.version = slices.MaxFunc(refs, func(a, b version.Found) int {
			return cmp.Or(cmp.Compare(a.Ref.Created, b.Ref.Created), cmp.Compare(a.Ref.Version, b.Ref.Version))
		})
	} else {
		pl.version = slices.MaxFunc(refs, func(a, b version.Found) int { return cmp.Compare(a.Ref.Version, b.Ref.Version) })
	}
	return nil
}

// chain finds out from this machine's refs and the peers' what the version's next envelope says. It is an error where
// peers keep other content under this number, or a later version as another machine of this owner split it: one number
// stands for one content, and the newest must be the one that a fetch brings.
func (pl *placing) chain(ctx context.Context) error {
	ref := pl.version.Ref
	local, err := pl.n.localRefs(ref.Alias)
	if err != nil {
		return err
	}
	same, _ := pl.n.refsAt(ctx, ref.Alias, ref.Version)
	newest, _ := pl.n.refsAt(ctx, ref.Alias, 0)
	for _, r := range append(same, newest...) {
		known := slices.ContainsFunc(local, r.SameContent)
		if !known && (r.Ref.Version == ref.Version || r.Ref.Version > ref.Version && pl.isForeign(ctx, r)) {
			return core.WithHint(core.Fail(core.CodeFailed, "peers keep version %d of it as another machine split it, or this one before it was set back; "+
				"this machine's version %d would take its place", r.Ref.Version, ref.Version),
				"split it under another name: bkp split FILE --name NAME")
		}
	}
	pl.next = key.Ref{Version: ref.Version, Prev: version.Previous(pl.version, local),
		Created: version.Created(pl.version, append(local, same...))}
	return nil
}

// isForeign reports whether another node placed what a ref at a peer points to, as its first record tells.
func (pl *placing) isForeign(ctx context.Context, r version.Found) bool {
	if len(r.Body.Records) == 0 {
		return false
	}
	stored, err := version.RecordAt(ctx, asker{pl.n}, r.At, r.Ref, r.Body.Records[0])
	if err != nil {
		return false // the peer itself keeps one machine's version from another's
	}
	first, err := pl.reader.OpenRecord(r.Body.Records[0], stored)
	return err == nil && first.Source != pl.n.ID()
}

// each runs f for 0 to count-1 at once and waits.
func (n *Node) each(count int, f func(i int)) {
	done := make(chan struct{})
	for i := range count {
		n.act(func() { f(i); done <- struct{}{} })
	}
	for range count {
		<-done
	}
}

// collect walks the manifest and sorts its chunks: those that live tasks cover, and the rest in new runs, the
// manifest's own tree nodes last.
func (pl *placing) collect(ctx context.Context) error {
	covered, err := pl.coverage()
	if err != nil {
		return err
	}
	pl.result.Bytes = 0
	seen := map[core.Hash]bool{}
	uses := map[core.Hash]*reusedRun{}
	var order []*reusedRun
	var fresh [2][]core.Chunk // content, tree nodes
	var bytes core.Size
	err = manifest.Nodes(pl.version.Body.Root, pl.reader, func(e manifest.Entry) error {
		if e.Hole() || seen[e.Chunk.Hash] {
			return context.Cause(ctx)
		}
		seen[e.Chunk.Hash] = true
		pl.result.Bytes += e.Chunk.Size
		if at, ok := covered[e.Chunk.Hash]; ok {
			r := uses[at.run.Hash]
			if r == nil {
				r = &reusedRun{Run: at.run.Run, holders: at.run.holders, whole: at.run.whole}
				r.Used = core.NewBitmap(len(r.Chunks))
				uses[at.run.Hash] = r
				order = append(order, r)
			}
			r.Used.Set(at.index)
			return nil
		}
		kind := 0
		if e.Type == core.TypeDirectory {
			kind = 1
		}
		fresh[kind] = append(fresh[kind], core.Chunk{Hash: e.Chunk.Hash, Size: e.Chunk.Size})
		bytes += e.Chunk.Size
		return nil
	})
	if err != nil {
		return fmt.Errorf("walk the manifest: %w", err)
	}
	order = slices.DeleteFunc(order, func(r *reusedRun) bool {
		stays := len(r.holders) >= pl.args.Replicas || r.whole
		if !stays && err == nil {
			stays, err = pl.staged(ctx, r.Chunks)
		}
		if stays || err != nil {
			return false
		}
		// It would have to be sent again, and nobody can send it as a whole.
		kind := 0
		if r.Type == core.TypeDirectory {
			kind = 1
		}
		for i, c := range r.Chunks {
			if r.Used.Has(i) {
				fresh[kind] = append(fresh[kind], c)
				bytes += c.Size
			}
		}
		return true
	})
	if err != nil {
		return err
	}
	if err := pl.recall(ctx, slices.Concat(fresh[0], fresh[1]), covered); err != nil {
		return err
	}
	g := grouper{prefix: fmt.Sprintf("%s.%d", pl.version.Ref.Alias, pl.version.Ref.Version), limit: core.RunSize(bytes)}
	for _, c := range fresh[0] {
		g.add(core.TypeFile, c)
	}
	for _, c := range fresh[1] {
		g.add(core.TypeDirectory, c)
	}
	g.close()
	pl.fresh = g.runs
	pl.result.NewBytes = bytes
	pl.classify(order)
	return nil
}

func (pl *placing) staged(ctx context.Context, chunks []core.Chunk) (bool, error) {
	for _, c := range chunks {
		if here, err := pl.n.Staging.Has(ctx, c.Hash); !here || err != nil {
			return false, err
		}
	}
	return true, nil
}

// coveredChunk is a chunk that a live task keeps at connected peers.
type coveredChunk struct {
	run   *reusedRun
	index int
}

// coverage reads the records of this owner's placed versions.
func (pl *placing) coverage() (map[core.Hash]coveredChunk, error) {
	refs, err := pl.n.localRefs("")
	if err != nil {
		return nil, err
	}
	covered := map[core.Hash]coveredChunk{}
	for _, ref := range refs {
		for _, sealed := range ref.Body.Records {
			stored, err := pl.reader.Stored(sealed.Hash)
			if err != nil {
				return nil, fmt.Errorf("record of %s@%d: %w", ref.Body.Name, ref.Ref.Version, err)
			}
			r, err := pl.reader.OpenRecord(sealed, stored)
			if err != nil {
				return nil, fmt.Errorf("record of %s@%d: %w", ref.Body.Name, ref.Ref.Version, err)
			}
			pl.cover(covered, r)
		}
	}
	return covered, nil
}

// cover adds a record's runs; of two runs with the same chunk the one with more holders wins.
func (pl *placing) cover(covered map[core.Hash]coveredChunk, r version.Record) {
	for number, run := range r.Runs {
		reused := &reusedRun{Run: run, whole: run.Used.Count(len(run.Chunks)) == len(run.Chunks)}
		for _, id := range r.Holders(number) {
			if at, ok := pl.index[id]; ok && at != 0 { // the source's own disk never counts
				reused.holders = append(reused.holders, at)
			}
		}
		if len(reused.holders) == 0 {
			continue
		}
		slices.Sort(reused.holders)
		for index, c := range run.Chunks {
			// A holder keeps only the chunks that its task uses.
			if old, ok := covered[c.Hash]; run.Used.Has(index) && (!ok || len(old.run.holders) < len(reused.holders)) {
				covered[c.Hash] = coveredChunk{reused, index}
			}
		}
	}
}

// classify groups the reused runs by who keeps them.
func (pl *placing) classify(order []*reusedRun) {
	class := plan.Class{}
	for _, r := range pl.fresh {
		class.Runs = append(class.Runs, r.Size)
	}
	pl.classes = []plan.Class{class}
	pl.reused = [][]*reusedRun{nil}
	at := map[string]int{}
	for _, r := range order {
		key := fmt.Sprint(r.holders)
		i, ok := at[key]
		if !ok {
			i = len(pl.classes)
			at[key] = i
			pl.classes = append(pl.classes, plan.Class{Holders: r.holders})
			pl.reused = append(pl.reused, nil)
		}
		pl.classes[i].Runs = append(pl.classes[i].Runs, r.Size)
		pl.reused[i] = append(pl.reused[i], r)
	}
}

// decide asks the strategy for prices and plans, unless the plan is given.
func (pl *placing) decide(ctx context.Context) error {
	if pl.args.Plan != nil {
		return pl.follow()
	}
	info, scores, err := pl.prices(ctx)
	if err != nil {
		return err
	}
	pl.request = pl.ask()
	pl.request.Info, pl.request.Scores = info, scores
	if more := scores.Redundancy.Replicas; more > pl.args.Replicas {
		if err := pl.raise(ctx, more); err != nil {
			return err
		}
	}
	pl.plan, err = plan.Place(pl.request)
	if pl.args.Replicas == pl.request.Replicas { // else the planner's own hint knows better
		err = core.WithHint(err, "bkp place --explain shows each node; add peers, free some space, or ask for fewer --replicas")
	}
	return err
}

// prices asks the strategy.
func (pl *placing) prices(ctx context.Context) (info core.StrategyInfo, scores core.Scores, err error) {
	strategy, closer, err := pl.n.Strategy(ctx, pl.args.Strategy)
	if err != nil {
		return info, scores, err
	}
	defer closer.Close()
	if info, err = strategy.Describe(ctx); err != nil {
		return info, scores, err
	}
	batch, _ := plan.BatchOf(pl.snapshot, pl.classes, pl.args.Replicas)
	batch.Seed, batch.Objective = pl.seed(), cmp.Or(pl.args.Objective, plan.ObjectiveTime)
	if scores, err = strategy.Score(ctx, batch); err != nil {
		return info, scores, err
	}
	if err = plan.CheckScores(batch, scores); err != nil {
		err = fmt.Errorf("strategy %s: %w", pl.args.Strategy, err)
	}
	return info, scores, err
}

// raise makes it as many copies as the strategy wants. What earlier versions left at fewer nodes may have to be sent
// again.
func (pl *placing) raise(ctx context.Context, replicas int) error {
	pl.args.Replicas = replicas
	if pl.from != nil {
		return nil // a window has new runs only
	}
	if err := pl.collect(ctx); err != nil {
		return err
	}
	pl.request.Classes = pl.classes
	return nil
}

// describe fills the result from the plan.
func (pl *placing) describe() {
	r, p := &pl.result, pl.plan
	r.Name, r.Version, r.Replicas, r.Strategy = pl.version.Body.Name, pl.version.Ref.Version, pl.args.Replicas,
		pl.args.Strategy
	r.Task, r.DryRun = pl.task, pl.args.DryRun
	r.PredictedS, r.FillS, r.BoundS, r.Ratio, r.Binding = p.PredictedS, p.FillS, p.BoundS, p.Ratio, p.Binding
	r.Raised, r.Risk = p.Raised, p.Risk
	for _, class := range pl.classes {
		r.Runs += len(class.Runs)
	}
	for _, row := range p.Nodes {
		s := pl.snapshot.Nodes[row.Node]
		r.Placements = append(r.Placements, control.Placement{
			Node: s.ID, Address: s.Address, Bytes: row.Bytes, Runs: row.Runs, Cost: row.Cost, Explain: row.Explain,
			Reused: row.Held, FinishS: row.Finish,
		})
	}
	for _, f := range p.Flows {
		r.Flows = append(r.Flows, control.FlowRow{From: pl.snapshot.Nodes[f.From].ID, To: pl.snapshot.Nodes[f.To].ID,
			Bytes: f.Bytes, Rate: f.Rate})
	}
	for _, x := range p.Refused {
		s := pl.snapshot.Nodes[x.Node]
		r.Refused = append(r.Refused, control.Refused{Node: s.ID, Address: s.Address, Reason: x.Reason})
	}
}
