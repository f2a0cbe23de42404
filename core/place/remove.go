// SPDX-License-Identifier: Apache-2.0

package place

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/manifest"
	"github.com/bkp-tool/bkp/core/placements"
	"github.com/bkp-tool/bkp/core/version"
	"github.com/bkp-tool/bkp/core/wire"
)

// Removed is what a removal came to.
type Removed struct {
	Versions []int
	Released []Released
	Unheard  []Unheard // holders that could not be told yet
	Locked   []Locked  // versions that stay, since nobody may remove them yet, unless forced
}

// Locked is a version that nobody may remove yet, its owner included.
type Locked struct {
	Version int
	Until   int64 // Unix seconds
}

// Released is what one holder let go.
type Released struct {
	Node  core.ID
	Runs  int
	Bytes core.Size
}

// Unheard is a holder that could not be told, and why.
type Unheard struct {
	Node    core.ID
	Address string
	Reason  string
}

// Remove forgets a version of a name, or all where number is 0, and has its holders let go of it. Its bytes go with the
// next collection here, and by themselves there. A tombstone says so first: who cannot be told now is told by Outbox,
// and no holder brings the version back.
func (c *Coordinator) Remove(ctx context.Context, name string, number int, force bool,
	tell func(Status)) (r Removed, err error) {
	owner, err := c.Owner("rm")
	if err != nil {
		return r, err
	}
	refs, err := c.versions(owner.Alias(name), number)
	for _, ref := range refs { // what is under way ends first, and may change its ref until then
		if err == nil {
			err = c.Records.Stop(ctx, ref.Ref.Alias, ref.Ref.Version, errRemoved)
		}
	}
	if err == nil {
		refs, err = c.versions(owner.Alias(name), number)
	}
	if core.CodeOf(err) == core.CodeNoName {
		err = c.removeAgain(ctx, owner.Alias(name), number, &r, err)
	}
	if err == nil {
		err = c.leansOn(ctx, refs)
	}
	if err != nil {
		return r, fmt.Errorf("rm %s: %w", name, err)
	}
	c.Peers.Await(ctx)
	for _, ref := range refs {
		if err := c.removeOne(ctx, owner, ref, force, tell, &r); err != nil {
			return r, fmt.Errorf("rm %s@%d: %w", name, ref.Ref.Version, err)
		}
	}
	return r, nil
}

// removeOne forgets one version.
func (c *Coordinator) removeOne(ctx context.Context, owner *key.Owner, ref version.Found, force bool, tell func(Status),
	r *Removed) error {
	alias, number := ref.Ref.Alias, ref.Ref.Version
	records, err := c.recorded(ctx, ref)
	if err != nil {
		return err
	}
	if until := lockOf(records); until > time.Now().Unix() && !force {
		r.Locked = append(r.Locked, Locked{Version: number, Until: until})
		return nil
	}
	r.Versions = append(r.Versions, number)
	if len(ref.Body.Records) == 0 && len(records) == 0 { // nobody was ever told of it
		return c.Refs.Remove(alias, number)
	}
	told, err := c.toldOf(ctx, ref, records)
	if err != nil {
		return err
	}
	tombstone, err := owner.SignTombstone(key.Tombstone{Alias: alias, Version: number, Content: ref.Content(),
		Time: time.Now().Unix(), Until: placements.LastTerm(records, defaultRetain, time.Now()).Unix()})
	if err != nil {
		return err
	}
	if err := c.Refs.Learn(alias, number, tombstone); err != nil {
		return err
	}
	if err := c.Refs.Remove(alias, number); err != nil {
		return err
	}
	tell(Status{Phase: "release", Text: fmt.Sprintf("%s@%d", ref.Body.Name, number)})
	if err := c.releaseVersion(ctx, alias, number, told, records, tombstone, r); err != nil {
		return err
	}
	for _, rec := range records { // who was not heard is told when it is there
		if err := rec.End(); err != nil {
			return err
		}
	}
	return nil
}

// removeAgain tells those that could not be told before that versions are removed; none is why there is nothing to
// remove.
func (c *Coordinator) removeAgain(ctx context.Context, alias string, number int, r *Removed, none error) error {
	gone, err := c.Versions.Gone(alias)
	if err != nil {
		return err
	}
	all, err := c.Records.All()
	if err != nil {
		return err
	}
	c.Peers.Await(ctx)
	for _, g := range gone {
		var told []share
		var records []*placements.Record
		for _, rec := range all {
			if rec.Alias != g.Alias || rec.Version != g.Version || number != 0 && number != g.Version {
				continue
			}
			records = append(records, rec)
			for _, id := range rec.Bound() {
				told = append(told, share{id, rec.Task, true})
			}
		}
		if len(told) == 0 {
			continue
		}
		none = nil
		r.Versions = append(r.Versions, g.Version)
		if err := c.releaseVersion(ctx, alias, g.Version, told, records, g.Envelope, r); err != nil {
			return err
		}
	}
	return none
}

// leansOn is an error where a version that was not placed yet consists of chunks that peers keep for none but those
// that are to go.
func (c *Coordinator) leansOn(ctx context.Context, gone []version.Found) error {
	all, err := c.Versions.Local("")
	if err != nil {
		return err
	}
	placed := func(r version.Found) bool { return len(r.Body.Records) > 0 }
	left := slices.DeleteFunc(slices.Clone(all), func(r version.Found) bool {
		return slices.ContainsFunc(gone, func(g version.Found) bool {
			return g.Ref.Alias == r.Ref.Alias && g.Ref.Version == r.Ref.Version
		})
	})
	lean := slices.DeleteFunc(slices.Clone(left), placed)
	if len(lean) == 0 || !slices.ContainsFunc(gone, placed) {
		return nil
	}
	before, err := c.Cover(ctx, all)
	if err != nil {
		return err
	}
	after, err := c.Cover(ctx, left)
	if err != nil {
		return err
	}
	reader := version.NewReader(ctx, c.Here)
	for _, r := range lean {
		err := manifest.Walk(r.Body.Root, reader, func(e manifest.Entry) error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			h := e.Chunk.Hash
			if e.Hole() || before(h) == 0 || after(h) > 0 {
				return nil
			}
			here, err := c.Staging.Has(ctx, h)
			if err == nil && !here {
				err = core.WithHint(core.Fail(core.CodeFailed,
					"%s@%d is not placed yet and needs chunks that only this version's holders have", r.Body.Name,
					r.Ref.Version), "bkp place %s@%d first, or bkp rm it", r.Body.Name, r.Ref.Version)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// versions is a version of an alias that is known on this machine, or all where number is 0.
func (c *Coordinator) versions(alias string, number int) ([]version.Found, error) {
	refs, err := c.Versions.Local(alias)
	refs = slices.DeleteFunc(refs, func(r version.Found) bool { return number != 0 && r.Ref.Version != number })
	if err == nil && len(refs) == 0 {
		err = version.NotHere(number)
	}
	return refs, err
}

// lockOf is until when nobody may release what is on record of a version, Unix seconds; 0: no lock.
func lockOf(records []*placements.Record) (until int64) {
	for _, rec := range records {
		until = max(until, rec.Locked)
	}
	return until
}

// errRemoved is why a placement stops whose version is to go.
var errRemoved = core.Fail(core.CodeFailed, "the version is being removed")

// share is a task that a node was told of. A version that was backed up has many until it is placed as a whole.
type share struct {
	holder core.ID
	task   core.TaskID
	sure   bool // it is on record; else it may list it still
}

// toldOf is everybody who was ever told of a version, and whoever else is connected.
func (c *Coordinator) toldOf(ctx context.Context, ref version.Found, records []*placements.Record) (told []share,
	err error) {
	var tasks []core.TaskID
	add := func(holder core.ID, task core.TaskID, sure bool) {
		if !slices.ContainsFunc(told, func(s share) bool { return s.holder == holder && s.task == task }) {
			told = append(told, share{holder, task, sure})
		}
		if !slices.Contains(tasks, task) {
			tasks = append(tasks, task)
		}
	}
	for _, rec := range records {
		for _, id := range rec.Bound() {
			add(id, rec.Task, true)
		}
	}
	reader := version.NewReader(ctx, c.Here)
	for _, sealed := range ref.Body.Records {
		rec, err := reader.Record(sealed)
		if err != nil {
			return nil, err
		}
		for _, span := range rec.Spans {
			if !slices.ContainsFunc(records, func(r *placements.Record) bool { return r.Task == rec.Task }) {
				add(span.Node, rec.Task, true)
			}
		}
	}
	for _, peer := range c.Peers.Connected() { // one that is on no record any more may list it still
		for _, task := range tasks {
			add(peer, task, false)
		}
	}
	return told, nil
}

// releaseVersion tells nodes that they may let go of a version.
func (c *Coordinator) releaseVersion(ctx context.Context, alias string, number int, told []share,
	records []*placements.Record, tombstone []byte, r *Removed) error {
	done, failed := make([]wire.ReleaseDone, len(told)), make([]error, len(told))
	each(len(told), func(i int) {
		done[i], failed[i] = c.Release(ctx, told[i].holder, told[i].task, alias, number, tombstone)
	})
	for i, s := range told {
		if failed[i] != nil {
			if s.sure {
				r.Unheard = append(r.Unheard, Unheard{Node: s.holder,
					Address: c.Peers.Known([]core.ID{s.holder})[s.holder].Address, Reason: failed[i].Error()})
			}
			continue
		}
		if s.sure || done[i].Runs > 0 {
			r.Released = append(r.Released, Released{Node: s.holder, Runs: done[i].Runs, Bytes: done[i].Bytes})
		}
		for _, rec := range records {
			if rec.Task == s.task {
				if err := rec.LetGo(s.holder); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
