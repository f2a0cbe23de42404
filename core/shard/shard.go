// SPDX-License-Identifier: Apache-2.0

// Package shard makes the parity of stripes, and rebuilds runs that are lost from those that are left.
//
// A stripe is k data shards and m parity shards of one length; shorter runs count as if zeros followed them. The code
// works on every byte position by itself: bytes a to b of a shard come from bytes a to b of any k others.
package shard

import (
	"fmt"

	"github.com/bkp-tool/bkp/core"
	"github.com/klauspost/reedsolomon"
)

// Coder computes with stripes of one shape. One goroutine may use it at a time.
type Coder struct {
	code core.Erasure
	rs   reedsolomon.Encoder
}

// New is a Coder for K data shards and M of parity.
func New(code core.Erasure) (*Coder, error) {
	// On the goroutine that asks: who calls has as many of those as it wants cores.
	rs, err := reedsolomon.New(code.K, code.M, reedsolomon.WithMaxGoroutines(1))
	if err != nil {
		return nil, fmt.Errorf("code %s: %w", code, err)
	}
	return &Coder{code, rs}, nil
}

// Parity is the parity of one stripe while its data shards are added, part by part: nothing else of it is in memory.
type Parity struct {
	coder  *Coder
	shards [][]byte
	parts  [][]byte // of shards, where a part belongs
}

// Parity begins that of a stripe whose longest shard has size bytes.
func (c *Coder) Parity(size int) *Parity {
	p := &Parity{coder: c, parts: make([][]byte, c.code.M)}
	for range c.code.M {
		p.shards = append(p.shards, make([]byte, size))
	}
	return p
}

// Add takes in what stands at an offset of a data shard. Every byte is added once; those that never are count as zeros.
func (p *Parity) Add(shard, offset int, part []byte) error {
	if offset < 0 || len(part) > len(p.shards[0])-offset {
		return fmt.Errorf("bytes %d to %d of a shard of %d", offset, offset+len(part), len(p.shards[0]))
	}
	if len(part) == 0 {
		return nil
	}
	for i, s := range p.shards {
		p.parts[i] = s[offset : offset+len(part)]
	}
	return p.coder.rs.EncodeIdx(part, shard, p.parts)
}

// Shards is the parity shards, once everything was added.
func (p *Parity) Shards() [][]byte { return p.shards }

// Rebuild computes shards that are wanted, or the same range of them: shards has those of the stripe, data first, all
// of one length, and nil for what is not at hand. At least K have to be there.
func (c *Coder) Rebuild(shards [][]byte, wanted []int) error {
	need := make([]bool, len(shards))
	for _, i := range wanted {
		need[i] = true
	}
	if err := c.rs.ReconstructSome(shards, need); err != nil {
		return core.Fail(core.CodeRedundant, "rebuild: %w", err)
	}
	return nil
}
