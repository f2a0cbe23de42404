// SPDX-License-Identifier: Apache-2.0

package collect

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/zeebo/blake3"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/storage/disk/pack"
	"github.com/bkp-tool/bkp/core/storage/disk/writers"
)

// plain is a store that looks everything up in its packs.
type plain struct {
	t         *testing.T
	dir       string
	writers   writers.Dir
	self      *writers.Writer
	out       *pack.Writer
	writing   map[core.Hash]bool
	condemned map[string]uint64
	damaged   map[string]uint32 // one record of a pack
	locked    map[string]time.Time
	told      map[core.Hash]bool
	refused   error // of a note
}

func newPlain(t *testing.T) *plain {
	t.Helper()
	dir := t.TempDir()
	p := &plain{t: t, dir: filepath.Join(dir, "packs"), writers: writers.Dir(filepath.Join(dir, "writers")),
		writing: map[core.Hash]bool{}, damaged: map[string]uint32{}, told: map[core.Hash]bool{}}
	p.out = pack.NewWriter(p.dir, pack.Size, p)
	t.Cleanup(p.out.Close)
	if err := errors.Join(os.Mkdir(p.dir, 0o700), p.writers.Make()); err != nil {
		t.Fatal(err)
	}
	p.self = p.enter()
	return p
}

func (p *plain) enter() *writers.Writer {
	p.t.Helper()
	w, _, err := p.writers.Enter()
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { w.Leave() })
	return w
}

func hashOf(n int) core.Hash { return blake3.Sum256(bytesOf(n)) }
func bytesOf(n int) []byte   { return fmt.Appendf(nil, "%01000d", n) }

// add makes a finished pack of records of 1000 bytes.
func (p *plain) add(records ...int) (name string) {
	p.t.Helper()
	for _, n := range records {
		hash := hashOf(n)
		in, _, err := p.out.Append(pack.Row{Hash: hash, ID: blake3.Sum256(hash[:])}, bytesOf(n))
		if err != nil {
			p.t.Fatal(err)
		}
		name = in
	}
	if err := p.Rotate(); err != nil {
		p.t.Fatal(err)
	}
	return name
}

func (p *plain) Began(string)    {}
func (p *plain) Finished(string) {}

func (p *plain) Packs() map[string]bool {
	there, err := pack.List(p.dir)
	if err != nil {
		p.t.Fatal(err)
	}
	return there
}

func (p *plain) Condemn(packs map[string]uint64) error {
	p.condemned = maps.Clone(packs)
	return nil
}

func (p *plain) Damaged(name string, offset uint32) bool {
	at, is := p.damaged[name]
	return is && at == offset
}

func (p *plain) Elsewhere(hash core.Hash) (bool, error) {
	for name := range p.Packs() {
		if _, is := p.condemned[name]; is {
			continue
		}
		rows, err := pack.Rows(p.dir, name)
		if err == nil && slices.ContainsFunc(rows, func(r pack.Row) bool {
			return r.Hash == hash && !p.Damaged(name, r.Offset)
		}) {
			return true, nil
		}
	}
	return false, nil
}

func (p *plain) Copied(hash core.Hash) (bool, error) { return p.writing[hash], nil }

func (p *plain) Copy(name string, r pack.Row) error {
	f, err := pack.Open(p.dir, name)
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := pack.ReadData(f, r, nil)
	if err == nil {
		_, _, err = p.out.Append(r, data)
	}
	p.writing[r.Hash] = true
	return err
}

func (p *plain) Rotate() error {
	clear(p.writing)
	return errors.Join(p.out.Flush(false)(), p.out.Rotate())
}

func (p *plain) Rebuild(name string) ([]pack.Row, error) { return pack.Rebuild(p.dir, name, true) }

func (p *plain) Remove(name string) error { return os.Remove(pack.Path(p.dir, name)) }

func (p *plain) Locked(name string) (time.Time, error) { return p.locked[name], nil }

func (p *plain) Note(_ context.Context, c core.Chunk, _ core.Hash) error {
	p.told[c.Hash] = true
	return nil
}

func (p *plain) Barrier(context.Context) error { return p.refused }

// run collects what is not among the records.
func (p *plain) run(live ...int) (Report, error) {
	p.t.Helper()
	gate, err := p.writers.CloseGate()
	if err != nil {
		p.t.Fatal(err)
	}
	defer gate.Close()
	needed := map[core.Hash]bool{}
	for _, n := range live {
		needed[hashOf(n)] = true
	}
	return Run(p.t.Context(), Job{Dir: p.dir, PackSize: pack.Size, Store: p, Writers: p.writers, Self: p.self,
		Live: func(h core.Hash) (bool, error) { return needed[h], nil }, Gone: p})
}

// want holds a report against what it should be, and what is left against the packs that should be.
func (p *plain) want(got Report, err error, want Report, packs int) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
	got.Writers = nil
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		p.t.Errorf("it says\n%+v, want\n%+v", got, want)
	}
	if there := p.Packs(); len(there) != packs {
		p.t.Errorf("%d packs are left, want %d", len(there), packs)
	}
}

func (p *plain) has(n int) bool {
	there, err := p.Elsewhere(hashOf(n))
	if err != nil {
		p.t.Fatal(err)
	}
	return there
}

// One pack is dead, of one half is, of one a third, and one is whole.
func TestWhatIsDeadGoesAndWhatIsHalfDeadIsRewritten(t *testing.T) {
	p := newPlain(t)
	p.add(1, 2, 3)
	p.add(4, 5)
	p.add(6, 7, 8)
	p.add(9)
	live := []int{4, 6, 7, 9}
	got, err := p.run(live...)
	p.want(got, err, Report{Packs: 4, Removed: 2, Chunks: 4,
		Collected: core.Collected{Freed: 4000, Rewritten: 1000, Dead: 1000}}, 3)
	for n := 1; n < 10; n++ {
		if want := slices.Contains(live, n) || n == 8; p.has(n) != want {
			t.Errorf("record %d is there: %v", n, p.has(n))
		}
	}
	for _, n := range []int{1, 2, 3, 5} {
		if !p.told[hashOf(n)] {
			t.Errorf("nobody was told that record %d goes", n)
		}
	}
	if len(p.told) != 4 {
		t.Errorf("told of %d records, want 4", len(p.told))
	}
	got, err = p.run(live...)
	p.want(got, err, Report{Packs: 3, Collected: core.Collected{Dead: 1000}}, 3)
}

// While another writes, what is dead waits and nothing is rewritten; what came back by the time it has gone stays.
func TestWhatAWriterMayLeanOnWaits(t *testing.T) {
	p := newPlain(t)
	p.add(1)
	p.add(2)
	p.add(3, 4)
	other := p.enter()
	got, err := p.run(3)
	if len(got.Writers) != 1 || got.Writers[0].Epoch != other.Epoch {
		t.Errorf("waits for %v", got.Writers)
	}
	p.want(got, err, Report{Packs: 3, Collected: core.Collected{Dead: 1000, Waiting: 2000}}, 3)
	if list, err := p.writers.Condemned(); err != nil || len(list.Packs) != 2 || list.Epoch != 1 {
		t.Errorf("condemned are %+v, %v", list, err)
	}
	if err := other.Leave(); err != nil {
		t.Fatal(err)
	}
	got, err = p.run(2, 3)
	p.want(got, err, Report{Packs: 3, Removed: 2, Chunks: 2, Collected: core.Collected{Freed: 2000, Rewritten: 1000}}, 2)
	if p.has(1) || !p.has(2) || !p.has(3) {
		t.Errorf("there are 1: %v, 2: %v, 3: %v", p.has(1), p.has(2), p.has(3))
	}
	if list, err := p.writers.Condemned(); err != nil || len(list.Packs) > 0 {
		t.Errorf("still condemned are %+v, %v", list, err)
	}
}

// Nothing goes where live cannot tell, or what goes cannot be noted.
func TestNothingGoesOnAccountOfAnError(t *testing.T) {
	p := newPlain(t)
	p.add(1)
	p.refused = errors.New("no room for a note")
	if _, err := p.run(); !errors.Is(err, p.refused) {
		t.Errorf("got %v", err)
	}
	broken := errors.New("a ref cannot be read")
	_, err := Run(t.Context(), Job{Dir: p.dir, PackSize: pack.Size, Store: p, Writers: p.writers, Self: p.self,
		Live: func(core.Hash) (bool, error) { return false, broken }})
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	ended, end := context.WithCancelCause(t.Context())
	end(broken)
	_, err = Run(ended, Job{Dir: p.dir, PackSize: pack.Size, Store: p, Writers: p.writers, Self: p.self,
		Live: func(core.Hash) (bool, error) { return false, nil }})
	if !errors.Is(err, broken) || !p.has(1) {
		t.Errorf("got %v; it is there: %v", err, p.has(1))
	}
}

// What is locked stays as it is: dead or half dead, and is counted where it is dead. Nobody is told that it goes, and it
// is not condemned: who leans on it loses nothing. It goes when its time has come.
func TestWhatIsLockedStays(t *testing.T) {
	p := newPlain(t)
	soon, later := time.Unix(1000, 0), time.Unix(2000, 0)
	dead, half, other := p.add(1, 2), p.add(3, 4), p.add(5)
	p.add(6)
	p.locked = map[string]time.Time{dead: soon, half: soon, other: later}
	got, err := p.run(3)
	p.want(got, err, Report{Packs: 4, Removed: 1, Chunks: 1, Collected: core.Collected{Freed: 1000, Dead: 1000, Locked: 3000,
		LockedUntil: soon, AllLockedUntil: later}}, 3)
	if list, err := p.writers.Condemned(); err != nil || len(list.Packs) > 0 {
		t.Errorf("condemned are %+v, %v", list, err)
	}
	for n := 1; n <= 5; n++ {
		if !p.has(n) || p.told[hashOf(n)] {
			t.Errorf("record %d: there %v, said to go %v", n, p.has(n), p.told[hashOf(n)])
		}
	}
	p.locked = nil
	got, err = p.run(3)
	p.want(got, err, Report{Packs: 3, Removed: 3, Chunks: 4, Collected: core.Collected{Freed: 4000, Rewritten: 1000}}, 1)
}

// Small packs that are locked are not made one.
func TestSmallPacksThatAreLockedAreNotMerged(t *testing.T) {
	p := newPlain(t)
	p.locked = map[string]time.Time{}
	var live []int
	for n := range mergeLeast {
		p.locked[p.add(n)] = time.Unix(1000, 0)
		live = append(live, n)
	}
	got, err := p.run(live...)
	p.want(got, err, Report{Packs: mergeLeast}, mergeLeast)
	p.locked = nil
	got, err = p.run(live...)
	p.want(got, err, Report{Packs: mergeLeast, Removed: mergeLeast, Collected: core.Collected{Rewritten: mergeLeast * 1000}}, 1)
}

// A damaged record goes when another stands for it, with its pack rewritten however much of that lives; where there is
// no other, the pack stays.
func TestADamagedRecordGoesOnceItStandsElsewhere(t *testing.T) {
	p := newPlain(t)
	p.damaged[p.add(1, 2, 3)] = pack.HeaderSize
	got, err := p.run(1, 2, 3)
	p.want(got, err, Report{Packs: 1}, 1)
	p.add(1)
	got, err = p.run(1, 2, 3)
	p.want(got, err, Report{Packs: 2, Removed: 1, Collected: core.Collected{Freed: 1000, Rewritten: 2000}}, 2)
	for n := 1; n <= 3; n++ {
		if !p.has(n) {
			t.Errorf("record %d is lost", n)
		}
	}
}

func TestWorthMerging(t *testing.T) {
	for _, c := range []struct {
		sizes []core.Size
		want  int
	}{
		{nil, 0},
		{[]core.Size{1, 1, 1, 1, 1, 1, 1}, 0}, // too few
		{[]core.Size{1, 1, 1, 1, 1, 1, 1, 1}, 8},
		{[]core.Size{9000, 1, 1, 1, 1, 1, 1, 1, 1}, 8},                 // one that is much larger than all before it
		{[]core.Size{9, 8, 7, 6, 5, 4, 3, 2, 1, 600}, 9},               // all below a 64th of a pack, and one that is not
		{[]core.Size{90, 90, 90, 90, 90, 90, 90, 90, 500}, 9},          // half a pack
		{[]core.Size{90, 90, 90, 90, 90, 90, 90, 90, 3000, 32_001}, 8}, // more than twice as large as those before
	} {
		var packs []judged
		for _, size := range c.sizes {
			packs = append(packs, judged{verdict: verdict{bytes: size}})
		}
		if got := worthMerging(packs, 6400); len(got) != c.want {
			t.Errorf("%v: %d packs, want %d", c.sizes, len(got), c.want)
		}
	}
}

func TestWorthRewriting(t *testing.T) {
	for v, want := range map[verdict]bool{
		{bytes: 10}:                                false,
		{bytes: 10, dead: 4}:                       false,
		{bytes: 10, dead: 5}:                       true,
		{bytes: 10, replaced: 1}:                   true,
		{bytes: 10, replaced: 1, lost: 1}:          false,
		{bytes: 10, replaced: 1, lost: 1, dead: 5}: true,
		{}: false,
	} {
		if v.worthRewriting() != want {
			t.Errorf("%+v: %v", v, !want)
		}
	}
}
