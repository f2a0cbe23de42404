// SPDX-License-Identifier: Apache-2.0

package staging

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/license"
	"github.com/bkp-tool/bkp/core/manifest"
	"github.com/bkp-tool/bkp/core/storage/disk"
	"github.com/bkp-tool/bkp/core/version"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// machine is an owner's, with what it staged.
type machine struct {
	*Versions
	t      *testing.T
	owner  *key.Owner
	sealer *chunk.Sealer
	store  *disk.Store
	away   *disk.Away
	refs   []StoredRef
	begun  []StoredRef
	gone   map[core.Hash]bool // chunks that nobody can read any more
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	owner, err := key.NewOwner(rand.NewChaCha8([32]byte{1}))
	check(t, err)
	m := &machine{t: t, owner: owner, gone: map[core.Hash]bool{}}
	m.sealer, err = chunk.NewSealer(chunk.NewSecrets(owner.DedupSecret), chunk.LevelDefault)
	check(t, err)
	m.store, err = disk.Open(filepath.Join(t.TempDir(), "staging"))
	check(t, err)
	m.away, err = disk.OpenAway(filepath.Join(t.TempDir(), "away"))
	check(t, err)
	t.Cleanup(func() { m.store.Close(); m.away.Close() })
	m.Versions = &Versions{Refs: m, Owner: func() *key.Owner { return owner }, Staged: m.store, Here: m, Away: m.away}
	return m
}

func (m *machine) List() ([]StoredRef, error)       { return slices.Clone(m.refs), nil }
func (m *machine) Unfinished() ([]StoredRef, error) { return m.begun, nil }
func (m *machine) Put(string, int, []byte) error    { return nil }
func (m *machine) Remove(string, int) error         { return nil }
func (m *machine) Learn(string, int, []byte) error  { return nil }
func (m *machine) Forget(string, int) error         { return nil }
func (m *machine) Tombstones() ([]StoredRef, error) { return nil, nil }
func (m *machine) SetAway(string, int, bool) error  { return nil }

// Get is what is here.
func (m *machine) Get(ctx context.Context, h core.Hash, dst []byte) ([]byte, error) {
	if m.gone[h] {
		return nil, core.ErrNotFound
	}
	return m.store.Get(ctx, h, dst)
}

// SealNode makes it a manifest.Sealer.
func (m *machine) SealNode(plain []byte) (core.Sealed, error) {
	return m.seal(core.KindNode, plain), nil
}

func (m *machine) seal(kind core.Kind, plain []byte) core.Sealed {
	id, k := m.sealer.Identify(kind, plain)
	stored, err := m.sealer.Seal(nil, kind, k, plain)
	check(m.t, err)
	return m.put(core.Sealed{Key: k, Plain: core.Size(len(plain))}, id, stored)
}

func (m *machine) put(s core.Sealed, id core.Hash, stored []byte) core.Sealed {
	s.Hash, s.Size = chunk.Hash(stored), core.Size(len(stored))
	_, err := m.store.Put(m.t.Context(), core.Chunk{Hash: s.Hash, Size: s.Size}, id, stored)
	check(m.t, err)
	return s
}

// made is a version that was split.
type made struct {
	root    core.Sealed
	chunks  []core.Sealed
	records []core.Sealed
}

// content is chunks of their own, by their names.
func (m *machine) content(names ...string) (v made) {
	tree := manifest.NewBuilder(m)
	for _, name := range names {
		c := m.seal(core.KindChunk, plain(name))
		v.chunks = append(v.chunks, c)
		check(m.t, tree.Add(c))
	}
	var err error
	v.root, err = tree.Finish(manifest.Info{Size: core.Size(len(names)), Method: "cdc", Min: 1, Avg: 4, Max: 16})
	check(m.t, err)
	return v
}

// plain is the bytes of a chunk by its name: many, so that it is worth while to free them.
func plain(name string) []byte {
	data := make([]byte, 256<<10)
	rand.NewChaCha8([32]byte([]byte(name + strings.Repeat(" ", 32))[:32])).Read(data)
	return data
}

// placed adds the record of a segment of some of its chunks, which that many holders keep until then.
func (m *machine) placed(v *made, chunks []core.Sealed, holders int, until time.Time) {
	run := version.Run{Run: core.Run{File: core.File{Name: "x"}}, Task: core.TaskID{1}, Used: core.FullBitmap(len(chunks))}
	for _, c := range chunks {
		run.Chunks = append(run.Chunks, core.Chunk{Hash: c.Hash, Size: c.Size})
	}
	run.Hash = chunk.RunHash(run.Chunks)
	signed, err := license.Sign(core.License{ID: core.LicenseID{1}, Task: core.TaskID{1}, Op: license.OpStore,
		TaskSource: core.TaskSource{Owner: m.owner.ID(), Node: core.ID{9}}, Targets: []core.ID{{1}}, Root: core.Hash{1},
		MaxBytes: 1, MaxRuns: 1, NotBefore: 1, Expires: 2, RetainUntil: until.Unix()}, m.owner.Signer())
	check(m.t, err)
	rec := version.Record{Task: core.TaskID{1}, Number: len(v.records), Source: core.ID{9}, Runs: []version.Run{run},
		License: signed}
	for i := range holders {
		rec.Spans = append(rec.Spans, core.Span{Node: core.ID{byte(i + 1)}, Length: 1})
	}
	sealed, stored, err := rec.Seal(m.sealer)
	check(m.t, err)
	v.records = append(v.records, m.put(sealed, core.Hash{}, stored))
}

// name gives a version its ref, which says whether its content is away.
func (m *machine) name(v made, number int, away bool) StoredRef {
	envelope, err := m.owner.SealRef(key.Ref{Version: number, Created: 1},
		key.RefBody{Name: "disk", Root: v.root, Size: 1, Records: v.records})
	check(m.t, err)
	check(m.t, m.store.Barrier(m.t.Context()))
	return StoredRef{Alias: m.owner.Alias("disk"), Version: number, Envelope: envelope, Away: away}
}

// here reports which chunks are staged.
func (m *machine) here(list ...core.Sealed) (there []bool) {
	for _, c := range list {
		has, err := m.store.Has(m.t.Context(), c.Hash)
		check(m.t, err)
		there = append(there, has)
	}
	return there
}

var year = time.Now().AddDate(1, 0, 0)

// TestOnlyWhatIsNeededStays has a version whose content is away, one that shares a chunk with it and stays, an
// interrupted split, a pinned record and a chunk of nobody.
func TestOnlyWhatIsNeededStays(t *testing.T) {
	m := newMachine(t)
	away, whole, begun := m.content("one", "two", "both"), m.content("three", "both"), m.content("four")
	m.placed(&away, away.chunks, 2, year)
	m.refs = []StoredRef{m.name(away, 1, true), m.name(whole, 2, false)}
	m.begun = []StoredRef{m.name(begun, 1, false), {Envelope: []byte("damaged")}}
	nobody, pinned := m.content("5", "6", "7", "8"), m.seal(core.KindNode, []byte("a record to be"))
	check(t, m.Pins.While(core.Chunk{Hash: pinned.Hash, Size: pinned.Size}, func() error { return nil }))
	check(t, m.store.Barrier(t.Context()))

	freed, err := m.Collect(t.Context())
	check(t, err)
	if freed.Freed == 0 {
		t.Errorf("freed: %+v", freed)
	}
	stays := slices.Concat([]core.Sealed{away.root, whole.root, begun.root, pinned, away.chunks[2]}, away.records,
		whole.chunks, begun.chunks)
	if there := m.here(stays...); slices.Contains(there, false) {
		t.Errorf("of what is needed is here: %v", there)
	}
	if there := m.here(append(nobody.chunks, nobody.root, away.chunks[0], away.chunks[1])...); slices.Contains(there, true) {
		t.Errorf("of what nobody needs is here: %v", there)
	}
	note := func(name string) (copies int, found bool) {
		id, _ := m.sealer.Identify(core.KindChunk, plain(name))
		_, copies, found, err := m.away.Find(t.Context(), id)
		check(t, err)
		return copies, found
	}
	if copies, found := note("one"); !found || copies != 2 {
		t.Errorf("what went is noted: %t, with %d copies", found, copies)
	}
	m.refs = m.refs[1:]
	_, err = m.Collect(t.Context())
	check(t, err)
	if _, found := note("one"); found {
		t.Error("it is still noted, and no version's holders keep it any more")
	}
}

// TestNothingGoesWhereMarkingFails has a tree node that cannot be read.
func TestNothingGoesWhereMarkingFails(t *testing.T) {
	m := newMachine(t)
	v, nobody := m.content("one", "two"), m.seal(core.KindChunk, plain("of nobody"))
	m.refs = []StoredRef{m.name(v, 1, false)}
	m.gone[v.root.Hash] = true
	_, err := m.Sweep(t.Context())
	if err == nil || !strings.Contains(err.Error(), "disk@1") {
		t.Errorf("it was swept: %v", err)
	}
	if there := m.here(append(v.chunks, nobody)...); slices.Contains(there, false) {
		t.Errorf("here is: %v", there)
	}
	m.gone = nil
	m.refs = append(m.refs, StoredRef{Alias: "a", Version: 7, Envelope: []byte("damaged")})
	if _, err := m.Sweep(t.Context()); err == nil || !strings.Contains(err.Error(), "DATA/refs/a/7") {
		t.Errorf("it was swept past a damaged ref: %v", err)
	}
}

// TestCoverIsWhatHoldersAreBoundTo counts holders by records, as far as they keep the chunks long enough.
func TestCoverIsWhatHoldersAreBoundTo(t *testing.T) {
	m := newMachine(t)
	v := m.content("one", "two", "three", "four", "five", "six")
	soon := time.Now().Add(version.AwayFor - time.Hour)
	m.placed(&v, v.chunks[:2], 1, year)
	m.placed(&v, v.chunks[1:2], 3, year)
	m.placed(&v, v.chunks[2:3], 2, soon)
	m.placed(&v, v.chunks[3:4], 40, year)
	m.placed(&v, v.chunks[4:5], 2, year)
	m.placed(&v, v.chunks[5:], 0, year)
	ref := m.name(v, 1, false)
	m.gone[v.records[4].Hash] = true // a record that is lost covers nothing
	want := "1 3 0 16 0 0"
	copies := func(c *Cover) string {
		var counts []int
		for _, one := range v.chunks {
			counts = append(counts, c.Copies(one.Hash))
		}
		return strings.Trim(fmt.Sprint(counts), "[]")
	}
	c, err := CoverOf(t.Context(), m.owner, []StoredRef{ref, {Envelope: []byte("damaged")}}, m)
	if check(t, err); copies(c) != want || c.empty() {
		t.Errorf("copies %s, want %s", copies(c), want)
	}
	m.refs = []StoredRef{ref}
	refs, err := m.Local("")
	check(t, err)
	c, err = m.Cover(t.Context(), refs)
	if check(t, err); copies(c) != want {
		t.Errorf("copies of opened refs %s, want %s", copies(c), want)
	}
	if c, err = m.Cover(t.Context(), nil); err != nil || !c.empty() {
		t.Errorf("no refs cover something: %v", err)
	}
	for from, until := range map[int]string{0: "", 2: "until " + soon.Format(time.DateOnly)} {
		of := refs[0]
		of.Body.Records = v.records[from : from+1]
		if err := m.Bound(t.Context(), of, time.Now()); (err == nil) != (until == "") ||
			err != nil && !strings.Contains(err.Error(), until) {
			t.Errorf("record %d: %v", from, err)
		}
	}
}

// TestLocalOpensTheRefsOfAnAlias lists all, one name's, and none.
func TestLocalOpensTheRefsOfAnAlias(t *testing.T) {
	m := newMachine(t)
	v := m.content("one")
	m.refs = []StoredRef{m.name(v, 1, true), m.name(v, 2, false)}
	for alias, want := range map[string]int{"": 2, m.owner.Alias("disk"): 2, "other": 0} {
		found, err := m.Local(alias)
		if err != nil || len(found) != want {
			t.Errorf("of %q: %d refs, %v", alias, len(found), err)
		}
		if want > 0 && (!found[0].Away || found[1].Away || found[1].Ref.Version != 2 || found[0].Body.Name != "disk") {
			t.Errorf("of %q: %+v", alias, found)
		}
	}
}
