package node

import (
	"context"
	"fmt"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/license"
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
	if _, err := n.identity("gc"); err != nil {
		return err
	}
	refs, err := n.localRefs("")
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
	case len(found.Hurt) > 0:
		return fmt.Errorf("bytes %d-%d: %s", found.Hurt[0].Start, found.Hurt[0].Start+found.Hurt[0].Length,
			found.Hurt[0].Reason)
	case found.Chunks > 0 && found.Copies < copies:
		return fmt.Errorf("%d of %d copies answer for all of it", found.Copies, copies)
	}
	v := n.reader(ctx)
	for _, sealed := range r.Body.Records {
		rec, err := v.Record(sealed)
		if err != nil {
			return err
		}
		l, _, _, err := license.Open(rec.License)
		if err != nil {
			return fmt.Errorf("its licence: %w", err)
		}
		if err := boundFor(l.RetainUntil); err != nil {
			return err
		}
	}
	return nil
}

// boundFor says why holders are not bound long enough for this machine to do without; nil where they are.
func boundFor(retainUntil int64) error {
	if until := time.Unix(retainUntil, 0); time.Until(until) < awayFor {
		return fmt.Errorf("its holders keep it until %s only", until.Format(time.DateOnly))
	}
	return nil
}

// letGo lets the staged content of a version go that has all its copies at peers, unless it is to stay. What goes wrong
// here is no failure of the placement: the bytes are still there, and the next collection takes them.
func (pl *placing) letGo(ctx context.Context) {
	n, ref := pl.n, pl.version.Ref
	warn := func(format string, args ...any) {
		text := fmt.Sprintf(format, args...)
		pl.result.Warnings = append(pl.result.Warnings, text)
		pl.status(control.Status{Phase: "let go", Warning: true, Text: text})
	}
	err := boundFor(time.Now().Add(pl.retain()).Unix())
	if err != nil && !pl.args.KeepLocal {
		warn("its bytes stay on this machine too: %v", err)
	}
	away := err == nil && !pl.args.KeepLocal
	if err := n.Refs.SetAway(ref.Alias, ref.Version, away); err != nil {
		warn("its bytes stay on this machine too: %v", err)
		return
	}
	if !away {
		return
	}
	pl.status(control.Status{Phase: "let go"})
	n.collecting.Lock()
	defer n.collecting.Unlock()
	done, err := n.sweepStaging(ctx, openedRefs{})
	pl.result.LetGo = done.Freed
	switch {
	case err != nil:
		warn("its bytes stay on this machine until bkp gc: %v", err)
	case done.Waiting > 0:
		warn("%s stay on this machine: other commands may need them; bkp gc frees them later", done.Waiting)
	}
}
