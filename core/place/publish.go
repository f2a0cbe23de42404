// SPDX-License-Identifier: Apache-2.0

package place

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/placements"
	"github.com/bkp-tool/bkp/core/reconcile"
	"github.com/bkp-tool/bkp/core/version"
	"github.com/bkp-tool/bkp/core/wire"
)

// publish seals the records of what was receipted and leaves them and the ref with every target and on this machine. It
// takes the place of what was placed before where every copy is made, or at least as many as there were.
func (p *placement) publish(ctx context.Context, complete bool) error {
	if p.kept != nil {
		return p.publishKept(ctx)
	}
	before := p.Version.Body
	worse := p.Standing.Worse(p.Content.Before(), p.Args.Replicas)
	if p.resumed { // what there was is not known any more
		worse = !complete && len(before.Records) > 0 && before.Task != p.Task
	}
	if worse {
		p.tell(Status{Phase: "refs", Warning: true,
			Text: "the placement before it stays in force: it reaches more copies"})
		return nil
	}
	p.tell(Status{Phase: "refs"})
	body := p.Version.Body
	old := body
	body.Task, body.Records = p.Task, nil
	sealed, stored, claims, err := p.records(ctx)
	defer p.Pins.Release(claims)
	if err != nil {
		return err
	}
	body.Records = sealed
	if err := errors.Join(p.Staging.Barrier(ctx), p.Ledger.Sync()); err != nil { // what the ref is about to say
		return fmt.Errorf("keep records and receipts: %w", err)
	}
	ref, next := p.Version.Ref, p.next
	next.Placed = time.Now().Unix()
	envelope, err := p.owner.SealRef(next, body)
	if err != nil {
		return fmt.Errorf("seal ref: %w", err)
	}
	former, err := p.owner.SealRef(version.InVersion1(next, ref), body)
	if err != nil {
		return fmt.Errorf("seal ref: %w", err)
	}
	put := wire.RefPut{Owner: p.owner.ID(), Alias: ref.Alias, Version: ref.Version, Task: p.Task, Records: claims}
	if err := p.tellTargets(ctx, put, stored, former, envelope); err != nil {
		return err
	}
	if err := p.Refs.Put(ref.Alias, ref.Version, envelope); err != nil {
		return fmt.Errorf("keep ref: %w", err)
	}
	if err := p.noteLeft(); err != nil {
		return fmt.Errorf("write down who lets go: %w", err)
	}
	p.dismiss(ctx)
	tasks := p.reader.Tasks(old)
	if complete && p.lacking() == nil {
		tasks = append(tasks, p.relieved(ctx)...)
	}
	return p.supersede(ctx, tasks)
}

// records seals the records of what was receipted, in the order of the segments, and keeps them in staging, claimed.
func (p *placement) records(ctx context.Context) (sealed []core.Sealed, stored [][]byte, claims []core.Chunk,
	err error) {
	sealer, err := chunk.NewSealer(chunk.NewSecrets(p.owner.DedupSecret), chunk.LevelDefault)
	if err != nil {
		return nil, nil, nil, err
	}
	p.take()
	for _, s := range p.Standing.Segments {
		r := version.Record{Task: p.Task, Number: s.Number, Source: p.Node, Runs: s.Runs, Spans: s.Kept(),
			License: s.Message.License, Stripes: s.Stripes}
		one, data, err := r.Seal(sealer)
		if err != nil {
			return sealed, stored, claims, err
		}
		c := core.Chunk{Hash: one.Hash, Size: one.Size}
		claims = append(claims, c)
		if err := p.keep(ctx, c, core.Hash{}, data); err != nil {
			return sealed, stored, claims, err
		}
		sealed, stored = append(sealed, one), append(stored, data)
	}
	return sealed, stored, claims, nil
}

// tellTargets leaves records and the ref with every target that can be reached or was not given up. It is an error
// where none took them.
func (p *placement) tellTargets(ctx context.Context, put wire.RefPut, stored [][]byte, former, envelope []byte) error {
	known := p.Peers.Known(p.Survey.IDs())
	targets := slices.DeleteFunc(p.Standing.Targets(), func(id core.ID) bool {
		return !known[id].Reachable && p.Standing.Failed[id] != ""
	})
	problems := make([]error, len(targets))
	each(len(targets), func(i int) { problems[i] = p.insist(ctx, targets[i], put, stored, former, envelope) })
	for i, err := range problems {
		if err == nil {
			p.Standing.Refs[targets[i]] = true
			p.note(placements.Held, targets[i], 0, nil)
			continue
		}
		p.warn("refs", "%s did not take the ref: %v", targets[i].Short(), err)
	}
	if len(p.Standing.Refs) == 0 {
		return core.Fail(core.CodeRedundant, "no target took the ref: %v", problems)
	}
	return nil
}

// lacking is the error where every target has proved its share, and fewer copies count than are wanted for all that:
// a copy that cannot be found from there is none.
func (p *placement) lacking() error {
	count, wanted := p.Standing.Counting(), p.Args.Replicas
	if count >= wanted || len(p.Standing.Segments) == 0 {
		return nil
	}
	return core.WithHint(core.Fail(core.CodeRedundant, "%d of %d copies count (%s)", count, wanted,
		strings.Join(p.Warnings, "; ")), "bkp place %s again, once bkp peers shows them", p.Version.Body.Name)
}

const (
	// refPatience is with a target that was not given up and does not take the ref, or cannot be reached for it.
	refPatience = 10 * time.Second
	refRetry    = 500 * time.Millisecond
)

// insist is sendRef that tries again, unless the target was given up or says no.
func (p *placement) insist(ctx context.Context, to core.ID, put wire.RefPut, stored [][]byte, former,
	envelope []byte) error {
	until := time.Now().Add(refPatience)
	for {
		err := p.sendRef(ctx, to, put, stored, former, envelope)
		if err == nil || p.Standing.Failed[to] != "" || core.CodeOf(err) == core.CodeRefused ||
			time.Now().After(until) || !p.pause(ctx, refRetry) {
			return err
		}
	}
}

// sendRef gives a peer a version's records and then its ref: former, of version 1, for whoever asks the peer and reads
// no other, and envelope where the peer reads it itself.
func (c *Coordinator) sendRef(ctx context.Context, to core.ID, put wire.RefPut, records [][]byte, former,
	envelope []byte) error {
	for i, whole := range records {
		for from := core.Size(0); from < core.Size(len(whole)); from += wire.RecordPiece {
			piece := put
			piece.Records = nil
			piece.Record, piece.Size, piece.Offset = put.Records[i].Hash, core.Size(len(whole)), from
			piece.Data = whole[from:min(from+wire.RecordPiece, core.Size(len(whole)))]
			if err := c.putRef(ctx, to, piece); err != nil {
				return fmt.Errorf("record %d: %w", i, err)
			}
		}
	}
	put.Ref = former
	if len(former) > 0 {
		if err := c.putRef(ctx, to, put); err != nil {
			return err
		}
	}
	peer := c.Peers.Known([]core.ID{to})[to]
	if !peer.Refs2 && !peer.Far {
		return nil
	}
	put.Ref = envelope
	err := c.putRef(ctx, to, put)
	if peer.Far && len(former) > 0 { // whether it reads that one is not known here
		return nil
	}
	return err
}

func (c *Coordinator) putRef(ctx context.Context, to core.ID, put wire.RefPut) error {
	ok, err := wire.Ask[wire.RefOK](ctx, c.Peers, to, func(id uint64) wire.Message { put.Query = id; return put })
	if err == nil && ok.Code != core.ReasonNone {
		err = core.Fail(ok.Code.ExitCode(), "peer %s: %s", to.Short(), ok.Reason)
	}
	return err
}

// dismiss has those let go of the task that are to keep nothing of it, once enough copies of what they have count
// elsewhere. Who cannot be told stays on record.
func (p *placement) dismiss(ctx context.Context) {
	if p.locked > time.Now().Unix() {
		return // they may not: they are told later
	}
	var network reconcile.Network
	peers := p.Peers.Known(p.Survey.IDs())
	for _, node := range p.Survey.Nodes {
		n := reconcile.Node{ID: node.ID}
		if !peers[node.ID].Reachable {
			n.Away = time.Now()
		}
		network.Nodes = append(network.Nodes, n)
	}
	var locations [][]core.Span
	for _, s := range p.Standing.Segments {
		locations = append(locations, s.Message.Locations)
	}
	var spare []core.ID
	for _, m := range reconcile.Toward(locations, reconcile.Wanted{Copies: p.Args.Replicas, Now: true},
		p.Standing.Known(p.Survey.Nodes), network, time.Now()) {
		if m.Kind == reconcile.Release {
			spare = append(spare, m.Node)
		}
	}
	p.release(ctx, "dismiss", p.record, spare)
}

// release asks nodes to let go of what they keep by a record.
func (c *Coordinator) release(ctx context.Context, why string, rec *placements.Record, nodes []core.ID) {
	each(len(nodes), func(i int) {
		if _, err := c.ReleaseRecord(ctx, nodes[i], rec, nil); err != nil {
			c.Log.Warn(why, "peer", nodes[i].Short(), "error", err)
		}
	})
}

// supersede has everybody let go of the other tasks of the version: those on record, and tasks that are not.
func (p *placement) supersede(ctx context.Context, tasks []core.TaskID) error {
	ref := p.Version.Ref
	all, err := p.Records.Of(ref.Alias, ref.Version)
	if err != nil {
		return err
	}
	for _, rec := range all {
		if rec.Task != p.Task && !p.window {
			tasks = append(tasks, rec.Task)
			if err := rec.End(); err != nil {
				return err
			}
		}
	}
	peers := p.Peers.Connected()
	slices.SortFunc(tasks, core.TaskID.Compare)
	for _, task := range slices.Compact(tasks) {
		if task == p.Task {
			continue
		}
		failed := make([]error, len(peers))
		each(len(peers), func(i int) {
			_, failed[i] = p.Release(ctx, peers[i], task, ref.Alias, ref.Version, nil)
		})
		for i, peer := range peers {
			if failed[i] != nil {
				p.Log.Debug("release", "peer", peer.Short(), "error", failed[i]) // most often it kept nothing of it
				continue
			}
			for _, rec := range all {
				if rec.Task == task {
					err = errors.Join(err, rec.LetGo(peer))
				}
			}
		}
	}
	return err
}

// ReleaseRecord asks one holder to let go of what it keeps by a record, and notes that it did. With a tombstone it is
// told that the version is removed.
func (c *Coordinator) ReleaseRecord(ctx context.Context, at core.ID, rec *placements.Record,
	tombstone []byte) (wire.ReleaseDone, error) {
	if rec.Delegation != nil {
		return c.releaseKept(ctx, at, rec, tombstone)
	}
	done, err := c.Release(ctx, at, rec.Task, rec.Alias, rec.Version, tombstone)
	if err == nil {
		err = rec.LetGo(at)
	}
	return done, err
}

// Release asks one holder to let a task go that was to keep a version, and the refs that it brought; with a tombstone
// all that it keeps of the version.
func (c *Coordinator) Release(ctx context.Context, at core.ID, task core.TaskID, alias string, number int,
	tombstone []byte) (wire.ReleaseDone, error) {
	owner, err := c.Owner("release")
	if err != nil {
		return wire.ReleaseDone{}, err
	}
	envelope, err := owner.SignRelease(key.Release{Owner: owner.ID(), Task: task, Alias: alias, Version: number,
		Time: time.Now().Unix()})
	if err != nil {
		return wire.ReleaseDone{}, fmt.Errorf("sign release: %w", err)
	}
	return c.askRelease(ctx, at, envelope, tombstone)
}

// askRelease shows a holder a release.
func (c *Coordinator) askRelease(ctx context.Context, at core.ID,
	envelope, tombstone []byte) (wire.ReleaseDone, error) {
	done, err := wire.Ask[wire.ReleaseDone](ctx, c.Peers, at, func(id uint64) wire.Message {
		return wire.Release{Query: id, Envelope: envelope, Tombstone: tombstone}
	})
	if err == nil && done.Code != core.ReasonNone {
		err = core.Fail(done.Code.ExitCode(), "peer %s: %s", at.Short(), done.Reason)
	}
	return done, err
}

// warn tells something that goes on for all that, and has it in the result.
func (p *placement) warn(phase, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if slices.Contains(p.Warnings, text) {
		return
	}
	p.Warnings = append(p.Warnings, text)
	p.tell(Status{Phase: phase, Warning: true, Text: text})
}

// letGo lets the staged content of a version go that has all its copies at peers, unless it is to stay. What goes wrong
// here is no failure of the placement: the bytes are still there, and the next collection takes them.
func (p *placement) letGo(ctx context.Context) {
	ref := p.Version.Ref
	warn := func(format string, args ...any) { p.warn("let go", format, args...) }
	now := time.Now()
	err := version.BoundFor(now.Add(retained(p.Args.Retain)).Unix(), now)
	if err != nil && !p.Args.KeepLocal {
		warn("its bytes stay on this machine too: %v", err)
	}
	away := err == nil && !p.Args.KeepLocal
	if err := p.Refs.SetAway(ref.Alias, ref.Version, away); err != nil {
		warn("its bytes stay on this machine too: %v", err)
		return
	}
	if !away {
		return
	}
	p.tell(Status{Phase: "let go"})
	done, err := p.Sweep(ctx)
	p.LetGo = done.Freed
	switch {
	case err != nil:
		warn("its bytes stay on this machine until bkp gc: %v", err)
	case done.Waiting > 0:
		warn("%s stay on this machine: other commands may need them; bkp gc frees them later", done.Waiting)
	}
}
