// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core/plan"
)

// small is a topology with this goal.
func small(goal string) []byte {
	return []byte(`{"schema":"` + Schema + `","file":{"bytes":9,"chunk_bytes":2},"nodes":[{"id":"a","up":7,"zone":"x"},{"id":"b","space":9}],"mesh":{"bw":5},` +
		`"trunks":[{"from_zone":"x","to_zone":"y","bw":1}],"source":"a","redundancy":{"mode":` + goal + `}}`)
}

func TestGoalsThatCannotBeMeant(t *testing.T) {
	for goal, want := range map[string]string{
		`"replicas","r":1`:                "",
		`"shards","k":200,"m":56`:         "",
		`"shards","k":200,"m":57`:         "256 at most",
		`"shards","k":1000000000,"m":2`:   "256 at most",
		`"shards","k":0,"m":2`:            "want 1 at least",
		`"shards","k":2,"m":-1`:           "a code of",
		`"fetch","sink":"a"`:              "no class",
		`"fetch","sink":"c","classes":[]`: `no node "c"`,
		`"fetch","sink":"a","classes":[{"fraction":"1","holders":[]}]`:            "0 holders",
		`"fetch","sink":"a","classes":[{"fraction":"5/4","holders":["b"]}]`:       `"5/4"`,
		`"fetch","sink":"a","classes":[{"fraction":"1e-999999","holders":["b"]}]`: `"1e-999999"`,
		`"mirror"`: `"mirror" is not known`,
	} {
		_, err := Read(small(goal), time.Time{})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", goal, err, want)
		}
	}
}

// Whatever a topology file says, reading it ends, and what is read can be planned with: every index is one of a node.
func FuzzRead(f *testing.F) {
	files, err := filepath.Glob(filepath.Join("testdata", "o*.json"))
	if err != nil || len(files) == 0 {
		f.Fatal(err)
	}
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		if len(data) < 4<<10 {
			f.Add(data)
		}
	}
	for _, goal := range []string{
		`"replicas","r":1,"max_per_zone":1`, `"broadcast"`, `"broadcast","targets":["b"]`, `"shards","k":1,"m":1`,
		`"fetch","sink":"a","classes":[{"fraction":"2/3","holders":["b"]},{"fraction":"1/3","holders":["b","a"]}]`,
	} {
		if _, err := Read(small(goal), time.Time{}); err != nil {
			f.Fatal(err)
		}
		f.Add(small(goal))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		top, err := Read(data, time.Time{})
		if err != nil {
			return
		}
		nodes := len(top.Network.Nodes)
		valid := func(indexes ...int) {
			for _, i := range indexes {
				if i < 0 || i >= nodes {
					t.Fatalf("node %d of %d", i, nodes)
				}
			}
		}
		valid(top.Network.Source, top.Goal.Sink)
		valid(top.Goal.Targets...)
		for _, l := range top.Network.Links {
			valid(l.From, l.To)
			if l.Rate < 0 {
				t.Fatalf("a link of %d", l.Rate)
			}
		}
		for _, p := range top.Goal.Parts {
			valid(p.Holders...)
			if p.Size < 0 || len(p.Holders) == 0 {
				t.Fatalf("a part of %d bytes at %d holders", p.Size, len(p.Holders))
			}
		}
		if g := top.Goal; g.Mode == plan.Shards && (g.K < 1 || g.M < 0 || g.K+g.M > maxShards) ||
			g.Mode == plan.Fetch && len(g.Parts) == 0 {
			t.Fatalf("%+v", g)
		}
		if top.RunSize < 0 || top.Goal.Size <= 0 {
			t.Fatalf("runs of %d of %d bytes", top.RunSize, top.Goal.Size)
		}
	})
}
