// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"errors"
	"fmt"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/license"
	"github.com/bkp-tool/bkp/core/wire"
)

// receipt signs, logs and sends one receipt for each segment. Only keepDurable calls it, so chains of receipts stay
// chains.
func (t *Target) receipt(numbers map[core.SegmentID][]int) error {
	type signed struct {
		seg      *Segment
		license  core.LicenseID
		runs     []int
		envelope []byte
	}
	var all []signed
	t.entering.Lock()
	defer t.entering.Unlock()
	t.loop.Ask(func(s *State) {
		for id, runs := range numbers {
			if seg := s.segments[id]; seg != nil {
				all = append(all, signed{seg: seg, license: seg.LicenseID, runs: runs})
			}
		}
	})
	for i, s := range all {
		envelope, err := t.signReceipt(s.seg, s.license, s.runs)
		if err != nil {
			return err
		}
		all[i].envelope = envelope
	}
	if err := t.Ledger.Sync(); err != nil {
		return fmt.Errorf("make receipts durable: %w", err)
	}
	t.loop.Post(func(s *State) {
		for _, x := range all {
			for _, run := range x.runs {
				x.seg.durable.Set(run)
			}
			x.seg.receipts = append(x.seg.receipts, x.envelope)
			s.deliver(x.seg)
		}
	})
	return nil
}

// signReceipt enters a receipt in the ledger. It reads only what never changes of the segment.
func (t *Target) signReceipt(seg *Segment, under core.LicenseID, runs []int) ([]byte, error) {
	previous, err := t.Ledger.LastReceipt(under)
	if err != nil {
		return nil, fmt.Errorf("find the last receipt: %w", err)
	}
	r := core.Receipt{
		V: 1, License: under, Task: seg.Task, Segment: seg.Number, Target: t.Signer.ID(), Runs: core.Ranges(runs),
		RetainUntil: seg.RetainUntil, Previous: previous, Time: time.Now().Unix(), Key: t.Signer.Public(),
	}
	for _, run := range runs {
		r.Bytes += seg.File(run).Size
	}
	envelope, err := license.SignReceipt(r, t.Signer)
	if err != nil {
		return nil, fmt.Errorf("sign receipt: %w", err)
	}
	if err := t.Ledger.AppendReceipt(envelope); err != nil {
		return nil, fmt.Errorf("enter receipt in the ledger: %w", err)
	}
	return envelope, nil
}

// Countersigned enters in the ledger that the owner's side has a receipt of this node, by the word of who placed its
// segment. Nobody is answered.
func (s *State) Countersigned(from core.ID, m wire.Countersigned) {
	t := s.target
	s.peers.Act(func() {
		if err := t.countersigned(from, m); err != nil {
			t.Log.Warn("countersignature", "from", from.Short(), "error", err)
		}
	})
}

func (t *Target) countersigned(from core.ID, m wire.Countersigned) error {
	c, signer, r, err := license.OpenCountersignedReceipt(m.Envelope, m.Receipt, time.Now())
	if err != nil {
		return err
	}
	var seg *Segment
	words := core.Size(len(m.Envelope)) + runWords
	t.loop.Ask(func(s *State) {
		if seg = s.Segment(r.Task, r.Segment); seg == nil || seg.Source != from || r.Target != t.Signer.ID() {
			err = errors.New("it is not of who placed runs here")
		} else if err = s.mayWrite(seg.Owner, words); err == nil {
			s.write(seg, words)
		}
	})
	if err != nil || seg == nil {
		return err
	}
	err = license.CheckCountersigned(c, signer, license.Party{Alias: seg.Alias, Version: seg.Version,
		TaskSource: core.TaskSource{Owner: seg.Owner, Node: seg.Source}}, key.DelegationFields)
	if err == nil {
		err = t.stillMay(seg.Owner, signer)
	}
	if err == nil {
		err = t.write(func() error { return t.Ledger.AppendCountersigned(m.Envelope) })
	}
	if err != nil {
		t.loop.Post(func(s *State) { s.write(seg, -min(words, seg.words)) }) // its task may be gone
	}
	return err
}

// ReceiptAgain says once more that runs are durable here to a source that offers them again, or misses their receipt:
// it was lost on its way, or with this node's memory.
func (s *State) ReceiptAgain(peer core.ID, seg *Segment, ranges []core.Range) {
	if peer != seg.Source {
		return
	}
	for _, r := range ranges {
		for run := r.Start; run < r.Start+r.Length; run++ {
			if seg.durable.Has(run) {
				s.target.arrivals.add(arrival{segment: seg.ID(), again: true, holding: core.Holding{Number: run}})
			}
		}
	}
}

// deliver sends a segment's receipts to the coordinator, or to whoever sent the runs where it is not connected; what
// can be sent to nobody waits for the next receipt or session.
func (s *State) deliver(seg *Segment) {
	for len(seg.receipts) > 0 {
		if !s.towardsSource(seg, wire.TransmissionComplete{Task: seg.Task, Segment: seg.Number, To: seg.Source,
			Receipt: seg.receipts[0]}) {
			return
		}
		seg.receipts = seg.receipts[1:]
	}
}

// towardsSource sends a message about a segment to its source, or to one that is nearer to it: those that are old take it
// from their neighbours only.
func (s *State) towardsSource(seg *Segment, m wire.Message) bool {
	far := s.peers.Far(seg.Source)
	if !far && s.peers.Send(seg.Source, m) {
		return true
	}
	self := s.target.Signer.ID()
	for _, span := range seg.Locations {
		if span.Node == self && span.From != self && s.peers.Send(span.From, m) {
			return true
		}
	}
	return far && s.peers.Send(seg.Source, m)
}

// PassOn sends a receipt of another node on to who it is for, where this node passed on runs of its segment.
func (s *State) PassOn(from core.ID, m wire.TransmissionComplete) {
	seg := s.Segment(m.Task, m.Segment)
	if seg == nil || seg.Source != m.To {
		return
	}
	if !s.towardsSource(seg, m) {
		s.target.Log.Warn("no way on for a receipt", "from", from.Short(), "to", m.To.Short())
	}
}
