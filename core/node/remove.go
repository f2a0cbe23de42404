package node

import (
	"context"
	"fmt"
	"slices"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/manifest"
	"github.com/bkp-tool/bkp/core/version"
)

// Remove forgets versions here and releases them on their holders. Its bytes go with the next gc here, and by
// themselves there.
func (n *Node) Remove(ctx context.Context, args control.RemoveArgs,
	status func(control.Status)) (control.RemoveResult, error) {
	result := control.RemoveResult{Name: args.Name}
	if _, err := n.identity("rm"); err != nil {
		return result, err
	}
	refs, err := n.localRefs(n.owner().Alias(args.Name))
	if err != nil {
		return result, err
	}
	refs = slices.DeleteFunc(refs, func(r version.Found) bool { return args.Version != 0 && r.Ref.Version != args.Version })
	if len(refs) == 0 {
		return result, core.WithHint(core.Fail(core.CodeNoName, "rm %s: there is no version%s of it on this machine",
			args.Name, versionSuffix(args.Version)), "bkp ls lists what there is")
	}
	if err := n.leansOn(ctx, refs); err != nil {
		return result, fmt.Errorf("rm %s: %w", args.Name, err)
	}
	n.awaitPeers(ctx)
	for _, r := range refs {
		if len(r.Body.Records) > 0 {
			status(control.Status{Phase: "release", Text: fmt.Sprintf("%s@%d", args.Name, r.Ref.Version)})
			released, unheard, err := n.releaseVersion(ctx, r)
			if err != nil {
				return result, err
			}
			result.Released = append(result.Released, released...)
			result.Unheard = append(result.Unheard, unheard...)
			if len(unheard) > 0 && !args.Force {
				continue // its ref stays, so that it can be removed again
			}
		}
		if err := n.Refs.Remove(r.Ref.Alias, r.Ref.Version); err != nil {
			return result, fmt.Errorf("rm %s@%d: %w", args.Name, r.Ref.Version, err)
		}
		result.Versions = append(result.Versions, r.Ref.Version)
	}
	return result, nil
}

// leansOn is an error where a version that was not placed yet consists of chunks that peers keep for none but those
// that are to go.
func (n *Node) leansOn(ctx context.Context, gone []version.Found) error {
	all, err := n.localRefs("")
	if err != nil {
		return err
	}
	goes := func(r version.Found) bool {
		return slices.ContainsFunc(gone, func(g version.Found) bool {
			return g.Ref.Alias == r.Ref.Alias &&
				g.Ref.Version == r.Ref.Version
		})
	}
	left := slices.DeleteFunc(slices.Clone(all), goes)
	lean := slices.DeleteFunc(slices.Clone(left), func(r version.Found) bool { return len(r.Body.Records) > 0 })
	if len(lean) == 0 || !slices.ContainsFunc(gone, func(r version.Found) bool { return len(r.Body.Records) > 0 }) {
		return nil
	}
	before, err := n.cover(ctx, all)
	if err != nil {
		return err
	}
	after, err := n.cover(ctx, left)
	if err != nil {
		return err
	}
	v := n.reader(ctx)
	for _, r := range lean {
		err := manifest.Walk(r.Body.Root, v, func(e manifest.Entry) error {
			h := e.Chunk.Hash
			if e.Hole() || before.Copies(h) == 0 || after.Copies(h) > 0 {
				return context.Cause(ctx)
			}
			here, err := n.Staging.Has(ctx, h)
			if err != nil {
				return err
			}
			if !here {
				return core.WithHint(core.Fail(core.CodeFailed,
					"%s@%d is not placed yet and needs chunks that only this version's holders have", r.Body.Name,
					r.Ref.Version),
					"bkp place %s@%d first, or bkp rm it", r.Body.Name, r.Ref.Version)
			}
			return context.Cause(ctx)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// releaseVersion tells every holder of a version that it may let go.
func (n *Node) releaseVersion(ctx context.Context,
	r version.Found) (released []control.Release, unheard []control.Refused, err error) {
	v := n.reader(ctx)
	type share struct {
		holder core.ID
		task   core.TaskID // a version that was backed up has many until it is placed as a whole
	}
	var shares []share
	for i, sealed := range r.Body.Records {
		stored, err := v.Stored(sealed.Hash)
		if err != nil {
			return nil, nil, fmt.Errorf("segment record %d: %w", i, err)
		}
		rec, err := v.OpenRecord(sealed, stored)
		if err != nil {
			return nil, nil, fmt.Errorf("segment record %d: %w", i, err)
		}
		for _, span := range rec.Spans {
			if s := (share{span.Node, rec.Task}); !slices.Contains(shares, s) {
				shares = append(shares, s)
			}
		}
	}
	for _, s := range shares {
		done, err := n.coordinator().Release(ctx, s.holder, s.task, r.Ref.Alias, r.Ref.Version)
		if err != nil {
			gone := control.Refused{Node: s.holder, Reason: err.Error()}
			n.ask(do(func(n *state) { gone.Address = n.addressOf(s.holder) }))
			unheard = append(unheard, gone)
			continue
		}
		released = append(released, control.Release{Node: s.holder, Runs: done.Runs, Bytes: done.Bytes})
	}
	return released, unheard, nil
}
