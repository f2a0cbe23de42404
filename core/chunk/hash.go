package chunk

import (
	"encoding/binary"

	"github.com/bkp-tool/bkp/core"
	"github.com/zeebo/blake3"
)

// Hash is the BLAKE3 digest of stored bytes: the name under which everybody keeps them.
func Hash(stored []byte) core.Hash { return blake3.Sum256(stored) }

// RunHash is BLAKE3 over (hash ‖ size as uint64, little-endian) of a run's chunks. Over (run hash, run size) pairs of a
// segment's runs, new then reused, it is the root of the segment's licence.
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
