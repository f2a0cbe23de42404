// SPDX-License-Identifier: Apache-2.0

package place

import (
	"cmp"
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/audit"
	"github.com/bkp-tool/bkp/core/placements"
	"github.com/bkp-tool/bkp/core/spread"
	"github.com/bkp-tool/bkp/core/wire"
)

const (
	// proofPatience is with a target that does not answer an audit.
	proofPatience = 30 * time.Second
	// proofRetry is how long after an audit that came to nothing the next one is made.
	proofRetry = 500 * time.Millisecond
	// auditsOpen is how many audits of one target are under way: as many segments' ranges it reads at once.
	auditsOpen = 4
	// farPatience is with one that is reached through others, before it is looked for.
	farPatience = 3 * time.Second
	// lastProofs is how long a placement that is stopped waits for proofs.
	lastProofs = 3 * time.Second
)

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

// parts is runs of a segment as an audit draws from them.
func parts(s *placements.Segment, runs []int) (parts []audit.Part) {
	for _, run := range runs {
		parts = append(parts, audit.Part{Number: run, Chunks: s.Runs[run].Chunks, Kept: s.Runs[run].Kept()})
	}
	return parts
}

// refuted is what a target was found not to have.
type refuted struct {
	runs []core.Range // that it says itself are lost
	why  error
}

func (r *refuted) Error() string { return r.why.Error() }

// audit asks a target for proof until it gives it, is found not to have what it says, or has not answered for long.
func (p *placement) audit(life context.Context, at auditOf, runs []int, patience time.Duration) audited {
	ctx, cancel := context.WithTimeout(life, patience)
	defer cancel()
	parts := parts(p.Standing.Segments[at.segment], runs)
	var why error
	for {
		err := p.challenge(ctx, at, parts)
		if _, is := errors.AsType[*refuted](err); err == nil || is {
			return audited{at, runs, err, false}
		}
		if ctx.Err() == nil {
			why = err
		}
		if !p.pause(ctx, proofRetry) {
			return audited{at, runs, cmp.Or(why, err), life.Err() != nil}
		}
	}
}

// challenge asks once, for ranges that are drawn anew. A target that cannot be audited has to send what was drawn.
func (p *placement) challenge(ctx context.Context, at auditOf, parts []audit.Part) error {
	var seed [32]byte
	c := core.Challenge{Owner: p.owner.ID(), Task: p.Task, Segment: at.segment}
	if _, err := crand.Read(seed[:]); err != nil {
		return err
	}
	if _, err := crand.Read(c.Nonce[:]); err != nil {
		return err
	}
	c.Ranges = audit.Draw(rand.New(rand.NewChaCha8(seed)), parts, audit.Enough)
	peer := p.Peers.Known([]core.ID{at.target})[at.target]
	switch {
	case !peer.Reachable:
		return errors.New("it is not connected")
	case !peer.Audited:
		return p.taste(ctx, at, c.Ranges)
	}
	asking, cancel := ctx, context.CancelFunc(func() {})
	if peer.Far { // one that is old drops what it does not know, and then has to be met
		asking, cancel = context.WithTimeout(ctx, farPatience)
	}
	m, err := p.Peers.Ask(asking, at.target,
		func(id uint64) wire.Message { return wire.Audit{Query: id, Challenge: c} })
	cancel()
	if err != nil {
		if peer.Far {
			p.Peers.Reach(ctx, []core.ID{at.target})
		}
		return err
	}
	switch m := m.(type) {
	case wire.AuditProof:
		if err := audit.Check(c, m.Proof, at.target, parts); err != nil {
			return &refuted{why: err}
		}
		return nil
	case wire.AuditRefuse:
		err := errors.New(m.Reason)
		if len(m.Lost) > 0 {
			return &refuted{m.Lost, err}
		}
		return err
	default:
		return &refuted{why: fmt.Errorf("it answered an audit with %s", m.Type())}
	}
}

// taste has a target send the chunks that were drawn.
func (p *placement) taste(ctx context.Context, at auditOf, ranges []core.AuditedRange) error {
	var wanted []spread.Wanted
	for _, r := range ranges {
		run := p.Standing.Segments[at.segment].Runs[r.Run].Run
		if n := len(wanted); n == 0 || wanted[n-1].Hash != run.Hash {
			wanted = append(wanted, spread.Wanted{Run: run, Needed: core.NewBitmap(len(run.Chunks)),
				Holders: []core.ID{at.target}})
		}
		wanted[len(wanted)-1].Needed.Set(r.Chunk)
	}
	left, err := p.Bring(ctx, p.Version.Ref.Alias, wanted, func(int, int, []byte) error { return nil })
	if err == nil && len(left) > 0 {
		err = fmt.Errorf("%d of %d runs that were drawn did not come", len(left), len(wanted))
	}
	return err
}

// audited is what an audit came to.
type audited struct {
	auditOf
	runs    []int
	err     error
	stopped bool // nothing follows from its error: it was not waited for
}

func (e audited) apply(p *placement, _ time.Time) {
	delete(p.audits, e.auditOf)
	s := p.Standing
	r, lacks := errors.AsType[*refuted](e.err)
	switch {
	case e.err == nil:
		s.Proved(e.target, e.segment, e.runs)
	case lacks:
		s.Refuted(e.target, e.segment, r.runs)
		p.Log.Error("audit failed", "target", e.target, "segment", e.segment, "error", e.err)
		p.doubt(e.target, fmt.Sprintf("it gave receipts for what it does not have: segment %d: %v", e.segment, e.err))
	case !e.stopped:
		p.doubt(e.target, fmt.Sprintf("it does not prove what it gave receipts for: %v", e.err))
	}
}

// doubt has a target proved no more, and given up.
func (p *placement) doubt(target core.ID, why string) {
	p.Standing.Doubted[target] = true
	p.watch.GiveUp(target, why)
}
