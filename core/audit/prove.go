// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/zeebo/blake3"

	"github.com/bkp-tool/bkp/core"
	"lukechampine.com/blake3/bao"
)

// leaves is that every leaf of a tree is one block of 1 KiB, as BLAKE3 itself has them.
const leaves = 0

// Slice is what answers a range of a chunk: its bytes from offset on, and the way from there to the chunk's hash.
func Slice(stored []byte, offset core.Size) ([]byte, error) {
	length := length(core.Size(len(stored)), offset)
	if length <= 0 {
		return nil, fmt.Errorf("a range at %d of a chunk of %d bytes", offset, len(stored))
	}
	tree, _ := bao.EncodeBuf(stored, leaves, true)
	var out bytes.Buffer
	// Beside a tree of its own the data is read from where the slice begins: what lies before is not skipped.
	err := bao.ExtractSlice(&out, bytes.NewReader(stored[offset:]), bytes.NewReader(tree), leaves, uint64(offset),
		uint64(length))
	return out.Bytes(), err
}

// length is how many bytes a range has.
func length(chunk, offset core.Size) core.Size {
	if offset < 0 || offset%core.AuditLength != 0 {
		return 0
	}
	return min(chunk-offset, core.AuditLength)
}

// CheckSlice returns nil where a slice proves a range of a chunk.
func CheckSlice(c core.Chunk, offset core.Size, slice []byte) error {
	length := length(c.Size, offset)
	switch {
	case length <= 0:
		return fmt.Errorf("a range at %d of a chunk of %d bytes", offset, c.Size)
	case len(slice) != sliceLength(c.Size, offset):
		return fmt.Errorf("a slice of %d bytes, not %d", len(slice), sliceLength(c.Size, offset))
	}
	// The header stands beside the tree, not in it: a hash alone does not tell how long a chunk is.
	if size := binary.LittleEndian.Uint64(slice); size != uint64(c.Size) {
		return fmt.Errorf("a slice of a chunk of %d bytes, not %d", size, c.Size)
	}
	if _, ok := bao.VerifySlice(slice, leaves, uint64(offset), uint64(length), c.Hash); !ok {
		return fmt.Errorf("a slice that does not lead to the hash of its chunk, %s", c.Hash)
	}
	return nil
}

// sliceLength is how many bytes the slice of a range has: the header, the pair of hashes of each node on the way from
// the root, and the one leaf. What reads a slice takes what it lacks for zeros, and so for proved where they are.
func sliceLength(chunk, offset core.Size) int {
	length := 8
	for ; chunk > core.AuditLength; length += 64 {
		// the left subtree has the most leaves that are a power of two and leave some for the right one
		if left := core.AuditLength << (bits.Len64(uint64((chunk-1)/core.AuditLength)) - 1); offset < left {
			chunk = left
		} else {
			chunk, offset = chunk-left, offset-left
		}
	}
	return length + int(chunk)
}

// Signer signs for a node.
type Signer interface {
	Public() core.PublicKey
	Sign(message []byte) []byte
}

// Prove makes the slices for a challenge a proof.
func Prove(c core.Challenge, slices [][]byte, by Signer) core.Proof {
	return core.Proof{Slices: slices, Key: by.Public(), Signature: by.Sign(statement(c, slices))}
}

// Check returns nil where a holder has proved what a challenge asks, of parts that the challenge was drawn from.
func Check(c core.Challenge, p core.Proof, holder core.ID, parts []Part) error {
	switch k, err := core.ParsePublicKey(p.Key); {
	case err != nil || core.ID(blake3.Sum256(k.First())) != holder || !k.Verify(statement(c, p.Slices), p.Signature):
		return fmt.Errorf("a proof that is not signed by %s", holder.Short())
	case len(p.Slices) != len(c.Ranges):
		return fmt.Errorf("%d slices for %d ranges", len(p.Slices), len(c.Ranges))
	}
	byNumber := map[int]Part{}
	for _, part := range parts {
		byNumber[part.Number] = part
	}
	for i, r := range c.Ranges {
		part := byNumber[r.Run]
		if r.Chunk < 0 || r.Chunk >= len(part.Chunks) {
			return fmt.Errorf("run %d has no chunk %d", r.Run, r.Chunk)
		}
		if err := CheckSlice(part.Chunks[r.Chunk], r.Offset, p.Slices[i]); err != nil {
			return fmt.Errorf("run %d, chunk %d: %w", r.Run, r.Chunk, err)
		}
	}
	return nil
}

// statement is what a proof's signature is over.
func statement(c core.Challenge, slices [][]byte) []byte {
	out := []byte("bkp v2 audit")
	out = append(append(out, c.Owner[:]...), c.Task[:]...)
	out = binary.LittleEndian.AppendUint64(out, uint64(c.Segment))
	out = append(out, c.Nonce[:]...)
	out = binary.LittleEndian.AppendUint64(out, uint64(len(c.Ranges)))
	for _, r := range c.Ranges {
		for _, n := range []uint64{uint64(r.Run), uint64(r.Chunk), uint64(r.Offset)} {
			out = binary.LittleEndian.AppendUint64(out, n)
		}
	}
	for _, s := range slices {
		out = append(binary.LittleEndian.AppendUint64(out, uint64(len(s))), s...)
	}
	return out
}
