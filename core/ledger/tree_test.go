// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"crypto/sha256"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"
)

// slowRoot is the tree's hash as RFC 6962, section 2.1, defines it.
func slowRoot(leaves [][]byte) [32]byte {
	switch len(leaves) {
	case 0:
		return sha256.Sum256(nil)
	case 1:
		return sha256.Sum256(append([]byte{0}, leaves[0]...))
	}
	split := 1
	for split*2 < len(leaves) {
		split *= 2
	}
	left, right := slowRoot(leaves[:split]), slowRoot(leaves[split:])
	return sha256.Sum256(append(append([]byte{1}, left[:]...), right[:]...))
}

func TestEdgeAgainstSlowTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		leaves := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 3), 0, 70).Draw(t, "leaves")
		var tree edge
		var stored []tlog.Hash
		for i, leaf := range leaves {
			hashes, err := tree.add(leaf)
			if err != nil {
				t.Fatal(err)
			}
			stored = append(stored, hashes...)
			if root, err := tree.root(); err != nil || root != tlog.Hash(slowRoot(leaves[:i+1])) {
				t.Fatalf("root of %d leaves: %v, %v", i+1, root, err)
			}
		}
		root, err := tree.root()
		if err != nil || root != tlog.Hash(slowRoot(leaves)) {
			t.Fatalf("root: %v, %v", root, err)
		}
		if len(leaves) == 0 {
			return
		}
		// What was stored is enough to prove any entry, and the edge can be read back from it.
		read := tlog.HashReaderFunc(func(indexes []int64) (out []tlog.Hash, err error) {
			for _, i := range indexes {
				out = append(out, stored[i])
			}
			return out, nil
		})
		n, size := int64(rapid.IntRange(0, len(leaves)-1).Draw(t, "entry")), int64(len(leaves))
		proof, err := tlog.ProveRecord(size, n, read)
		if err != nil {
			t.Fatal(err)
		}
		if err := tlog.CheckRecord(proof, size, root, n, tlog.RecordHash(leaves[n])); err != nil {
			t.Fatal(err)
		}
		loaded, err := wholeTree(hashFile(stored), size)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := loaded.root(); err != nil || again != root {
			t.Fatalf("loaded: %v, %v", again, err)
		}
	})
}

type hashFile []tlog.Hash

func (f hashFile) ReadAt(p []byte, at int64) (int, error) { return copy(p, f[at/32][:]), nil }
