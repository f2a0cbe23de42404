package ledger

import (
	"fmt"
	"io"
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"
)

// edge is the right edge of the tree: the newest hash of each level, all that is needed to add leaves and to know the root.
type edge struct {
	leaves int64
	index  [64]int64 // in tlog's order
	hash   [64]tlog.Hash
}

// ReadHashes makes an edge a tlog.HashReader.
func (e *edge) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		level, _ := tlog.SplitStoredHashIndex(index)
		if e.index[level] != index {
			return nil, fmt.Errorf("hash %d is not on the edge of a tree of %d leaves", index, e.leaves)
		}
		out[i] = e.hash[level]
	}
	return out, nil
}

// add adds a leaf and returns the hashes that it completes, in tlog's order.
func (e *edge) add(leaf []byte) ([]tlog.Hash, error) {
	hashes, err := tlog.StoredHashes(e.leaves, leaf, e)
	if err != nil {
		return nil, fmt.Errorf("hash leaf %d: %w", e.leaves, err)
	}
	first := tlog.StoredHashIndex(0, e.leaves)
	for level, h := range hashes {
		e.index[level], e.hash[level] = first+int64(level), h
	}
	e.leaves++
	return hashes, nil
}

// root is the tree's hash.
func (e *edge) root() (tlog.Hash, error) { return tlog.TreeHash(e.leaves, e) }

// loadEdge reads the edge of a tree of so many leaves from the file of hashes.
func loadEdge(hashes io.ReaderAt, leaves int64) (*edge, error) {
	e := &edge{leaves: leaves}
	for level := range bits.Len64(uint64(leaves)) {
		index := tlog.StoredHashIndex(level, leaves>>level-1)
		var h tlog.Hash
		if _, err := hashes.ReadAt(h[:], index*tlog.HashSize); err != nil {
			return nil, fmt.Errorf("read hash %d: %w", index, err)
		}
		e.index[level], e.hash[level] = index, h
	}
	return e, nil
}
