// SPDX-License-Identifier: Apache-2.0

package live

import (
	"cmp"
	"errors"
	"sync"

	"github.com/bkp-tool/bkp/core"
)

// Run is the pins of one run that arrives. Any goroutine may use it.
type Run struct {
	pins *Pins
	mu   sync.Mutex // never held while the disk works: the loop drops
	kept []core.Chunk
	over bool // dropped, or handed on by Finish
}

// NewRun is those of a run of which nothing is here yet.
func NewRun(pins *Pins) *Run { return &Run{pins: pins} }

// Add pins a chunk of the run and puts it.
func (r *Run) Add(c core.Chunk, put func() error) error {
	err := r.pins.While(c, put)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		r.pins.Release([]core.Chunk{c})
		return cmp.Or(err, ErrGivenUp)
	}
	r.kept = append(r.kept, c)
	return err
}

// ErrGivenUp is of a run that was dropped.
var ErrGivenUp = errors.New("the run was given up")

// Finish hands the pins of a run that is whole to the caller; where it is not, or was dropped before, there are none.
func (r *Run) Finish(err error) ([]core.Chunk, error) {
	if err != nil {
		r.Drop()
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return nil, ErrGivenUp
	}
	r.over = true
	return r.kept, nil
}

// Drop releases a run that will not be completed.
func (r *Run) Drop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.over {
		r.over = true
		r.pins.Release(r.kept)
	}
}
