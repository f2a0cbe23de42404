// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"bufio"
	"fmt"
	"io"

	"golang.org/x/mod/sumdb/tlog"
)

// edge is the right edge of the tree: the newest hash of each level, all that is needed to add leaves and to know the
// root.
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
func (e *edge) add(leaf []byte) ([]tlog.Hash, error) { return e.addHash(tlog.RecordHash(leaf)) }

func (e *edge) addHash(leaf tlog.Hash) ([]tlog.Hash, error) {
	hashes, err := tlog.StoredHashesForRecordHash(e.leaves, leaf, e)
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

// wholeTree reads the tree of so many leaves from the file of hashes, and holds every hash in it against those that it
// is made of: a power loss takes some and leaves others.
func wholeTree(hashes io.ReaderAt, leaves int64) (*edge, error) {
	e := &edge{}
	in := bufio.NewReaderSize(io.NewSectionReader(hashes, 0, tlog.StoredHashCount(leaves)*tlog.HashSize), 1<<16)
	for e.leaves < leaves {
		var leaf, stored tlog.Hash
		if _, err := io.ReadFull(in, leaf[:]); err != nil {
			return nil, fmt.Errorf("read hash of entry %d: %w", e.leaves, err)
		}
		made, err := e.addHash(leaf)
		if err != nil {
			return nil, err
		}
		for level, h := range made[1:] {
			if _, err := io.ReadFull(in, stored[:]); err != nil || stored != h {
				return nil, fmt.Errorf("hash of level %d above entry %d: %w", level+1, e.leaves-1, errTorn)
			}
		}
	}
	return e, nil
}
