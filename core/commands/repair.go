// SPDX-License-Identifier: Apache-2.0

package commands

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/license"
	"github.com/bkp-tool/bkp/core/node"
	"github.com/bkp-tool/bkp/core/place"
	"github.com/bkp-tool/bkp/core/placements"
	"github.com/bkp-tool/bkp/core/repair"
)

// tellOf tells what became of a placement, by its name where the owner's refs say it.
func (n *Node) tellOf(what string, rec *placements.Record, peer core.ID) {
	if n.Tell == nil {
		return
	}
	e := core.Event{What: what, Peer: peer, Copies: rec.Counting(), Wanted: rec.Copies}
	n.Act(func() { // the refs are on disk
		names, _ := n.names()
		e.Subject = fmt.Sprintf("%s@%d", cmp.Or(names[rec.Name()], rec.Alias), rec.Version)
		counts := fmt.Sprintf("%d of %d copies count", e.Copies, e.Wanted)
		switch what {
		case core.EventAuditFailed:
			e.Text = fmt.Sprintf("node %s lacks what it signed for of %s; %s", peer.Short(), e.Subject, counts)
		case core.EventCopiesLost:
			e.Text = fmt.Sprintf("%s has lost copies: %s, and they are being made anew", e.Subject, counts)
		case core.EventRepaired:
			e.Text = fmt.Sprintf("%s has its copies again: %s", e.Subject, counts)
		}
		n.tell(e)
	})
}

// tell tells an event of this node, now.
func (n *Node) tell(e core.Event) {
	if n.Tell != nil {
		e.Node, e.Time = n.ID(), time.Now().Unix()
		n.Tell(e)
	}
}

// repairs is what a keeper needs of the node. Never on the loop.
type repairs struct{ *Node }

func (r repairs) Ready() error {
	_, err := r.Identity("keep placements")
	return err
}

func (r repairs) Reached() (ids []core.ID) {
	for _, p := range r.See() {
		if p.Reachable {
			ids = append(ids, p.ID)
		}
	}
	return ids
}

// Find has them dialled, and asks the peers of peers, and so on, for a way to those that are not found so.
func (r repairs) Find(ctx context.Context, ids []core.ID) {
	r.Asker().Reach(ctx, ids)
	reached := r.Reached()
	if !slices.ContainsFunc(ids, func(id core.ID) bool { return !slices.Contains(reached, id) }) {
		return
	}
	if _, err := r.coordinator().Look(ctx, core.ID{}, place.MaxFar, func(place.Status) {}); err != nil {
		r.Log.Debug("look for holders", "error", err)
	}
}

func (r repairs) Audit(ctx context.Context, rec *placements.Record, node core.ID) (lost, err error) {
	return r.coordinatorOf(rec).Prover().Audit(ctx, rec, node)
}

func (r repairs) AuditInFull(ctx context.Context, rec *placements.Record, node core.ID, from int) (next int, err error) {
	return r.coordinatorOf(rec).Prover().AuditInFull(ctx, rec, node, from)
}

func (r repairs) Enter(word core.Audited) error {
	envelope, err := license.SignAudited(word, r.Signer)
	if err == nil {
		err = r.Ledger.AppendAudited(envelope)
	}
	return err
}

func (r repairs) Mend(ctx context.Context, rec *placements.Record, silent []core.ID,
	moved func(done, total core.Size)) error {
	_, err := r.coordinatorOf(rec).Mend(ctx, rec, true, silent, func(s place.Status) { moved(s.Done, s.Total) })
	return err
}

// names is the names of the owner's versions here, by ALIAS.VERSION.
func (n *Node) names() (map[string]string, error) {
	refs, err := n.own.Local("")
	names := map[string]string{}
	for _, r := range refs {
		names[placements.Name(r.Ref.Alias, r.Ref.Version)] = r.Body.Name
	}
	return names, err
}

// standings is those that are asked for, with their names.
func (n *Node) standings(doing string, args control.StandingArgs) (found []repair.Standing, names map[string]string, err error) {
	if _, err := n.Identity(doing); err != nil {
		return nil, nil, err
	}
	if names, err = n.names(); err != nil {
		return nil, nil, err
	}
	all, err := n.keeper.Standings()
	if err != nil {
		return nil, nil, err
	}
	handed := false
	for _, s := range all {
		name, known := names[s.Record.Name()]
		if known && s.Handed() && doing != "status" && args.Name == name {
			handed = true
			continue
		}
		own := !s.Handed() && (!s.OnDisk() || args.Name == name)
		if known && (doing == "status" || own) && (args.Name == "" || args.Name == name) &&
			(args.Version == 0 || args.Version == s.Version) {
			found = append(found, s)
		}
	}
	if len(found) == 0 && handed {
		return nil, nil, core.WithHint(core.Fail(core.CodeUsage,
			"%s: another node sees to it, which it was handed over to", doing), "bkp place %s has this machine see to it again", args.Name)
	}
	if len(found) == 0 && args.Name != "" {
		return nil, nil, core.WithHint(core.Fail(core.CodeNoName, "no placement of it is on record here"),
			"bkp ls lists what there is; bkp place %s places it", args.Name)
	}
	return found, names, nil
}

// Standings tells how placements stand.
func (n *Node) Standings(_ context.Context, args control.StandingArgs,
	_ func(control.Status)) (control.StandingResult, error) {
	found, names, err := n.standings("status", args)
	if errors.Is(err, node.ErrNoIdentity) && args.Name == "" {
		return control.StandingResult{}, nil
	}
	if err != nil {
		return control.StandingResult{}, err
	}
	r := StandingRows(found, names, n.Repair != nil)
	var ids []core.ID
	for _, row := range r.Placements {
		for _, h := range row.Holders {
			ids = append(ids, h.Node)
		}
	}
	known := peers{n.Asker(), n}.Known(ids)
	for _, row := range r.Placements {
		for i := range row.Holders {
			row.Holders[i].Address = known[row.Holders[i].Node].Address
		}
		if row.Coordinator != nil {
			row.Coordinator.Address = n.address(row.Coordinator.Node)
		}
	}
	return r, nil
}

// StandingRows is what is told of placements, those at risk first. names is by ALIAS.VERSION; watched says whether they
// are kept without anybody asking.
func StandingRows(found []repair.Standing, names map[string]string, watched bool) control.StandingResult {
	r := control.StandingResult{Watched: watched, Placements: []control.Standing{}}
	for _, s := range found {
		row := control.Standing{Name: names[s.Record.Name()], Version: s.Version, Wanted: s.Record.Copies,
			Copies: s.Verdict.Copies, Reached: s.Reached, Code: s.Code(watched), Done: s.Done, Total: s.Total,
			Holders: []control.Holder{}}
		row.State, row.Until = stateOf(s, watched)
		if s.Problem != nil {
			row.Problem = s.Problem.Error()
		}
		if s.Handed() {
			row.Coordinator = &control.Coordinator{Node: s.Coordinator, Copies: s.Told}
		}
		for i, h := range s.Holders() {
			row.Holders = append(row.Holders, control.Holder{Node: h.Node, Runs: h.Runs, Counting: h.Counting,
				Ref: h.Held, Audited: unix(h.Audited), Away: unix(s.Away[h.Node])})
			if at := unix(h.Audited); i == 0 || at < row.Audited {
				row.Audited = at
			}
		}
		r.Placements = append(r.Placements, row)
	}
	slices.SortStableFunc(r.Placements, func(a, b control.Standing) int {
		return cmp.Or(-cmp.Compare(a.Code, b.Code), cmp.Compare(a.Reached, b.Reached), cmp.Compare(a.Copies, b.Copies),
			strings.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version))
	})
	return r
}

func unix(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

// stateOf is what a placement is doing, and until when.
func stateOf(s repair.Standing, watched bool) (state string, until int64) {
	switch {
	case s.Placing && s.Began.IsZero():
		return control.StatePlacing, 0
	case s.Handed():
		return control.StateHanded, 0
	case s.OnDisk():
		return control.StateShipment, 0
	case !s.Lacks && !s.Until.IsZero() && watched:
		return control.StateWaiting, unix(s.Until)
	case !s.Lacks:
		return control.StateWell, 0
	case s.Code(watched) == core.CodeRedundant:
		return control.StateLacking, unix(s.Next)
	case s.Total > 0 && s.Done > 0 && !s.Began.IsZero():
		took := time.Since(s.Began).Seconds()
		return control.StateMending, time.Now().Unix() + int64(took*float64(s.Total-s.Done)/float64(s.Done))
	case s.Next.IsZero():
		return control.StateMending, unix(s.Until)
	}
	return control.StateMending, unix(s.Next)
}

// RepairPlacements has copies proved now, and what lacks placed anew.
func (n *Node) RepairPlacements(ctx context.Context, args control.StandingArgs,
	status func(control.Status)) (control.StandingResult, error) {
	n.Asker().Await(ctx)
	found, names, err := n.standings("repair", args)
	if err != nil {
		return control.StandingResult{}, err
	}
	slices.SortStableFunc(found, func(a, b repair.Standing) int { return cmp.Compare(a.Reached, b.Reached) })
	var failed []error
	for _, s := range found {
		title := fmt.Sprintf("%s@%d", names[s.Record.Name()], s.Version)
		status(control.Status{Phase: "repair", Text: title})
		_, err := n.keeper.Repair(ctx, s.Record, func(ctx context.Context, rec *placements.Record, silent []core.ID,
			moved func(done, total core.Size)) error {
			_, err := n.coordinator().Mend(ctx, rec, false, silent, func(s place.Status) {
				moved(s.Done, s.Total)
				status(control.Status(s))
			})
			return err
		})
		if ctx.Err() != nil {
			return control.StandingResult{}, context.Cause(ctx)
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("repair %s: %w", title, err))
		}
	}
	r, err := n.Standings(ctx, args, status)
	return r, cmp.Or(err, errors.Join(failed...))
}

// Drain has nodes keep nothing any more: first it is planned for all that they keep, and where others cannot take over
// all of it nothing is moved.
func (n *Node) Drain(ctx context.Context, args control.DrainArgs,
	status func(control.Status)) (r control.DrainResult, err error) {
	n.Asker().Await(ctx)
	if r.Nodes, err = n.named(args.Node); err != nil {
		return r, err
	}
	found, names, err := n.standings("drain", control.StandingArgs{})
	if err != nil {
		return r, err
	}
	found = slices.DeleteFunc(found, func(s repair.Standing) bool {
		return !slices.ContainsFunc(s.Holders(), func(h placements.Holder) bool { return slices.Contains(r.Nodes, h.Node) })
	})
	c := n.coordinator()
	for _, dry := range []bool{true, false} {
		for _, s := range found {
			name := names[s.Record.Name()]
			err := c.Drain(ctx, s.Record, r.Nodes, dry, told(status))
			if err != nil && dry {
				err = core.WithHint(core.Fail(core.CodeOf(err), "nothing is moved, since %s@%d cannot be taken over: %w",
					name, s.Version, err), "add peers, or free some space")
			}
			if err != nil {
				return r, err
			}
		}
	}
	after, err := n.Standings(ctx, control.StandingArgs{}, status)
	for _, row := range after.Placements {
		if slices.ContainsFunc(found, func(s repair.Standing) bool {
			return names[s.Record.Name()] == row.Name && s.Version == row.Version
		}) {
			r.Moved = append(r.Moved, row)
		}
	}
	return r, err
}

// named is the nodes that a person means by an ID, an address or a label.
func (n *Node) named(word string) ([]core.ID, error) {
	ids, known := n.find(word)
	switch {
	case len(ids) > 0:
		return ids, nil
	case known:
		return nil, core.WithHint(core.Fail(core.CodeRedundant, "node %s is away, and was not met here yet",
			core.Printable(word)), "start it and try again: bkp peers shows who is there")
	}
	return nil, core.WithHint(core.Fail(core.CodeUsage, "no node %s is known", core.Printable(word)),
		"bkp peers lists the nodes; name one by its ID, HOST:PORT or a label K=V")
}

// find is the nodes that a word means, there or not: those that were met, and those that are on record. known is true
// also where the peer list alone has one.
func (n *Node) find(word string) (ids []core.ID, known bool) {
	means := func(id core.ID, address string) bool { return core.NodeState{ID: id, Address: address}.Named(word) }
	key, value, labelled := strings.Cut(word, "=")
	for _, p := range n.See() {
		if means(p.ID, p.Address) || labelled && p.Labels[key] == value && value != "" {
			ids = append(ids, p.ID)
		}
	}
	all, err := n.Placed.All()
	if err != nil {
		n.Log.Warn("placements on record", "error", err)
	}
	for _, rec := range all {
		for _, id := range rec.Bound() {
			if means(id, "") {
				ids = append(ids, id)
			}
		}
	}
	slices.SortFunc(ids, core.ID.Compare)
	ids = slices.Compact(ids)
	return ids, len(ids) > 0 || slices.ContainsFunc(n.Now().Listed, func(p core.Peer) bool {
		return p.Address() == word || !p.ID.IsZero() && means(p.ID, "")
	})
}
