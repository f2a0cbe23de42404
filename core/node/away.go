package node

import (
	"context"
	"fmt"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/license"
)

// GCArgs asks for collection. With Copies the staged content of a version goes too, once so many holders say that they keep
// all of it; its tree nodes and records stay.
type GCArgs struct {
	Copies int `json:"copies"`
}

// version names a version of an alias.
type version struct {
	alias  string
	number int
}

// awayFor is how long holders must still be bound to keep a version for this machine to let go of it.
const awayFor = 30 * 24 * time.Hour

// CollectPlaced is Collect that can let go of what others keep. It asks before anything is swept; a version of which any
// chunk is in doubt stays whole.
func (n *Node) CollectPlaced(ctx context.Context, args GCArgs, status func(Status)) (GCResult, error) {
	if args.Copies == 0 {
		return n.collect(ctx, nil, status)
	}
	if args.Copies < 0 {
		return GCResult{}, core.Fail(core.CodeUsage, "gc: %d copies: want 1 or more", args.Copies)
	}
	if _, err := n.identity("gc"); err != nil {
		return GCResult{}, err
	}
	refs, err := n.localRefs("")
	if err != nil {
		return GCResult{}, err
	}
	away := map[version]bool{}
	for _, r := range refs {
		if len(r.Body.Records) == 0 {
			continue
		}
		name := fmt.Sprintf("%s@%d", r.Body.Name, r.Ref.Version)
		found, err := n.Verify(ctx, VerifyArgs{Name: r.Body.Name, Version: r.Ref.Version, All: true}, status)
		if err == nil {
			err = n.enough(found, r, args.Copies)
		}
		if ctx.Err() != nil {
			return GCResult{}, context.Cause(ctx)
		}
		if err != nil {
			status(Status{Phase: "ask", Warning: true, Text: fmt.Sprintf("%s stays whole on this machine: %v", name, err)})
			continue
		}
		away[version{r.Ref.Alias, r.Ref.Version}] = true
	}
	return n.collect(ctx, away, status)
}

// enough says why a version must stay; nil where it may go.
func (n *Node) enough(found VerifyResult, r foundRef, copies int) error {
	switch {
	case found.Staged > 0:
		return fmt.Errorf("%d of its chunks were never placed", found.Staged)
	case len(found.Hurt) > 0:
		return fmt.Errorf("bytes %d-%d: %s", found.Hurt[0].Start, found.Hurt[0].Start+found.Hurt[0].Length, found.Hurt[0].Reason)
	case found.Chunks > 0 && found.Copies < copies:
		return fmt.Errorf("%d of %d copies answer for all of it", found.Copies, copies)
	}
	v, err := n.vault()
	if err != nil {
		return err
	}
	for _, sealed := range r.Body.Records {
		rec, err := v.record(sealed)
		if err != nil {
			return err
		}
		l, _, _, err := license.Open(rec.License)
		if err != nil {
			return fmt.Errorf("its licence: %w", err)
		}
		if until := time.Unix(l.RetainUntil, 0); time.Until(until) < awayFor {
			return fmt.Errorf("its holders keep it until %s only", until.Format(time.DateOnly))
		}
	}
	return nil
}
