// SPDX-License-Identifier: Apache-2.0

package core

const (
	// AuditLength is how many bytes of a chunk one range of a challenge asks for; at a chunk's end it may be fewer.
	AuditLength = 1 * KiB
	// MaxAuditRanges bounds a challenge: the holder reads a whole chunk for each range.
	MaxAuditRanges = 64
)

// Challenge is what an audit asks of a holder: to prove that it has some bytes of the runs of a segment that it keeps.
type Challenge struct {
	Owner   ID             `json:"owner"`
	Task    TaskID         `json:"task"`
	Segment int            `json:"segment"`
	Nonce   Hash           `json:"nonce"` // 32 random bytes, so that no proof is of another day
	Ranges  []AuditedRange `json:"ranges" most:"audited"`
}

// AuditedRange is AuditLength bytes of a chunk, or what is left of it there.
type AuditedRange struct {
	Run    int  `json:"run"`    // number in the segment
	Chunk  int  `json:"chunk"`  // place in the run
	Offset Size `json:"offset"` // in the stored chunk; a multiple of AuditLength
}

// Proof answers a challenge.
type Proof struct {
	Slices    [][]byte `json:"slices" most:"audited"` // by range: a slice of the BLAKE3 tree whose root is the chunk's hash
	Key       []byte   `json:"key"`                   // the holder's public key
	Signature []byte   `json:"signature"`             // by it, over the challenge and the slices
}
