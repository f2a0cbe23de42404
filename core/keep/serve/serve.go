// SPDX-License-Identifier: Apache-2.0

// Package serve is the sending end of flows by which what is kept goes to who fetches it.
package serve

import (
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/task"
	"github.com/bkp-tool/bkp/core/wire"
)

// Asked is what a peer asked for, and what was found of it.
type Asked struct {
	Found   []Run
	Missing []core.Hash
}

// Run is a run that was asked for, and the chunks of it that are wanted.
type Run struct {
	Hash   core.Hash
	Chunks []core.Chunk
	Size   core.Size
}

// Server is the sending end of a fetch's flow: it grants leases and sends what is kept. The loop owns it. Runs of the
// flow are numbered in the order in which they were asked for.
type Server struct {
	numbers map[core.Hash]int
	runs    []Run // by number
	missing []core.Hash
	reason  string
}

// NewServer makes the sending end of a flow that is opened.
func NewServer() *Server { return &Server{numbers: map[core.Hash]int{}} }

// Apply is what an application comes to: the runs that are to be granted, or why there are none.
func (s *Server) Apply(f *task.Flow, a Asked) task.Event {
	s.missing, s.reason = a.Missing, ""
	e := task.Event{Kind: task.Applied}
	for _, run := range a.Found {
		number := len(s.runs)
		if known, again := s.numbers[run.Hash]; again && isOpen(f, known) {
			number = known
		} else {
			s.numbers[run.Hash] = number
			s.runs = append(s.runs, run)
		}
		e.Runs = append(e.Runs, task.Run{Number: number, Size: run.Size})
	}
	if len(a.Found) == 0 {
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
		m.Runs = append(m.Runs, s.runs[r.Number].Hash)
	}
	return m
}

// Refuse is the answer to one that is not.
func (s *Server) Refuse(f *task.Flow, a task.Action) wire.Message {
	reason := s.reason
	if reason == "" {
		reason = NotGranted(a.Reason)
	}
	return wire.GainRefuse{Flow: f.ID, Code: a.Reason, Reason: reason, RetryS: a.Retry.Seconds(), Missing: s.missing}
}

// Outgoing announces a run that was granted.
func (s *Server) Outgoing(number int) (wire.TransmissionBegin, bool) {
	if number >= len(s.runs) {
		return wire.TransmissionBegin{}, false
	}
	return wire.TransmissionBegin{Hash: s.runs[number].Hash, Chunks: s.runs[number].Chunks}, true
}

// Settled is told of a run that the other end has.
func (s *Server) Settled(number int) { s.runs[number].Chunks = nil }

// NotGranted says why a lease is not granted where nothing else does.
func NotGranted(reason core.Reason) string {
	if reason == core.ReasonBusy {
		return "not enough bandwidth is free now"
	}
	return "that flow has ended here"
}
