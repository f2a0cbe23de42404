// SPDX-License-Identifier: Apache-2.0

package commands

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/fetch"
	"github.com/bkp-tool/bkp/core/file"
)

// Fetch brings a version back: what is local first, the rest from all holders at once. Every chunk is verified against
// the manifest; the file appears under its name only when every byte is in place.
func (n *Node) Fetch(ctx context.Context, args control.FetchArgs,
	status func(control.Status)) (control.FetchResult, error) {
	_, status, end := n.work.begin(control.CommandFetch, args.Name, args.Version, status)
	defer end()
	began := time.Now()
	if _, err := n.reader("fetch"); err != nil {
		return control.FetchResult{}, err
	}
	ctx, done := context.WithCancel(ctx)
	defer done()
	v, err := n.fetcher(status).Open(ctx, args.Name, args.Version)
	if v == nil {
		v = &fetch.Version{}
	} else {
		defer v.Close()
	}
	var restored file.Assembled
	if err == nil {
		restored, err = n.restore(ctx, args, v, status)
	}
	if err != nil {
		err = fmt.Errorf("fetch %s: %w", args.Name, err)
	}
	return n.fetched(args, v, restored, time.Since(began)), err
}

// restore puts the file of a version together.
func (n *Node) restore(ctx context.Context, args control.FetchArgs, v *fetch.Version,
	status func(control.Status)) (file.Assembled, error) {
	began, told, total := time.Now(), time.Time{}, v.Body.Size
	if args.End > 0 {
		total = args.End - args.Start
	}
	do := file.Restore.Run
	if n.Restore != nil {
		do = n.Restore
	}
	restored, err := do(file.Restore{
		Assembly: file.Assembly{Root: v.Body.Root, Secrets: chunk.NewSecrets(n.Owner().DedupSecret), Local: v,
			Remote: v, Start: args.Start, End: args.End, Partial: args.Partial,
			Progress: func(done core.Size) {
				if now := time.Now(); now.Sub(told) > 100*time.Millisecond || done == total {
					told = now
					status(control.Status{Phase: "fetch", Done: done, Total: total, Seconds: now.Sub(began).Seconds()})
				}
			}},
		Path: args.Output, Out: args.Out, Force: args.Force, Seed: args.Seed, Mode: v.Body.Mode,
	}, ctx)
	if errors.Is(err, core.ErrNotFound) {
		err = core.WithHint(core.Fail(core.CodeRedundant,
			"the manifest is not on this machine and was never placed: %w", err),
			"bkp place it from the machine that split it")
	}
	if err == nil {
		err = restored.Lost(args.Output)
	}
	return restored, err
}

func (n *Node) fetched(args control.FetchArgs, v *fetch.Version, f file.Assembled,
	took time.Duration) control.FetchResult {
	r := control.FetchResult{Name: args.Name, Version: v.Ref.Version, Output: args.Output, Bytes: v.Body.Size,
		Seconds: took.Seconds(), Resumed: f.Resumed, Seeded: f.Seeded, Holes: f.Holes}
	if args.End > 0 {
		r.Bytes = args.End - args.Start
	}
	if f.Stored > 0 {
		r.Sources = append(r.Sources, control.Source{Address: "this machine", Bytes: f.Stored})
	}
	for id, s := range v.Holders() {
		if s.Got > 0 {
			r.Sources = append(r.Sources, control.Source{Node: id, Address: n.address(id), Bytes: s.Got})
		}
		if s.Lost != "" {
			r.Lost = append(r.Lost, control.Refused{Node: id, Address: n.address(id), Reason: s.Lost})
		}
	}
	slices.SortFunc(r.Sources, func(a, b control.Source) int { return cmp.Compare(b.Bytes, a.Bytes) })
	slices.SortFunc(r.Lost, func(a, b control.Refused) int { return a.Node.Compare(b.Node) })
	return r
}

// Verify holds the records of a version against what its holders say that they keep, or against their bytes.
func (n *Node) Verify(ctx context.Context, args control.VerifyArgs,
	status func(control.Status)) (control.VerifyResult, error) {
	if _, err := n.reader("verify"); err != nil {
		return control.VerifyResult{}, err
	}
	f, err := n.fetcher(status).Verify(ctx, args.Name, args.Version, fetch.Look{All: args.All, Share: args.Share, Wanted: n.wanted})
	if err != nil {
		err = fmt.Errorf("verify %s: %w", args.Name, err)
	}
	r := control.VerifyResult{Name: args.Name, Version: f.Version, Size: f.Size, Chunks: f.Chunks, Bytes: f.Bytes,
		Copies: f.Copies, Staged: f.Staged, Read: f.Read, Damaged: f.Damaged}
	for _, h := range f.Holders {
		r.Holders = append(r.Holders, control.HolderRow{Node: h.Node, Address: n.address(h.Node), Runs: h.Runs,
			Kept: h.Kept, Bytes: h.Bytes, Problem: h.Problem, Degraded: h.Degraded})
	}
	return r, err
}

// wanted is how many copies this node is to keep of a version; 0 where it keeps no record of it.
func (n *Node) wanted(alias string, number int) (copies int) {
	all, err := n.Placed.Of(alias, number)
	if err != nil {
		return 0
	}
	for _, rec := range all {
		if !rec.IsOver() {
			copies = max(copies, rec.Copies)
		}
	}
	return copies
}

// fetcher reaches versions for a command that is told status.
func (n *Node) fetcher(status func(control.Status)) *fetch.Fetcher {
	return &fetch.Fetcher{Self: n.ID(), Owner: n.Owner(), Here: n.here(), Refs: versions{n.own, n}, Peers: n.Asker(),
		Downloads: n.Downloads(), Teller: teller(status)}
}

// teller passes on what a fetch tells as the status of a command.
type teller func(control.Status)

func (t teller) Phase(name string) { t(control.Status{Phase: name}) }
func (t teller) Warn(text string)  { t(control.Status{Phase: "find", Warning: true, Text: text}) }
