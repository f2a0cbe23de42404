// SPDX-License-Identifier: Apache-2.0

package manifest_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/manifest"
	"github.com/zeebo/blake3"
	"pgregory.net/rapid"
)

// vault keeps tree nodes in memory, under the hash of their plain bytes, which is all the sealing this room needs.
type vault struct {
	nodes  map[core.Hash][]byte
	opened int
}

func newVault() *vault { return &vault{nodes: map[core.Hash][]byte{}} }

func (v *vault) SealNode(plain []byte) (core.Sealed, error) {
	s := core.Sealed{Hash: blake3.Sum256(plain), Size: core.Size(len(plain) + 30), Plain: core.Size(len(plain))}
	v.nodes[s.Hash] = slices.Clone(plain)
	return s, nil
}

func (v *vault) OpenNode(s core.Sealed) ([]byte, error) {
	v.opened++
	plain, ok := v.nodes[s.Hash]
	if !ok {
		return nil, core.ErrNotFound
	}
	return plain, nil
}

// seal puts a node of a test's making into the vault and returns what points to it.
func (v *vault) seal(n manifest.TestNode) manifest.TestEntry {
	s, _ := v.SealNode(n.Encode())
	var span core.Size
	for _, e := range n.Entries {
		span += e.Span
	}
	return manifest.TestEntry{Sealed: s, Span: span}
}

// piece is the n-th made-up chunk; every seventh is a hole.
func piece(n int) core.Sealed {
	if n%7 == 3 {
		return core.Sealed{Plain: core.Size(n + 1)}
	}
	s := core.Sealed{Hash: core.Hash{31: 1}, Key: core.Key{31: 2}, Size: core.Size(n%1000 + 31),
		Plain: core.Size(n%1000 + 1)}
	binary.BigEndian.PutUint64(s.Hash[:], uint64(n))
	binary.BigEndian.PutUint64(s.Key[:], uint64(n))
	return s
}

func build(t testing.TB, v manifest.Sealer, count int) core.Sealed {
	t.Helper()
	b := manifest.NewBuilder(v)
	for n := range count {
		if err := b.Add(piece(n)); err != nil {
			t.Fatal(err)
		}
	}
	root, err := b.Finish(manifest.Info{Method: "cdc", Min: 1, Avg: 2, Max: 3})
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func TestWalkSeesWhatWasBuilt(t *testing.T) {
	const full = manifest.Fanout
	for _, count := range []int{0, 1, 2, full - 1, full, full + 1, 2 * full, 3*full + 5} {
		v := newVault()
		root := build(t, v, count)
		n, offset := 0, core.Size(0)
		err := manifest.Walk(root, v, func(e manifest.Entry) error {
			want := piece(n)
			if e.Chunk != want || e.Offset != offset || e.Span != want.Plain || e.Hole() != want.Hash.IsZero() ||
				e.Type != core.TypeFile {
				return fmt.Errorf("entry %d is %+v", n, e)
			}
			if e.Order != n%full || e.Name != name(n, count) {
				return fmt.Errorf("entry %d of %d has order %d and name %s", n, count, e.Order, e.Name)
			}
			n++
			offset += e.Span
			return nil
		})
		if err != nil || n != count {
			t.Errorf("%d entries: saw %d, %v", count, n, err)
		}
		if info, err := manifest.Stat(root, v); err != nil || info.Size != offset || info.Max != 3 {
			t.Errorf("%d entries: info %+v, %v", count, info, err)
		}
	}
}

// name spells out the way to the n-th of count entries.
func name(n, count int) string {
	if count <= manifest.Fanout {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%d/%d", n/manifest.Fanout, n%manifest.Fanout)
}

func TestATreeOfThreeLevels(t *testing.T) {
	const full = manifest.Fanout
	v := newVault()
	root := build(t, v, full*full+1)
	var names []string
	err := manifest.Nodes(root, v, func(e manifest.Entry) error {
		switch {
		case e.Type == core.TypeDirectory && e.Level == 0 && e.Name != "0/1023" && e.Name != "1/0":
			return manifest.SkipNode
		case e.Type == core.TypeFile && e.Order < 1022:
			names = append(names, e.Name)
			n := (full - 1) * full
			if e.Name == "1/0/0" {
				n = full * full
			}
			if e.Chunk != piece(n+e.Order) {
				return fmt.Errorf("entry %s is %+v", e.Name, e)
			}
		}
		return nil
	})
	if err != nil || len(names) != 1023 || names[0] != "0/1023/0" || names[1022] != "1/0/0" {
		t.Errorf("%d entries, %v", len(names), err)
	}
}

func TestNodesSeesEveryTreeNodeOnce(t *testing.T) {
	v := newVault()
	root := build(t, v, 3*manifest.Fanout+5)
	var names []string
	seen := map[core.Hash]bool{}
	err := manifest.Nodes(root, v, func(e manifest.Entry) error {
		if e.Type == core.TypeDirectory {
			names = append(names, fmt.Sprintf("%q level %d at %d", e.Name, e.Level, e.Offset))
			seen[e.Chunk.Hash] = true
		} else if len(names) == 1 {
			return errors.New("a chunk before the tree node that it stands in")
		}
		return nil
	})
	if err != nil || len(names) != 5 || len(seen) != len(v.nodes) || names[0] != `"" level 1 at 0` {
		t.Errorf("%v, %v; %d nodes were made", names, err, len(v.nodes))
	}
}

func TestSkipNodeLeavesOutWhatIsBelow(t *testing.T) {
	v := newVault()
	root := build(t, v, 3*manifest.Fanout)
	chunks := 0
	err := manifest.Nodes(root, v, func(e manifest.Entry) error {
		if e.Type == core.TypeDirectory && e.Name == "1" {
			return manifest.SkipNode
		}
		if e.Type == core.TypeFile {
			chunks++
		}
		return nil
	})
	if err != nil || chunks != 2*manifest.Fanout || v.opened != 3 {
		t.Errorf("%d chunks, %d nodes opened, %v", chunks, v.opened, err)
	}
	v.opened = 0
	if err := manifest.Nodes(root, v, func(manifest.Entry) error { return manifest.SkipNode }); err != nil ||
		v.opened != 1 {
		t.Errorf("skipping the root: %d nodes opened, %v", v.opened, err)
	}
}

func TestVisitEndsTheWalk(t *testing.T) {
	v := newVault()
	root := build(t, v, 3000)
	stop := errors.New("enough")
	n := 0
	err := manifest.Walk(root, v, func(manifest.Entry) error {
		if n++; n == 1500 {
			return stop
		}
		return nil
	})
	if err != stop || n != 1500 {
		t.Errorf("%d entries, %v", n, err)
	}
}

func TestMissingNodeIsNamed(t *testing.T) {
	v := newVault()
	root := build(t, v, 2*manifest.Fanout)
	for hash := range v.nodes {
		if hash != root.Hash {
			delete(v.nodes, hash)
		}
	}
	err := manifest.Walk(root, v, func(manifest.Entry) error { return nil })
	if !errors.Is(err, core.ErrNotFound) || err.Error() != "manifest: tree node 0: not found" {
		t.Errorf("got %v", err)
	}
}

// What a version shares with another from its start it also shares in the tree.
func TestEqualBeginningsShareTreeNodes(t *testing.T) {
	v := newVault()
	build(t, v, 10*manifest.Fanout)
	before := len(v.nodes)
	build(t, v, 11*manifest.Fanout)
	if fresh := len(v.nodes) - before; fresh != 2 { // a leaf and the root
		t.Errorf("%d new tree nodes", fresh)
	}
}

// Deterministic: the tree depends on the entries alone.
func TestTreeIsDeterministic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		count := rapid.IntRange(0, 2100).Draw(t, "count")
		b1, b2 := manifest.NewBuilder(newVault()), manifest.NewBuilder(newVault())
		for n := range count {
			b1.Add(piece(n))
			hole := piece(n)
			if hole.Hash.IsZero() {
				hole.Key, hole.Size = core.Key{1}, 5 // of no meaning in a hole
			}
			b2.Add(hole)
		}
		r1, err1 := b1.Finish(manifest.Info{})
		r2, err2 := b2.Finish(manifest.Info{})
		if r1 != r2 || err1 != nil || err2 != nil {
			t.Fatalf("%v %v, %v %v", r1, err1, r2, err2)
		}
	})
}

func TestWhatBuilderRefuses(t *testing.T) {
	b := manifest.NewBuilder(newVault())
	for _, plain := range []core.Size{0, -1, 1 << 62} {
		if b.Add(core.Sealed{Hash: core.Hash{1}, Size: 31, Plain: plain}) == nil {
			t.Errorf("took a chunk of %d bytes", plain)
		}
	}
	if _, err := b.Finish(manifest.Info{DigestName: "md5"}); err == nil {
		t.Error("took an unknown digest")
	}
	if _, err := manifest.NewBuilder(failing{}).Finish(manifest.Info{}); !errors.Is(err, errFailing) {
		t.Errorf("lost the sealer's error: %v", err)
	}
}

var errFailing = errors.New("no more")

type failing struct{}

func (failing) SealNode([]byte) (core.Sealed, error) { return core.Sealed{}, errFailing }

// forgetting seals and keeps nothing.
type forgetting struct{}

func (forgetting) SealNode(plain []byte) (core.Sealed, error) {
	return core.Sealed{Hash: core.Hash{1}, Size: 1, Plain: core.Size(len(plain))}, nil
}

func TestBuilderMemoryDoesNotGrow(t *testing.T) {
	b := manifest.NewBuilder(forgetting{})
	inUse := func(entries int) uint64 {
		for range entries {
			if err := b.Add(core.Sealed{Hash: core.Hash{1}, Size: 1, Plain: 1}); err != nil {
				t.Fatal(err)
			}
		}
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	little := inUse(3000)
	if much := inUse(200_000); much > little+1<<20 {
		t.Errorf("%d KiB after 3000 entries, %d KiB after 203000", little>>10, much>>10)
	}
}

func BenchmarkBuild(b *testing.B) {
	builder := manifest.NewBuilder(forgetting{})
	b.ReportAllocs()
	for b.Loop() {
		if err := builder.Add(core.Sealed{Hash: core.Hash{1}, Size: 1, Plain: 1}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkWalk(b *testing.B) {
	v := newVault()
	const entries = 100_000
	root := build(b, v, entries)
	b.ReportAllocs()
	for b.Loop() {
		if err := manifest.Walk(root, v, func(manifest.Entry) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/entries, "ns/entry")
}
