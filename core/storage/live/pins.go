// SPDX-License-Identifier: Apache-2.0

package live

import (
	"context"
	"sync"

	"github.com/bkp-tool/bkp/core"
)

// Pins is the chunks of a store that somebody needs and nothing durable names yet; a collection must spare them.
// Pinning holds back a collection and a collection holds back pinning, so that no chunk is swept between a look and its
// pin. A chunk stays until it is released as often as it was pinned. The zero value has none.
type Pins struct {
	sweeping sync.RWMutex
	mu       sync.Mutex
	pinned   map[core.Hash]int
}

// If pins chunks if all of them are there, as has says.
func (p *Pins) If(ctx context.Context, chunks []core.Chunk,
	has func(context.Context, core.Hash) (bool, error)) (bool, error) {
	p.sweeping.RLock()
	defer p.sweeping.RUnlock()
	for _, c := range chunks {
		if there, err := has(ctx, c.Hash); !there || err != nil {
			return false, err
		}
	}
	p.add(chunks)
	return true, nil
}

// While pins a chunk and puts it in the same breath. It stays pinned where put fails.
func (p *Pins) While(c core.Chunk, put func() error) error {
	p.sweeping.RLock()
	defer p.sweeping.RUnlock()
	p.add([]core.Chunk{c})
	return put()
}

func (p *Pins) add(chunks []core.Chunk) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pinned == nil {
		p.pinned = map[core.Hash]int{}
	}
	for _, c := range chunks {
		p.pinned[c.Hash]++
	}
}

// Release takes one pin off each of the chunks: something durable names them, or nobody needs them any more.
func (p *Pins) Release(chunks []core.Chunk) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range chunks {
		if p.pinned[c.Hash] > 1 {
			p.pinned[c.Hash]--
		} else {
			delete(p.pinned, c.Hash)
		}
	}
}

// Sweep calls collect while nothing can be pinned.
func (p *Pins) Sweep(collect func() error) error {
	p.sweeping.Lock()
	defer p.sweeping.Unlock()
	return collect()
}

// Pinned is every chunk that is pinned now. Whoever collects takes it before it looks at what is durable: of a pin that
// goes after that, what names the chunk may not have been seen.
func (p *Pins) Pinned() *Set {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := &Set{}
	for h := range p.pinned {
		all.Add(h)
	}
	return all
}
