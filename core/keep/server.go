// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/task"
	"github.com/bkp-tool/bkp/core/wire"
)

// Asked is what a peer asked for, and what was found of it.
type Asked struct {
	found   []servedRun
	missing []core.Hash
}

// servedRun is a run that was asked for, and the chunks of it that are wanted.
type servedRun struct {
	hash   core.Hash
	chunks []core.Chunk
	size   core.Size
}

// Find looks for the runs that a peer asks for, as far as they belong to its part, beside the loop; then is called in an
// event.
func (s *State) Find(m wire.GainApply, part Part, then func(*State, Asked)) {
	t := s.target
	s.peers.Act(func() {
		var a Asked
		var why error
		for _, r := range m.Runs {
			found, err := servedRun{}, error(core.ErrNotFound)
			if part.run(r.Hash) {
				found, err = t.find(m.Owner, r)
			}
			if err != nil {
				why = cmp.Or(why, fmt.Errorf("run %s: %w", r.Hash, err))
				a.missing = append(a.missing, r.Hash)
				continue
			}
			a.found = append(a.found, found)
		}
		if why != nil { // one line, however many there were
			t.Log.Warn("asked for runs that are not here", "runs", len(a.missing), "error", why)
		}
		t.loop.Post(func(s *State) { then(s, a) })
	})
}

// find finds a kept run of the owner and the chunks of it that are asked for.
func (t *Target) find(owner core.ID, r wire.GainRun) (servedRun, error) {
	known, err := t.Holdings.RunOf(owner, r.Hash)
	if err != nil {
		return servedRun{}, err
	}
	found := servedRun{hash: r.Hash}
	for i, c := range known.Chunks {
		if len(r.Chunks) > 0 && !r.Chunks.Has(i) {
			continue
		}
		there, err := t.Keeping.Has(t.ctx, c.Hash)
		if err != nil {
			return servedRun{}, err
		}
		if !there {
			return servedRun{}, fmt.Errorf("chunk %s is gone", c.Hash)
		}
		found.chunks = append(found.chunks, c)
		found.size += c.Size
	}
	if len(found.chunks) == 0 {
		return servedRun{}, fmt.Errorf("no chunk of it is asked for")
	}
	return found, nil
}

// Chunks looks for the chunks of a run that is kept here for any task, beside the loop; then gets nil in an event where
// they are not known.
func (s *State) Chunks(run core.Hash, then func([]core.Chunk)) {
	t := s.target
	t.loop.Act(func() {
		known, err := t.Holdings.Run(run)
		if err != nil {
			t.Log.Warn("look up a run that is to be passed on", "run", run, "error", err)
		}
		t.loop.Post(func(*State) { then(known.Chunks) })
	})
}

// Server is the sending end of a fetch's flow: it grants leases and sends what is kept. The loop owns it. Runs of the
// flow are numbered in the order in which they were asked for.
type Server struct {
	numbers map[core.Hash]int
	runs    []servedRun // by number
	missing []core.Hash
	reason  string
}

// NewServer makes the sending end of a flow that is opened.
func NewServer() *Server { return &Server{numbers: map[core.Hash]int{}} }

// Apply is what an application comes to: the runs that are to be granted, or why there are none.
func (s *Server) Apply(f *task.Flow, a Asked) task.Event {
	s.missing, s.reason = a.missing, ""
	e := task.Event{Kind: task.Applied}
	for _, run := range a.found {
		number := len(s.runs)
		if known, again := s.numbers[run.hash]; again && isOpen(f, known) {
			number = known
		} else {
			s.numbers[run.hash] = number
			s.runs = append(s.runs, run)
		}
		e.Runs = append(e.Runs, task.Run{Number: number, Size: run.size})
	}
	if len(a.found) == 0 {
		e.Reason, s.reason = core.ReasonUnknown, "none of those runs is kept here"
	}
	return e
}

func isOpen(f *task.Flow, number int) bool {
	return slices.ContainsFunc(f.Open(), func(r task.Run) bool { return r.Number == number })
}

// Agree is the answer to an application that is granted, at a moment on the clock of the flow.
func (s *Server) Agree(f *task.Flow, a task.Action, now time.Duration) wire.Message {
	m := wire.GainAgree{Flow: f.ID, Lease: a.Lease, Rate: a.Rate, Missing: s.missing, ExpiresS: (a.At - now).Seconds()}
	for _, r := range a.Runs {
		m.Runs = append(m.Runs, s.runs[r.Number].hash)
	}
	return m
}

// Refuse is the answer to one that is not.
func (s *Server) Refuse(f *task.Flow, a task.Action) wire.Message {
	reason := s.reason
	if reason == "" {
		reason = notGranted(a.Reason)
	}
	return wire.GainRefuse{Flow: f.ID, Code: a.Reason, Reason: reason, RetryS: a.Retry.Seconds(), Missing: s.missing}
}

// Outgoing announces a run that was granted.
func (s *Server) Outgoing(number int) (wire.TransmissionBegin, bool) {
	if number >= len(s.runs) {
		return wire.TransmissionBegin{}, false
	}
	return wire.TransmissionBegin{Hash: s.runs[number].hash, Chunks: s.runs[number].chunks}, true
}

// Settled is told of a run that the other end has.
func (s *Server) Settled(number int) { s.runs[number].chunks = nil }
