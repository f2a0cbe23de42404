// SPDX-License-Identifier: Apache-2.0

package commands

import (
	"context"
	"fmt"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/version"
)

// CollectPlaced is Collect that first lets go of versions that others keep. It asks before anything is swept; a version
// of which any chunk is in doubt stays whole.
func (n *Node) CollectPlaced(ctx context.Context, args control.GCArgs,
	status func(control.Status)) (control.GCResult, error) {
	if args.Copies < 0 {
		return control.GCResult{}, core.Fail(core.CodeUsage, "gc: %d copies: want 1 or more", args.Copies)
	}
	if args.Copies > 0 {
		if err := n.letGoOfAll(ctx, args.Copies, status); err != nil {
			return control.GCResult{}, err
		}
	}
	return n.Collect(ctx, control.None{}, status)
}

// letGoOfAll sets away every version of which enough holders answer for all.
func (n *Node) letGoOfAll(ctx context.Context, copies int, status func(control.Status)) error {
	if _, err := n.Identity("gc"); err != nil {
		return err
	}
	refs, err := n.own.Local("")
	if err != nil {
		return err
	}
	for _, r := range refs {
		if len(r.Body.Records) == 0 || r.Away {
			continue
		}
		found, err := n.Verify(ctx, control.VerifyArgs{Name: r.Body.Name, Version: r.Ref.Version, All: true}, status)
		if err == nil {
			err = n.enough(ctx, found, r, copies)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			status(control.Status{Phase: "ask", Warning: true,
				Text: fmt.Sprintf("%s@%d stays whole on this machine: %v",
					r.Body.Name, r.Ref.Version, err)})
			continue
		}
		if err := n.Refs.SetAway(r.Ref.Alias, r.Ref.Version, true); err != nil {
			return err
		}
	}
	return nil
}

// enough says why a version must stay; nil where it may go.
func (n *Node) enough(ctx context.Context, found control.VerifyResult, r version.Found, copies int) error {
	switch {
	case found.Staged > 0:
		return fmt.Errorf("%d of its chunks were never placed", found.Staged)
	case len(found.Damaged) > 0:
		return fmt.Errorf("bytes %d-%d: %s", found.Damaged[0].Start, found.Damaged[0].Start+found.Damaged[0].Length,
			found.Damaged[0].Reason)
	case found.Chunks > 0 && found.Copies < copies:
		return fmt.Errorf("%d of %d copies answer for all of it", found.Copies, copies)
	}
	return n.own.Bound(ctx, r, time.Now())
}
