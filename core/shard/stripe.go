// SPDX-License-Identifier: Apache-2.0

package shard

import (
	"fmt"

	"github.com/bkp-tool/bkp/core"
)

// Stripe is one stripe of which runs are lost: chunks of the others are put into it as they come, and chunks of the
// lost are rebuilt. Its memory is the chunks that were put. One goroutine may use it at a time.
type Stripe struct {
	coder *Coder
	runs  []core.Run // data first
	bytes [][]byte   // by run, as long as the longest; nil where nothing was put
	have  []core.Bitmap
	size  int // of the longest
}

// NewStripe is one of which nothing is at hand; k of its runs are data, and they stand first.
func NewStripe(runs []core.Run, k int) (*Stripe, error) {
	coder, err := New(core.Erasure{K: k, M: len(runs) - k})
	if err != nil {
		return nil, err
	}
	s := &Stripe{coder: coder, runs: runs, bytes: make([][]byte, len(runs))}
	for _, r := range runs {
		s.have = append(s.have, core.NewBitmap(len(r.Chunks)))
		s.size = max(s.size, int(r.Size))
	}
	return s, nil
}

// Size is the bytes of its longest run: what each run takes in memory of which anything was put.
func (s *Stripe) Size() int { return s.size }

// at is where a chunk stands in its run.
func (s *Stripe) at(run, chunk int) (from, to int) {
	for _, c := range s.runs[run].Chunks[:chunk] {
		from += int(c.Size)
	}
	return from, from + int(s.runs[run].Chunks[chunk].Size)
}

// Overlapping is the chunks of a run that have bytes where a chunk of another run stands: those that it is rebuilt
// from.
func (s *Stripe) Overlapping(run, lost, chunk int) (chunks []int) {
	from, to := s.at(lost, chunk)
	at := 0
	for i, c := range s.runs[run].Chunks {
		if at < to && at+int(c.Size) > from {
			chunks = append(chunks, i)
		}
		at += int(c.Size)
	}
	return chunks
}

// Put takes in a chunk of a run, whose hash was checked.
func (s *Stripe) Put(run, chunk int, data []byte) {
	if s.bytes[run] == nil {
		s.bytes[run] = make([]byte, s.size)
	}
	from, _ := s.at(run, chunk)
	copy(s.bytes[run][from:], data)
	s.have[run].Set(chunk)
}

// Has reports whether a chunk was put.
func (s *Stripe) Has(run, chunk int) bool { return s.have[run].Has(chunk) }

// Rebuild is the bytes of a chunk of a run that is lost, from runs whose overlapping chunks were all put: as many as
// there are data runs at least. Who calls holds them against the chunk's hash.
func (s *Stripe) Rebuild(run, chunk int, from []int) ([]byte, error) {
	a, b := s.at(run, chunk)
	shards := make([][]byte, len(s.runs))
	for _, other := range from {
		for _, i := range s.Overlapping(other, run, chunk) {
			if !s.have[other].Has(i) {
				return nil, fmt.Errorf("rebuild chunk %d of %s: chunk %d of %s is not at hand", chunk, s.runs[run].Name, i,
					s.runs[other].Name)
			}
		}
		if s.bytes[other] == nil { // it ends before: zeros
			s.bytes[other] = make([]byte, s.size)
		}
		shards[other] = s.bytes[other][a:b]
	}
	if err := s.coder.Rebuild(shards, []int{run}); err != nil {
		return nil, err
	}
	return shards[run], nil
}
