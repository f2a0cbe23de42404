// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"cmp"
	"errors"
	"sync"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/storage/live"
)

// pinnedRun is the pins of one run that arrives.
type pinnedRun struct {
	pins *live.Pins
	mu   sync.Mutex // never held while the disk works: the loop drops
	kept []core.Chunk
	over bool // dropped, or handed on by finish
}

func (r *pinnedRun) add(c core.Chunk, put func() error) error {
	err := r.pins.While(c, put)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		r.pins.Release([]core.Chunk{c})
		return cmp.Or(err, errGivenUp)
	}
	r.kept = append(r.kept, c)
	return err
}

var errGivenUp = errors.New("the run was given up")

// finish hands the pins of a run that is whole to the caller; where it is not, or was dropped before, there are none.
func (r *pinnedRun) finish(err error) ([]core.Chunk, error) {
	if err != nil {
		r.drop()
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return nil, errGivenUp
	}
	r.over = true
	return r.kept, nil
}

// drop releases a run that will not be completed.
func (r *pinnedRun) drop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.over {
		r.over = true
		r.pins.Release(r.kept)
	}
}
