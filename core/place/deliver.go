// SPDX-License-Identifier: Apache-2.0

package place

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/place/delivery"
	"github.com/bkp-tool/bkp/core/placements"
	"github.com/bkp-tool/bkp/core/plan"
	"github.com/bkp-tool/bkp/core/wire"
)

const (
	// tick is how often a placement looks what is to be done, where nothing happens.
	tick = 250 * time.Millisecond
	// hearPatience is how long who joined may take to tell its state, and the strategy to say what it may keep.
	hearPatience = 3 * time.Second
)

// deliver lets the data move, and waits for receipts and proofs of every run from every target. It sends directly what a lost
// relay would have sent, gives up targets that stay away, and has others take over from those and from slow ones. Its
// error says what is missing in the end.
func (p *placement) deliver(ctx context.Context) error {
	s := p.Standing
	p.watch = delivery.NewWatch(time.Now(), s, p.ground())
	p.transfer.Begin(s.Segments, p.from, func(seg *placements.Segment, run int) bool {
		return p.window || p.here[seg.Runs[run].Hash]
	})
	if p.resumed { // what came before may lack its receipts
		for _, id := range s.Bound(false) {
			p.watch.Came(id)
		}
	}
	ticks := time.NewTicker(tick)
	defer ticks.Stop()
	audits, stop := context.WithCancel(ctx)
	defer stop()
	for {
		p.take()
		p.welcome(ctx)
		if err := p.follow(ctx); err != nil {
			return err
		}
		done, total, ended := s.Progress()
		ended = !p.prove(audits, ended) && ended
		p.tell(Status{Phase: "place", Done: done, Total: total, Seconds: time.Since(s.Began).Seconds(),
			Predicted: p.Plan.PredictedS, Bound: p.Plan.BoundS, Binding: p.Plan.Binding})
		if ended {
			return s.Shortfall(p.Version.Body.Name, p.Survey.Address)
		}
		select {
		case <-p.inbox.news:
		case <-ticks.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-p.Life.Done():
			return context.Cause(p.Life)
		}
	}
}

// follow does what the watch says, until it says nothing more.
func (p *placement) follow(ctx context.Context) error {
	for {
		actions := p.watch.Next(time.Now(), p.Peers.Known(p.Survey.IDs()), p.transfer)
		for _, a := range actions {
			if err := p.act(ctx, a); err != nil {
				return err
			}
		}
		if len(actions) == 0 {
			return nil
		}
	}
}

// act carries out one action.
func (p *placement) act(ctx context.Context, a delivery.Action) error {
	s := p.Standing.Segments[a.Segment]
	switch a.Kind {
	case delivery.Show:
		p.Peers.Send([]core.ID{a.Target}, s.Message)
	case delivery.Ask:
		for _, m := range p.Standing.Unreceipted(a.Target) {
			p.Peers.Send([]core.ID{a.Target}, m)
		}
	case delivery.Forget:
		p.transfer.Forget(a.Target)
	case delivery.Narrow:
		p.transfer.Narrow(s)
	case delivery.Renew:
		return p.renew(ctx, s)
	case delivery.Join:
		stay := slices.DeleteFunc(slices.Clone(s.Message.Locations),
			func(span core.Span) bool { return p.Standing.Failed[span.Node] != "" })
		p.transfer.Join(s, stay, a.Target, s.Answers[a.Target].Have)
	case delivery.Say:
		p.tell(Status{Phase: "place", Warning: true, Text: a.Text})
	}
	return nil
}

// renew signs a further licence for a segment and shows it to all its targets.
func (p *placement) renew(ctx context.Context, s *placements.Segment) error {
	if err := p.license(ctx, s); err != nil {
		return err
	}
	if err := p.noteTold([]*placements.Segment{s}); err != nil {
		return fmt.Errorf("write down who is told: %w", err)
	}
	p.transfer.Tables(s)
	p.Peers.Send(s.Targets, s.Message)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// welcome hears peers that came after the survey, each once, and lets the watch know of those that answer.
func (p *placement) welcome(ctx context.Context) {
	var who []core.ID
	for _, id := range p.Survey.Strangers(p.Peers.Connected()) {
		if !p.heard[id] {
			p.heard[id] = true
			who = append(who, id)
		}
	}
	timely := p.request.Objective == "" || p.request.Objective == plan.ObjectiveTime
	// a plan that was given, or is for the costs, is carried out as it is
	if len(who) == 0 || !timely || len(p.only) > 0 || p.Handed != nil || p.Args.Plan != nil || p.Survey.Far {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, hearPatience)
	defer cancel()
	first := len(p.Survey.Nodes)
	p.hear(ctx, p.Survey, p.ownerID(), who, map[core.ID]wire.StateReport{}, p.tell)
	if len(p.Survey.Nodes) == first {
		return
	}
	_, scores, err := p.prices(ctx)
	if err != nil {
		p.Log.Warn("who joined is left out: the strategy cannot say whether it may keep anything", "strategy",
			p.Args.Strategy, "error", err)
	}
	p.watch.Joined(p.Survey.Snapshot, scores, err == nil)
}
