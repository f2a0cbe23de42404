package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/license"
	"github.com/bkp-tool/bkp/core/manifest"
	"github.com/bkp-tool/bkp/core/wire"
)

// Remove forgets versions here and releases them on their holders. Bytes go with the next gc, here and there.
func (n *Node) Remove(ctx context.Context, args RemoveArgs, status func(Status)) (RemoveResult, error) {
	result := RemoveResult{Name: args.Name}
	if _, err := n.identity("rm"); err != nil {
		return result, err
	}
	refs, err := n.localRefs(n.owner().Alias(args.Name))
	if err != nil {
		return result, err
	}
	refs = slices.DeleteFunc(refs, func(r foundRef) bool { return args.Version != 0 && r.Ref.Version != args.Version })
	if len(refs) == 0 {
		return result, core.WithHint(core.Fail(core.CodeNoName, "rm %s: there is no version%s of it on this machine", args.Name, versionSuffix(args.Version)), "bkp ls lists what there is")
	}
	n.awaitPeers(ctx)
	for _, r := range refs {
		if len(r.Body.Records) > 0 {
			status(Status{Phase: "release", Text: fmt.Sprintf("%s@%d", args.Name, r.Ref.Version)})
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

// releaseVersion tells every holder of a version that it may let go.
func (n *Node) releaseVersion(ctx context.Context, r foundRef) (released []Release, unheard []Refused, err error) {
	v, err := n.vault()
	if err != nil {
		return nil, nil, err
	}
	type share struct {
		holder core.ID
		task   core.TaskID // a version that was backed up has many until it is placed as a whole
	}
	var shares []share
	for i, sealed := range r.Body.Records {
		stored, err := v.stored(sealed.Hash)
		if err != nil {
			return nil, nil, fmt.Errorf("segment record %d: %w", i, err)
		}
		rec, err := v.openRecord(sealed, stored)
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
		done, err := n.release(ctx, s.holder, s.task, r.Ref.Alias, r.Ref.Version)
		if err != nil {
			gone := Refused{Node: s.holder, Reason: err.Error()}
			n.ask(func() { gone.Address = n.addressOf(s.holder) })
			unheard = append(unheard, gone)
			continue
		}
		released = append(released, Release{Node: s.holder, Runs: done.Runs, Bytes: done.Bytes})
	}
	return released, unheard, nil
}

// release asks one holder to let a task go that was to keep a version, and the refs that it brought.
func (n *Node) release(ctx context.Context, at core.ID, task core.TaskID, alias string, version int) (wire.ReleaseDone, error) {
	envelope, err := n.owner().SignRelease(key.Release{Owner: n.owner().ID(), Task: task, Alias: alias, Version: version, Time: time.Now().Unix()})
	if err != nil {
		return wire.ReleaseDone{}, fmt.Errorf("sign release: %w", err)
	}
	done, err := query[wire.ReleaseDone](ctx, n, at, func(id uint64) wire.Message { return wire.Release{Query: id, Envelope: envelope} })
	if err == nil && done.Code != core.ReasonNone {
		err = core.Fail(done.Code.ExitCode(), "peer %s: %s", at.Short(), done.Reason)
	}
	return done, err
}

// releaseEverywhere asks every connected peer; who keeps nothing of the task has nothing to do.
func (n *Node) releaseEverywhere(ctx context.Context, task core.TaskID, alias string, version int) {
	var peers []core.ID
	n.ask(func() {
		for _, p := range n.connected() {
			peers = append(peers, p.id)
		}
	})
	n.each(len(peers), func(i int) {
		if _, err := n.release(ctx, peers[i], task, alias, version); err != nil {
			n.Log.Debug("release", "peer", peers[i].Short(), "error", err) // most often it kept nothing of it
		}
	})
}

// onRelease lets a task go for its owner.
func (n *Node) onRelease(p *peer, m wire.Release) {
	from := p.id
	n.act(func() {
		done := wire.ReleaseDone{Query: m.Query}
		r, err := key.OpenRelease(m.Envelope)
		if err == nil {
			err = r.Allowed(time.Now())
		}
		if err != nil {
			done.Code, done.Reason = core.ReasonRights, err.Error()
			n.post(func() { n.send(from, done) })
			return
		}
		n.ask(func() { n.forgetTask(r.Owner, r.Task) })
		done.Runs, done.Bytes, err = n.Holdings.ReleaseTask(r.Owner, r.Task)
		if errors.Is(err, core.ErrNotFound) {
			err = nil // let go before
		}
		done.Code, done.Reason = reasonOf(err)
		n.post(func() { n.send(from, done) })
	})
}

// forgetTask drops what the loop knows of a task that was released. Loop only.
func (n *Node) forgetTask(owner core.ID, task core.TaskID) {
	for key, seg := range n.segments {
		if key.task == task && seg.Owner == owner {
			n.dropPromises(seg)
			delete(n.segments, key)
		}
	}
	if s := n.swarms[task]; s != nil && n.places[task] == nil {
		s.end()
	}
}

// Collect frees what nobody needs: staged chunks that no ref reaches, and kept ones that no holding needs.
func (n *Node) Collect(ctx context.Context, _ None, status func(Status)) (GCResult, error) {
	return n.collect(ctx, nil, status)
}

// collect leaves out the content of versions that are away: kept by others, and not needed here.
func (n *Node) collect(ctx context.Context, away map[version]bool, status func(Status)) (GCResult, error) {
	began := time.Now()
	var result GCResult
	n.collecting.Lock()
	defer n.collecting.Unlock()
	status(Status{Phase: "staging"})
	if collector, ok := n.Staging.(Collector); ok && n.owner() != nil {
		var err error
		if result.Staging, err = n.sweepStaging(ctx, collector, away); err != nil {
			return result, fmt.Errorf("gc: staging: %w", err)
		}
	}
	status(Status{Phase: "holdings"})
	if err := n.releaseAbandoned(); err != nil {
		return result, fmt.Errorf("gc: abandoned tasks: %w", err)
	}
	if collector, ok := n.Keeping.(Collector); ok {
		var err error
		if result.Holdings, err = n.sweepKeeping(collector); err != nil {
			return result, fmt.Errorf("gc: holdings: %w", err)
		}
	}
	result.StagingFreed, result.HoldingsFreed = result.Staging.Freed, result.Holdings.Freed
	result.StagingKept, result.HoldingsKept, result.Seconds = n.Staging.Used(), n.Keeping.Used(), time.Since(began).Seconds()
	return result, nil
}

// sweepStaging marks when it is first asked, so that a version which was split a moment ago is seen; where marking fails nothing
// goes.
func (n *Node) sweepStaging(ctx context.Context, c Collector, away map[version]bool) (core.Collected, error) {
	n.sealing.sweeping.Lock()
	defer n.sealing.sweeping.Unlock()
	var live *marks
	var failed error
	collected, err := c.Collect(func(h core.Hash) bool {
		if live == nil && failed == nil {
			live, failed = n.stagedLive(ctx, away)
		}
		return failed != nil || live.has(h)
	})
	return collected, errors.Join(failed, err)
}

// quietLife is how long nothing may come for a task before it can count as abandoned: a placement may outlast its licence.
const quietLife = 24 * time.Hour

// releaseAbandoned lets go of tasks whose ref never came and whose licence has expired, and of those whose owner asked to
// be kept only until a time that has passed: their coordinator died, or has forgotten them.
func (n *Node) releaseAbandoned() error {
	now := time.Now()
	var tasks []core.Segment
	n.ask(func() {
		for _, s := range n.segments {
			if now.Sub(s.touched) > quietLife {
				tasks = append(tasks, s.Segment)
			}
		}
	})
	for _, s := range tasks {
		expires, err := n.expiry(s)
		if err != nil {
			return err
		}
		if now.Before(expires) {
			continue
		}
		n.Log.Info("task abandoned", "task", s.Task, "owner", s.Owner.Short())
		n.ask(func() { n.forgetTask(s.Owner, s.Task) })
		if _, _, err := n.Holdings.ReleaseTask(s.Owner, s.Task); err != nil {
			return err
		}
	}
	return nil
}

// expiry is when a segment may go by itself.
func (n *Node) expiry(s core.Segment) (time.Time, error) {
	refs, err := n.Holdings.Refs(s.Owner)
	if err != nil {
		return time.Time{}, err
	}
	if slices.ContainsFunc(refs, func(r core.HeldRef) bool { return r.Task == s.Task }) {
		return time.Unix(s.RetainUntil, 0), nil
	}
	l, _, _, err := license.Open(s.License)
	if err != nil {
		return time.Time{}, fmt.Errorf("licence of task %s: %w", s.Task, err)
	}
	return time.Unix(l.Expires, 0), nil
}

// sweepKeeping marks and sweeps while no claim can begin.
func (n *Node) sweepKeeping(c Collector) (core.Collected, error) {
	n.young.sweeping.Lock()
	defer n.young.sweeping.Unlock()
	live := n.young.claimed()
	if err := n.Holdings.Live(func(c core.Chunk) { live.add(c.Hash) }); err != nil {
		return core.Collected{}, err
	}
	return c.Collect(live.has)
}

// stagedLive is every chunk that a ref of this machine reaches.
func (n *Node) stagedLive(ctx context.Context, away map[version]bool) (*marks, error) {
	live := n.sealing.claimed()
	refs, err := n.localRefs("")
	if err != nil {
		return nil, err
	}
	v, err := n.vault()
	if err != nil {
		return nil, err
	}
	whole := map[core.Hash]bool{} // tree nodes below which all is marked: versions have most of them in common
	for _, r := range refs {
		for _, sealed := range r.Body.Records {
			live.add(sealed.Hash)
		}
		treeOnly := away[version{r.Ref.Alias, r.Ref.Version}]
		err := manifest.Nodes(r.Body.Root, v, func(e manifest.Entry) error {
			switch {
			case e.Type == core.TypeDirectory && whole[e.Chunk.Hash]:
				return manifest.SkipNode
			case e.Type == core.TypeDirectory:
				live.add(e.Chunk.Hash)
				if !treeOnly {
					whole[e.Chunk.Hash] = true
				}
			case !e.Hole() && !treeOnly:
				live.add(e.Chunk.Hash)
			}
			return context.Cause(ctx)
		})
		if err != nil { // what whole says is not so: nothing may go
			return nil, fmt.Errorf("%s@%d: %w", r.Body.Name, r.Ref.Version, err)
		}
	}
	return live, n.unfinishedLive(ctx, v, live)
}

// unfinishedLive adds what interrupted splits may go on from. What of it is lost already is no reason to keep the rest.
func (n *Node) unfinishedLive(ctx context.Context, v *vault, live *marks) error {
	u, ok := n.Refs.(Unfinished)
	if !ok {
		return nil
	}
	stored, err := u.Unfinished()
	if err != nil {
		return err
	}
	for _, s := range stored {
		_, body, err := n.openRef(s.Envelope)
		if err != nil {
			continue
		}
		for _, sealed := range body.Records {
			live.add(sealed.Hash)
		}
		_ = manifest.Nodes(body.Root, v, func(e manifest.Entry) error {
			if !e.Hole() {
				live.add(e.Chunk.Hash)
			}
			return context.Cause(ctx)
		})
	}
	return context.Cause(ctx)
}
