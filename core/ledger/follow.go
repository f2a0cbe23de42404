// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/bkp-tool/bkp/core"
)

// Prove is the proof that the log of the first from entries is what that of the first to began with. Both must be in
// the log; see Follows.
func (r *Reader) Prove(from, to int64) (proof []core.Hash, err error) {
	if from < 1 || from >= to {
		return nil, nil
	}
	tree, err := tlog.ProveTree(to, from, tlog.HashReaderFunc(r.readHashes))
	if err != nil {
		return nil, fmt.Errorf("ledger %s: prove %d of %d entries: %w", r.dir, from, to, err)
	}
	for _, h := range tree {
		proof = append(proof, core.Hash(h))
	}
	return proof, nil
}

// Follows is an error of core.CodeWrong where a head does not go on from another of the same log, as by a proof.
func Follows(before, after SignedHead, proof []core.Hash) error {
	switch {
	case after.Size < before.Size:
		return core.Fail(core.CodeWrong, "it has %d entries, and had %d", after.Size, before.Size)
	case before.Size == 0:
		return nil
	case after.Size == before.Size && after.Root == before.Root:
		return nil
	}
	var tree tlog.TreeProof
	for _, h := range proof {
		tree = append(tree, tlog.Hash(h))
	}
	if after.Size == before.Size || tlog.CheckTree(tree, after.Size, tlog.Hash(after.Root), before.Size,
		tlog.Hash(before.Root)) != nil {
		return core.Fail(core.CodeWrong, "its first %d entries are not those that it had", before.Size)
	}
	return nil
}
