// SPDX-License-Identifier: Apache-2.0

package core

// FileType is what a stored file's bytes mean: content, tree nodes of the manifest, or the parity of a stripe.
type FileType string

const (
	TypeFile      FileType = "file"
	TypeDirectory FileType = "directory"
	TypeParity    FileType = "parity"
)

// File is an entry of the stored-file list: the same five fields in a manifest, in a task and in `bkp node files`.
type File struct {
	Name  string   `json:"name"`
	Type  FileType `json:"type"`
	Order int      `json:"order"` // position among its siblings, from 0
	Hash  Hash     `json:"hash"`  // of a chunk: BLAKE3 of its stored bytes; of a run: RunHash of its chunks
	Size  Size     `json:"size"`  // stored bytes
}

// Chunk is a sealed chunk as peers know it.
type Chunk struct {
	Hash Hash `json:"hash"` // BLAKE3 of the stored bytes
	Size Size `json:"size"` // stored bytes
}

// Kind tells what a sealed chunk holds; it is bound into the seal.
type Kind string

const (
	KindChunk Kind = "chunk" // content of a file
	KindNode  Kind = "node"  // a tree node of the manifest, or a segment record
)

// Sealed points to a sealed chunk and opens it.
type Sealed struct {
	Hash  Hash // BLAKE3 of the stored bytes
	Size  Size // stored bytes
	Key   Key  // K, which opens it
	Plain Size // plain bytes
}

// Key opens one sealed chunk. It never leaves the owner's machines but inside another seal.
type Key [32]byte

// Run is consecutive chunks, closed before MaxRun stored bytes would be passed (one chunk at least): the unit of
// transfer.
type Run struct {
	File           // Hash is RunHash over Chunks, Size their sum
	Chunks []Chunk `json:"chunks"`
}

const (
	// MaxRun bounds the stored bytes of a run of more than one chunk.
	MaxRun = 4 * MiB
	// MaxProbe bounds what one measurement of a link sends.
	MaxProbe = 64 * MiB
	// SegmentRuns is how many runs share a licence at most.
	SegmentRuns = 4096
)

// RunSize is the run size for a job of so many stored bytes: bytes/512 between one chunk (0 here) and MaxRun.
func RunSize(bytes Size) Size { return min(bytes/512, MaxRun) }

// Guide is what of a plan senders go by.
type Guide string

// The guides. Where there is none, senders choose as they go.
const (
	GuideNone  Guide = ""
	GuideLinks Guide = "links" // so many bytes go over each link
	GuideRuns  Guide = "runs"  // every run comes from whom its span says
)

// Span gives consecutive runs to one node.
type Span struct {
	Node ID `json:"node"`
	// who sends them: the source or another target; the node itself where it already keeps them
	From   ID  `json:"from"`
	Start  int `json:"start"`
	Length int `json:"length"`
}

// Has reports whether run number i lies in the span.
func (s Span) Has(i int) bool { return i >= s.Start && i < s.Start+s.Length }
