// SPDX-License-Identifier: Apache-2.0

// Package proof has nodes prove that they have what they gave receipts for.
package proof

import (
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/audit"
	"github.com/bkp-tool/bkp/core/place/delivery"
	"github.com/bkp-tool/bkp/core/placements"
	"github.com/bkp-tool/bkp/core/spread"
	"github.com/bkp-tool/bkp/core/wire"
)

// Prover asks for proofs.
type Prover struct {
	Peers Peers
	// Bring has wanted chunks of a version of an alias brought from their holders, and hands each to keep. left is the
	// runs that are at no reachable holder.
	Bring func(ctx context.Context, alias string, wanted []spread.Wanted,
		keep func(run, index int, data []byte) error) (left []int, err error)
}

// Peers is the nodes that are asked.
type Peers interface {
	wire.Asker
	// Known is what is known of nodes now; those that were never met are left out.
	Known(ids []core.ID) map[core.ID]delivery.Peer
	// Reach looks for nodes that no session leads to where others say that they are, for some seconds at most.
	Reach(ctx context.Context, ids []core.ID)
}

// Claim is runs of a segment that a target gave receipts for.
type Claim struct {
	Kept    bool // it is of a version that was handed over to this node
	Owner   core.ID
	Alias   string
	Segment *placements.Segment
	Target  core.ID
	Runs    []int
}

// parts is the runs as an audit draws from them.
func (c Claim) parts() (parts []audit.Part) {
	for _, run := range c.Runs {
		r := c.Segment.Runs[run]
		parts = append(parts, audit.Part{Number: run, Chunks: r.Chunks, Kept: r.Kept()})
	}
	return parts
}

// Refuted is what a target was found not to have.
type Refuted struct {
	Runs []core.Range // that it says itself are lost
	why  error
}

func (r *Refuted) Error() string { return r.why.Error() }

// Challenge asks once for proof of a claim, by ranges that are drawn anew, and says by how many.
func (p Prover) Challenge(ctx context.Context, claim Claim) (samples int, err error) {
	var seed [32]byte
	if _, err := crand.Read(seed[:]); err != nil {
		return 0, err
	}
	ranges := audit.Draw(rand.New(rand.NewChaCha8(seed)), claim.parts(), audit.Enough)
	return len(ranges), p.demand(ctx, claim, ranges)
}

// demand asks once for proof of some ranges of a claim. A target that cannot be audited has to send the chunks.
func (p Prover) demand(ctx context.Context, claim Claim, ranges []core.AuditedRange) error {
	ask := core.Challenge{Owner: claim.Owner, Task: claim.Segment.Message.Task, Segment: claim.Segment.Number,
		Ranges: ranges}
	if _, err := crand.Read(ask.Nonce[:]); err != nil {
		return err
	}
	peer := p.Peers.Known([]core.ID{claim.Target})[claim.Target]
	switch {
	case !peer.Reachable:
		return errors.New("it is not connected")
	case !peer.Audited:
		return p.taste(ctx, claim, ranges)
	}
	asking, cancel := ctx, context.CancelFunc(func() {})
	if peer.Far { // one that is old drops what it does not know, and then has to be met
		asking, cancel = context.WithTimeout(ctx, farPatience)
	}
	m, err := p.Peers.Ask(asking, claim.Target,
		func(id uint64) wire.Message { return wire.Audit{Query: id, Challenge: ask} })
	cancel()
	if err != nil {
		if peer.Far {
			p.Peers.Reach(ctx, []core.ID{claim.Target})
		}
		return err
	}
	switch m := m.(type) {
	case wire.AuditProof:
		if err := audit.Check(ask, m.Proof, claim.Target, claim.parts()); err != nil {
			return &Refuted{why: err}
		}
		return nil
	case wire.AuditRefuse:
		err := errors.New(m.Reason)
		if len(m.Lost) > 0 || m.Code == core.ReasonUnknown || claim.Kept && m.Code == core.ReasonRights {
			// it knows nothing of what it signed for, nor by what right a coordinator asks, which stands beside that
			return &Refuted{m.Lost, err}
		}
		return err
	default:
		return &Refuted{why: fmt.Errorf("it answered an audit with %s", m.Type())}
	}
}

// taste has a target send the chunks that were drawn.
func (p Prover) taste(ctx context.Context, claim Claim, ranges []core.AuditedRange) error {
	var wanted []spread.Wanted
	for _, r := range ranges {
		run := claim.Segment.Runs[r.Run].Run
		if n := len(wanted); n == 0 || wanted[n-1].Hash != run.Hash {
			wanted = append(wanted, spread.Wanted{Run: run, Needed: core.NewBitmap(len(run.Chunks)),
				Holders: []core.ID{claim.Target}})
		}
		wanted[len(wanted)-1].Needed.Set(r.Chunk)
	}
	left, err := p.Bring(ctx, claim.Alias, wanted, func(int, int, []byte) error { return nil })
	if err == nil && len(left) > 0 {
		err = fmt.Errorf("%d of %d runs that were drawn did not come", len(left), len(wanted))
	}
	return err
}

const (
	// farPatience is with one that is reached through others, before it is looked for.
	farPatience = 3 * time.Second
	// auditPatience is with a holder that does not answer an audit that nobody waits for.
	auditPatience = 10 * time.Second
	// batchPatience is with one that reads as many chunks as a challenge can ask for.
	batchPatience = time.Minute
	// fullTurn is how long a holder is audited in full until others have their turn.
	fullTurn = time.Minute
)

// claims is what a node gave receipts for by a record, segment by segment.
func claims(rec *placements.Record, node core.ID) (all []Claim, err error) {
	segments, err := rec.Segments(func(id core.ID) bool { return id == node })
	for _, s := range segments {
		claim := Claim{Kept: rec.Delegation != nil, Owner: rec.Owner, Alias: rec.Alias, Segment: s, Target: node,
			Runs: slices.DeleteFunc(s.Share(node), func(run int) bool { return !s.Receipts[node].Has(run) })}
		if len(claim.Runs) > 0 {
			all = append(all, claim)
		}
	}
	return all, err
}

// Audit has a node prove again what it keeps by a record, some ranges of each segment, and notes what came of it. lost
// is what it was found not to have, which counts no more, durably; what it proved it may have to prove again after a
// loss of power. err is why it could not be asked, or did not answer.
func (p Prover) Audit(ctx context.Context, rec *placements.Record, node core.ID) (lost, err error) {
	all, err := claims(rec, node)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, auditPatience)
	defer cancel()
	for _, claim := range all {
		samples, err := p.Challenge(ctx, claim)
		if r, is := errors.AsType[*Refuted](err); is {
			lost = fmt.Errorf("segment %d: %w", claim.Segment.Number, err)
			if err := rec.Refute(node, claim.Segment.Number, r.Runs, time.Now()); err != nil {
				return lost, err
			}
			if len(r.Runs) == 0 {
				break // nothing that it says is worth anything
			}
			continue
		}
		if err != nil {
			return lost, err
		}
		err = rec.Note(placements.Entry{What: placements.Proved, Node: node, Segment: claim.Segment.Number,
			Runs: core.Ranges(claim.Runs), Samples: samples, Time: time.Now().Unix()})
		if err != nil {
			return lost, err
		}
	}
	return lost, nil
}

// AuditInFull has a node that was found to lack something prove every chunk that it keeps by a record, from a segment
// on, and notes what else is lost. After a minute it is left for later: next is the segment to go on with, or −1.
func (p Prover) AuditInFull(ctx context.Context, rec *placements.Record, node core.ID, from int) (next int, err error) {
	all, err := claims(rec, node)
	if err != nil {
		return from, err
	}
	for began := time.Now(); len(all) > 0; all = all[1:] {
		number := all[0].Segment.Number
		if number < from {
			continue
		}
		if time.Since(began) > fullTurn {
			return number, nil
		}
		believed, err := p.inFull(ctx, rec, all[0])
		if err != nil || !believed {
			return number, err
		}
	}
	return -1, nil
}

// inFull has every chunk of a claim proved; believed is false where nothing that the node says is worth anything.
func (p Prover) inFull(ctx context.Context, rec *placements.Record, claim Claim) (believed bool, err error) {
	for batch := range slices.Chunk(audit.Every(claim.parts()), core.MaxAuditRanges) {
		batch = slices.DeleteFunc(batch, func(r core.AuditedRange) bool { return !slices.Contains(claim.Runs, r.Run) })
		for len(batch) > 0 {
			asking, cancel := context.WithTimeout(ctx, batchPatience)
			err := p.demand(asking, claim, batch)
			cancel()
			r, is := errors.AsType[*Refuted](err)
			if !is {
				if err != nil {
					return true, err
				}
				break
			}
			if err := rec.Refute(claim.Target, claim.Segment.Number, r.Runs, time.Now()); err != nil || len(r.Runs) == 0 {
				return false, err
			}
			batch = slices.DeleteFunc(batch, func(x core.AuditedRange) bool { return core.InRanges(r.Runs, x.Run) })
		}
	}
	return true, nil
}
