// SPDX-License-Identifier: Apache-2.0

// Package collect removes from a store's packs what nobody needs.
//
// A pack of which nothing is needed is condemned before it is removed: who opens the store from then on leaves what is
// in it alone (package writers). It goes when every writer that came before has gone, and when live, asked again after
// that, still says no; a chunk that somebody refers to by then brings its pack back. Where nobody writes and nobody
// came while live was being asked, all that is one collection. It can end anywhere: what is condemned can still be
// read, and the next collection asks about it again. A pack that is being written belongs to its writer, and one that
// was finished a moment ago is condemned at most.
//
// A pack of which half is dead is rewritten: what is live is copied into new packs and durable there before the old one
// is condemned. Readers that had it open find the new place when they miss the old one. Many small packs become one in
// the same way. Packs are rewritten only where nobody else writes, since they could not go. What is locked stays as it
// is, counted, until its time has come (Locker).
package collect

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable"
	"github.com/bkp-tool/bkp/core/storage/disk/pack"
	"github.com/bkp-tool/bkp/core/storage/disk/writers"
)

// Report says what a collection found and did.
type Report struct {
	core.Collected
	Packs      int // that there were
	Removed    int // of them
	Unreadable int // of them: nothing in it is whole; left for a person to look at
	Chunks     int // removed that were not live
}

// Store is what a collection asks of the store whose packs it collects.
type Store interface {
	// Packs is the names of the packs, and whether they are finished.
	Packs() map[string]bool
	// Condemn lets nobody in this process lean on these packs from now on, and reads anew what there is.
	Condemn(packs map[string]uint64) error
	// Damaged reports whether a record is known to be damaged.
	Damaged(pack string, offset uint32) bool
	// Elsewhere reports whether a chunk stands, whole, in a finished pack where others may lean on it.
	Elsewhere(hash core.Hash) (bool, error)
	// Copied reports whether a chunk stands in a pack that this process is writing.
	Copied(hash core.Hash) (bool, error)
	// Copy appends a record of a pack to one that this process is writing.
	Copy(pack string, r pack.Row) error
	// Rotate finishes what this process is writing.
	Rotate() error
	// Rebuild reads through a finished pack whose table is lost.
	Rebuild(pack string) ([]pack.Row, error)
	// Remove removes a finished pack.
	Remove(pack string) error
}

// Locker is a Store some of whose packs nobody can remove yet. They are neither condemned, since who leans on one loses
// nothing, nor rewritten, since that frees nothing.
type Locker interface {
	// Locked is until when a finished pack cannot be removed; zero where it can.
	Locked(pack string) (until time.Time, err error)
}

// Job is one collection. Nobody but it adds to the store's packs in this process while it runs, and the gate of Writers
// is closed.
type Job struct {
	Dir      string // of the packs
	PackSize core.Size
	Store    Store
	Writers  writers.Dir
	Self     *writers.Writer
	Live     func(core.Hash) (bool, error) // is asked about a chunk once or more for each pack that has it
	Gone     core.Notes                    // is told of chunks with a known id before they go; nil: nobody is
	Step     func(name string)             // tells a test how far it has come; may be nil
}

// Run removes the packs whose every chunk is not live, as far as no other writer may lean on them, and those half of
// which is not live, once it has copied the rest; others may read and write all the while.
func Run(ctx context.Context, job Job) (Report, error) {
	c := &collection{Job: job, ctx: ctx, sparse: map[string]core.Size{}, copied: map[string]core.Size{}}
	err := c.begin()
	if err == nil {
		err = c.run()
	}
	return c.report, err
}

// collection is one under way.
type collection struct {
	Job
	ctx    context.Context
	report Report
	list   writers.Condemned
	before uint64               // epoch of the last condemnation before this collection
	oldest uint64               // epoch of the oldest writer that lived when it began
	alone  bool                 // nobody has written since then who does not know all that is condemned
	dirty  bool                 // list is not what CONDEMNED says
	waits  uint64               // last epoch of the packs that must wait
	sparse map[string]core.Size // dead bytes of packs worth rewriting
	copied map[string]core.Size // bytes out of packs that were rewritten
}

func (c *collection) step(name string) {
	if c.Step != nil {
		c.Step(name)
	}
}

// begin looks who writes; only after that is live asked for the first time.
func (c *collection) begin() error {
	living, _, err := c.Writers.Others(c.Self)
	if err != nil {
		return err
	}
	c.list, err = c.Writers.Condemned()
	if core.CodeOf(err) == core.CodeWrong {
		c.list, c.dirty, err = writers.Condemned{Packs: map[string]uint64{}}, true, nil
	}
	if err != nil {
		return err
	}
	c.oldest, c.alone, c.report.Writers = ^uint64(0), len(living) == 0, living
	for _, w := range living {
		c.oldest = min(c.oldest, w.Epoch)
		c.list.Epoch = max(c.list.Epoch, w.Epoch) // CONDEMNED may have been lost
	}
	c.before = c.list.Epoch
	return c.Store.Condemn(c.list.Packs)
}

func (c *collection) run() error {
	var f fates
	for _, p := range c.finished() {
		if c.ctx.Err() != nil {
			return context.Cause(c.ctx) // nothing has changed yet
		}
		if err := c.decide(p, &f); err != nil {
			return fmt.Errorf("pack %s: %w", p, err)
		}
	}
	c.forgetGone()
	err := c.removeAll(f.dead)
	if err == nil {
		err = c.rewrite(f.worth)
	}
	if err == nil { // after those: what is damaged in one of them may be whole in a small one
		small := worthMerging(f.small, c.PackSize)
		for _, p := range small {
			c.sparse[p.name] = p.dead
		}
		err = c.rewrite(small)
	}
	return errors.Join(err, c.end())
}

// fates is what a collection is to do with packs: remove those that are dead, rewrite those that are worth it, and see
// which of the small ones are better one.
type fates struct {
	dead         []string
	worth, small []judged
}

// decide says what is to be done with a pack, if anything.
func (c *collection) decide(name string, f *fates) error {
	v, err := c.judge(name)
	var locked time.Time
	if err == nil && v.mayGo(c.PackSize) {
		locked, err = c.locked(name)
	}
	if err != nil || v.rows == 0 {
		return err
	}
	if v.needed > 0 || !locked.IsZero() {
		c.spare(name)
	}
	switch {
	case v.needed == 0 && !locked.IsZero():
		c.report.Lock(v.bytes, locked)
		return nil
	case v.needed == 0:
		f.dead = append(f.dead, name)
		return nil
	}
	c.report.Dead += v.dead
	switch {
	case !locked.IsZero():
	case v.worthRewriting():
		f.worth = append(f.worth, judged{name, v})
		c.sparse[name] = v.dead
	case v.lost == 0:
		f.small = append(f.small, judged{name, v})
	}
	return nil
}

// locked is until when a pack cannot be removed; zero where it can.
func (c *collection) locked(name string) (until time.Time, err error) {
	if l, is := c.Store.(Locker); is {
		until, err = l.Locked(name)
	}
	return until, err
}

// finished is the packs that are.
func (c *collection) finished() (packs []string) {
	for name, finished := range c.Store.Packs() {
		if finished {
			packs = append(packs, name)
		}
	}
	c.report.Packs = len(packs)
	return packs
}

// verdict is what a pack holds. Sizes are of data.
type verdict struct {
	rows, needed, deadRows int
	// damaged records, those of which there is another and those of which there is none
	replaced, lost int
	bytes, dead    core.Size // what is neither dead nor needed stands elsewhere as well
}

// mayGo reports whether a pack might go in this collection, by itself or once what lives in it was copied.
func (v verdict) mayGo(packSize core.Size) bool {
	return v.rows > 0 && (v.needed == 0 || v.worthRewriting() || v.bytes <= packSize/2)
}

// judged is a pack and what it holds.
type judged struct {
	name string
	verdict
}

// judge asks about every chunk of a pack. One that is damaged, or in a condemned pack, is not needed where there is
// another whole record of it.
func (c *collection) judge(name string) (v verdict, err error) {
	rows, err := pack.Rows(c.Dir, name)
	if errors.Is(err, fs.ErrNotExist) {
		return v, nil
	}
	if err != nil { // nobody looked at it while a merged table covered it
		rows, err = c.Store.Rebuild(name)
	}
	if err != nil || len(rows) == 0 {
		c.report.Unreadable++
		return v, nil
	}
	for _, r := range rows {
		v.rows++
		v.bytes += core.Size(r.Size)
		live, err := c.Live(r.Hash)
		damaged := live && c.Store.Damaged(name, r.Offset)
		there := false // whole, in another pack
		if err == nil && (damaged || live && c.condemns(name)) {
			there, err = c.Store.Elsewhere(r.Hash)
		}
		switch {
		case err != nil:
			return v, err
		case !live:
			v.dead += core.Size(r.Size)
			v.deadRows++
		case damaged && there:
			v.replaced++
		case damaged:
			v.needed++
			v.lost++
		case !there:
			v.needed++
		}
	}
	return v, nil
}

func (c *collection) condemns(name string) bool {
	_, is := c.list.Packs[name]
	return is
}

// spare takes a pack off the list: something in it is needed.
func (c *collection) spare(name string) {
	if c.condemns(name) {
		delete(c.list.Packs, name)
		c.dirty = true
	}
}

// forgetGone takes packs off the list that went before they could be taken off.
func (c *collection) forgetGone() {
	there := c.Store.Packs()
	for name := range c.list.Packs {
		if _, is := there[name]; !is {
			c.spare(name)
		}
	}
}

// removeAll condemns packs and removes those that nobody leans on.
func (c *collection) removeAll(packs []string) error {
	if err := c.noteAll(packs); err != nil {
		return err
	}
	if err := c.condemnAll(packs); err != nil {
		return err
	}
	for _, p := range packs {
		if err := c.remove(p); err != nil {
			return fmt.Errorf("pack %s: %w", p, err)
		}
	}
	return nil
}

// noteAll tells what is about to go.
func (c *collection) noteAll(packs []string) error {
	if c.Gone == nil || len(packs) == 0 {
		return nil
	}
	for _, p := range packs {
		rows, err := pack.Rows(c.Dir, p)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("pack %s: %w", p, err)
		}
		for _, r := range rows {
			if r.ID.IsZero() {
				continue
			}
			live, err := c.Live(r.Hash)
			if err == nil && !live {
				err = c.Gone.Note(c.ctx, core.Chunk{Hash: r.Hash, Size: core.Size(r.Size)}, r.ID)
			}
			if err != nil {
				return err
			}
		}
	}
	return c.Gone.Barrier(c.ctx)
}

// condemnAll puts packs on the list, under an epoch of their own where they are new there, and tells the world.
func (c *collection) condemnAll(packs []string) error {
	epoch := c.list.Epoch + 1
	for _, p := range packs {
		if !c.condemns(p) {
			c.list.Packs[p], c.list.Epoch, c.dirty = epoch, epoch, true
		}
	}
	if err := c.publish(); err != nil {
		return err
	}
	c.step("condemned")
	living, gone, err := c.Writers.Others(c.Self)
	if err != nil {
		return err
	}
	c.report.Writers = living
	for _, w := range append(gone, living...) {
		c.alone = c.alone && w.Epoch >= c.list.Epoch
	}
	return nil
}

// publish writes the list down.
func (c *collection) publish() error {
	if !c.dirty {
		return nil
	}
	if err := c.Writers.Condemn(c.list); err != nil {
		return fmt.Errorf("condemn packs: %w", err)
	}
	c.dirty = false
	return c.Store.Condemn(c.list.Packs)
}

// remove removes a condemned pack, unless somebody may lean on it: a writer from before its condemnation that lived
// when live was asked, or, where it was condemned in this collection, any that came meanwhile.
func (c *collection) remove(name string) error {
	v, err := c.judge(name)
	if err != nil || v.rows == 0 {
		return err
	}
	if v.needed > 0 {
		c.spare(name)
		return nil
	}
	c.report.Dead -= c.sparse[name]
	epoch := c.list.Packs[name]
	if epoch > c.oldest || epoch > c.before && !c.alone {
		c.report.Waiting += v.bytes
		c.waits = max(c.waits, epoch)
		return nil
	}
	if err := c.Store.Remove(name); err != nil {
		return err
	}
	delete(c.list.Packs, name)
	c.dirty = true
	c.report.Removed++
	c.report.Chunks += v.deadRows
	c.report.Freed += v.bytes - c.copied[name]
	c.step("removed")
	return nil
}

// end takes what went off the list once that is durable, and says who is waited for.
func (c *collection) end() error {
	var before []core.Writer
	for _, w := range c.report.Writers {
		if w.Epoch < c.waits {
			before = append(before, w)
		}
	}
	c.report.Writers = before
	if c.report.Removed > 0 {
		if err := durable.SyncDir(c.Dir); err != nil {
			return err
		}
	}
	c.Writers.Tidy()
	return c.publish()
}
