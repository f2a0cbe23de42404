// SPDX-License-Identifier: Apache-2.0

package stripes

import (
	"context"
	"fmt"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/shard"
	"github.com/bkp-tool/bkp/core/version"
)

// Encode computes the parity of stripes of runs, whose bytes from has, and names it: keep takes each run of it.
func Encode(ctx context.Context, stripes []core.Stripe, runs []core.Run, from version.Chunks,
	keep func(c core.Chunk, data []byte) error) error {
	coders := map[core.Erasure]*shard.Coder{}
	for _, s := range stripes {
		code := core.Erasure{K: len(s.Data), M: len(s.Parity)}
		if coders[code] == nil {
			coder, err := shard.New(code)
			if err != nil {
				return err
			}
			coders[code] = coder
		}
		if err := encode(ctx, s, runs, coders[code], from, keep); err != nil {
			return fmt.Errorf("parity: %w", err)
		}
	}
	return nil
}

// encode reads a stripe's data chunk by chunk: its parity and one chunk are in memory.
func encode(ctx context.Context, s core.Stripe, runs []core.Run, coder *shard.Coder, from version.Chunks,
	keep func(c core.Chunk, data []byte) error) error {
	parity := coder.Parity(int(runs[s.Parity[0]].Size))
	var data []byte
	for i, run := range s.Data {
		at := 0
		for _, c := range runs[run].Chunks {
			var err error
			if data, err = from.Get(ctx, c.Hash, data[:0]); err != nil {
				return fmt.Errorf("chunk %s: %w", c.Hash, err)
			}
			if err := parity.Add(i, at, data); err != nil {
				return err
			}
			at += len(data)
		}
	}
	for i, bytes := range parity.Shards() {
		run := &runs[s.Parity[i]]
		run.Chunks[0].Hash = chunk.Hash(bytes)
		run.Hash = chunk.RunHash(run.Chunks)
		if err := keep(run.Chunks[0], bytes); err != nil {
			return err
		}
	}
	return nil
}

// Of is the stripes of runs as their types tell.
func Of(runs []version.Run, code core.Erasure) []core.Stripe {
	var types []core.FileType
	for _, r := range runs {
		types = append(types, r.Type)
	}
	return core.StripesFrom(types, code)
}
