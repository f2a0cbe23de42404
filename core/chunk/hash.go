// SPDX-License-Identifier: Apache-2.0

package chunk

import (
	"encoding/binary"

	"github.com/bkp-tool/bkp/core"
	"github.com/zeebo/blake3"
)

// Hash is the BLAKE3 digest of stored bytes: the name under which everybody keeps them.
func Hash(stored []byte) core.Hash { return blake3.Sum256(stored) }

// RunHash is BLAKE3 over (hash ‖ size as uint64, little-endian) of a run's chunks.
func RunHash(chunks []core.Chunk) core.Hash {
	h := blake3.New()
	var pair [40]byte
	for _, c := range chunks {
		copy(pair[:], c.Hash[:])
		binary.LittleEndian.PutUint64(pair[32:], uint64(c.Size))
		h.Write(pair[:])
	}
	var sum core.Hash
	h.Sum(sum[:0])
	return sum
}

// LicenseRoot is what the licence of a segment names: a run hash over the hashes and sizes of its runs, new then
// reused.
func LicenseRoot(files []core.File, reused []core.Reused) core.Hash {
	runs := make([]core.Chunk, 0, len(files)+len(reused))
	for _, f := range files {
		runs = append(runs, core.Chunk{Hash: f.Hash, Size: f.Size})
	}
	for _, r := range reused {
		runs = append(runs, core.Chunk{Hash: r.Hash, Size: r.Size})
	}
	return RunHash(runs)
}
