// SPDX-License-Identifier: Apache-2.0

package commands

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/fetch"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/place"
	"github.com/bkp-tool/bkp/core/spread"
	"github.com/bkp-tool/bkp/core/version"
)

// coordinator places versions on this node's peers.
func (n *Node) coordinator() *place.Coordinator {
	return &place.Coordinator{
		Node: n.ID(), Life: n.Life(), Owner: n.Identity, Peers: peers{n.Asker(), n}, Network: network{n},
		Transfers: n.Transfers(), Versions: versions{n.own, n}, Refs: n.Refs, Records: n.Placed, Ledger: n.Ledger,
		Staging: n.Staging, Pins: &n.own.Pins, Here: n.here(), Trunks: n.Trunks, Log: n.Log, Strategy: n.Strategy,
		Signer: n.Signer, Held: n.handedOver(), Order: n.Order, Bring: n.bringBackFor(core.ID{}),
		Cover: func(ctx context.Context, refs []version.Found) (func(core.Hash) int, error) {
			c, err := n.own.Cover(ctx, refs)
			if err != nil {
				return nil, err
			}
			return c.Copies, nil
		},
		Sweep: func(ctx context.Context) (core.Collected, error) {
			n.collecting.Lock()
			defer n.collecting.Unlock()
			return n.own.Sweep(ctx)
		},
	}
}

// bringBackFor has chunks of an owner brought from their holders that are to be sent from here; the zero owner is the
// one at home.
func (n *Node) bringBackFor(owner core.ID) func(ctx context.Context, alias string, wanted []spread.Wanted,
	keep func(run, index int, data []byte) error) ([]int, error) {
	return func(ctx context.Context, alias string, wanted []spread.Wanted,
		keep func(run, index int, data []byte) error) ([]int, error) {
		var holders []core.ID
		for _, w := range wanted {
			holders = append(holders, w.Holders...)
		}
		n.Asker().Reach(ctx, holders)
		left, _, err := n.Downloads().Download(ctx, fetch.Order{Owner: owner, Alias: alias, Wanted: wanted,
			Holders: map[core.ID]spread.Standing{}, What: "recall", Keep: keep})
		return left, err
	}
}

// told passes progress of a placement on to who asked for it.
func told(status func(control.Status)) func(place.Status) {
	return func(s place.Status) { status(control.Status(s)) }
}

// Survey asks every peer for its state.
func (n *Node) Survey(ctx context.Context, _ control.None, _ func(control.Status)) (control.SurveyResult, error) {
	owner, err := n.Identity("survey")
	if err != nil {
		return control.SurveyResult{}, err
	}
	n.Asker().Await(ctx)
	seen, err := n.coordinator().Look(ctx, owner.ID(), 0, func(place.Status) {})
	if err != nil {
		return control.SurveyResult{}, fmt.Errorf("survey: %w", err)
	}
	return control.SurveyResult{Snapshot: seen.Snapshot}, nil
}

// Place gives a version to peers.
func (n *Node) Place(ctx context.Context, args control.PlaceArgs,
	status func(control.Status)) (control.PlaceResult, error) {
	row, status, end := n.work.begin(control.CommandPlace, args.Name, args.Version, status)
	defer end()
	if err := n.adopt(ctx, args, status); err != nil {
		return control.PlaceResult{}, fmt.Errorf("place %s: %w", args.Name, err)
	}
	asked, disk := placeArgs(args), (*export)(nil)
	if args.Export != "" {
		var err error
		if disk, err = n.exported(&asked, args.Export, status); err != nil {
			return control.PlaceResult{}, err
		}
	}
	r, err := n.coordinator().Place(ctx, asked, told(status))
	result := placeResult(r)
	if disk != nil {
		result.Name, result.Version, result.OnDisk = r.Version.Body.Name, r.Version.Ref.Version, disk.result(r)
	}
	if args.DryRun {
		result.Busy = n.work.others(row, time.Now())
	}
	if err == nil && r.Ended && !args.DryRun {
		subject := fmt.Sprintf("%s@%d", result.Name, result.Version)
		n.tell(core.Event{What: core.EventPlaced, Subject: subject, Copies: result.Replicas, Wanted: result.Replicas,
			Text: fmt.Sprintf("%s is placed: %s at %d nodes", subject, result.Bytes, len(result.Placements))})
	}
	return result, n.goesOn(r, err)
}

// adopt takes on a version that is to be placed, which another machine of the owner placed and this one has nothing of:
// its ref, records and tree nodes.
func (n *Node) adopt(ctx context.Context, args control.PlaceArgs, status func(control.Status)) error {
	owner, err := n.Identity("place")
	if err == nil {
		err = owner.MayWrite()
	}
	if err != nil || args.Name == "" || args.Plan != nil || owner.MayRead() != nil {
		return err
	}
	local, err := n.own.Local(owner.Alias(args.Name))
	if err != nil || slices.ContainsFunc(local, func(r version.Found) bool {
		return args.Version == 0 || r.Ref.Version == args.Version
	}) {
		return err
	}
	v, err := n.fetcher(status).Open(ctx, args.Name, args.Version)
	if v != nil {
		defer v.Close()
	}
	if err != nil {
		return err
	}
	var claims []core.Chunk
	defer func() { n.own.Pins.Release(claims) }()
	err = v.Adopt(func(c core.Chunk, stored []byte) error {
		claims = append(claims, c)
		return n.own.Pins.While(c, func() error {
			_, err := n.Staging.Put(ctx, c, core.Hash{}, stored)
			return err
		})
	})
	if err == nil {
		err = n.Staging.Barrier(ctx)
	}
	if err == nil {
		err = n.Refs.Put(v.Ref.Alias, v.Ref.Version, v.Envelope)
	}
	if err == nil {
		err = n.Refs.SetAway(v.Ref.Alias, v.Ref.Version, true)
	}
	return err
}

// goesOn is the error of a placement that lacks copies, as who waits is told of it: where this node keeps placements it
// makes the others by itself.
func (n *Node) goesOn(r place.Result, err error) error {
	if n.Repair == nil || !r.Ended || core.CodeOf(err) != core.CodeRedundant {
		return err
	}
	copies, wanted, known, failed := n.Placed.Short(r.Version.Ref.Alias, r.Version.Ref.Version)
	if failed != nil || !known || copies >= wanted {
		return err
	}
	n.keeper.Changed()
	return core.WithHint(core.Fail(core.CodePartial, "%w; %d of %d copies count, and this node goes on by itself", err,
		copies, wanted), "bkp status %s shows how far it is", r.Version.Body.Name)
}

// placeArgs is what was asked for, as the coordinator reads it.
func placeArgs(a control.PlaceArgs) place.Args {
	return place.Args{Name: a.Name, Version: a.Version, Replicas: a.Replicas, Strategy: a.Strategy, DryRun: a.DryRun,
		Lock: a.Lock, Retain: a.Retain, KeepLocal: a.KeepLocal, Exclude: a.Exclude, Only: a.Only,
		Objective: a.Objective, Erasure: a.Erasure, AsBefore: a.AsBefore, Blend: a.Blend, Deadline: a.Deadline,
		Frontier: a.Frontier, Plan: a.Plan, Show: a.Show, Record: a.Record, Coordinator: a.Coordinator}
}

// placeResult is the plan of a placement and, where it was carried out, what became of it.
func placeResult(r place.Result) (out control.PlaceResult) {
	if r.Content != nil {
		out.Bytes, out.NewBytes = r.Content.Bytes, r.Content.NewBytes
	}
	if h := r.Handed; h != nil && !h.Wanted.Coordinator.IsZero() {
		out.Name, out.Version, out.Replicas = r.Version.Body.Name, r.Version.Ref.Version, h.Wanted.Copies
		out.Erasure, out.Coordinator, out.Copies = r.Args.Erasure, h.Wanted.Coordinator, h.Copies
	}
	if r.Plan == nil {
		return out
	}
	out.Name, out.Version, out.Erasure = r.Version.Body.Name, r.Version.Ref.Version, r.Args.Erasure
	out.Replicas = cmp.Or(out.Replicas, r.Args.Replicas)
	out.Strategy, out.Task, out.DryRun = r.Args.Strategy, r.Task, r.Args.DryRun
	out.Runs, out.LetGo, out.Warnings = r.Content.Count(), r.LetGo, r.Warnings
	describePlan(&out, r)
	if r.Standing != nil {
		out.Segments = len(r.Standing.Segments)
	}
	if r.Ended {
		describeOutcome(&out, r)
	}
	return out
}

// describePlan says who keeps what by the plan.
func describePlan(out *control.PlaceResult, r place.Result) {
	p, nodes := r.Plan, r.Survey.Nodes
	out.PredictedS, out.FillS, out.BoundS, out.Ratio = p.PredictedS, p.FillS, p.BoundS, p.Ratio
	out.Binding, out.Raised, out.Risk = p.Binding, p.Raised, p.Risk
	for _, f := range r.Frontier {
		out.Frontier = append(out.Frontier, control.Point{PredictedS: f.PredictedS, DeadlineS: f.PredictedS - f.FillS,
			Cost: f.Price(), Nodes: len(f.Nodes)})
	}
	for _, row := range p.Nodes {
		out.DelayS = max(out.DelayS, nodes[row.Node].Delay)
		out.Placements = append(out.Placements, control.Placement{
			Node: nodes[row.Node].ID, Address: nodes[row.Node].Address, Bytes: row.Bytes, Runs: row.Runs,
			Cost: row.Cost, Explain: row.Explain, Reused: row.Held, FinishS: row.Finish,
		})
	}
	for _, f := range p.Flows {
		out.Flows = append(out.Flows,
			control.FlowRow{From: nodes[f.From].ID, To: nodes[f.To].ID, Bytes: f.Bytes, Rate: f.Rate})
	}
	for _, x := range p.Refused {
		id := nodes[x.Node].ID
		out.Refused = append(out.Refused, control.Refused{Node: id, Address: nodes[x.Node].Address,
			Reason: cmp.Or(r.Standing.Barred[id], x.Reason)})
	}
}

// describeOutcome fills in what really happened.
func describeOutcome(out *control.PlaceResult, r place.Result) {
	s := r.Standing
	out.Seconds = s.Last.Sub(s.Began).Seconds()
	for _, seg := range s.Segments {
		for _, id := range seg.Targets {
			if !slices.ContainsFunc(out.Placements, func(row control.Placement) bool { return row.Node == id }) {
				out.Placements = append(out.Placements,
					control.Placement{Node: id, Address: r.Survey.Address(id), Explain: "took over from another node"})
			}
		}
	}
	for i := range out.Placements {
		row := &out.Placements[i]
		bytes, runs, receipts := s.Of(row.Node)
		if row.Receipts = receipts; s.Dealt {
			row.Bytes, row.Runs = bytes, runs
		}
		if at, ok := s.Finished[row.Node]; ok {
			row.Seconds = at.Sub(s.Began).Seconds()
		}
	}
	out.SentBytes = s.Sent()
	for id, reason := range s.Failed {
		out.Warnings = append(out.Warnings, fmt.Sprintf("%s (%s): %s", r.Survey.Address(id), id.Short(), reason))
	}
}

// outboxOften is how often it is looked who is there that is to be told to let something go.
const outboxOften = 15 * time.Second

// keepPlacements gives what was placed before there were records one each, and then tells who was away before what it
// is still to be told, as far as the identity is at hand or its owner handed a version over.
func (n *Node) keepPlacements() {
	carried := false
	for n.Pause(n.Life(), outboxOften) {
		c := n.coordinator()
		err := c.EndRemoved()
		if _, none := n.Identity("keep placements"); none == nil && err == nil && !carried {
			err = c.CarryOver(n.Life())
			carried = err == nil
		}
		if err := errors.Join(err, c.Outbox(n.Life())); err != nil && n.Life().Err() == nil {
			n.Log.Warn("placements on record", "error", err)
		}
	}
}

// recall takes back what disks carry that are under way with versions which were removed: the node that such a disk is
// for may never have been told of them.
func (n *Node) recall(owner *key.Owner, shipped map[int][]core.LicenseID, versions []int) error {
	var licenses []core.LicenseID
	for _, v := range versions {
		licenses = append(licenses, shipped[v]...)
	}
	if len(licenses) == 0 || n.Revoked == nil {
		return nil
	}
	if _, err := n.Node.Revoke(owner, core.Revoked{Licenses: licenses}); err != nil {
		return fmt.Errorf("take back what is on a disk: %w", err)
	}
	return nil
}

// Remove forgets versions here and releases them on their holders, and what of them is on its way on a disk.
func (n *Node) Remove(ctx context.Context, args control.RemoveArgs,
	status func(control.Status)) (control.RemoveResult, error) {
	result := control.RemoveResult{Name: args.Name}
	owner, err := n.Identity("rm")
	if err == nil {
		err = owner.MayWrite()
	}
	if err != nil {
		return result, err
	}
	records, err := n.Placed.All()
	if err != nil {
		return result, fmt.Errorf("rm %s: %w", args.Name, err)
	}
	shipped := map[int][]core.LicenseID{}
	for _, rec := range records {
		if rec.Alias == owner.Alias(args.Name) {
			shipped[rec.Version] = append(shipped[rec.Version], rec.Shipped()...)
		}
	}
	r, err := n.coordinator().Remove(ctx, args.Name, args.Version, args.Force, told(status))
	result.Versions = r.Versions
	err = errors.Join(err, n.recall(owner, shipped, r.Versions))
	for _, x := range r.Released {
		result.Released = append(result.Released, control.Release(x))
	}
	for _, x := range r.Unheard {
		result.Unheard = append(result.Unheard, control.Refused(x))
	}
	for _, x := range r.Locked {
		result.Locked = append(result.Locked, control.Locked(x))
	}
	return result, err
}
