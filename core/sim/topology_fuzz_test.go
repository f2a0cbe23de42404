package sim

import (
	"os"
	"path/filepath"
	"testing"
)

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
		if len(data) < 16<<10 {
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		top, err := Read(data)
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
		if g := top.Goal; g.K < 0 || g.M < 0 || g.Replicas < 0 || g.Replicas > nodes {
			t.Fatalf("%+v", g)
		}
		if top.RunSize < 0 || top.Goal.Size <= 0 {
			t.Fatalf("runs of %d of %d bytes", top.RunSize, top.Goal.Size)
		}
	})
}
