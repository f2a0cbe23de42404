// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable"
)

// SweepReport says what a sweep found and did.
type SweepReport struct {
	core.Collected
	Packs      int // that there were
	Removed    int // of them
	Unreadable int // of them: nothing in it is whole; left for a person to look at
	Chunks     int // removed that were not live
}

// Sweep removes the packs whose every chunk is not live, as far as no other writer may lean on them, and those half of
// which is not live, once it has copied the rest; others may read and write all the while. It must see every use that
// this Store's own process makes of the store: chunks that were put but that live does not know yet go too, and Put and
// Barrier of this Store wait. live may use Get, Has and Find, and is asked about a chunk once or more for each pack
// that has it. Another sweep under way is ErrLocked.
//
// A writer may find a chunk that nothing refers to and refer to it much later. So a pack that is dead is condemned
// first: who opens the store from then on leaves what is in it alone. It goes when every writer that came before has
// gone, and when live, asked again after that, still says no; a chunk that somebody refers to by then brings its pack
// back. Where nobody writes and nobody came while live was being asked, all that is one sweep. It can end anywhere:
// what is condemned can still be read, and the next sweep asks about it again. Packs are rewritten only where nobody
// else writes, since they could not go.
func (s *Store) Sweep(ctx context.Context, live func(core.Hash) (bool, error)) (report SweepReport, err error) {
	return s.collect(ctx, live, nil)
}

func (s *Store) collect(ctx context.Context, live func(core.Hash) (bool, error),
	gone core.Notes) (report SweepReport, err error) {
	if err := s.begin(ctx); err != nil {
		return report, fmt.Errorf("sweep: %w", err)
	}
	if s.readOnly {
		return report, errors.New("sweep: the store is open for reading only")
	}
	s.barrier.Lock()
	defer s.barrier.Unlock()
	s.appending.Lock()
	defer s.appending.Unlock()
	gate, err := s.closeGate()
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, gate.Close()) }()
	s.sweeping = true
	defer func() { s.sweeping = false }()
	if err = s.adopt(); err == nil {
		err = s.rotate()
	}
	c := &sweep{Store: s, ctx: ctx, live: live, gone: gone, report: &report, sparse: map[string]core.Size{},
		copied: map[string]core.Size{}}
	if err == nil {
		err = c.begin()
	}
	if err == nil {
		err = c.run()
	}
	if err != nil {
		err = fmt.Errorf("sweep: %w", err)
	}
	return report, err
}

// Collect is Sweep for who wants to know no more than what all stores can tell. Of every chunk with a known id that is
// not live, gone is told before its bytes go, also where they must wait, and made durable; nil: nobody is told.
func (s *Store) Collect(ctx context.Context, live func(core.Hash) (bool, error),
	gone core.Notes) (core.Collected, error) {
	report, err := s.collect(ctx, live, gone)
	return report.Collected, err
}

// step tells a test how far a sweep has come.
func (s *Store) step(name string) {
	if s.stepped != nil {
		s.stepped(name)
	}
}

// sweep is one under way, with the gate closed.
type sweep struct {
	*Store
	ctx    context.Context
	live   func(core.Hash) (bool, error)
	gone   core.Notes // nil: nobody
	report *SweepReport
	list   condemned
	before uint64               // epoch of the last condemnation before this sweep
	oldest uint64               // epoch of the oldest writer that lived when this sweep began
	alone  bool                 // nobody has written since then who does not know all that is condemned
	dirty  bool                 // list is not what CONDEMNED says
	waits  uint64               // last epoch of the packs that must wait
	sparse map[string]core.Size // dead bytes of packs worth rewriting
	copied map[string]core.Size // bytes out of packs that were rewritten
}

// begin looks who writes; only after that is live asked for the first time.
func (c *sweep) begin() error {
	living, _, err := c.others()
	if err != nil {
		return err
	}
	c.list, err = parseCondemned(c.condemnedPath())
	if core.CodeOf(err) == core.CodeWrong {
		c.list, c.dirty, err = condemned{packs: map[string]uint64{}}, true, nil
	}
	if err != nil {
		return err
	}
	c.oldest, c.alone, c.report.Writers = ^uint64(0), len(living) == 0, living
	for _, w := range living {
		c.oldest = min(c.oldest, w.Epoch)
		c.list.epoch = max(c.list.epoch, w.Epoch) // CONDEMNED may have been lost
	}
	c.before = c.list.epoch
	return c.condemn(c.list)
}

func (c *sweep) run() error {
	var dead []*pack
	var worth, small []sparse
	for _, p := range c.finishedPacks() {
		if c.ctx.Err() != nil {
			return context.Cause(c.ctx) // nothing has changed yet
		}
		v, err := c.judge(p)
		if err != nil {
			return fmt.Errorf("pack %s: %w", p.name, err)
		}
		switch {
		case v.rows == 0:
		case v.needed == 0:
			dead = append(dead, p)
		default:
			c.spare(p)
			c.report.Dead += v.dead
			if v.worthRewriting() {
				worth = append(worth, sparse{p, v})
				c.sparse[p.name] = v.dead
			} else if v.lost == 0 {
				small = append(small, sparse{p, v})
			}
		}
	}
	c.forgetGone()
	err := c.removeAll(dead)
	if err == nil {
		err = c.rewrite(worth)
	}
	if err == nil { // after those: what is damaged in one of them may be whole in a small one
		err = c.rewrite(c.worthMerging(small))
	}
	return errors.Join(err, c.end())
}

func (c *sweep) finishedPacks() (packs []*pack) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for _, p := range c.names {
		if p.finished {
			packs = append(packs, p)
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

// judge asks about every chunk of a pack. One that is damaged, or in a condemned pack, is not needed where there is
// another whole record of it.
func (c *sweep) judge(p *pack) (v verdict, err error) {
	rows, err := c.rowsOf(p)
	if errors.Is(err, fs.ErrNotExist) {
		return v, nil
	}
	if err != nil { // nobody looked at it while a merged table covered it
		rows, err = c.rebuild(p.name)
	}
	if err != nil || len(rows) == 0 {
		c.report.Unreadable++
		return v, nil
	}
	for _, r := range rows {
		v.rows++
		v.bytes += core.Size(r.size)
		live, err := c.live(r.hash)
		damaged := live && c.isDamaged(place{p.number, r.offset})
		there := false // whole, in another pack
		if err == nil && (damaged || live && c.condemns(p)) {
			there, err = c.elsewhere(r)
		}
		switch {
		case err != nil:
			return v, err
		case !live:
			v.dead += core.Size(r.size)
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

func (c *sweep) condemns(p *pack) bool {
	_, is := c.list.packs[p.name]
	return is
}

// elsewhere reports whether a record stands, whole, where others may lean on it.
func (c *sweep) elsewhere(r row) (bool, error) {
	at, ok, err := c.at(r.hash)
	if !ok || err != nil {
		return false, err
	}
	c.mu.RLock()
	p := c.packs[at.pack]
	ok = p.finished && p.trusts(at.offset)
	c.mu.RUnlock()
	if !ok {
		return false, nil
	}
	err = c.use(at, func(f packReader) error {
		there, err := header(f, at)
		if err == nil && there.hash != r.hash {
			err = damaged("it names another chunk")
		}
		if err == nil {
			_, err = readData(f, there, nil)
		}
		return err
	})
	return err == nil, nil
}

// spare takes a pack off the list: something in it is needed.
func (c *sweep) spare(p *pack) {
	if c.condemns(p) {
		delete(c.list.packs, p.name)
		c.dirty = true
	}
}

// forgetGone takes packs off the list that went before they could be taken off.
func (c *sweep) forgetGone() {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for name := range c.list.packs {
		if c.names[name] == nil {
			delete(c.list.packs, name)
			c.dirty = true
		}
	}
}

// removeAll condemns packs and removes those that nobody leans on.
func (c *sweep) removeAll(packs []*pack) error {
	if err := c.noteAll(packs); err != nil {
		return err
	}
	if err := c.condemnAll(packs); err != nil {
		return err
	}
	for _, p := range packs {
		if err := c.remove(p); err != nil {
			return fmt.Errorf("pack %s: %w", p.name, err)
		}
	}
	return nil
}

// noteAll tells what is about to go.
func (c *sweep) noteAll(packs []*pack) error {
	if c.gone == nil || len(packs) == 0 {
		return nil
	}
	for _, p := range packs {
		rows, err := c.rowsOf(p)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("pack %s: %w", p.name, err)
		}
		for _, r := range rows {
			if r.id.IsZero() {
				continue
			}
			live, err := c.live(r.hash)
			if err == nil && !live {
				err = c.gone.Note(c.ctx, core.Chunk{Hash: r.hash, Size: core.Size(r.size)}, r.id)
			}
			if err != nil {
				return err
			}
		}
	}
	return c.gone.Barrier(c.ctx)
}

// condemnAll puts packs on the list, under an epoch of their own where they are new there, and tells the world.
func (c *sweep) condemnAll(packs []*pack) error {
	epoch := c.list.epoch + 1
	for _, p := range packs {
		if !c.condemns(p) {
			c.list.packs[p.name], c.list.epoch, c.dirty = epoch, epoch, true
		}
	}
	if err := c.publish(); err != nil {
		return err
	}
	c.step("condemned")
	living, gone, err := c.others()
	if err != nil {
		return err
	}
	c.report.Writers = living
	for _, w := range append(gone, living...) {
		c.alone = c.alone && w.Epoch >= c.list.epoch
	}
	return nil
}

// publish writes the list down.
func (c *sweep) publish() error {
	if !c.dirty {
		return nil
	}
	if err := c.list.write(c.condemnedPath()); err != nil {
		return fmt.Errorf("condemn packs: %w", err)
	}
	c.dirty = false
	return c.condemn(c.list)
}

// remove removes a condemned pack, unless somebody may lean on it: a writer from before its condemnation that lived
// when live was asked, or, where it was condemned in this sweep, any that came meanwhile.
func (c *sweep) remove(p *pack) error {
	v, err := c.judge(p)
	if err != nil || v.rows == 0 {
		return err
	}
	if v.needed > 0 {
		c.spare(p)
		return nil
	}
	c.report.Dead -= c.sparse[p.name]
	epoch := c.list.packs[p.name]
	if epoch > c.oldest || epoch > c.before && !c.alone {
		c.report.Waiting += v.bytes
		c.waits = max(c.waits, epoch)
		return nil
	}
	if err := durable.Remove(packPath(c.dir, p.name)); err != nil {
		return err
	}
	delete(c.list.packs, p.name)
	c.dirty = true
	c.report.Removed++
	c.report.Chunks += v.deadRows
	c.report.Freed += v.bytes - c.copied[p.name]
	c.step("removed")
	return nil
}

// end takes what went off the list once that is durable, and says who is waited for.
func (c *sweep) end() error {
	var before []core.Writer
	for _, w := range c.report.Writers {
		if w.Epoch < c.waits {
			before = append(before, w)
		}
	}
	c.report.Writers = before
	if c.report.Removed > 0 {
		if err := durable.SyncDir(c.dir); err != nil {
			return err
		}
	}
	c.tidyIndex()
	removeTemporary(c.writersDir(), "CONDEMNED")
	c.tidyNotes()
	return errors.Join(c.publish(), c.mendIndex())
}

// rowsOf reads the table of a finished pack.
func (s *Store) rowsOf(p *pack) (rows []row, err error) {
	f, err := os.Open(packPath(s.dir, p.name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return readTable(f, info.Size())
}
