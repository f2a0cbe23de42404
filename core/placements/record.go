// SPDX-License-Identifier: Apache-2.0

package placements

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable"
	"github.com/bkp-tool/bkp/core/version"
)

// Records is DATA/placements: what versions shall have, and what is known to be there. Each task of a version has a
// directory ALIAS.VERSION/TASK with
//
//	segment-N   the runs of a segment with their chunks, as version.Record encodes them; it never changes
//	journal     what became known, a line an entry; it only grows
//	head        what it is about, and what is wanted; without it the rest was never finished
//
// Its methods are safe for many goroutines, but of one process.
type Records struct {
	dir  string
	mu   sync.Mutex
	open map[core.TaskID]*Record
	acts map[string]act // placements under way, by version
}

// act is a placement under way.
type act struct {
	alias      string
	unattended bool // nobody asked for it: it makes way for who does
	stop       func(why error)
	ended      chan struct{}
}

// OpenRecords is the records below dir, which need not exist.
func OpenRecords(dir string) *Records {
	return &Records{dir: dir, open: map[core.TaskID]*Record{}, acts: map[string]act{}}
}

// Name is ALIAS.VERSION.
func Name(alias string, number int) string { return alias + "." + strconv.Itoa(number) }

// Enter makes a placement known that stop stops, until it is left. There is one of a version at a time.
func (r *Records) Enter(alias string, number int, unattended bool, stop func(why error)) (leave func()) {
	name, a := Name(alias, number), act{alias, unattended, stop, make(chan struct{})}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.acts[name] = a
	return func() {
		r.mu.Lock()
		delete(r.acts, name)
		r.mu.Unlock()
		close(a.ended)
	}
}

// UnderWay reports whether a placement of a record's version is.
func (r *Records) UnderWay(rec *Record) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, is := r.acts[Name(rec.Alias, rec.Version)]
	return is || rec.Window // which a backup goes on with
}

// errYields is why a placement stops that nobody asked for.
var errYields = core.Fail(core.CodeBusy, "it makes way for a placement that somebody asked for")

// Yield stops the placements of an alias, or of all where that is empty, that nobody asked for, and returns when they
// have ended. It reports whether there was any.
func (r *Records) Yield(ctx context.Context, alias string) (any bool) {
	r.mu.Lock()
	var acts []act
	for _, a := range r.acts {
		if a.unattended && (alias == "" || alias == a.alias) {
			acts = append(acts, a)
		}
	}
	r.mu.Unlock()
	for _, a := range acts {
		a.stop(errYields)
		select {
		case <-a.ended:
		case <-ctx.Done():
			return false
		}
	}
	return len(acts) > 0
}

// Stop stops the placement of a version that is under way, and returns when it has ended.
func (r *Records) Stop(ctx context.Context, alias string, number int, why error) error {
	r.mu.Lock()
	a, under := r.acts[Name(alias, number)]
	r.mu.Unlock()
	if !under {
		return nil
	}
	a.stop(why)
	select {
	case <-a.ended:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Head is what a record is about, and what is wanted.
type Head struct {
	V       int         `json:"v"` // 1
	Owner   core.ID     `json:"owner"`
	Alias   string      `json:"alias"`
	Version int         `json:"version"`
	Task    core.TaskID `json:"task"`
	Source  core.ID     `json:"source"`
	Runs    []int       `json:"runs"`             // of each segment
	Window  bool        `json:"window,omitempty"` // it is a part of the version, as a backup placed it
	Began   int64       `json:"began"`
	// Erasure is how its stripes were made, all of whose runs are wanted; Copies is what they bear then, and one.
	Erasure core.Erasure `json:"erasure,omitzero"`
	Proofs  bool         `json:"proofs,omitempty"` // the journal says what was proved; else receipts stand for that
	// Delegation is the owner's to this node, which keeps the version for it; nil: it is of an owner at home here.
	Delegation []byte `json:"delegation,omitempty"`
	Wanted
}

// Wanted is what a version shall have, and how it came to be asked for: what lacks is placed by the same again.
type Wanted struct {
	Copies    int       `json:"copies"` // of what is in no stripe
	Strategy  string    `json:"strategy,omitempty"`
	Retain    int64     `json:"retain_s,omitempty"` // how long targets are to keep it, seconds; 0: as the default goes
	KeepLocal bool      `json:"keep_local,omitempty"`
	Out       []core.ID `json:"out,omitempty"`          // nodes that are to keep nothing of it
	Only      []core.ID `json:"only,omitempty"`         // none but these are to keep anything of it; none: any may
	Locked    int64     `json:"locked_until,omitempty"` // until when nobody may release it, Unix seconds; 0: no lock

	// Shipment is the node that a disk is under way to, with what it is to keep: until somebody places the version
	// nothing of it is sent. Zero: there is none.
	Shipment core.ID `json:"shipment,omitzero"`

	// Coordinator is the node that the version is handed over to, which sees to what is wanted; zero: this one does.
	Coordinator core.ID `json:"coordinator,omitzero"`
	Term        int     `json:"term,omitempty"`  // in which it is coordinated; 0: it was never handed over
	Taken       bool    `json:"taken,omitempty"` // Coordinator has confirmed that
	Told        int     `json:"told,omitempty"`  // copies that count beside Coordinator's own, as it said last
}

// LeavesOut reports whether a node is to keep nothing of it.
func (w Wanted) LeavesOut(id core.ID) bool {
	return slices.Contains(w.Out, id) || len(w.Only) > 0 && !slices.Contains(w.Only, id)
}

// OnDisk is what is wanted while a disk is under way to a node. What is on record, where that goes on, stays as it was
// wanted; where copies of that count they are seen to as before.
func (w Wanted) OnDisk(node core.ID, copies int, goesOn bool, rec *Record) Wanted {
	if w.Copies, w.Out, w.Only = copies, nil, nil; goesOn {
		w = rec.Wanted
	}
	if !goesOn || rec.Counting() == 0 {
		w.Shipment = node
	}
	return w
}

// What became known of a node and a segment.
const (
	Told      = "told"      // it is shown License, by which it is to keep Runs, and no others
	Agreed    = "agreed"    // it agreed, and said that it has Runs
	Refused   = "refused"   // it wants none, having agreed to nothing before
	Receipted = "receipted" // it signed for Runs
	Proved    = "proved"    // it proved to have Runs, which it signed for, by Samples ranges drawn after that
	Held      = "held"      // it took the ref, and the records that it names
	Lost      = "lost"      // Runs, which it signed for, are not there, as it said itself or as its proof failed
	Released  = "released"  // it let go of all segments
	Over      = "over"      // nobody is to keep anything any more; Node says nothing
)

// Entry is a line of a journal.
type Entry struct {
	What    string         `json:"what"`
	Node    core.ID        `json:"node,omitzero"`
	Segment int            `json:"segment"`
	License core.LicenseID `json:"license,omitzero"`
	Runs    []core.Range   `json:"runs,omitempty"`
	Samples int            `json:"samples,omitempty"`
	Time    int64          `json:"time"`
}

// Record is one of them.
type Record struct {
	Head
	records *Records
	dir     string

	mu      sync.Mutex
	known   []map[core.ID]*holding // by segment
	license [][]core.LicenseID     // by segment
	stripes [][]core.Stripe        // by segment; nil until they are asked for
	held    map[core.ID]bool       // who has ref and records
	over    bool
	journal *durable.File // nil until something is noted
	end     int64         // of the journal
}

// holding is what is known of a node and a segment.
type holding struct {
	asked, receipted, proved core.Bitmap
	audited                  int64 // when it proved something last
}

// counts reports whether a run of it does, but for the ref.
func (x *holding) counts(run int) bool {
	return x.asked.Has(run) && x.receipted.Has(run) && x.proved.Has(run)
}

// Begin writes a record down, with what is known from the start, and returns once both are durable.
func (r *Records) Begin(h Head, segments []*Segment, known ...Entry) (*Record, error) {
	h.V = 1
	for _, s := range segments {
		h.Runs = append(h.Runs, len(s.Runs))
	}
	rec := r.record(h)
	write := func() error {
		if err := durable.MkdirAll(rec.dir); err != nil {
			return err
		}
		for _, s := range segments {
			data, err := version.Record{Task: h.Task, Number: s.Number, Source: h.Source, Runs: s.Runs,
				Stripes: s.Stripes, License: s.Of}.Encode()
			if err == nil {
				err = durable.Replace(rec.segment(s.Number), data, 0o600)
			}
			if err != nil {
				return err
			}
		}
		if len(known) > 0 {
			if err := errors.Join(rec.Note(known...), rec.Sync()); err != nil {
				return err
			}
		}
		return rec.writeHead()
	}
	if err := write(); err != nil {
		return nil, fmt.Errorf("write the placement down: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open[h.Task] = rec
	return rec, nil
}

func (r *Records) record(h Head) *Record {
	rec := &Record{Head: h, records: r, held: map[core.ID]bool{},
		dir: filepath.Join(r.dir, Name(h.Alias, h.Version), h.Task.String())}
	for range h.Runs {
		rec.known, rec.license = append(rec.known, map[core.ID]*holding{}), append(rec.license, nil)
	}
	return rec
}

func (r *Record) segment(number int) string {
	return filepath.Join(r.dir, "segment-"+strconv.Itoa(number))
}

func (r *Record) writeHead() error {
	head, err := json.Marshal(r.Head)
	if err != nil {
		return err
	}
	return durable.Replace(filepath.Join(r.dir, "head"), append(head, '\n'), 0o600)
}

// All is every record, the oldest of a version first.
func (r *Records) All() ([]*Record, error) { return r.find("*") }

// Of is the records of a version.
func (r *Records) Of(alias string, number int) ([]*Record, error) {
	return r.find(Name(alias, number))
}

func (r *Records) find(pattern string) (found []*Record, err error) {
	heads, err := filepath.Glob(filepath.Join(r.dir, pattern, "*", "head"))
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, path := range heads {
		rec, err := r.read(path)
		switch {
		case errors.Is(err, fs.ErrNotExist): // it went meanwhile
		case err != nil:
			return nil, fmt.Errorf("read placement %s: %w", filepath.Dir(path), err)
		default:
			found = append(found, rec)
		}
	}
	slices.SortStableFunc(found, func(a, b *Record) int { return int(a.Began - b.Began) })
	return found, nil
}

func (r *Records) read(path string) (*Record, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var h Head
	if err := json.Unmarshal(data, &h); err != nil || h.V != 1 {
		return nil, core.Fail(core.CodeWrong, "the head is not one of version 1 (%d): %w", h.V, err)
	}
	if rec := r.open[h.Task]; rec != nil {
		return rec, nil
	}
	rec := r.record(h)
	if rec.dir != filepath.Dir(path) {
		return nil, core.Fail(core.CodeWrong, "the head is of %s", rec.dir)
	}
	journal, err := os.ReadFile(filepath.Join(rec.dir, "journal"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for { // what a power loss left of the last lines says nothing: it was not leaned on
		line, rest, whole := bytes.Cut(journal, []byte{'\n'})
		var e Entry
		if !whole || json.Unmarshal(line, &e) != nil || e.Segment < 0 || e.Segment >= len(rec.known) {
			break
		}
		rec.apply(e)
		rec.end += int64(len(line)) + 1
		journal = rest
	}
	r.open[h.Task] = rec
	return rec, nil
}

func (r *Record) apply(e Entry) {
	at := r.known[e.Segment]
	x := at[e.Node]
	if x == nil && (e.What == Told || e.What == Receipted) {
		x = &holding{receipted: core.NewBitmap(r.Runs[e.Segment]), proved: core.NewBitmap(r.Runs[e.Segment])}
		at[e.Node] = x
	}
	switch e.What {
	case Told:
		x.asked = core.NewBitmap(r.Runs[e.Segment])
		eachRun(e.Runs, r.Runs[e.Segment], x.asked.Set)
		if !e.License.IsZero() && !slices.Contains(r.license[e.Segment], e.License) {
			r.license[e.Segment] = append(r.license[e.Segment], e.License)
		}
	case Receipted:
		eachRun(e.Runs, r.Runs[e.Segment], x.receipted.Set)
		if !r.Proofs {
			eachRun(e.Runs, r.Runs[e.Segment], x.proved.Set)
			r.held[e.Node] = true
		}
	case Proved:
		if x != nil {
			eachRun(e.Runs, r.Runs[e.Segment], x.proved.Set)
			x.audited = e.Time
		}
	case Held:
		r.held[e.Node] = true
	case Lost:
		if x != nil {
			eachRun(e.Runs, r.Runs[e.Segment], x.receipted.Clear)
			eachRun(e.Runs, r.Runs[e.Segment], x.proved.Clear)
			if x.receipted.Empty() { // who lost all of it has no ref either
				delete(r.held, e.Node)
			}
		}
	case Refused:
		delete(at, e.Node)
	case Released:
		for _, segment := range r.known {
			delete(segment, e.Node)
		}
		delete(r.held, e.Node)
	case Over:
		r.over = true
	}
}

// eachRun calls f for every run of ranges that a segment of so many has.
func eachRun(ranges []core.Range, runs int, f func(int)) {
	for _, x := range ranges {
		for run := max(0, x.Start); run < min(x.Start+x.Length, runs); run++ {
			f(run)
		}
	}
}

// Note adds what became known. It is durable after the next Sync.
func (r *Record) Note(entries ...Entry) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var lines []byte
	for _, e := range entries {
		line, err := json.Marshal(e)
		if err != nil {
			return err
		}
		lines = append(append(lines, line...), '\n')
	}
	if r.journal == nil {
		f, err := durable.OpenOrCreate(filepath.Join(r.dir, "journal"), 0o600)
		if err == nil {
			err = errors.Join(f.Truncate(r.end), durable.SyncDir(r.dir))
		}
		if err != nil {
			return fmt.Errorf("note in placement %s: %w", r.Task, err)
		}
		r.journal = f
	}
	if _, err := r.journal.WriteAt(lines, r.end); err != nil {
		return fmt.Errorf("note in placement %s: %w", r.Task, err)
	}
	r.end += int64(len(lines))
	for _, e := range entries {
		r.apply(e)
	}
	return nil
}

// Refute notes that a node does not have what it signed for: runs of a segment, or, where none are named, everything,
// since its word is worth nothing.
func (r *Record) Refute(node core.ID, segment int, runs []core.Range, at time.Time) error {
	entries := []Entry{{What: Lost, Node: node, Segment: segment, Runs: runs, Time: at.Unix()}}
	if len(runs) == 0 {
		entries = nil
		for number, count := range r.Runs {
			entries = append(entries, Entry{What: Lost, Node: node, Segment: number,
				Runs: []core.Range{{Length: count}}, Time: at.Unix()})
		}
	}
	return errors.Join(r.Note(entries...), r.Sync())
}

// Sync returns when what was noted is durable.
func (r *Record) Sync() error {
	r.mu.Lock()
	f := r.journal
	r.mu.Unlock()
	if f == nil {
		return nil
	}
	return f.Sync()
}

// Want changes what is wanted.
func (r *Record) Want(w Wanted) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if reflect.DeepEqual(r.Wanted, w) {
		return nil
	}
	r.Wanted = w
	return r.writeHead()
}

// Bound is who was told of it and did not say since that it let go or wants none.
func (r *Record) Bound() (nodes []core.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, segment := range r.known {
		for _, id := range core.Sorted(segment) {
			if !slices.Contains(nodes, id) {
				nodes = append(nodes, id)
			}
		}
	}
	return nodes
}

// Idle is who may let go: where it is over everybody, else who is to keep nothing, if enough copies count of all that
// it has. keeping is who is to keep something.
func (r *Record) Idle() (idle, keeping []core.ID) {
	if r.IsOver() {
		return r.Bound(), nil
	}
	spare := r.Counting() >= r.Copies
	for _, id := range r.Bound() {
		r.mu.Lock()
		asked, has := false, false
		for _, segment := range r.known {
			if x := segment[id]; x != nil {
				asked, has = asked || !x.asked.Empty(), has || !x.receipted.Empty()
			}
		}
		r.mu.Unlock()
		switch {
		case asked:
			keeping = append(keeping, id)
		case spare || !has:
			idle = append(idle, id)
		}
	}
	return idle, keeping
}

// End notes that nobody is to keep anything any more; a record of which nobody is bound is forgotten.
func (r *Record) End() error {
	switch {
	case len(r.Bound()) == 0:
		return r.Forget()
	case r.IsOver():
		return nil
	}
	return errors.Join(r.Note(Entry{What: Over, Time: time.Now().Unix()}), r.Sync())
}

// LetGo notes that a node let go of all of it. A record that is over is forgotten with the last of them.
func (r *Record) LetGo(node core.ID) error {
	if !slices.Contains(r.Bound(), node) {
		return nil
	}
	err := r.Note(Entry{What: Released, Node: node, Time: time.Now().Unix()})
	if err == nil && r.IsOver() && len(r.Bound()) == 0 {
		return r.Forget()
	}
	return err
}

// Name is ALIAS.VERSION.
func (r *Record) Name() string { return Name(r.Alias, r.Version) }

// IsOver reports whether nobody is to keep anything of it any more.
func (r *Record) IsOver() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.over
}

// Counting is how many copies the run has that has the fewest: at nodes that are to keep it, with receipts, proofs and,
// but for what a backup placed of it so far, the ref. Of a run in a stripe it is how many losses the stripe bears, and
// one; nothing where that cannot be read.
func (r *Record) Counting() (least int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.readStripes() != nil {
		return 0
	}
	least = -1
	for number, runs := range r.Runs {
		copies := make([]int, runs)
		for run := range runs {
			for id, x := range r.known[number] {
				if x.counts(run) && (r.Window || r.held[id]) {
					copies[run]++
				}
			}
		}
		core.Endure(copies, r.stripes[number])
		if fewest := slices.Min(copies); least < 0 || fewest < least {
			least = fewest
		}
	}
	return max(0, least)
}

// readStripes reads which runs are in stripes, once. The caller holds the lock.
func (r *Record) readStripes() error {
	if r.stripes != nil {
		return nil
	}
	stripes := make([][]core.Stripe, len(r.Runs))
	for number := range r.Runs {
		if r.Erasure.IsZero() {
			continue
		}
		stored, err := r.read(number)
		if err != nil {
			return err
		}
		stripes[number] = stored.Stripes
	}
	r.stripes = stripes
	return nil
}

// read reads a segment as it was written down.
func (r *Record) read(number int) (stored version.Record, err error) {
	data, err := os.ReadFile(r.segment(number))
	if err != nil {
		return stored, err
	}
	stored, err = version.Decode(data)
	if err == nil && (stored.Task != r.Task || stored.Number != number || len(stored.Runs) != r.Runs[number]) {
		err = core.Fail(core.CodeWrong, "it is another segment")
	}
	if err != nil {
		err = fmt.Errorf("segment %d of placement %s: %w", number, r.Task, err)
	}
	return stored, err
}

// Shipped is the licences that are on a disk, as long as one is under way.
func (r *Record) Shipped() []core.LicenseID {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.Wanted.Shipment.IsZero() {
		return nil
	}
	return slices.Concat(r.license...)
}

// Segments reads its segments with what is known of each. Who is to keep what is as it was told last, as far as there
// says that the node is at hand.
func (r *Record) Segments(there func(core.ID) bool) (segments []*Segment, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for number := range r.Runs {
		stored, err := r.read(number)
		if err != nil {
			return nil, err
		}
		s := NewSegment(r.Task, r.Alias, r.Version, number, stored.Runs)
		s.Stripes, s.Of = stored.Stripes, stored.License
		s.Licenses = slices.Clone(r.license[number])
		for _, id := range core.Sorted(r.known[number]) {
			x := r.known[number][id]
			s.Told[id], s.Receipts[id] = true, slices.Clone(x.receipted)
			if !there(id) || x.asked.Empty() {
				continue
			}
			var runs []int
			x.asked.Each(func(run int) { runs = append(runs, run) })
			for _, at := range core.Ranges(runs) {
				s.Message.Locations = append(s.Message.Locations,
					core.Span{Node: id, From: r.Source, Start: at.Start, Length: at.Length})
			}
			s.Add(id)
		}
		segments = append(segments, s)
	}
	return segments, nil
}

// Counted is who keeps which runs by what counts, segment by segment.
func (r *Record) Counted() (segments [][]core.Span) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for number, runs := range r.Runs {
		var spans []core.Span
		for _, id := range core.Sorted(r.known[number]) {
			var kept []int
			for run := range runs {
				if r.held[id] && r.known[number][id].counts(run) {
					kept = append(kept, run)
				}
			}
			for _, at := range core.Ranges(kept) {
				spans = append(spans, core.Span{Node: id, Start: at.Start, Length: at.Length})
			}
		}
		segments = append(segments, spans)
	}
	return segments
}

// Forget removes a record of which nobody is bound any more.
func (r *Record) Forget() error {
	r.records.mu.Lock()
	delete(r.records.open, r.Task)
	r.records.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	var err error
	if r.journal != nil {
		err = r.journal.Close()
		r.journal = nil
	}
	if e := durable.Remove(filepath.Join(r.dir, "head")); !errors.Is(e, fs.ErrNotExist) { // first: the rest says nothing then
		err = errors.Join(err, e)
	}
	err = errors.Join(err, durable.SyncDir(r.dir), durable.RemoveAll(r.dir))
	_ = durable.Remove(filepath.Dir(r.dir)) // where it was the last of its version
	return err
}

// Close closes what was opened to note something.
func (r *Records) Close() (err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rec := range r.open {
		rec.mu.Lock()
		if rec.journal != nil {
			err = errors.Join(err, rec.journal.Close())
			rec.journal = nil
		}
		rec.mu.Unlock()
	}
	clear(r.open)
	return err
}

// Erasure is how the stripes of a version were made; none where it is not on record, or is kept as copies.
func (r *Records) Erasure(alias string, number int) core.Erasure {
	all, _ := r.Of(alias, number)
	for _, rec := range slices.Backward(all) {
		if !rec.Window && !rec.IsOver() {
			return rec.Erasure
		}
	}
	return core.Erasure{}
}

// Lacks reports whether a version of this machine is to be placed: it was not yet, or has fewer copies than are
// wanted. It is not where its coordinator sees to it, or a disk with it is under way.
func (r *Records) Lacks(v version.Found) bool {
	all, _ := r.Of(v.Ref.Alias, v.Ref.Version)
	for _, rec := range slices.Backward(all) {
		if rec.Window || rec.IsOver() {
			continue
		}
		if !rec.Coordinator.IsZero() || !rec.Shipment.IsZero() {
			return false
		}
		break
	}
	copies, wanted, known, err := r.Short(v.Ref.Alias, v.Ref.Version)
	return len(v.Body.Records) == 0 || known && (copies < wanted || err != nil)
}

// Short is how many copies of a version count, and how many are wanted; known is false where it is not on record.
func (r *Records) Short(alias string, number int) (copies, wanted int, known bool, err error) {
	all, err := r.Of(alias, number)
	for _, rec := range slices.Backward(all) {
		if !rec.Window && !rec.IsOver() {
			return rec.Counting(), rec.Copies, true, err
		}
	}
	return 0, 0, false, err
}

// LastTerm is when the last holder of a version may have let go of it by itself, who was told of it until now: after
// least, or what the records say.
func LastTerm(records []*Record, least time.Duration, now time.Time) time.Time {
	term := least
	for _, rec := range records {
		term = max(term, time.Duration(rec.Retain)*time.Second, time.Unix(rec.Locked, 0).Sub(now))
	}
	return now.Add(term)
}
