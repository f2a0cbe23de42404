// SPDX-License-Identifier: Apache-2.0

package place

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/license"
	"github.com/bkp-tool/bkp/core/place/booking"
	"github.com/bkp-tool/bkp/core/place/delivery"
	"github.com/bkp-tool/bkp/core/placements"
)

const (
	licenseLife = 7 * 24 * time.Hour
	// windowLife is how long the licence of a window holds, and with it a task whose ref has not come yet, and that of
	// what travels on a disk: longer than any backup, or shipment, takes.
	windowLife = 90 * 24 * time.Hour
	// defaultRetain is how long targets are asked to keep a version.
	defaultRetain = 5 * 365 * 24 * time.Hour
	// answerPatience is with targets that judge segments, while none of them answers: as long as a target gives its
	// verifiers (keep.verdictPatience).
	answerPatience = 20 * time.Second
	// withdrawPatience is how long answers that are on their way are waited for, before what they agree to is released.
	withdrawPatience = 2 * time.Second
	// offersOpen is how many answers may be outstanding: each question holds a segment's whole run list.
	offersOpen = 16
)

// retained is for how many seconds that is, where it was said, else by default.
func retained(seconds int64) time.Duration {
	if seconds > 0 {
		return time.Duration(seconds) * time.Second
	}
	return defaultRetain
}

// book is what this node says of a version that it coordinates, where several coordinators have one order.
func (p *placement) book() core.Booking {
	return core.Booking{Owner: p.ownerID(), Alias: p.Version.Ref.Alias, Version: p.Version.Ref.Version, Node: p.Node,
		Term: p.term, Delegation: p.delegation()}
}

// license books licences for segments, and signs them.
func (p *placement) license(ctx context.Context, segments ...*placements.Segment) error {
	ids, err := booking.Draw(ctx, p.Order, p.book(), len(segments), p.signer(), p.warn)
	if outrun, is := errors.AsType[*license.OutrunError](err); is {
		return p.leaveTo(outrun.Node, outrun.Term)
	}
	for i := 0; i < len(segments) && err == nil; i++ {
		err = p.sign(segments[i], ids[i])
	}
	return err
}

// sign signs who may keep a segment, and enters that in the ledger.
func (p *placement) sign(s *placements.Segment, id core.LicenseID) error {
	now, life := time.Now(), licenseLife
	if p.window || p.Args.Export != nil {
		life = windowLife
	}
	signer := p.signer()
	l := core.License{
		V: 1, ID: id, Task: p.Task, Segment: s.Number, TaskSource: core.TaskSource{Owner: p.ownerID(), Node: p.Node},
		Targets: s.Targets, Op: "store", Root: chunk.LicenseRoot(s.Message.Files, s.Message.Reused),
		NotBefore: now.Unix(), Expires: now.Add(life).Unix(), RetainUntil: now.Add(retained(p.Args.Retain)).Unix(),
		Key: signer.Public(), Delegation: p.delegation(), Permits: license.PermitsFor(p.owner.Shows(), s.Targets),
	}
	if p.locked > now.Unix() {
		l.LockedUntil, l.RetainUntil = p.locked, max(l.RetainUntil, p.locked)
	}
	if p.term > 0 || p.Args.Export != nil || p.Order != nil {
		l.Alias, l.Version, l.Term, l.Of = s.Message.Alias, s.Message.Version, p.term, s.Of
	}
	l.MaxBytes, l.MaxRuns = s.Bounds()
	envelope, err := license.Sign(l, signer)
	if err != nil {
		return fmt.Errorf("sign licence: %w", err)
	}
	s.Licenses = append(s.Licenses, l.ID)
	s.Message.License = envelope
	return p.Ledger.AppendLicense(envelope)
}

// settle shows segments to their targets until all have agreed. Whoever refuses, does not answer or is gone gets
// nothing new; its share is planned anew, as long as the network has room for it.
func (p *placement) settle(ctx context.Context, offers []*placements.Segment) error {
	var refused []placements.Refusal
	for again := p.resumed; len(offers) > 0 || again; {
		offers = slices.DeleteFunc(slices.Clone(offers), func(s *placements.Segment) bool {
			return len(s.Targets) == 0 // nobody on record is there: it is planned first
		})
		if err := p.license(ctx, offers...); err != nil {
			return err
		}
		p.Standing.Offer(offers)
		no, err := p.offer(ctx)
		if err != nil {
			return err
		}
		if p.outrun(no) {
			continue
		}
		lost := p.Standing.Lose()
		for _, x := range lost {
			p.note(placements.Lost, x.Target, x.Segment, x.Runs)
		}
		switch {
		case len(no) == 0 && len(lost) == 0 && !again:
			return nil
		case len(no) > 0 && p.Args.Plan != nil: // which is carried out as it is
			return p.refused(no[0])
		}
		again = false
		refused = append(refused, no...)
		for _, r := range no {
			p.bar(ctx, r)
		}
		if offers, err = p.decide(ctx); err != nil {
			return p.unsettled(refused, err)
		}
	}
	return nil
}

// offer shows the segments of a round, a few at a time, and waits for the answers. It returns the targets that are to
// get nothing new.
func (p *placement) offer(ctx context.Context) (no []placements.Refusal, err error) {
	if err := p.noteTold(p.Standing.Offering()); err != nil {
		return nil, fmt.Errorf("write down who is told: %w", err)
	}
	heard := time.Now()
	ticks := time.NewTicker(tick)
	defer ticks.Stop()
	for s := p.Standing; ; {
		p.take()
		for s.Offered < len(s.Offers) && s.Open() < offersOpen {
			if _, refused := s.Missing(); len(refused) > 0 {
				break // it is planned anew
			}
			p.offerOne(s.Show())
		}
		missing, refused := s.Missing()
		if len(missing) == 0 {
			return refused, nil
		}
		p.tell(Status{Phase: "license", Text: fmt.Sprintf("segment %d of %d", s.Offered, len(s.Offers))})
		if gone := p.gone(missing); len(gone) > 0 && len(gone) == len(missing) || time.Since(heard) > answerPatience {
			for _, id := range core.Sorted(missing) {
				why := cmp.Or(gone[id], fmt.Sprintf("it did not answer within %s", answerPatience))
				refused = append(refused, placements.Refusal{Target: id, Segment: missing[id],
					Answer: placements.Answer{Code: core.ReasonStopped, Reason: why}})
			}
			return refused, nil
		}
		select {
		case <-p.inbox.news:
			heard = time.Now()
		case <-ticks.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-p.Life.Done():
			return nil, context.Cause(p.Life)
		}
	}
}

// gone is those of the targets that answers are missing of whose session ended too long ago, and why they are given up.
// Who is back is shown again what it may have missed.
func (p *placement) gone(missing map[core.ID]int) map[core.ID]string {
	known, gone := p.Peers.Known(p.Survey.IDs()), map[core.ID]string{}
	for _, id := range core.Sorted(missing) {
		since, lost := p.Standing.Lost[id]
		switch {
		case !lost:
		case known[id].Connected:
			delete(p.Standing.Lost, id)
			for _, s := range p.Standing.Shown() {
				if _, answered := s.Answers[id]; !answered && slices.Contains(s.Targets, id) {
					p.Peers.Send([]core.ID{id}, s.Message)
				}
			}
		case time.Since(since) > delivery.AwayPatience:
			gone[id] = "it went away"
		}
	}
	return gone
}

// offerOne sends a segment to its targets.
func (p *placement) offerOne(s *placements.Segment) {
	for _, target := range p.Peers.Send(s.Targets, s.Message) {
		p.Standing.Answered(target, s.Number, placements.Answer{Code: core.ReasonStopped, Reason: "it is not connected"})
	}
}

// bar has a target get nothing new. Who lacks room for all of its share has what it agreed to and what it offers now.
func (p *placement) bar(ctx context.Context, r placements.Refusal) {
	node := &p.Survey.Nodes[p.Survey.Index[r.Target]]
	room := core.Size(0)
	if r.Code == core.ReasonSpace {
		room = p.roomNow(ctx, r.Target)
	}
	if node.Free = room; room == 0 {
		p.Standing.Barred[r.Target] = r.Reason
	}
	p.tell(Status{Phase: "license", Warning: true, Text: fmt.Sprintf("%s (%s) does not keep its share: %s; it is "+
		"planned anew", node.Address, r.Target.Short(), r.Reason)})
}

// roomNow is what a target that lacks room for its share can be asked for in the next round: less than in this one.
func (p *placement) roomNow(ctx context.Context, target core.ID) core.Size {
	asked, agreed := p.Standing.Asked(target)
	ctx, cancel := context.WithTimeout(ctx, hearPatience)
	defer cancel()
	state, err := p.ask(ctx, target, p.ownerID())
	if err != nil {
		return agreed
	}
	return max(0, min(agreed+state.Remaining-p.Content.RecordsSize(p.Args.Replicas), asked-1))
}

// unsettled is the error where the others have no room for what those want none of who were to keep it: where nobody
// wants any that is the first of those.
func (p *placement) unsettled(refused []placements.Refusal, planned error) error {
	if len(refused) == 0 {
		return planned
	}
	if len(p.Standing.Barred) == len(p.Survey.Nodes)-1 {
		return p.refused(refused[0])
	}
	var why []string
	for _, r := range refused {
		why = append(why, fmt.Sprintf("%s: %s", cmp.Or(p.Survey.Address(r.Target), r.Target.Short()), r.Reason))
	}
	return core.WithHint(core.Fail(core.CodeRedundant, "%w (%s)", planned, strings.Join(why, "; ")),
		"add peers, free some space, or ask for fewer --replicas")
}

func (p *placement) refused(r placements.Refusal) error {
	err := core.Fail(r.Code.ExitCode(), "peer %s (%s) refused segment %d: %s", r.Target.Short(),
		p.Survey.Address(r.Target), r.Segment, r.Reason)
	return core.WithHint(err, "nothing was stored; bkp place --dry-run shows what the plan needs of that peer")
}

// withdraw releases what targets agreed to before others left no room for the rest, or before the placement was
// stopped. Who has something from an act before this one keeps it.
func (p *placement) withdraw(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*withdrawPatience)
	defer cancel()
	until := time.Now().Add(withdrawPatience)
	for missing := 1; missing > 0 && time.Now().Before(until) && p.pause(ctx, 20*time.Millisecond); {
		p.take()
		missing = p.Standing.Open()
	}
	p.release(ctx, "withdraw", p.record, p.Standing.Bound(p.resumed))
	if len(p.record.Bound()) > 0 || p.kept != nil { // the record is the owner's word
		return
	}
	if err := p.record.Forget(); err != nil {
		p.Log.Warn("withdraw", "error", err)
	}
}
