// SPDX-License-Identifier: Apache-2.0

package place

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/place/content"
	"github.com/bkp-tool/bkp/core/place/delivery"
	"github.com/bkp-tool/bkp/core/place/survey"
	"github.com/bkp-tool/bkp/core/placements"
	"github.com/bkp-tool/bkp/core/plan"
	"github.com/bkp-tool/bkp/core/plan/saved"
	"github.com/bkp-tool/bkp/core/reconcile"
	"github.com/bkp-tool/bkp/core/version"
)

// Args asks for a version to be placed. An empty Name is the newest version not yet placed; Version 0 is the latest.
type Args struct {
	Name     string
	Version  int
	Replicas int
	Erasure  core.Erasure // of new runs of content; Replicas follows from it: what is in no stripe is to bear as much
	AsBefore bool         // neither was asked for: what its record says holds, where there is one
	Strategy string
	DryRun   bool
	Retain   int64 // how long targets are to keep it, seconds
	Lock     int64 // how long nobody may release it, the owner included, seconds

	KeepLocal bool // its bytes stay on this machine too

	Exclude []string // nodes that are to keep nothing of it, by ID, its beginning, or address
	Only    []string // likewise: no others are to

	Coordinator string // the node that it is handed over to, which sees to the above then; empty: this one does

	Mends      bool      // what this node placed is to be as it was wanted, and nothing anew
	Unattended bool      // nobody asked for it: it makes way for a placement that somebody asks for
	Out        []core.ID // nodes that are to keep nothing of it, whether they are there or not
	Silent     []core.ID // what they keep goes to others, this time
	Within     []core.ID // none but these are to keep anything of it, where Only names nobody; none: any may

	Objective string // of plan.Request; empty: as the strategy goes
	Blend     float64
	Deadline  float64

	Rebalance bool                  // nothing is asked for anew: nodes that are dear or nearly full are relieved of it
	Shift     map[core.ID]core.Size // with it: how much more is free at nodes than they say

	Frontier bool // with DryRun: tell of plans between the soonest and the cheapest, instead of Objective

	Plan *saved.Plan // to be carried out as it is; it sets all of the above but DryRun and Retain
	Show bool        // tell the plan before anything is sent

	Record bool // tell what the strategy is asked

	// Export is given what the one node of Only is to keep, instead of its being sent; nil: it is. Copies are wanted
	// then in the end, and Replicas is 1.
	Export func(context.Context, []placements.Shipment) error
	Copies int
}

// Result is what a placement came to, as far as it went.
type Result struct {
	Args     Args // as they were carried out: the strategy may want more replicas
	Version  version.Found
	Task     core.TaskID
	Survey   *survey.Survey
	Content  *content.Runs
	Plan     *plan.Plan           // nil: none was made
	Frontier []*plan.Plan         // each cheaper and later than those before; only where that is asked for
	Standing *placements.Standing // nil: as Plan
	Ended    bool                 // the data moved, as far as it could
	Relieved []reconcile.Relief   // with Args.Rebalance: who lets go of all that it keeps
	Handed   *Handed              // what it was handed over with; nil: it was not
	LetGo    core.Size            // stored bytes that went from this machine, since peers keep them now
	Warnings []string
}

// placement is one placement under way. One goroutine has it.
type placement struct {
	*Coordinator
	Result
	tell     func(Status)
	owner    *key.Owner     // nil where kept is not
	kept     []byte         // the delegation by which this node coordinates a version of another's; nil: it is of owner
	located  []key.Location // what coordinators of lower terms said of who keeps it
	before   core.ID        // who coordinated it until now, by the record; zero: this node did
	term     int            // in which it is coordinated; 0: it was never handed over
	beside   bool           // the coordinator gets all of it beside what others keep, who let go when it has copies
	takes    bool           // over from another machine of the owner, which placed it last
	reader   *version.Reader
	next     key.Ref        // what the version's next envelope says, but for Placed
	from     version.Chunks // has the bytes of new runs
	window   bool           // it is a window of a backup
	request  plan.Request
	here     map[core.Hash]bool // reused runs whose bytes are on this machine
	recalled []core.Chunk       // claimed in staging
	heard    map[core.ID]bool   // peers that came after the survey
	out      map[core.ID]bool   // nodes of the survey that are to keep nothing
	only     []core.ID          // none but these are to keep anything; none: any may
	inbox    *Inbox
	record   *placements.Record // nil until it is written down
	resumed  bool               // the record is of an earlier act, and says what is known
	locked   int64              // until when nobody may release it, Unix seconds; 0: no lock
	transfer Transfer
	stop     func(why error)
	unlist   func()
	watch    *delivery.Watch // nil until the data moves

	audits   map[auditOf]bool // that are under way
	auditing sync.WaitGroup
}

func (c *Coordinator) begin(ctx context.Context, args Args, tell func(Status)) *placement {
	p := &placement{Coordinator: c, tell: tell, reader: version.NewReader(ctx, c.Here), from: c.Staging,
		here: map[core.Hash]bool{}, heard: map[core.ID]bool{}, out: map[core.ID]bool{}, inbox: NewInbox(),
		audits: map[auditOf]bool{}}
	p.Args = args
	return p
}

func (c *Coordinator) placement(ctx context.Context, doing string, args Args, tell func(Status)) (*placement, error) {
	owner, err := c.Owner(doing)
	if err != nil {
		return nil, err
	}
	p := c.begin(ctx, args, tell)
	p.owner = owner
	if args.Lock > 0 {
		p.locked = time.Now().Unix() + args.Lock
	}
	var random [8]byte
	if _, err := rand.Read(random[:]); err != nil {
		return nil, fmt.Errorf("draw task: %w", err)
	}
	p.Task = core.NewTaskID(owner.ID(), random)
	return p, nil
}

// Place gives a version to peers: it asks everybody for their state, has the strategy price them, plans, licenses each
// segment, sends what nobody keeps yet, waits for receipts, and leaves records and the ref with every target.
func (c *Coordinator) Place(ctx context.Context, args Args, tell func(Status)) (Result, error) {
	if s := args.Plan; s != nil {
		args.Name, args.Version, args.Replicas, args.Strategy = s.Name, s.Version, s.Replicas, s.Strategy
		args.Objective, args.Blend, args.Deadline = s.Objective, s.Blend, s.Deadline
	}
	p, err := c.placement(ctx, "place", args, tell)
	if err != nil {
		return Result{}, err
	}
	p.erase(args.Erasure)
	if p.Args.Replicas < 1 {
		return Result{}, core.Fail(core.CodeUsage, "place: %d replicas: want at least 1", p.Args.Replicas)
	}
	if err := p.toHandOver(); err != nil {
		return Result{}, fmt.Errorf("place: %w", err)
	}
	defer func() { c.Pins.Release(p.recalled) }()
	ctx, p.stop = context.WithCancelCause(ctx)
	defer p.stop(nil)
	err = p.run(ctx)
	if err != nil {
		err = fmt.Errorf("place %s: %w", cmp.Or(p.Version.Body.Name, args.Name), err)
	}
	return p.Result, err
}

func (p *placement) run(ctx context.Context) error {
	p.tell(Status{Phase: "plan"})
	p.awaitStopped(ctx)
	steps := []func(context.Context) error{p.choose, p.chain, p.ordered, p.look, p.collect, p.exportable, p.price}
	if p.kept != nil { // the version is on record, as its owner handed it over
		steps = steps[3:]
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
		if p.beside && p.resumed && p.record.Whole(p.Handed.Wanted.Coordinator) { // there is nothing to be sent
			p.Task = p.record.Task
			return p.handOver(ctx)
		}
	}
	if p.Args.Rebalance {
		if err := p.relieve(ctx); err != nil || len(p.Relieved) == 0 {
			return err
		}
	}
	var offers []*placements.Segment
	var err error
	if p.resumed && !p.Args.DryRun && p.Args.Export == nil {
		offers = p.Standing.Segments // who is on record says first what it has
	} else if offers, err = p.decide(ctx); err != nil {
		return err
	}
	p.show()
	if p.Args.DryRun {
		return nil
	}
	if p.Args.Export != nil {
		return p.export(ctx)
	}
	if err := p.enter(ctx); err != nil {
		return err
	}
	defer p.leave()
	err = p.settle(ctx, offers)
	if err == nil {
		err = p.gather(ctx)
	}
	if err != nil {
		p.withdraw(ctx)
		return err
	}
	incomplete := p.deliver(ctx)
	if ctx.Err() != nil {
		return p.interrupted(ctx)
	}
	p.Ended = true
	if err := p.ordered(ctx); core.CodeOf(err) == core.CodeRefused { // where it cannot be asked, holders know the terms
		p.withdraw(ctx)
		return err
	}
	if err := p.publish(ctx, incomplete == nil); err != nil {
		if incomplete != nil {
			err = fmt.Errorf("%w; %w", incomplete, err)
		}
		return err
	}
	if incomplete == nil {
		incomplete = p.lacking()
	}
	if incomplete != nil {
		return incomplete
	}
	p.Pins.Release(p.recalled)
	p.recalled = nil
	switch {
	case p.kept != nil: // it keeps its own copy, as its owner's node placed it
		return nil
	case p.Handed != nil:
		return p.handOver(ctx)
	}
	p.letGo(ctx)
	return nil
}

// awaitStopped waits for a placement of the name that was stopped and notes what has receipts: this one goes on from
// there.
func (p *placement) awaitStopped(ctx context.Context) {
	alias := p.Version.Ref.Alias
	if p.Args.Name != "" && p.kept == nil {
		alias = p.owner.Alias(p.Args.Name)
	}
	if !p.Args.Unattended {
		p.Records.Yield(ctx, alias)
	}
	p.Transfers.AwaitStopped(ctx, alias)
}

// look asks peers for their state.
func (p *placement) look(ctx context.Context) (err error) {
	nodes := max(p.Args.Replicas, p.Args.Erasure.K+p.Args.Erasure.M)
	if p.Handed != nil && (p.record == nil || !p.record.KeptBeside(p.record.Coordinator)) {
		nodes = 1 // the others are the coordinator's to find
	}
	if p.Survey, err = p.Coordinator.Look(ctx, p.ownerID(), nodes, p.tell); err != nil {
		return err
	}
	p.leaveOld()
	if err := p.leaveOut(); err != nil {
		return err
	}
	return p.toCoordinator()
}

// leaveOut finds the nodes that are to keep nothing: what they have goes to others, and is released then.
func (p *placement) leaveOut() error {
	wanted := placements.Wanted{Out: p.Args.Out, Only: p.Args.Within}
	for i, name := range slices.Concat(p.Args.Exclude, p.Args.Only) {
		if slices.ContainsFunc(p.Survey.Nodes[1:], func(n core.NodeState) bool { return n.Named(name) }) {
			continue
		}
		ids, known := p.Peers.Named(name)
		if len(ids) == 0 || i >= len(p.Args.Exclude) {
			return absent(name, known)
		}
		wanted.Out = append(slices.Clip(wanted.Out), ids...) // who is away is to keep nothing, too
	}
	p.Args.Out = wanted.Out
	if len(p.Args.Only) > 0 {
		wanted.Only = nil
	}
	for _, node := range p.Survey.Nodes[1:] {
		if slices.ContainsFunc(p.Args.Exclude, node.Named) {
			wanted.Out = append(slices.Clip(wanted.Out), node.ID)
		}
		if slices.ContainsFunc(p.Args.Only, node.Named) {
			wanted.Only = append(wanted.Only, node.ID)
		}
	}
	slices.SortFunc(wanted.Only, core.ID.Compare)
	p.only = wanted.Only
	for i := range p.Survey.Nodes[1:] {
		switch node := &p.Survey.Nodes[i+1]; {
		case wanted.LeavesOut(node.ID):
			p.out[node.ID], node.Free = true, 0
		case slices.Contains(p.Args.Silent, node.ID):
			node.Free = 0
		}
	}
	return nil
}

// absent is why a node that is named has no part: it is known, and away, or nobody knows it.
func absent(name string, known bool) error {
	if known {
		return core.WithHint(core.Fail(core.CodeRedundant, "node %s is away", core.Printable(name)),
			"start it and try again, or name another: bkp peers shows who is there")
	}
	return core.WithHint(core.Fail(core.CodeUsage, "no node %s is known", core.Printable(name)),
		"bkp peers lists the nodes; name one by its ID or HOST:PORT")
}

// lastReceipts is how long the receipts for what just arrived are waited for, where a placement is stopped: half of
// what a target may leave until its next barrier.
const lastReceipts = 500 * time.Millisecond

// interrupted notes what has receipts, so that the next placement goes on from there, and says so.
func (p *placement) interrupted(ctx context.Context) error {
	why := fmt.Errorf("stopped: %w", context.Cause(ctx))
	p.transfer.End()
	if errors.Is(why, errRemoved) {
		return why
	}
	p.pause(p.Life, lastReceipts)
	p.proveLast()
	if !p.Standing.Any() {
		p.withdraw(p.Life)
		return why
	}
	short, cancel := context.WithTimeout(p.Life, 10*time.Second)
	defer cancel()
	p.reader = p.reader.Within(short) // the one that the placement was given has ended
	if err := p.publish(short, false); err != nil {
		return fmt.Errorf("%w; what has receipts could not be noted: %w", why, err)
	}
	return core.WithHint(why, "bkp place %s again: what has receipts is not sent twice", p.Version.Body.Name)
}

// enter makes the placement known, unless one of the same name is, and writes it down.
func (p *placement) enter(ctx context.Context) (err error) {
	for p.transfer == nil {
		p.transfer = p.Transfers.Enter(ctx, p.Task, p.Version.Ref.Alias, p.Args.Unattended, p.inbox)
		if p.transfer == nil && (p.Args.Unattended || !p.Records.Yield(ctx, p.Version.Ref.Alias)) {
			break
		}
	}
	if p.transfer == nil {
		return core.WithHint(core.Fail(core.CodeBusy, "another placement of it is running"),
			"wait for it: bkp node status")
	}
	if ref := p.Version.Ref; p.stop != nil {
		p.unlist = p.Records.Enter(ref.Alias, ref.Version, p.Args.Unattended, p.stop)
	}
	if p.resumed {
		err = p.record.Want(p.wanted())
	} else {
		ref := p.Version.Ref
		p.record, err = p.Records.Begin(placements.Head{Owner: p.ownerID(), Alias: ref.Alias,
			Version: ref.Version, Task: p.Task, Source: p.Node, Window: p.window, Began: time.Now().UnixNano(), Proofs: true,
			Erasure: p.Args.Erasure, Wanted: p.wanted()}, p.Standing.Segments)
	}
	if err != nil {
		p.leave()
	}
	return err
}

// leave ends it; receipts that have come are entered in the ledger still.
func (p *placement) leave() {
	p.auditing.Wait()
	p.transfer.Leave()
	p.take()
	if p.unlist != nil {
		p.unlist()
	}
}

// ground is what it was planned on.
func (p *placement) ground() delivery.Ground {
	return delivery.Ground{Snapshot: p.Survey.Snapshot, Plan: p.Plan, Scores: p.request.Scores, Given: p.Args.Plan != nil || p.beside,
		Far: p.Survey.Far}
}

// pause waits for d, or until the node or ctx ends; false when it ended.
func (c *Coordinator) pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	case <-c.Life.Done():
		return false
	}
}
