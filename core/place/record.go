// SPDX-License-Identifier: Apache-2.0

package place

import (
	"errors"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/placements"
)

// wanted is what is asked for, as the record says it.
func (p *placement) wanted() placements.Wanted {
	out := slices.Clone(p.Args.Out)
	for id := range p.out {
		if !slices.Contains(out, id) && len(p.only) == 0 {
			out = append(out, id)
		}
	}
	slices.SortFunc(out, core.ID.Compare)
	switch {
	case p.kept != nil: // it is its owner's word
		return p.record.Wanted
	case p.Handed != nil:
		return p.Handed.Wanted
	}
	w := placements.Wanted{Term: p.term, Copies: p.Args.Replicas, Strategy: p.Args.Strategy, Retain: p.Args.Retain,
		KeepLocal: p.Args.KeepLocal, Out: out, Only: p.only, Locked: p.locked}
	if p.Args.Export != nil {
		return w.OnDisk(p.only[0], p.Args.Copies, p.resumed, p.record)
	}
	return w
}

// note adds to the record what became known of a node and a segment. What is lost with it is asked again.
func (p *placement) note(what string, node core.ID, segment int, runs []core.Range) {
	p.noteEntry(placements.Entry{What: what, Node: node, Segment: segment, Runs: runs})
}

func (p *placement) noteEntry(e placements.Entry) {
	if p.record == nil {
		return // it could not be written down, and nobody was told
	}
	e.Time = time.Now().Unix()
	if err := p.record.Note(e); err != nil {
		p.Log.Error("note in the placement", "what", e.What, "peer", e.Node.Short(), "error", err)
	}
}

// noteTold writes down who is told of a segment, and what each is to keep by it: nothing is sent before that is
// durable. Who is there, and whose share goes to others, counts on record until theirs do: see noteLeft.
func (p *placement) noteTold(segments []*placements.Segment) error {
	var entries []placements.Entry
	for _, s := range segments {
		for _, id := range s.Targets {
			s.Told[id] = true
		}
		for _, id := range core.Sorted(s.Told) {
			if _, there := p.Survey.Index[id]; there && len(s.Share(id)) == 0 && !s.Receipts[id].Empty() {
				continue
			}
			entries = append(entries, placements.Entry{What: placements.Told, Node: id, Segment: s.Number,
				License: s.Licenses[len(s.Licenses)-1], Runs: core.Ranges(s.Share(id)), Time: time.Now().Unix()})
		}
	}
	return errors.Join(p.record.Note(entries...), p.record.Sync(), p.Ledger.Sync())
}

// noteLeft writes down who is to keep nothing any more of a segment, once enough copies of others count.
func (p *placement) noteLeft() error {
	if p.Standing.Counting() < p.Args.Replicas {
		return nil
	}
	return errors.Join(p.record.Note(p.Standing.Idle(time.Now())...), p.record.Sync())
}
