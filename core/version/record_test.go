// SPDX-License-Identifier: Apache-2.0

package version

import (
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
)

// golden is the records that stand in testdata as they were once written.
func golden() map[string]Record {
	r := Record{Task: core.TaskID{1}, Number: 3, Source: core.ID{2}, License: []byte("licence"),
		Spans: []core.Span{{Node: core.ID{4}, Start: 0, Length: 1}, {Node: core.ID{5}, Start: 1, Length: 1}}}
	for i, kind := range []core.FileType{core.TypeFile, core.TypeDirectory} {
		run := Run{Task: core.TaskID{byte(i)}, Used: core.NewBitmap(2)}
		run.Chunks = []core.Chunk{{Hash: core.Hash{byte(i), 1}, Size: 10}, {Hash: core.Hash{byte(i), 2}, Size: 20}}
		run.Name, run.Type, run.Order, run.Size = fmt.Sprintf("a.1.%d", i), kind, i, 30
		run.Hash = chunk.RunHash(run.Chunks)
		run.Used.Set(i)
		r.Runs = append(r.Runs, run)
	}
	striped := r
	striped.Runs = append([]Run(nil), r.Runs...)
	stripe(&striped)
	return map[string]Record{"record-1": r, "record-2": striped}
}

// TestRecordsOfBefore are read, and written as they were: what is sealed at peers stays for years.
func TestRecordsOfBefore(t *testing.T) {
	for name, want := range golden() {
		file := filepath.Join("testdata", name+".hex")
		data, err := os.ReadFile(file)
		check(t, err)
		plain, err := hex.DecodeString(strings.TrimSpace(string(data)))
		check(t, err)
		got, err := Decode(plain)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %v\n%v\nwant %v", name, err, got, want)
		}
		if again, err := want.Encode(); err != nil || hex.EncodeToString(again) != hex.EncodeToString(plain) {
			t.Errorf("%s is written otherwise: %v\n%x", name, err, again)
		}
	}
}

func TestCopiesOfStripesAreWhatTheyBear(t *testing.T) {
	r := Record{Runs: make([]Run, 8), Stripes: []core.Stripe{{Data: []int{0, 1, 2, 3}, Parity: []int{4, 5}}}}
	for run := range 6 {
		r.Spans = append(r.Spans, core.Span{Node: core.ID{byte(run)}, Start: run, Length: 1})
	}
	for node := range 3 {
		r.Spans = append(r.Spans, core.Span{Node: core.ID{byte(node)}, Start: 6, Length: 1})
	}
	for lost, want := range []string{"[3 3 3 3 3 3 3 0]", "[2 2 2 2 2 2 2 0]", "[1 1 1 1 1 1 1 0]", "[0 0 0 0 0 0 0 0]",
		"[0 0 0 0 0 0 0 0]"} {
		there := func(id core.ID) bool { return int(id[0]) >= lost }
		if got := fmt.Sprint(r.Copies(there)); got != want {
			t.Errorf("with %d lost: %s, want %s", lost, got, want)
		}
	}
}

// TestLocated: what a coordinator says of who keeps a record's runs comes beside what the record says, each node once.
func TestLocated(t *testing.T) {
	r := Record{Runs: make([]Run, 4), Spans: []core.Span{{Node: core.ID{1}, Length: 4}, {Node: core.ID{2}, Start: 1, Length: 1}}}
	got := r.Located([]core.Span{{Node: core.ID{2}, Length: 9}, {Node: core.ID{3}, Start: 3, Length: 1}, {Node: core.ID{1}, Length: 4}})
	var holders []int
	for run := range got.Runs {
		holders = append(holders, len(got.Holders(run)))
	}
	if fmt.Sprint(holders) != "[2 2 2 3]" || len(r.Spans) != 2 {
		t.Errorf("holders %v, of spans %v", holders, got.Spans)
	}
}

// FuzzDecode: what a record says lies within it, and it is written as it was read.
func FuzzDecode(f *testing.F) {
	for _, r := range golden() {
		plain, err := r.Encode()
		check(f, err)
		f.Add(plain)
	}
	f.Fuzz(func(t *testing.T, plain []byte) {
		r, err := Decode(plain)
		if err != nil {
			return
		}
		for _, s := range r.Spans {
			if s.Start < 0 || s.Length < 1 || s.Start+s.Length > len(r.Runs) {
				t.Errorf("a span outside the record: %+v", s)
			}
		}
		r.Copies(func(core.ID) bool { return true })
		again, err := r.Encode()
		check(t, err)
		if back, err := Decode(again); err != nil || fmt.Sprint(back) != fmt.Sprint(r) {
			t.Errorf("%v is read again as %v: %v", r, back, err)
		}
	})
}
