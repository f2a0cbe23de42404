// SPDX-License-Identifier: Apache-2.0

package place

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/manifest"
	"github.com/bkp-tool/bkp/core/placements"
	"github.com/bkp-tool/bkp/core/version"
	"github.com/bkp-tool/bkp/core/wire"
)

// Removed is what a removal came to.
type Removed struct {
	Versions []int
	Released []Released
	Unheard  []Unheard // holders that could not be told: unless forced, the version stays
	Locked   []Locked  // versions that nobody may remove yet: likewise
}

// Locked is a version that nobody may remove yet, its owner included.
type Locked struct {
	Version int
	Until   int64  // Unix seconds; 0: its holders know
	Reason  string // theirs, where they were asked
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
// next collection here, and by themselves there. With force it is forgotten also where holders cannot be told.
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
	if err != nil {
		return r, fmt.Errorf("rm %s: %w", name, err)
	}
	if err := c.leansOn(ctx, refs); err != nil {
		return r, fmt.Errorf("rm %s: %w", name, err)
	}
	c.Peers.Await(ctx)
	for _, ref := range refs {
		records, err := c.recorded(ctx, ref)
		if err != nil {
			return r, fmt.Errorf("rm %s@%d: %w", name, ref.Ref.Version, err)
		}
		if until := lockOf(records); until > time.Now().Unix() && !force {
			r.Locked = append(r.Locked, Locked{Version: ref.Ref.Version, Until: until})
			continue
		}
		if len(ref.Body.Records) > 0 || len(records) > 0 {
			tell(Status{Phase: "release", Text: fmt.Sprintf("%s@%d", name, ref.Ref.Version)})
			before := len(r.Unheard) + len(r.Locked)
			if err := c.releaseVersion(ctx, ref, records, &r); err != nil {
				return r, err
			}
			if len(r.Unheard)+len(r.Locked) > before && !force {
				continue // its ref stays, so that it can be removed again
			}
			for _, rec := range records { // who was not heard is told when it is there
				if err := rec.End(); err != nil {
					return r, err
				}
			}
		}
		if err := c.Refs.Remove(ref.Ref.Alias, ref.Ref.Version); err != nil {
			return r, fmt.Errorf("rm %s@%d: %w", name, ref.Ref.Version, err)
		}
		r.Versions = append(r.Versions, ref.Ref.Version)
	}
	return r, nil
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
		err = notHere(number)
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

// lock notes once that a version is locked.
func (r *Removed) lock(l Locked) {
	if !slices.ContainsFunc(r.Locked, func(x Locked) bool { return x.Version == l.Version }) {
		r.Locked = append(r.Locked, l)
	}
}

// locked is what a holder says that may not let go yet.
type locked struct{ error }

func (l locked) Unwrap() error { return l.error }

// errRemoved is why a placement stops whose version is to go.
var errRemoved = core.Fail(core.CodeFailed, "the version is being removed")

// share is a task that a node was told of. A version that was backed up has many until it is placed as a whole.
type share struct {
	holder core.ID
	task   core.TaskID
}

// releaseVersion tells everybody who was ever told of a version that it may let go, and whoever else is connected.
func (c *Coordinator) releaseVersion(ctx context.Context, ref version.Found, records []*placements.Record, r *Removed) error {
	var told []share
	var tasks []core.TaskID
	add := func(holder core.ID, task core.TaskID) {
		if s := (share{holder, task}); !slices.Contains(told, s) {
			told = append(told, s)
		}
		if !slices.Contains(tasks, task) {
			tasks = append(tasks, task)
		}
	}
	for _, rec := range records {
		for _, id := range rec.Bound() {
			add(id, rec.Task)
		}
	}
	reader := version.NewReader(ctx, c.Here)
	for _, sealed := range ref.Body.Records {
		rec, err := reader.Record(sealed)
		if err != nil {
			return err
		}
		for _, span := range rec.Spans {
			if !slices.ContainsFunc(records, func(r *placements.Record) bool { return r.Task == rec.Task }) {
				add(span.Node, rec.Task)
			}
		}
	}
	sure := len(told)
	for _, peer := range c.Peers.Connected() { // one that is on no record any more may list it still
		for _, task := range tasks {
			add(peer, task)
		}
	}
	done, failed := make([]wire.ReleaseDone, len(told)), make([]error, len(told))
	each(len(told), func(i int) {
		done[i], failed[i] = c.Release(ctx, told[i].holder, told[i].task, ref.Ref.Alias, ref.Ref.Version)
	})
	for i, s := range told {
		if failed[i] != nil {
			_, is := errors.AsType[locked](failed[i])
			switch {
			case is:
				r.lock(Locked{Version: ref.Ref.Version, Reason: failed[i].Error()})
			case i < sure:
				r.Unheard = append(r.Unheard, Unheard{Node: s.holder,
					Address: c.Peers.Known([]core.ID{s.holder})[s.holder].Address, Reason: failed[i].Error()})
			}
			continue
		}
		if i < sure || done[i].Runs > 0 {
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
