package node

import (
	"context"
	"sync"

	"github.com/bkp-tool/bkp/core"
)

// young is the chunks kept here that no durable holding covers yet; collection must leave them alone.
// Claims hold back a collection and a collection holds back claims, so no chunk is swept between a look and a claim.
type young struct {
	sweeping sync.RWMutex
	mu       sync.Mutex
	claims   map[core.Hash]int
}

// claim protects chunks if all of them are there.
func (y *young) claim(ctx context.Context, chunks []core.Chunk,
	has func(context.Context, core.Hash) (bool, error)) (bool, error) {
	y.sweeping.RLock()
	defer y.sweeping.RUnlock()
	for _, c := range chunks {
		if there, err := has(ctx, c.Hash); !there || err != nil {
			return false, err
		}
	}
	y.add(chunks)
	return true, nil
}

// while protects one chunk and puts it in the same breath.
func (y *young) while(c core.Chunk, put func() error) error {
	y.sweeping.RLock()
	defer y.sweeping.RUnlock()
	y.add([]core.Chunk{c})
	return put()
}

func (y *young) add(chunks []core.Chunk) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.claims == nil {
		y.claims = map[core.Hash]int{}
	}
	for _, c := range chunks {
		y.claims[c.Hash]++
	}
}

// release ends the claims on chunks: a durable holding covers them, or the run was given up.
func (y *young) release(chunks []core.Chunk) {
	y.mu.Lock()
	defer y.mu.Unlock()
	for _, c := range chunks {
		if y.claims[c.Hash]--; y.claims[c.Hash] <= 0 {
			delete(y.claims, c.Hash)
		}
	}
}

// claimed is every claim that stands. Whoever collects takes it before it looks for holdings: a claim that ends after
// that has a holding which it may not have seen.
func (y *young) claimed() *marks {
	y.mu.Lock()
	defer y.mu.Unlock()
	all := &marks{}
	for h := range y.claims {
		all.add(h)
	}
	return all
}
