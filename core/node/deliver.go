package node

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
	"github.com/bkp-tool/bkp/core/plan"
	"github.com/bkp-tool/bkp/core/version"
	"github.com/bkp-tool/bkp/core/wire"
)

// send lets the data move: this node's part of the swarm is everything that it has. Loop only.
func (pl *placing) send() {
	pl.began = time.Now()
	pl.last = pl.began
	pl.pace, pl.heard, pl.barred = pl.newPace(), map[core.ID]bool{}, map[int]bool{}
	pl.noMore = map[core.ID]bool{}
	for _, x := range pl.plan.Refused {
		pl.barred[x.Node] = x.Barred
	}
	for _, s := range pl.segments {
		swarm := pl.n.swarm(pl.task, pl.n.ID(), s.message.Tables())
		swarm.join(&piece{number: s.number, runs: len(s.runs),
			file: func(run int) core.File { return s.runs[run].File }, store: cmp.Or(pl.from, Chunks(pl.n.Staging))},
			s.message.Locations, func(target core.ID) core.Bitmap {
				agree, _ := s.answers[target].(wire.TaskAgree)
				return agree.Have
			})
		for run, r := range s.runs {
			if run < s.fresh || pl.here[r.Hash] {
				swarm.give(swarm.pieces[s.number], run, r.Chunks)
			}
		}
	}
	pl.n.wakeWaiting()
}

// newPace is what the plan says of how fast the data moves. Loop only.
func (pl *placing) newPace() *plan.Pace {
	run, slowest := core.Size(0), core.Rate(0)
	for _, s := range pl.segments {
		for _, r := range s.runs {
			run = max(run, r.Size)
		}
	}
	for _, f := range pl.result.Flows {
		if slowest == 0 || f.Rate > 0 && f.Rate < slowest {
			slowest = f.Rate
		}
	}
	return plan.NewPace(pl.plan.PredictedS, run, slowest)
}

// look finds the reused runs that have fewer holders than they are to have and can be sent from here.
func (pl *placing) look(ctx context.Context) error {
	pl.here = map[core.Hash]bool{}
	for _, class := range pl.reused {
		for _, r := range class {
			if len(r.holders) >= pl.args.Replicas {
				continue
			}
			here, err := pl.staged(ctx, r.Chunks)
			if err != nil {
				return err
			}
			if here {
				pl.here[r.Hash] = true
			}
		}
	}
	return nil
}

// unreceipted is the runs of a segment that a target keeps, or is to keep, without a receipt. Loop only.
func (pl *placing) unreceipted(segment int, target core.ID) (runs []int) {
	s := pl.segments[segment]
	for _, run := range s.share(target) {
		if !s.receipts[target].Has(run) {
			runs = append(runs, run)
		}
	}
	return runs
}

// peerLost notes a target whose session is gone. Loop only.
func (pl *placing) peerLost(id core.ID) {
	if _, known := pl.index[id]; known && pl.lost != nil {
		pl.lost[id] = time.Now()
		signal(pl.changed)
	}
}

// await waits for the receipts of every run from every target, sends directly what a lost relay would have sent, and
// gives up targets that stay away, and has others take over from those and from slow ones. Its error says what is
// missing in the end.
func (pl *placing) await(ctx context.Context) error {
	n := pl.n
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		var state control.Status
		var notes []string
		done := false
		homeless, late := false, false
		n.ask(func() {
			pl.care()
			homeless, pl.homeless = pl.homeless, false
			late = pl.behind()
		})
		joined := pl.welcome(ctx)
		for why, asked := range [...]bool{lostTarget: homeless, latePlacement: late, joinedPeer: joined} {
			if asked {
				if err := pl.replan(ctx, reason(why)); err != nil {
					return err
				}
			}
		}
		n.ask(func() {
			state, done = pl.progress()
			notes, pl.notes = pl.notes, nil
		})
		for _, text := range notes {
			pl.status(control.Status{Phase: "place", Warning: true, Text: text})
		}
		pl.status(state)
		if done {
			break
		}
		select {
		case <-pl.changed:
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-n.ctx.Done():
			return errStopped
		}
	}
	var err error
	n.ask(func() { err = pl.shortfall() })
	return err
}

// care looks after targets that went away. Loop only.
func (pl *placing) care() {
	for id, since := range pl.lost {
		p := pl.n.peers[id]
		switch {
		case pl.failed[id] != "":
		case p != nil && p.session != nil && p.capacity > 0:
			delete(pl.lost, id) // back: it says itself what it lacks
			pl.showAgain(id)
		case time.Since(since) > awayPatience:
			pl.giveUp(id, "it went away")
		}
	}
	patience := pl.patience()
	switch {
	case time.Since(pl.last) <= patience:
	case !pl.asked: // a receipt may have been lost without a word
		pl.asked, pl.last = true, time.Now()
		for target := range pl.index {
			pl.n.swarms[pl.task].greet(target)
		}
	default:
		for _, s := range pl.segments {
			for _, target := range s.targets {
				if pl.failed[target] == "" && !pl.complete(s, target) {
					pl.failed[target] = fmt.Sprintf("no receipt for %s", patience)
				}
			}
		}
	}
}

// showAgain shows a target that was away the licences that it may have missed. Loop only.
func (pl *placing) showAgain(id core.ID) {
	for _, s := range pl.segments {
		if len(s.licenses) > 1 && slices.Contains(s.targets, id) {
			pl.n.send(id, s.message)
		}
	}
}

// giveUp leaves a target out of what is awaited. Loop only.
func (pl *placing) giveUp(id core.ID, why string) {
	if pl.failed[id] != "" {
		return
	}
	pl.failed[id], pl.homeless = why, true
	pl.notes = append(pl.notes, fmt.Sprintf("%s (%s) is given up: %s; the others go on", pl.n.addressOf(id), id.Short(),
		why))
	if s := pl.n.swarms[pl.task]; s != nil {
		s.forget(id)
	}
	signal(pl.changed)
}

// patience is how long no receipt at all may come: a minute, or four of the largest runs on the slowest flow, or at the
// lowest rate that a calendar comes to.
func (pl *placing) patience() time.Duration {
	longest := minimumPatience
	rates := []core.Rate{pl.snapshot.Slowest()}
	for _, f := range pl.result.Flows {
		rates = append(rates, f.Rate)
	}
	for _, r := range rates {
		if r > 0 {
			longest = max(longest, time.Duration(4*r.Payload().Seconds(core.MaxRun)*float64(time.Second)))
		}
	}
	return longest.Round(time.Second)
}

func (pl *placing) complete(s *placedSegment, target core.ID) bool {
	return !slices.ContainsFunc(s.share(target), func(run int) bool { return !s.receipts[target].Has(run) })
}

// progress counts what has receipts; done is true when no target that is left lacks any. Loop only.
func (pl *placing) progress() (state control.Status, done bool) {
	state = control.Status{Phase: "place", Seconds: time.Since(pl.began).Seconds()}
	done = true
	for _, s := range pl.segments {
		for _, target := range s.targets {
			for _, run := range s.share(target) {
				size := s.runs[run].Size
				state.Total += size
				switch {
				case s.receipts[target].Has(run):
					state.Done += size
				case pl.failed[target] == "":
					done = false
				}
			}
		}
	}
	return state, done
}

// shortfall is the error for targets that failed. Loop only.
func (pl *placing) shortfall() error {
	var why []string
	for id, reason := range pl.failed {
		var missing core.Size
		for _, s := range pl.segments {
			for _, run := range s.share(id) {
				if !s.receipts[id].Has(run) {
					missing += s.runs[run].Size
				}
			}
		}
		if missing > 0 {
			why = append(why, fmt.Sprintf("%s lacks %s: %s", cmp.Or(pl.n.addressOf(id), id.Short()), missing, reason))
		}
	}
	if len(why) == 0 {
		return nil
	}
	slices.Sort(why)
	return core.WithHint(core.Fail(core.CodeRedundant, "not every copy was made (%s)", strings.Join(why, "; ")),
		"bkp place %s again: it places only what is missing, on the peers that are there then", pl.version.Body.Name)
}

// onReceipt takes a receipt that is for this coordinator, or passes it on.
func (n *Node) onReceipt(p *peer, m wire.TransmissionComplete) {
	if !m.To.IsZero() && m.To != n.ID() {
		n.kept.PassOn(p.id, m)
		return
	}
	pl := n.places[m.Task]
	if pl == nil {
		return
	}
	n.act(func() {
		r, err := license.OpenReceipt(m.Receipt)
		if err == nil && !n.ask(func() { err = pl.expects(r) }) {
			return
		}
		if err == nil {
			err = n.Ledger.AppendReceipt(m.Receipt)
		}
		if err != nil {
			n.Log.Warn("receipt", "from", p.id.Short(), "error", err)
			return
		}
		n.post(func() { pl.receipt(r) })
	})
}

// expects returns nil where a receipt is a target's, for a segment of this placement and under one of its licences.
// Loop only.
func (pl *placing) expects(r core.Receipt) error {
	if r.Task != pl.task || r.Segment >= len(pl.segments) ||
		!slices.Contains(pl.segments[r.Segment].targets, r.Target) {
		return fmt.Errorf("a receipt of %s for segment %d of task %s, which it was not given", r.Target.Short(),
			r.Segment, r.Task)
	}
	if !slices.Contains(pl.segments[r.Segment].licenses, r.License) {
		return fmt.Errorf("a receipt of %s under licence %s, which was not issued for segment %d", r.Target.Short(),
			r.License, r.Segment)
	}
	return nil
}

// receipt marks what a target keeps; the receipt is one that is expected. Loop only.
func (pl *placing) receipt(r core.Receipt) {
	s := pl.segments[r.Segment]
	kept := s.receipts[r.Target]
	for _, x := range r.Runs {
		for run := max(0, x.Start); run < min(x.Start+x.Length, len(s.runs)); run++ {
			kept.Set(run)
		}
	}
	pl.last = time.Now()
	pl.finished[r.Target] = pl.last
	signal(pl.changed)
}

// measured fills in what really happened.
func (pl *placing) measured() {
	pl.n.ask(func() {
		pl.result.Seconds = pl.last.Sub(pl.began).Seconds()
		pl.tookOver()
		for i := range pl.result.Placements {
			row := &pl.result.Placements[i]
			if at, ok := pl.finished[row.Node]; ok {
				row.Seconds = at.Sub(pl.began).Seconds()
			}
			for _, s := range pl.segments {
				row.Receipts += s.receipts[row.Node].Count(len(s.runs))
			}
		}
		for _, f := range pl.result.Flows {
			pl.result.SentBytes += f.Bytes
		}
		for id, reason := range pl.failed {
			pl.result.Warnings = append(pl.result.Warnings, fmt.Sprintf("%s (%s): %s", pl.n.addressOf(id), id.Short(),
				reason))
		}
	})
}

// tookOver adds who keeps copies that the plan had given to others, and sets right what those keep. Loop only.
func (pl *placing) tookOver() {
	if pl.room == nil {
		return // everybody kept to the plan
	}
	for _, s := range pl.segments {
		for _, id := range s.targets {
			if !slices.ContainsFunc(pl.result.Placements, func(row control.Placement) bool { return row.Node == id }) {
				pl.result.Placements = append(pl.result.Placements,
					control.Placement{Node: id, Address: pl.n.addressOf(id), Explain: "took over from another node"})
			}
		}
	}
	for i := range pl.result.Placements {
		row := &pl.result.Placements[i]
		row.Bytes, row.Runs = 0, 0
		for _, s := range pl.segments {
			for _, run := range s.share(row.Node) {
				row.Bytes += s.runs[run].Size
				row.Runs++
			}
		}
	}
}

// publish seals the records of what was receipted and leaves them and the ref with every target and on this machine.
func (pl *placing) publish(ctx context.Context) error {
	n := pl.n
	worse := false
	n.ask(func() { worse = pl.worse() })
	if worse {
		pl.status(control.Status{Phase: "refs", Warning: true,
			Text: "the placement before it stays in force: it reaches more copies"})
		return nil
	}
	pl.status(control.Status{Phase: "refs"})
	body := pl.version.Body
	old := body
	body.Task, body.Records = pl.task, nil
	put := wire.RefPut{Owner: n.owner().ID(), Alias: pl.version.Ref.Alias, Version: pl.version.Ref.Version,
		Task: pl.task}
	var stored [][]byte
	var targets []core.ID
	for _, s := range pl.segments {
		r := version.Record{Task: pl.task, Number: s.number, Source: n.ID(), Runs: s.runs, License: s.message.License}
		n.ask(func() { r.Spans = s.keptSpans(); targets = union(targets, s.targets, n.peers) })
		sealed, bytes, err := n.sealRecord(ctx, r)
		claim := core.Chunk{Hash: sealed.Hash, Size: sealed.Size}
		defer n.stagedPins.Release([]core.Chunk{claim})
		if err != nil {
			return err
		}
		body.Records = append(body.Records, sealed)
		put.Records = append(put.Records, claim)
		stored = append(stored, bytes)
	}
	if err := errors.Join(n.Staging.Barrier(ctx), n.Ledger.Sync()); err != nil { // what the ref is about to say
		return fmt.Errorf("keep records and receipts: %w", err)
	}
	ref, next := pl.version.Ref, pl.next
	next.Placed = time.Now().Unix()
	envelope, err := n.owner().SealRef(next, body)
	if err != nil {
		return fmt.Errorf("seal ref: %w", err)
	}
	former, err := n.owner().SealRef(version.InVersion1(next, ref), body)
	if err != nil {
		return fmt.Errorf("seal ref: %w", err)
	}
	problems := make([]error, len(targets))
	n.each(len(targets), func(i int) { problems[i] = n.sendRef(ctx, targets[i], put, stored, former, envelope) })
	kept := 0
	for i, err := range problems {
		if err == nil {
			kept++
			continue
		}
		pl.result.Warnings = append(pl.result.Warnings, fmt.Sprintf("%s did not take the ref: %v", targets[i].Short(),
			err))
	}
	if kept == 0 {
		return core.Fail(core.CodeRedundant, "no target took the ref: %v", problems)
	}
	if err := n.Refs.Put(ref.Alias, ref.Version, envelope); err != nil {
		return fmt.Errorf("keep ref: %w", err)
	}
	pl.dismiss(ctx)
	for _, task := range pl.reader.Tasks(old) {
		if task != pl.task {
			n.releaseEverywhere(ctx, task, ref.Alias, ref.Version)
		}
	}
	return nil
}

// worse reports whether a run that was placed before would have fewer copies by this placement's receipts than it has.
// Loop only.
func (pl *placing) worse() bool {
	before := map[core.Hash]int{}
	for _, class := range pl.reused {
		for _, r := range class {
			before[r.Hash] = len(r.holders)
		}
	}
	for _, s := range pl.segments {
		for run := s.fresh; run < len(s.runs); run++ {
			copies := 0
			for _, target := range s.targets {
				if s.receipts[target].Has(run) {
					copies++
				}
			}
			if copies < min(before[s.runs[run].Hash], pl.args.Replicas) {
				return true
			}
		}
	}
	return false
}

// union adds what is connected of more. Loop only.
func union(all, more []core.ID, peers map[core.ID]*peer) []core.ID {
	for _, id := range more {
		if p := peers[id]; p.reachable() && !slices.Contains(all, id) {
			all = append(all, id)
		}
	}
	return all
}

// keptSpans is who keeps which runs, as the receipts say. Loop only.
func (s *placedSegment) keptSpans() (spans []core.Span) {
	for _, target := range s.targets {
		var kept []int
		s.receipts[target].Each(func(run int) { kept = append(kept, run) }) // also what others were asked for meanwhile
		for _, r := range core.Ranges(kept) {
			spans = append(spans, core.Span{Node: target, Start: r.Start, Length: r.Length})
		}
	}
	return spans
}
