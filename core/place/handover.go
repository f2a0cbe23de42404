// SPDX-License-Identifier: Apache-2.0

package place

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/place/stripes"
	"github.com/bkp-tool/bkp/core/placements"
	"github.com/bkp-tool/bkp/core/version"
	"github.com/bkp-tool/bkp/core/wire"
)

// Handed is what a version is handed over with to the node that coordinates it from then on.
type Handed struct {
	Wanted  placements.Wanted // Coordinator among it
	Address string
	Copies  int // that count by the coordinator's word, beside its own
}

// ownerID is whose version it is.
func (p *placement) ownerID() core.ID {
	if p.kept != nil {
		return p.record.Owner
	}
	return p.owner.ID()
}

// signer signs licences.
func (p *placement) signer() *key.Signer {
	if p.kept != nil {
		return p.Signer
	}
	return p.owner.Signer()
}

// delegation is by what right it signs; nil: it is the owner itself.
func (p *placement) delegation() []byte {
	if p.kept != nil {
		return p.kept
	}
	return p.owner.Delegation()
}

// toHandOver has it handed over to a coordinator, where it is to have one.
func (p *placement) toHandOver() error {
	a := &p.Args
	switch {
	case a.Coordinator == "":
		return nil
	case !a.Erasure.IsZero() && p.window:
		return core.Fail(core.CodeUsage, "a backup is handed over as copies: split the file, and place that as stripes")
	case p.owner.Delegation() != nil:
		return core.Fail(core.CodeRefused, "a machine that may only write hands nothing over: the owner's identity does")
	case a.Plan != nil || a.Frontier || a.DryRun:
		return core.Fail(core.CodeUsage, "a coordinator plans by itself: there is no plan to show or to carry out here")
	}
	p.Handed, p.term = &Handed{}, 1
	return nil
}

// alone reports whether none but the coordinator is to get anything of it from here.
func (p *placement) alone() bool { return p.Handed != nil && !p.beside }

// inTermOf finds the term, where a record says who coordinates the version: this node takes over where it is another.
func (p *placement) inTermOf(rec *placements.Record) {
	if a := &p.Args; p.Handed != nil && a.AsBefore {
		a.Strategy, a.Retain = cmp.Or(a.Strategy, rec.Strategy), cmp.Or(a.Retain, rec.Retain)
	}
	if p.Handed == nil && rec.Coordinator.IsZero() {
		p.term = max(p.term, rec.Term)
		return
	}
	p.term, p.before = max(p.term, rec.Term+1), rec.Coordinator
}

// toCoordinator says what the coordinator is to get, once it is known who that is: all of it, and where others keep it
// on this node's word they go on until it has the copies made that are wanted.
func (p *placement) toCoordinator() error {
	if p.Handed == nil {
		return nil
	}
	nodes := p.Survey.Nodes[1:]
	at := slices.IndexFunc(nodes, func(n core.NodeState) bool { return n.Named(p.Args.Coordinator) })
	if at < 0 {
		_, known := p.Peers.Named(p.Args.Coordinator)
		return absent(p.Args.Coordinator, known)
	}
	node, w, rec := &nodes[at], &p.Handed.Wanted, p.record
	if !p.Peers.Known([]core.ID{node.ID})[node.ID].Keeps {
		return core.WithHint(core.Fail(core.CodeRefused, "%s (%s) cannot coordinate: it runs an older version of bkp",
			node.Address, node.ID.Short()), "name another --coordinator, or upgrade it")
	}
	a := &p.Args
	*w = placements.Wanted{Coordinator: node.ID, Copies: a.Replicas, Strategy: a.Strategy, Retain: a.Retain,
		Locked: p.locked, KeepLocal: a.KeepLocal, Only: p.only}
	p.Handed.Address = node.Address
	w.Out = []core.ID{p.Node} // as where it places by itself, this machine's disk does not count
	for id := range p.out {
		if id != node.ID && len(p.only) == 0 {
			w.Out = append(w.Out, id)
		}
	}
	again := rec != nil && rec.Coordinator == node.ID
	if again { // it is handed over once more, and nobody is relieved
		p.term, p.before = rec.Term, core.ID{}
	}
	p.beside = rec != nil && (again || rec.Coordinator.IsZero()) && rec.KeptBeside(node.ID)
	switch {
	case !p.beside:
		for i := range nodes {
			if nodes[i].ID != node.ID {
				p.out[nodes[i].ID], nodes[i].Free = true, 0
			}
		}
		a.Replicas, p.only, w.Term = 1, []core.ID{node.ID}, p.term
		delete(p.out, node.ID)
	case again:
		p.term, w.Term = rec.Term-1, rec.Term
	default: // a task of its own: the coordinator's must succeed it with every holder
		p.record, p.resumed, w.Term = nil, false, p.term+1
	}
	return nil
}

// besides has the coordinator keep all of it, beside who is to keep what else.
func (p *placement) besides(locations [][]core.Span) [][]core.Span {
	if !p.beside {
		return locations
	}
	id := p.Handed.Wanted.Coordinator
	for number, s := range p.Standing.Segments {
		locations[number] = append(slices.DeleteFunc(locations[number], func(s core.Span) bool { return s.Node == id }),
			core.Span{Node: id, From: p.Node, Length: len(s.Runs)})
	}
	return locations
}

// readable is an error where the coordinator, which cannot read what the owner sealed, would take other runs for stripes
// than are.
func (p *placement) readable() error {
	if p.Handed == nil {
		return nil
	}
	for _, s := range p.Standing.Segments {
		found := stripes.Of(s.Runs, p.Args.Erasure)
		if !slices.EqualFunc(found, s.Stripes, func(a, b core.Stripe) bool { return slices.Equal(a.Runs(), b.Runs()) }) {
			return core.WithHint(core.Fail(core.CodeRefused, "only a part of it is kept in stripes, by what earlier versions left: "+
				"a coordinator cannot tell which"), "hand it over as copies: place it with --replicas and --coordinator")
		}
	}
	return nil
}

// handOver tells the coordinator, which has a copy that counts, to see to the version from now on, and asks how far it
// is. It is an error of core.CodePartial as long as that is not done: this machine may go all the same.
func (p *placement) handOver(ctx context.Context) error {
	w, name := p.Handed.Wanted, p.Version.Body.Name
	if p.beside && !p.record.Whole(w.Coordinator) {
		return core.WithHint(core.Fail(core.CodeRedundant, "%s does not have all of it, and does not coordinate",
			p.Handed.Address), "bkp place %s --coordinator %s again, once bkp peers shows it", name, p.Args.Coordinator)
	}
	copies, err := p.confirmed(ctx, p.owner, p.record, w)
	if err != nil {
		return core.WithHint(core.Fail(core.CodeRedundant, "%s keeps a copy, and does not coordinate: %w",
			p.Handed.Address, err),
			"bkp place %s again, with --coordinator or without", name)
	}
	if p.Handed.Wanted.Taken, p.Handed.Copies = true, copies; copies >= w.Copies {
		return nil
	}
	return core.WithHint(core.Fail(core.CodePartial,
		"%d of %d copies count; %s has all of it and goes on: this machine may go", copies, w.Copies, p.Handed.Address),
		"bkp place %s --coordinator %s again shows how far it is", name, p.Args.Coordinator)
}

// confirmed has the coordinator of what is on record confirm that it sees to it, and notes how many copies count by its
// word beside its own. Where that is as many as are wanted, the others that keep it on this node's word let go.
func (c *Coordinator) confirmed(ctx context.Context, owner *key.Owner, rec *placements.Record,
	w placements.Wanted) (copies int, err error) {
	envelope, err := c.handover(owner, rec.Head, w, w.Coordinator)
	if err != nil {
		return 0, err
	}
	done, err := c.tellHandover(ctx, w.Coordinator, envelope)
	if err == nil {
		err = key.CheckTaken(done.Receipt, envelope, w.Coordinator)
	}
	if err != nil {
		return 0, err
	}
	w.Taken, w.Told = true, done.Copies
	if err := rec.Want(w); err != nil {
		return 0, fmt.Errorf("write down that %s is handed over: %w", rec.Name(), err)
	}
	if done.Copies >= w.Copies && w.Locked <= time.Now().Unix() {
		c.release(ctx, "handed over", rec, rec.Others())
	}
	return done.Copies, nil
}

// handover is the owner's word that a node coordinates a version, in the term of what is wanted; one that is not this
// one gets a delegation with it.
func (c *Coordinator) handover(owner *key.Owner, of placements.Head, w placements.Wanted, node core.ID) ([]byte, error) {
	now := time.Now()
	h := key.Handover{Alias: of.Alias, Version: of.Version, Task: of.Task, Node: node, Term: w.Term, Copies: w.Copies,
		Erasure: of.Erasure, Strategy: w.Strategy, Retain: w.Retain, Locked: w.Locked, Out: w.Out, Only: w.Only,
		Time: now.Unix()}
	if node != c.Node {
		keep, err := owner.DelegateKeep(node, h.Alias, h.Version, h.Term, h.Fewest(), now.Add(retained(w.Retain)))
		if err != nil {
			return nil, err
		}
		h.Delegation = keep
	}
	return owner.SignHandover(h)
}

func (c *Coordinator) tellHandover(ctx context.Context, node core.ID, envelope []byte) (wire.HandoverDone, error) {
	done, err := wire.Ask[wire.HandoverDone](ctx, c.Peers, node, func(id uint64) wire.Message {
		return wire.Handover{Query: id, Envelope: envelope}
	})
	if err == nil && done.Code != core.ReasonNone {
		err = core.Fail(done.Code.ExitCode(), "%s", done.Reason)
	}
	return done, err
}

// findLocations reads what coordinators said of who keeps the version, where this node takes over from one: the refs
// that it is about to leave at peers take their place.
func (p *placement) findLocations(ctx context.Context, found []version.Found) {
	for _, f := range found {
		if p.term < 2 || f.Location.Size == 0 {
			continue
		}
		if l, err := version.LocationAt(ctx, p.Peers, f); err != nil {
			p.Log.Warn("location", "peer", f.At.Short(), "error", err)
		} else {
			p.located = append(p.located, l)
		}
	}
}

// relieved tells who coordinated the version before that it does not any more, as far as that can be told now, and is
// the tasks by which others keep it on a coordinator's word: what this node placed takes their place.
func (p *placement) relieved(ctx context.Context) (tasks []core.TaskID) {
	if len(p.located) == 0 && p.before.IsZero() {
		return nil
	}
	node := p.wanted().Coordinator
	if node.IsZero() {
		node = p.Node
	}
	envelope, err := p.handover(p.owner, p.record.Head, p.wanted(), node)
	if err != nil {
		p.Log.Warn("relieve coordinator", "error", err)
		return nil
	}
	coordinators := map[core.ID]bool{}
	if !p.before.IsZero() {
		coordinators[p.before] = true // it may have left no location yet
	}
	for _, l := range p.located {
		if l.Term < p.term {
			tasks, coordinators[l.Node] = append(tasks, l.Task), true
		}
	}
	for _, id := range core.Sorted(coordinators) {
		if !p.Peers.Known([]core.ID{id})[id].Keeps {
			continue
		}
		if _, err := p.tellHandover(ctx, id, envelope); err != nil {
			p.Log.Warn("relieve coordinator", "peer", id.Short(), "error", err)
		}
	}
	return tasks
}

// carry places what a version lacks that was handed over to this node, by its record.
func (c *Coordinator) carry(ctx context.Context, rec *placements.Record, unattended bool, silent []core.ID,
	tell func(Status)) (Result, error) {
	p := c.begin(ctx, Args{Name: rec.Name(), Replicas: rec.Copies, Erasure: rec.Erasure, Strategy: rec.Strategy,
		Retain: rec.Retain, Out: rec.Out, Within: rec.Only, Unattended: unattended, Silent: silent}, tell)
	if p.Args.Strategy == "" {
		p.Args.Strategy = defaultStrategy
	}
	p.kept, p.term, p.locked, p.record, p.resumed = rec.Delegation, rec.Term, rec.Locked, rec, true
	p.Task = rec.Task
	p.Version = version.Found{Ref: key.Ref{Owner: rec.Owner, Alias: rec.Alias, Version: rec.Version},
		Body: key.RefBody{Name: rec.Name()}}
	defer func() { c.Pins.Release(p.recalled) }()
	ctx, p.stop = context.WithCancelCause(ctx)
	defer p.stop(nil)
	err := p.run(ctx)
	if err != nil {
		err = fmt.Errorf("place %s: %w", rec.Name(), err)
	}
	return p.Result, err
}

// hint says who of the survey may have runs of a version that was handed over, as its owner's node had it placed.
func (p *placement) hint(segments []*placements.Segment) {
	if p.kept == nil || len(p.record.Bound()) > 0 { // the record knows better
		return
	}
	for _, s := range segments {
		s.Held = make([][]int, len(s.Runs))
		for _, span := range p.Held.Elsewhere(p.record.Owner, p.record.Alias, p.record.Version, s.Message.Files) {
			at := p.Survey.Index[span.Node]
			for run := span.Start; at > 0 && run < min(span.Start+span.Length, len(s.Held)); run++ {
				s.Held[run] = append(s.Held[run], at)
			}
		}
	}
}

// publishKept leaves the owner's records and ref with every target, and who keeps what beside them.
func (p *placement) publishKept(ctx context.Context) error {
	p.tell(Status{Phase: "refs"})
	ref := p.Version.Ref
	held, stored, err := p.Held.RefOf(ref.Owner, ref.Alias, ref.Version)
	if err != nil {
		return err
	}
	p.take()
	var spans [][]core.Span
	for _, s := range p.Standing.Segments {
		spans = append(spans, s.Kept())
	}
	location, err := p.location(p.record, spans)
	if err != nil {
		return err
	}
	put := wire.RefPut{Owner: ref.Owner, Alias: ref.Alias, Version: ref.Version, Task: p.Task,
		Location: chunk.Hash(location)}
	var records [][]byte
	for i, c := range held.Records {
		if c.Hash != held.Location { // an earlier one
			put.Records, records = append(put.Records, c), append(records, stored[i])
		}
	}
	put.Records = append(put.Records, core.Chunk{Hash: put.Location, Size: core.Size(len(location))})
	if err := p.Held.Locate(ref.Owner, ref.Alias, ref.Version, location); err != nil {
		return fmt.Errorf("keep location: %w", err)
	}
	if err := p.tellTargets(ctx, put, append(records, location), held.Former, held.Envelope); err != nil {
		return err
	}
	if err := p.noteLeft(); err != nil { // who has the ref is asked again after a loss of power
		return fmt.Errorf("write down who lets go: %w", err)
	}
	p.dismiss(ctx)
	return nil
}

// location signs who keeps what of a version that was handed over.
func (c *Coordinator) location(rec *placements.Record, spans [][]core.Span) ([]byte, error) {
	return c.Signer.SignLocation(key.Location{Owner: rec.Owner, Alias: rec.Alias, Version: rec.Version, Task: rec.Task,
		Term: rec.Term, Seq: int(time.Now().Unix()), Segments: spans, Delegation: rec.Delegation})
}

// releaseKept asks one holder to let go of what it keeps on this node's word, with who keeps it instead.
func (c *Coordinator) releaseKept(ctx context.Context, at core.ID, rec *placements.Record,
	tombstone []byte) (done wire.ReleaseDone, err error) {
	r := key.Release{Owner: rec.Owner, Task: rec.Task, Alias: rec.Alias, Version: rec.Version, Time: time.Now().Unix(),
		Delegation: rec.Delegation}
	if r.Location, err = c.location(rec, rec.Counted()); err != nil {
		return done, err
	}
	envelope, err := c.Signer.SignRelease(r)
	if err != nil {
		return done, err
	}
	if done, err = c.askRelease(ctx, at, envelope, tombstone); err == nil {
		err = rec.LetGo(at)
	}
	return done, err
}

// EndRemoved ends what this node coordinates of versions that their owners removed: who could not be told by them is
// told by Outbox.
func (c *Coordinator) EndRemoved() error {
	all, err := c.Records.All()
	for _, rec := range all {
		if err != nil || rec.Delegation == nil || rec.IsOver() {
			continue
		}
		var tombstone []byte
		if tombstone, err = c.Held.Buried(rec.Owner, rec.Alias, rec.Version); err == nil && tombstone != nil {
			err = rec.End()
		}
	}
	return err
}

// actsFor reports whether this node acts for a record's owner: by a delegation, or since the identity is at hand.
func (c *Coordinator) actsFor(rec *placements.Record) bool {
	if rec.Delegation != nil {
		return true
	}
	owner, err := c.Owner("keep placements")
	return err == nil && (rec.Owner == owner.ID() || rec.Owner.IsZero())
}
