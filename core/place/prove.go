// SPDX-License-Identifier: Apache-2.0

package place

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/place/proof"
	"github.com/bkp-tool/bkp/core/placements"
)

const (
	// proofPatience is with a target that does not answer an audit.
	proofPatience = 30 * time.Second
	// proofRetry is how long after an audit that came to nothing the next one is made.
	proofRetry = 500 * time.Millisecond
	// auditsOpen is how many audits of one target are under way: as many segments' ranges it reads at once.
	auditsOpen = 4
	// lastProofs is how long a placement that is stopped waits for proofs.
	lastProofs = 3 * time.Second
)

// Prover asks targets for proofs.
func (c *Coordinator) Prover() proof.Prover { return proof.Prover{Peers: c.Peers, Bring: c.Bring} }

// auditOf is an audit under way: of a target, about a segment.
type auditOf struct {
	target  core.ID
	segment int
}

// prove has targets show that they have what they gave receipts for: a segment as soon as a target has given them for
// all of its share, or, where last is set, for anything. It reports whether audits are under way or were begun.
func (p *placement) prove(ctx context.Context, last bool) bool {
	open := map[core.ID]int{}
	for at := range p.audits {
		open[at.target]++
	}
	for _, seg := range p.Standing.Segments {
		for _, target := range seg.Targets {
			at := auditOf{target, seg.Number}
			runs := seg.Unproved(target)
			if len(runs) == 0 || p.audits[at] || open[target] >= auditsOpen || p.Standing.Doubted[target] ||
				!last && !seg.Complete(target) {
				continue
			}
			p.audits[at] = true
			open[target]++
			patience := proofPatience
			if p.Standing.Failed[target] != "" {
				patience = lastProofs
			}
			p.auditing.Go(func() { p.inbox.put(p.audit(ctx, at, runs, patience)) })
		}
	}
	return len(p.audits) > 0
}

// proveLast has targets prove what they gave receipts for, as far as they do it soon.
func (p *placement) proveLast() {
	p.auditing.Wait() // those that the end of the placement's context has ended
	ctx, cancel := context.WithTimeout(p.Life, lastProofs)
	defer cancel()
	for p.take(); p.prove(ctx, true) && ctx.Err() == nil; p.take() {
		select {
		case <-p.inbox.news:
		case <-ctx.Done():
		}
	}
	p.auditing.Wait()
	p.take()
}

// audit asks a target for proof until it gives it, is found not to have what it says, or has not answered for long.
func (p *placement) audit(life context.Context, at auditOf, runs []int, patience time.Duration) audited {
	ctx, cancel := context.WithTimeout(life, patience)
	defer cancel()
	claim := proof.Claim{Owner: p.ownerID(), Alias: p.Version.Ref.Alias, Segment: p.Standing.Segments[at.segment],
		Target: at.target, Runs: runs}
	var why error
	for {
		samples, err := p.Prover().Challenge(ctx, claim)
		if _, is := errors.AsType[*proof.Refuted](err); err == nil || is {
			return audited{at, runs, samples, err, false}
		}
		if ctx.Err() == nil {
			why = err
		}
		if !p.pause(ctx, proofRetry) {
			return audited{at, runs, 0, cmp.Or(why, err), life.Err() != nil}
		}
	}
}

// audited is what an audit came to.
type audited struct {
	auditOf
	runs    []int
	samples int
	err     error
	stopped bool // nothing follows from its error: it was not waited for
}

func (e audited) apply(p *placement, _ time.Time) {
	delete(p.audits, e.auditOf)
	s := p.Standing
	r, lacks := errors.AsType[*proof.Refuted](e.err)
	switch {
	case e.err == nil:
		s.Proved(e.target, e.segment, e.runs)
		p.noteEntry(placements.Entry{What: placements.Proved, Node: e.target, Segment: e.segment,
			Runs: core.Ranges(e.runs), Samples: e.samples})
	case lacks:
		s.Refuted(e.target, e.segment, r.Runs)
		p.noteLost(e.target, e.segment, r.Runs)
		p.Log.Error("audit failed", "target", e.target, "segment", e.segment, "error", e.err)
		p.doubt(e.target, fmt.Sprintf("it gave receipts for what it does not have: segment %d: %v", e.segment, e.err))
	case !e.stopped:
		p.doubt(e.target, fmt.Sprintf("it does not prove what it gave receipts for: %v", e.err))
	}
}

// noteLost writes down what a target does not have: runs of a segment, or, where none are named, all that it is to keep.
func (p *placement) noteLost(target core.ID, segment int, runs []core.Range) {
	if p.record != nil {
		if err := p.record.Refute(target, segment, runs, time.Now()); err != nil {
			p.Log.Error("note in the placement", "what", placements.Lost, "peer", target.Short(), "error", err)
		}
	}
}

// doubt has a target proved no more, and given up.
func (p *placement) doubt(target core.ID, why string) {
	p.Standing.Doubted[target] = true
	p.watch.GiveUp(target, why)
}
