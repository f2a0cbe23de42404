// SPDX-License-Identifier: Apache-2.0

package version

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/wire"
	"pgregory.net/rapid"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// ref is a ref as the tables below write it.
type ref struct {
	version int
	content byte
	prev    byte // content of the one before; 0: none
	v1      bool
	created int64
	placed  int64
	records int
	at      byte
}

func (r ref) found() Found {
	f := Found{Ref: key.Ref{V: 2, Alias: "a", Version: r.version, Created: r.created, Placed: r.placed}}
	f.Body.Root.Hash = core.Hash{r.content}
	f.Ref.Content = core.Hash{r.content}
	if r.prev > 0 {
		f.Ref.Prev = core.Hash{r.prev}
	}
	if r.v1 {
		f.Ref.V, f.Ref.Content = 1, core.Hash{}
	}
	f.Body.Records = make([]core.Sealed, r.records)
	f.At = core.ID{r.at}
	f.Envelope = []byte(fmt.Sprint(r))
	return f
}

func all(refs ...ref) (found []Found) {
	for _, r := range refs {
		found = append(found, r.found())
	}
	return found
}

func TestNewest(t *testing.T) {
	for name, c := range map[string]struct {
		refs []ref
		want int // of refs
	}{
		"the highest version":    {[]ref{{version: 2}, {version: 10}, {version: 9, records: 1}}, 1},
		"placed rather than not": {[]ref{{version: 2, placed: 9}, {version: 2, records: 1}, {version: 2}}, 1},
		"as it was placed last": {
			[]ref{{version: 2, records: 1, placed: 5}, {version: 2, records: 3, placed: 6}}, 1},
		"not by how many records are": {
			[]ref{{version: 2, records: 1, placed: 7}, {version: 2, records: 3, placed: 6}}, 0},
	} {
		for range 2 { // in either order
			refs := all(c.refs...)
			if c.want < len(refs) && fmt.Sprint(Newest(refs)) != fmt.Sprint(c.refs[c.want].found()) {
				t.Errorf("%s: got %+v", name, Newest(refs).Ref)
			}
			slices.Reverse(c.refs)
			c.want = len(c.refs) - 1 - c.want
		}
	}
}

// A ref of version 1 was signed anew when it was placed again, so of several the earliest says when it was split.
func TestCreatedAndPrevious(t *testing.T) {
	refs := all(ref{version: 1, content: 1, created: 10}, ref{version: 2, content: 2, v1: true, created: 50},
		ref{version: 2, content: 2, v1: true, created: 40}, ref{version: 2, content: 3, created: 5})
	if got := Created(refs[1], refs); got != 40 {
		t.Errorf("created at %d: other content counts, or another version", got)
	}
	if got := Previous(refs[1], refs); got != (core.Hash{1}) {
		t.Errorf("a ref of version 1 follows %v", got)
	}
	third := ref{version: 4, content: 9, v1: true}.found()
	third.Ref.Prev = key.RefHash(refs[2].Envelope)
	if got := Previous(third, refs); got != (core.Hash{2}) {
		t.Errorf("a ref of version 1 that names the hash of an envelope follows %v", got)
	}
	if got := Previous(ref{version: 2, content: 2, prev: 8}.found(), refs); got != (core.Hash{8}) {
		t.Errorf("a ref of version 2 follows %v, not what it says", got)
	}
	if got := Previous(ref{version: 9, v1: true}.found(), refs); !got.IsZero() {
		t.Errorf("nothing is before version 9, and it follows %v", got)
	}
	if r := InVersion1(key.Ref{V: 2, Prev: core.Hash{1}}, key.Ref{V: 2}); r.V != 1 || !r.Prev.IsZero() {
		t.Errorf("in version 1: %+v", r)
	}
	if r := InVersion1(key.Ref{V: 2, Prev: core.Hash{1}}, key.Ref{V: 1, Prev: core.Hash{7}}); r.Prev != (core.Hash{7}) {
		t.Errorf("in version 1, as it was read: %+v", r)
	}
}

func TestDoubts(t *testing.T) {
	fork := []ref{{version: 1, content: 1}, {version: 1, content: 2, records: 1, at: 7}}
	for name, c := range map[string]struct {
		refs []ref
		want string // a part of the only doubt; empty: there is none
	}{
		"all agree": {[]ref{{version: 1, content: 1}, {version: 2, content: 2, prev: 1},
			{version: 2, content: 2, prev: 1, at: 7}}, ""},
		"two files under one number":     {fork, "version 1 stands for two files"},
		"the other is said to be here":   {fork, "another is at this machine"},
		"the first versions were pruned": {[]ref{{version: 3, content: 3, prev: 2}}, ""},
		"one is nowhere": {[]ref{{version: 1, content: 1}, {version: 3, content: 3, prev: 2}},
			"of 2 to 2"},
		"the number was never given": {[]ref{{version: 1, content: 1}, {version: 3, content: 3, prev: 1}}, ""},
		"it follows none":            {[]ref{{version: 1, content: 1}, {version: 3, content: 3}}, ""},
		"two gaps": {[]ref{{version: 9, content: 9, prev: 8}, {version: 1, content: 1},
			{version: 4, content: 4, prev: 3}}, "one or more of 2 to 3, one or more of 5 to 8"},
	} {
		doubts := Doubts(all(c.refs...))
		got := strings.Join(doubts, "|")
		if !strings.Contains(got, c.want) || c.want == "" && got != "" || c.want != "" && len(doubts) != 1 {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// record draws a record with up to four runs.
func record(t *rapid.T) Record {
	r := Record{Number: rapid.IntRange(0, 99).Draw(t, "number"), Task: core.TaskID{1}, Source: core.ID{2},
		License: rapid.SliceOfN(rapid.Byte(), 1, 8).Draw(t, "license")}
	count := rapid.IntRange(1, 4).Draw(t, "runs")
	for i := range count {
		var run Run
		run.Name, run.Order, run.Task = fmt.Sprintf("a.1.%d", i), i, core.TaskID{byte(i)}
		run.Type = rapid.SampledFrom([]core.FileType{core.TypeFile, core.TypeDirectory}).Draw(t, "type")
		for range rapid.IntRange(1, 9).Draw(t, "chunks") {
			size := core.Size(rapid.IntRange(1, chunk.MaxStored).Draw(t, "size"))
			run.Chunks = append(run.Chunks, core.Chunk{Hash: core.Hash{rapid.Byte().Draw(t, "hash")}, Size: size})
			run.Size += size
		}
		run.Hash = chunk.RunHash(run.Chunks)
		run.Used = core.NewBitmap(len(run.Chunks))
		run.Used.Set(rapid.IntRange(0, len(run.Chunks)-1).Draw(t, "used"))
		r.Runs = append(r.Runs, run)
	}
	if rapid.Bool().Draw(t, "striped") {
		stripe(&r)
		count = len(r.Runs)
	}
	for range rapid.IntRange(0, 3).Draw(t, "spans") {
		start := rapid.IntRange(0, count-1).Draw(t, "start")
		r.Spans = append(r.Spans, core.Span{Node: core.ID{rapid.Byte().Draw(t, "node")}, Start: start,
			Length: rapid.IntRange(1, count-start).Draw(t, "length")})
	}
	return r
}

// stripe adds one parity run over the runs of content.
func stripe(r *Record) {
	var s core.Stripe
	for i := range r.Runs {
		if run := &r.Runs[i]; run.Type == core.TypeFile {
			run.Held = core.FullBitmap(len(run.Chunks))
			s.Data = append(s.Data, i)
		}
	}
	if len(s.Data) == 0 {
		return
	}
	run := Run{Task: core.TaskID{1}, Used: core.FullBitmap(1)}
	run.Name, run.Type, run.Chunks, run.Size = "a.1.p0", core.TypeParity, []core.Chunk{{Hash: core.Hash{7}, Size: 9}}, 9
	run.Hash = chunk.RunHash(run.Chunks)
	s.Parity = []int{len(r.Runs)}
	r.Runs, r.Stripes = append(r.Runs, run), []core.Stripe{s}
}

// A record is read as it was written, and the holders of a run are those whose spans have it.
func TestRecord(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := record(t)
		plain, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode(plain)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(r) {
			t.Fatalf("got %v, %v\nwant %v", got, err, r)
		}
		for run := range r.Runs {
			var want []core.ID
			for _, s := range r.Spans {
				if run >= s.Start && run < s.Start+s.Length {
					want = append(want, s.Node)
				}
			}
			if !slices.Equal(got.Holders(run), want) {
				t.Fatalf("run %d is at %v, want %v", run, got.Holders(run), want)
			}
		}
	})
}

// What was not written so is refused as wrong, or says the same in other bytes.
func TestRecordOfOtherBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		plain, err := record(t).Encode()
		if err != nil {
			t.Fatal(err)
		}
		bad := slices.Clone(plain)
		bad[rapid.IntRange(0, len(bad)-1).Draw(t, "at")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		r, err := Decode(bad)
		if err != nil {
			if core.CodeOf(err) != core.CodeWrong {
				t.Fatalf("%v has code %d", err, core.CodeOf(err))
			}
			return
		}
		for i, run := range r.Runs {
			if chunk.RunHash(run.Chunks) != run.Hash {
				t.Fatalf("run %d does not match its hash", i)
			}
		}
		in := map[int]bool{}
		for _, s := range r.Stripes {
			for _, run := range s.Runs() {
				if run < 0 || run >= len(r.Runs) || in[run] || !r.Runs[run].Whole() {
					t.Fatalf("stripe %+v of %d runs", s, len(r.Runs))
				}
				in[run] = true
			}
		}
		for _, s := range r.Spans {
			if s.Start < 0 || s.Length < 1 || s.Start+s.Length > len(r.Runs) {
				t.Fatalf("span %+v of %d runs", s, len(r.Runs))
			}
		}
	})
}

// memory has chunks by hash.
type memory map[core.Hash][]byte

func (m memory) Get(_ context.Context, hash core.Hash, dst []byte) ([]byte, error) {
	data, ok := m[hash]
	if !ok {
		return dst, core.ErrNotFound
	}
	return append(dst, data...), nil
}

// sealed is a record as its owner seals it.
func sealed(t testing.TB, owner *key.Owner, r Record) (core.Sealed, []byte) {
	t.Helper()
	sealer, err := chunk.NewSealer(chunk.NewSecrets(owner.DedupSecret), chunk.LevelDefault)
	check(t, err)
	s, stored, err := r.Seal(sealer)
	check(t, err)
	return s, stored
}

func newOwner(t testing.TB) *key.Owner {
	t.Helper()
	owner, err := key.NewOwner(rand.Reader)
	check(t, err)
	return owner
}

func TestReader(t *testing.T) {
	owner, chunks := newOwner(t), memory{}
	here, stored := sealed(t, owner, Record{Task: core.TaskID{1}})
	chunks[here.Hash] = stored
	brought, other := sealed(t, owner, Record{Task: core.TaskID{2}})
	r := NewReader(t.Context(), chunks)
	if got, err := r.Record(here); err != nil || got.Task != (core.TaskID{1}) {
		t.Errorf("a record that is here: %+v, %v", got, err)
	}
	if _, err := r.Record(brought); !errors.Is(err, core.ErrNotFound) {
		t.Errorf("a record that is not here: %v", err)
	}
	if got, err := r.Get(t.Context(), here.Hash, []byte("x")); err != nil || string(got) != "x"+string(stored) {
		t.Errorf("its bytes behind others: %d bytes, %v", len(got), err)
	}
	body := key.RefBody{Task: core.TaskID{3}, Records: []core.Sealed{here, brought, here}}
	if got := r.Tasks(body); !slices.Equal(got, []core.TaskID{{3}, {1}}) {
		t.Errorf("tasks %v", got)
	}
	r.Add(brought.Hash, other)
	if got := r.Tasks(body); !slices.Equal(got, []core.TaskID{{3}, {1}, {2}}) {
		t.Errorf("tasks %v, with the record that was brought", got)
	}
	if got := r.Tasks(key.RefBody{Task: core.TaskID{3}}); got != nil {
		t.Errorf("a version that is not placed has tasks %v", got)
	}
	wrong := here
	wrong.Key[0] ^= 1
	if _, err := r.Record(wrong); core.CodeOf(err) != core.CodeWrong {
		t.Errorf("with another key: %v", err)
	}
}

// peer answers questions as a test wants.
type peer func(wire.Message) wire.Message

func (p peer) Ask(_ context.Context, _ core.ID, question func(uint64) wire.Message) (wire.Message, error) {
	return p(question(7)), nil
}

// A peer's refs come page by page, each verified; another owner's is an error.
func TestAt(t *testing.T) {
	owner := newOwner(t)
	var envelopes [][]byte
	for v := 1; v <= 5; v++ {
		envelope, err := owner.SealRef(key.Ref{Version: v, Created: 1, Placed: 1}, key.RefBody{Name: "n",
			Root: core.Sealed{Hash: core.Hash{byte(v)}, Size: 1, Key: core.Key{1}, Plain: 1}, Size: 1})
		check(t, err)
		envelopes = append(envelopes, envelope)
	}
	var tombstones [][]byte
	for number := 6; number < 9; number++ {
		envelope, err := owner.SignTombstone(key.Tombstone{Alias: owner.Alias("a"), Version: number, Content: core.Hash{1},
			Time: 1, Until: 2})
		check(t, err)
		tombstones = append(tombstones, envelope)
	}
	pages := peer(func(m wire.Message) wire.Message {
		switch q := m.(type) {
		case wire.RefList:
			report := wire.RefReport{Query: q.Query, More: q.After+2 < len(envelopes)+len(tombstones)}
			for i := q.After; i < min(q.After+2, len(envelopes)+len(tombstones)); i++ {
				if i < len(envelopes) {
					report.Refs = append(report.Refs, envelopes[i])
				} else {
					report.Tombstones = append(report.Tombstones, tombstones[i-len(envelopes)])
				}
			}
			return report
		case wire.RefGet:
			if q.Version > len(envelopes) {
				return wire.RefReport{Code: core.ReasonUnknown}
			}
			return wire.RefReport{Refs: [][]byte{envelopes[q.Version-1]}}
		}
		return wire.RefOK{}
	})
	found, gone, err := At(t.Context(), pages, core.ID{9}, owner, "", 0)
	if err != nil || len(gone) != 3 || gone[2].Version != 8 || len(found) != 5 ||
		found[4].Ref.Version != 5 || found[4].At != (core.ID{9}) ||
		found[4].Body.Name != "n" {
		t.Errorf("%d refs, %v", len(found), err)
	}
	if live, dead := Live(found, gone); len(live) != 5 || len(dead) != 0 {
		t.Errorf("%d live and %d dead refs where others are removed", len(live), len(dead))
	}
	if found, _, err = At(t.Context(), pages, core.ID{9}, owner, "a", 3); err != nil || len(found) != 1 {
		t.Errorf("version 3: %d refs, %v", len(found), err)
	}
	if found, _, err = At(t.Context(), pages, core.ID{9}, owner, "a", 6); err != nil || len(found) != 0 {
		t.Errorf("a version that is not there: %d refs, %v", len(found), err)
	}
	if _, _, err = At(t.Context(), pages, core.ID{9}, newOwner(t), "", 0); core.CodeOf(err) != core.CodeWrong {
		t.Errorf("refs of another owner: %v", err)
	}
	refused := peer(func(wire.Message) wire.Message { return wire.RefReport{Code: core.ReasonRights, Reason: "no"} })
	if _, _, err = At(t.Context(), refused, core.ID{9}, owner, "", 0); core.CodeOf(err) != core.CodeRefused {
		t.Errorf("who may not read: %v", err)
	}
	other := peer(func(wire.Message) wire.Message { return wire.RefOK{} })
	if _, _, err = At(t.Context(), other, core.ID{9}, owner, "", 0); err == nil {
		t.Error("an answer of another type is taken")
	}
}

// Who may only read is shown what is sealed to it, wherever in the list others' refs stand, and told of those.
func TestAtReadsBehindClosedRefs(t *testing.T) {
	owner := newOwner(t)
	reader, err := owner.ReaderFor(time.Unix(1_900_000_000, 0), rand.Reader)
	check(t, err)
	var open []string
	owner.Recipients = func() ([]string, error) { return open, nil }
	var envelopes [][]byte
	for v := 1; v <= 5; v++ {
		open = nil
		if v%2 == 0 {
			open = []string{owner.Recipient(), reader.Recipient()}
		}
		envelope, err := owner.SealRef(key.Ref{Version: v, Created: 1, Placed: 1}, key.RefBody{Name: "n",
			Root: core.Sealed{Hash: core.Hash{byte(v)}, Size: 1, Key: core.Key{1}, Plain: 1}, Size: 1})
		check(t, err)
		envelopes = append(envelopes, envelope)
	}
	pages := peer(func(m wire.Message) wire.Message {
		after := m.(wire.RefList).After
		return wire.RefReport{Refs: envelopes[after:min(after+2, 5)], More: after+2 < 5}
	})
	found, _, err := At(t.Context(), pages, core.ID{9}, reader, "", 0)
	if core.CodeOf(err) != core.CodeRefused || !strings.Contains(err.Error(), "and 2 more") {
		t.Errorf("of three that are closed: %v", err)
	}
	if len(found) != 2 || found[0].Ref.Version != 2 || found[1].Ref.Version != 4 {
		t.Errorf("it reads %d refs: %+v", len(found), found)
	}
}

// A record comes in pieces and is held against its hash; a peer that sends nothing does not hold anybody up.
func TestRecordAt(t *testing.T) {
	owner := newOwner(t)
	s, stored := sealed(t, owner, Record{License: make([]byte, 1000)})
	piece, spoil := 10, false
	pieces := peer(func(m wire.Message) wire.Message {
		q := m.(wire.RefGet)
		data := slices.Clone(stored[q.Offset:min(q.Offset+core.Size(piece), s.Size)])
		if spoil {
			data[0] ^= 1
		}
		return wire.RefReport{Data: data}
	})
	got, err := RecordAt(t.Context(), pieces, core.ID{9}, key.Ref{}, s)
	if err != nil || string(got) != string(stored) {
		t.Errorf("%d bytes of %d, %v", len(got), len(stored), err)
	}
	spoil = true
	if _, err = RecordAt(t.Context(), pieces, core.ID{9}, key.Ref{}, s); core.CodeOf(err) != core.CodeWrong {
		t.Errorf("spoilt pieces: %v", err)
	}
	piece, spoil = 0, false
	if _, err = RecordAt(t.Context(), pieces, core.ID{9}, key.Ref{}, s); err == nil {
		t.Error("empty pieces are taken")
	}
}

// TestPick: which version is meant.
func TestPick(t *testing.T) {
	ref := func(number int, created int64, placed bool) Found {
		f := Found{Ref: key.Ref{Version: number, Created: created}}
		if placed {
			f.Body.Records = make([]core.Sealed, 1)
		}
		return f
	}
	refs := []Found{ref(1, 30, true), ref(2, 10, false), ref(3, 20, true), ref(1, 20, false)}
	for _, test := range []struct {
		name   string
		number int
		want   int64 // created
	}{{"", 0, 20}, {"x", 0, 20}, {"x", 2, 10}, {"", 2, 10}, {"x", 9, 0}, {"", 3, 0}} {
		got, err := Pick(refs, test.name, test.number,
			func(r Found) bool { return len(r.Body.Records) == 0 })
		if got.Ref.Created != test.want || (err != nil) != (test.want == 0) {
			t.Errorf("%q@%d: created %d, %v; want %d", test.name, test.number, got.Ref.Created, err, test.want)
		}
	}
}
