package node

import (
	"fmt"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/task"
	"github.com/bkp-tool/bkp/core/wire"
)

// holder is the sending end of a fetch's flow: it grants leases and sends what it keeps. Owned by the loop.
type holder struct {
	n       *Node
	numbers map[core.Hash]int
	runs    []heldRun // by number
	missing []core.Hash
	reason  string
}

// heldRun is a run that was asked for, and the chunks of it that are wanted.
type heldRun struct {
	hash   core.Hash
	chunks []core.Chunk
	size   core.Size
}

// onGainApply looks the runs up, off the loop, and answers.
func (n *Node) onGainApply(p *peer, m wire.GainApply) {
	if !n.mayRead(p, m.Owner) {
		n.send(p.id, wire.GainRefuse{Flow: m.Flow, Code: core.ReasonRights,
			Reason: fmt.Sprintf("no delegation to read for owner %s", m.Owner.Short())})
		return
	}
	n.act(func() {
		found := make([]heldRun, 0, len(m.Runs))
		var missing []core.Hash
		for _, r := range m.Runs {
			held, err := n.wantedOf(m.Owner, r)
			if err != nil {
				n.Log.Warn("asked for a run that is not here", "run", r.Hash, "error", err)
				missing = append(missing, r.Hash)
				continue
			}
			found = append(found, held)
		}
		n.post(func() { n.grantGain(p, m, found, missing) })
	})
}

// mayRead reports whether a peer may read what is kept for an owner: by a delegation, or by a place in a task. Loop
// only.
func (n *Node) mayRead(p *peer, owner core.ID) bool {
	return p.may(owner, key.RightRead) || n.partakes(owner, p.id)
}

func (n *Node) partakes(owner, peer core.ID) bool {
	for _, seg := range n.segments {
		if seg.Owner != owner {
			continue
		}
		if seg.Source == peer {
			return true
		}
		for _, span := range seg.Locations {
			if span.Node == peer {
				return true
			}
		}
	}
	return false
}

// wantedOf finds a kept run of the owner and the chunks of it that are asked for.
func (n *Node) wantedOf(owner core.ID, r wire.GainRun) (heldRun, error) {
	known, err := n.Holdings.RunOf(owner, r.Hash)
	if err != nil {
		return heldRun{}, err
	}
	h := heldRun{hash: r.Hash}
	for i, c := range known.Chunks {
		if len(r.Chunks) > 0 && !r.Chunks.Has(i) {
			continue
		}
		there, err := n.Keeping.Has(n.ctx, c.Hash)
		if err != nil {
			return heldRun{}, err
		}
		if !there {
			return heldRun{}, fmt.Errorf("chunk %s is gone", c.Hash)
		}
		h.chunks = append(h.chunks, c)
		h.size += c.Size
	}
	if len(h.chunks) == 0 {
		return heldRun{}, fmt.Errorf("no chunk of it is asked for")
	}
	return h, nil
}

func (n *Node) grantGain(p *peer, m wire.GainApply, found []heldRun, missing []core.Hash) {
	f := n.flows[flowKey{p.id, m.Flow}]
	if code, reason := n.closedTo(p, f); reason != "" {
		n.send(p.id, wire.GainRefuse{Flow: m.Flow, Code: code, Reason: reason})
		return
	}
	if f == nil {
		if p.session == nil {
			return
		}
		f = n.open(p.id, m.Flow, task.Grantor, true, &holder{n: n, numbers: map[core.Hash]int{}})
	}
	h, ok := sideOf[*holder](f)
	if !ok {
		n.send(p.id, wire.GainRefuse{Flow: m.Flow, Code: core.ReasonProtocol, Reason: "that flow is of another kind"})
		return
	}
	h.missing, h.reason = missing, ""
	e := task.Event{Kind: task.Applied, Rate: m.Rate, Lease: n.nextID(),
		Free: n.book.Free(f.accounts...), Nominal: n.book.Nominal(f.accounts...)}
	for _, run := range found {
		number := len(h.runs)
		if open, again := h.numbers[run.hash]; again && h.isOpen(f, open) {
			number = open
		} else {
			h.numbers[run.hash] = number
			h.runs = append(h.runs, run)
		}
		e.Runs = append(e.Runs, task.Run{Number: number, Size: run.size})
	}
	if len(found) == 0 {
		e.Reason, h.reason = core.ReasonUnknown, "none of those runs is kept here"
	}
	n.step(f, e)
	if f.State == task.Idle {
		n.closeFlow(f)
	}
}

func (h *holder) isOpen(f *flow, number int) bool {
	for _, r := range f.Open() {
		if r.Number == number {
			return true
		}
	}
	return false
}

func (h *holder) purpose() string { return purposeGain }

func (h *holder) agree(f *flow, a task.Action) wire.Message {
	m := wire.GainAgree{Flow: f.ID, Lease: a.Lease, Rate: a.Rate, Missing: h.missing,
		ExpiresS: (a.At - h.n.now()).Seconds()}
	for _, r := range a.Runs {
		m.Runs = append(m.Runs, h.runs[r.Number].hash)
	}
	return m
}

func (h *holder) refuse(f *flow, a task.Action) wire.Message {
	reason := h.reason
	switch {
	case reason != "":
	case a.Reason == core.ReasonBusy:
		reason = "not enough bandwidth is free now"
	default:
		reason = "that flow has ended here"
	}
	return wire.GainRefuse{Flow: f.ID, Code: a.Reason, Reason: reason, RetryS: a.Retry.Seconds(), Missing: h.missing}
}

func (h *holder) outgoing(_ *flow, number int) (parcel, bool) {
	if number >= len(h.runs) {
		return parcel{}, false
	}
	r := h.runs[number]
	return parcel{begin: wire.TransmissionBegin{Hash: r.hash, Chunks: r.chunks}, store: h.n.Keeping}, true
}

func (h *holder) settled(_ *flow, number int) { h.runs[number].chunks = nil }

func (h *holder) more(f *flow) {
	h.n.beginMore(f)
	if f.State == task.Idle {
		h.n.closeFlow(f)
	}
}
