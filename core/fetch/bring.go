// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/spread"
)

var errNotHere = errors.New("it is neither on this machine nor placed")

// Get appends the stored bytes of what is on this machine, or was brought, to dst; core.ErrNotFound else. Safe for many
// goroutines.
func (v *Version) Get(ctx context.Context, hash core.Hash, dst []byte) ([]byte, error) {
	return v.reader.Get(ctx, hash, dst)
}

// Bring gets chunks from their holders, all at once. It calls deliver once for every one that it gets, from many
// goroutines, with bytes that match its hash, and returns those that nobody could give, and why. What is lost with its
// holder is rebuilt from the other runs of its stripe, where it is in one.
func (v *Version) Bring(ctx context.Context, wanted []core.Sealed,
	deliver func(core.Hash, []byte) error) (missing []core.Hash, why error) {
	b := &bringing{Version: v, need: needs{index: &v.index}, deliver: deliver, came: map[place]bool{},
		there: v.fetcher.Peers.Connected()}
	for _, s := range wanted {
		if at, placed := v.index.where[s.Hash]; placed {
			b.need.add(at)
			continue
		}
		missing = append(missing, s.Hash)
		why = core.WithHint(errNotHere, "if the file is still there, bkp split it again")
	}
	err := b.run(ctx)
	return append(missing, b.missing...), cmp.Or(err, b.why, why)
}

// Adopt gives keep what a machine has to have of the version to see to it: its records and its tree nodes.
func (v *Version) Adopt(keep func(c core.Chunk, stored []byte) error) error {
	var all []core.Chunk
	for _, s := range v.Body.Records {
		all = append(all, core.Chunk{Hash: s.Hash, Size: s.Size})
	}
	for _, run := range v.index.runs[:v.own] {
		for i, c := range run.Chunks {
			if run.Type == core.TypeDirectory && run.Used.Has(i) {
				all = append(all, c)
			}
		}
	}
	for _, c := range all {
		stored, err := v.reader.Stored(c.Hash)
		if err == nil {
			err = keep(c, stored)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// bringNodes makes every tree node of the manifest local.
func (v *Version) bringNodes(ctx context.Context) error {
	need := needs{index: &v.index}
	for i, run := range v.index.runs[:v.own] {
		for chunk, c := range run.Chunks {
			if run.Type != core.TypeDirectory || !run.Used.Has(chunk) {
				continue
			}
			if _, err := v.reader.Stored(c.Hash); err != nil {
				need.add(place{i, chunk})
			}
		}
	}
	var mu sync.Mutex
	runs, came := need.wanted(), map[core.Hash][]byte{}
	left, _, err := v.download(ctx, runs, "manifest", func(run, index int, data []byte) error {
		mu.Lock()
		defer mu.Unlock()
		came[runs[run].Chunks[index].Hash] = slices.Clone(data)
		return nil
	})
	mu.Lock()
	defer mu.Unlock()
	for hash, stored := range came {
		v.reader.Add(hash, stored)
	}
	if err == nil && len(left) > 0 {
		err = core.Fail(core.CodeRedundant, "the manifest is at no reachable holder")
	}
	return err
}

// download brings wanted runs. Those that nobody left can bring come back, with the reason.
func (v *Version) download(ctx context.Context, wanted []spread.Wanted, what string,
	keep func(run, index int, data []byte) error) (left, wrong []int, why error) {
	if len(wanted) == 0 {
		return nil, nil, nil
	}
	for id, rate := range v.told() {
		if s := v.known[id]; s.Rate == 0 {
			s.Rate = rate
			v.known[id] = s
		}
	}
	return v.fetcher.Downloads.Download(ctx, Order{Alias: v.Ref.Alias, Wanted: wanted, Holders: v.known,
		Judges: v.judges, What: what, Keep: keep})
}
