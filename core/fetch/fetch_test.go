// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/version"
	"github.com/bkp-tool/bkp/core/wire"
	"pgregory.net/rapid"
)

// bring has a version's chunks brought, and returns how often each was delivered.
func bring(t *testing.T, v *Version, chunks []core.Sealed) (times map[core.Hash]int, missing []core.Hash, why error) {
	t.Helper()
	times = map[core.Hash]int{}
	missing, why = v.Bring(t.Context(), chunks, func(h core.Hash, _ []byte) error {
		times[h]++
		return nil
	})
	return times, missing, why
}

// A new machine that has the identity alone brings records and tree nodes when it opens a version, and then whatever
// chunks it is asked for.
func TestFetchOnANewMachine(t *testing.T) {
	w := newWorld(t)
	w.add("b")
	w.add("c")
	f := w.place(w.split("disk", 1, 5), 1, "b", "c")
	w.forget()
	v, err := w.fetcher().Open(t.Context(), "disk", 0)
	check(t, err)
	defer v.Close()
	if _, err := v.Get(t.Context(), f.Body.Root.Hash, nil); err != nil {
		t.Errorf("the root: %v", err)
	}
	if _, err := v.Get(t.Context(), f.chunks[0].Hash, nil); !errors.Is(err, core.ErrNotFound) {
		t.Errorf("a chunk that nobody asked for: %v", err)
	}
	times, missing, err := bring(t, v, f.chunks[1:])
	if err != nil || len(missing) > 0 || len(times) != 4 {
		t.Errorf("%d chunks, %d missing, %v", len(times), len(missing), err)
	}
	for h, n := range times {
		if n != 1 || h == f.chunks[0].Hash {
			t.Errorf("%s came %d times", h, n)
		}
	}
	want := []string{"manifest run3 from b", "fetch run0 from b", "fetch run1 from b", "fetch run2 from b"}
	if !slices.Equal(w.runs, want) {
		t.Errorf("downloaded %q, want %q", w.runs, want)
	}
	if got := v.Holders()[id("b")].Got; got == 0 || v.Holders()[id("c")].Got != 0 {
		t.Errorf("b brought %d", got)
	}
}

func TestWhichVersion(t *testing.T) {
	w := newWorld(t)
	b, c := w.add("b"), w.add("c")
	w.place(w.split("disk", 1, 2), 1, "b", "c")
	w.place(w.split("disk", 2, 2), 2, "c")
	w.split("disk", 3, 2)
	w.split("other", 9, 2)
	open := func(number int) (int, error) {
		v, err := w.fetcher().Open(t.Context(), "disk", number)
		if err != nil {
			return 0, err
		}
		defer v.Close()
		return v.Ref.Version, nil
	}
	for _, number := range []int{0, 1, 2, 3} {
		got, err := open(number)
		if want := number + 3*(1-min(number, 1)); err != nil || got != want {
			t.Errorf("asked for %d: %d, %v", number, got, err)
		}
	}
	w.forget()
	if got, err := open(0); err != nil || got != 2 {
		t.Errorf("without this machine's: %d, %v", got, err)
	}
	c.away = true
	_, err := open(2)
	if core.CodeOf(err) != core.CodeRedundant || !strings.Contains(err.Error(), "no version 2 is known") ||
		!strings.Contains(err.Error(), "c is away") || core.HintOf(err) == "" {
		t.Errorf("a version of a peer that is away: %v", err)
	}
	b.away = true
	if v, err := w.fetcher().Open(t.Context(), "none", 0); core.CodeOf(err) != core.CodeRedundant || v != nil {
		t.Errorf("a name of which nobody can be asked: %v", err)
	}
	b.away, c.away = false, false
	if v, err := w.fetcher().Open(t.Context(), "none", 0); core.CodeOf(err) != core.CodeNoName || v != nil {
		t.Errorf("a name that nobody knows: %v", err)
	}
}

// A holder that offers an older version as the newest is named, and so is another file under one number.
func TestFetchWarns(t *testing.T) {
	w := newWorld(t)
	b := w.add("b")
	w.add("c")
	first := w.place(w.split("disk", 1, 2), 1, "b", "c")
	w.place(w.split("disk", 2, 2), 2, "b", "c")
	open := func(number int) string {
		t.Helper()
		w.told = nil
		v, err := w.fetcher().Open(t.Context(), "disk", number)
		check(t, err)
		v.Close()
		return strings.Join(w.told, "\n")
	}
	if got := open(0); got != "find" {
		t.Errorf("where all agree: %s", got)
	}
	b.refs = [][]byte{first.Envelope}
	if got := open(0); !strings.Contains(got, "warning: by its record version 2 is also at "+id("b").Short()) {
		t.Errorf("an older one as the newest: %s", got)
	}
	if got := open(1); got != "find" {
		t.Errorf("where the older one was asked for: %s", got)
	}
	w.split("disk", 1, 3)
	if got := open(1); !strings.Contains(got, "warning: version 1 stands for two files") {
		t.Errorf("a fork: %s", got)
	}
}

// Records come from the peer that says it can send fastest, and from the next where that one lacks them.
func TestRecordsComeFromTheFastest(t *testing.T) {
	for name, c := range map[string]struct {
		lacks string
		asked string
		err   bool
	}{
		"all have it":          {"", "c", false},
		"the fastest lacks it": {"c", "cd", false},
		"all lack it":          {"bcd", "cdb", true},
	} {
		w := newWorld(t)
		for peer, up := range map[string]core.Rate{"b": 1, "c": 3, "d": 2} {
			w.add(peer).up = up
		}
		f := w.place(w.split("disk", 1, 2), 1, "b", "c", "d")
		for _, peer := range c.lacks {
			clear(w.peers[id(string(peer))].records)
		}
		w.forget()
		v, err := w.fetcher().find(t.Context(), "disk", 0)
		check(t, err)
		v.asked.Wait() // until all have said what they can send
		err = v.readRecords(t.Context())
		v.Close()
		if got := strings.Join(w.asked, ""); got != c.asked || (err != nil) != c.err {
			t.Errorf("%s: asked %s, want %s; %v", name, got, c.asked, err)
		}
		if c.err && core.CodeOf(err) == core.CodeOK || f.Ref.Version != 1 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A version that was not placed has chunks that peers keep for another of this machine's; the rest is nowhere.
func TestFetchLeansOnOtherVersions(t *testing.T) {
	w := newWorld(t)
	w.add("b")
	old := w.place(w.split("disk", 1, 4), 1, "b")
	now := w.split("disk", 2, 2)
	refs := w.refs
	tree, record := w.here[now.Body.Root.Hash], w.here[old.Body.Records[0].Hash]
	w.forget()
	w.refs = refs
	w.here[now.Body.Root.Hash], w.here[old.Body.Records[0].Hash] = tree, record
	v, err := w.fetcher().Open(t.Context(), "disk", 2)
	check(t, err)
	defer v.Close()
	times, missing, why := bring(t, v, []core.Sealed{old.chunks[0], now.chunks[1]})
	if times[old.chunks[0].Hash] != 1 || !slices.Equal(missing, []core.Hash{now.chunks[1].Hash}) {
		t.Errorf("came %v, missing %v", times, missing)
	}
	if !errors.Is(why, errNotHere) || core.HintOf(why) == "" {
		t.Errorf("why: %v", why)
	}
}

// What holders lack is missing, with the reason; the manifest must be there.
func TestFetchOfWhatIsLost(t *testing.T) {
	w := newWorld(t)
	b := w.add("b")
	f := w.place(w.split("disk", 1, 4), 1, "b")
	w.forget()
	b.lacks[f.chunks[2].Hash] = true
	v, err := w.fetcher().Open(t.Context(), "disk", 1)
	check(t, err)
	defer v.Close()
	_, missing, why := bring(t, v, f.chunks[1:3])
	if !slices.Equal(missing, []core.Hash{f.chunks[2].Hash}) || core.CodeOf(why) != core.CodeRedundant {
		t.Errorf("missing %v, %v", missing, why)
	}
	b.lacks[f.Body.Root.Hash] = true
	lost, err := w.fetcher().Open(t.Context(), "disk", 1)
	if core.CodeOf(err) != core.CodeRedundant || lost == nil {
		t.Fatalf("without its manifest: %v", err)
	}
	lost.Close()
}

// TestIndex holds the index against a search through all records: a chunk stands in the first run that uses it of those
// with the most holders.
func TestIndex(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var x index
		var records []version.Record
		for range rapid.IntRange(1, 4).Draw(t, "records") {
			var r version.Record
			for range rapid.IntRange(1, 4).Draw(t, "runs") {
				count := rapid.IntRange(1, 3).Draw(t, "chunks")
				run := version.Run{Used: core.NewBitmap(count)}
				for i := range count {
					run.Chunks = append(run.Chunks, core.Chunk{Hash: core.Hash{rapid.ByteRange(1, 6).Draw(t, "chunk")}})
					if rapid.Bool().Draw(t, "used") {
						run.Used.Set(i)
					}
				}
				r.Runs = append(r.Runs, run)
			}
			for node := range rapid.IntRange(0, 3).Draw(t, "holders") {
				r.Spans = append(r.Spans, core.Span{Node: core.ID{byte(node)}, Length: rapid.IntRange(1,
					len(r.Runs)).Draw(t, "length")})
			}
			records = append(records, r)
			x.learn(r)
		}
		for hash := range byte(8) {
			run, holders, number := -1, -1, 0
			for _, r := range records {
				for i, candidate := range r.Runs {
					for at, c := range candidate.Chunks {
						if c.Hash[0] == hash && candidate.Used.Has(at) && len(r.Holders(i)) > holders {
							run, holders = number, len(r.Holders(i))
						}
					}
					number++
				}
			}
			at, ok := x.where[core.Hash{hash}]
			if ok != (run >= 0) || ok && at.run != run {
				t.Fatalf("chunk %d is in run %d (%v), want %d", hash, at.run, ok, run)
			}
			if ok && (x.runs[at.run].Chunks[at.chunk].Hash != core.Hash{hash} || len(x.holders[at.run]) != holders) {
				t.Fatalf("chunk %d is not at %+v", hash, at)
			}
		}
	})
}

// A download knows what holders said that they can send, until they agreed to something.
func TestDownloadsKnowRates(t *testing.T) {
	w := newWorld(t)
	w.add("b").up = 5
	f := w.place(w.split("disk", 1, 4), 1, "b")
	w.forget()
	v, err := w.fetcher().find(t.Context(), "disk", 0)
	check(t, err)
	v.asked.Wait()
	check(t, v.readRecords(t.Context()))
	check(t, v.bringNodes(t.Context()))
	_, _, err = bring(t, v, f.chunks)
	check(t, err)
	v.Close()
	if !slices.Equal(w.rates, []core.Rate{5, 1}) {
		t.Errorf("downloads were told the rates %v", w.rates)
	}
}

// TestCloseEndsQuestions: a peer that does not answer does not hold up the fetch, and nobody waits for it afterwards.
func TestCloseEndsQuestions(t *testing.T) {
	w := newWorld(t)
	w.split("disk", 1, 2)
	f, left := w.fetcher(), false
	f.Peers = silent{w, &left}
	v, err := f.Open(t.Context(), "disk", 0)
	check(t, err)
	if v.Close(); !left {
		t.Error("the question is still there")
	}
}

// silent is peers of which one never answers.
type silent struct {
	*world
	left *bool
}

func (silent) Connected() []core.ID { return []core.ID{{1}} }

func (s silent) Ask(ctx context.Context, _ core.ID, _ func(uint64) wire.Message) (wire.Message, error) {
	<-ctx.Done()
	time.Sleep(time.Millisecond)
	*s.left = true
	return nil, context.Cause(ctx)
}

// A holder that has moved is found where others say that it is, before anything is brought, where nobody else has it.
func TestHolderThatMoved(t *testing.T) {
	w := newWorld(t)
	b := w.add("b")
	w.add("c")
	f := w.place(w.split("disk", 1, 5), 1, "b")
	refs := w.refs
	w.forget()
	w.refs = refs
	for _, r := range f.Body.Records {
		w.here[r.Hash] = b.records[r.Hash]
	}
	b.away, b.moved = true, true
	v, err := w.fetcher().Open(t.Context(), "disk", 0)
	check(t, err)
	defer v.Close()
	if _, missing, err := bring(t, v, f.chunks); err != nil || len(missing) > 0 {
		t.Errorf("%d chunks are missing, %v", len(missing), err)
	}
}

// Where everybody who was asked refuses, that is what is said, and not that somebody does not answer.
func TestUnknownSaysWhy(t *testing.T) {
	closed := core.Fail(core.CodeRefused, "it is not sealed to this identity")
	for _, c := range []struct {
		problems []error
		away     []string
		code     core.Code
	}{
		{nil, nil, core.CodeNoName},
		{[]error{closed, fmt.Errorf("b71c: %w", closed)}, nil, core.CodeRefused},
		{[]error{closed, errors.New("c: no answer")}, nil, core.CodeRedundant},
		{[]error{closed}, []string{"d is away"}, core.CodeRedundant},
		{nil, []string{"d is away"}, core.CodeRedundant},
	} {
		if err := unknown(0, c.problems, c.away); core.CodeOf(err) != c.code {
			t.Errorf("%v, %v: code %d, want %d", c.problems, c.away, core.CodeOf(err), c.code)
		}
	}
}
