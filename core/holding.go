// SPDX-License-Identifier: Apache-2.0

package core

// Reused is a run of an earlier task that a later task keeps too, with the chunks of it that the new version uses.
type Reused struct {
	File
	Task   TaskID `json:"task"` // the task that brought it
	Chunks Bitmap `json:"chunks"`
}

// Segment is one segment of a task as a target accepted it. Run numbers count Files first, then Reused.
type Segment struct {
	Task        TaskID
	Number      int
	Owner       ID
	Source      ID // the node that holds the staged bytes
	Alias       string
	Version     int
	License     []byte // DSSE envelope, the first that was accepted
	LicenseID   LicenseID
	Files       []File
	Reused      []Reused
	Locations   []Span
	RetainUntil int64
	LockedUntil int64 `cbor:",omitempty"` // of all licences that were accepted, the latest; 0: no lock
	Term        int   `cbor:",omitempty"` // of who coordinates the version, as its licence says; 0: nobody handed it over
}

// Runs is how many run numbers the segment has.
func (s Segment) Runs() int { return len(s.Files) + len(s.Reused) }

// File is the stored file with the given run number.
func (s Segment) File(run int) File {
	if run < len(s.Files) {
		return s.Files[run]
	}
	return s.Reused[run-len(s.Files)].File
}

// Holding is a run that a node keeps for a task; the bytes go when the last holding of a chunk goes.
type Holding struct {
	Task    TaskID
	Segment int
	Number  int // run number in the segment
	File    File
	Chunks  []Chunk // of the whole run
	Kept    Bitmap  // the chunks of it that the task needs
}

// Needed is the chunks that the task needs.
func (h Holding) Needed() (chunks []Chunk) {
	for i, c := range h.Chunks {
		if h.Kept.Has(i) {
			chunks = append(chunks, c)
		}
	}
	return chunks
}

// HeldRef is a ref as a target keeps it, with the segment records that it needs.
type HeldRef struct {
	Owner    ID
	Alias    string
	Version  int
	Task     TaskID
	Content  Hash // what the version stands for, for ever; zero where only refs of version 1 came, which do not tell
	Envelope []byte
	Former   []byte // the same ref in version 1, beside an Envelope of version 2: for who reads no other
	Records  []Chunk
	Location Hash `cbor:",omitzero"` // which of Records is a coordinator's location; zero: none

	Described Chunk // the record in the packs that says the same; none where Size is 0
}

// HeldTombstone says at a target that a version is removed, and that no ref of it is taken.
type HeldTombstone struct {
	Owner    ID
	Alias    string
	Version  int
	Content  Hash
	Until    int64 // when it may be forgotten, Unix seconds
	Envelope []byte
}

// Description is holdings as their node writes them down beside the chunks that they are of: a segment, runs of
// segments, or a ref.
type Description struct {
	Segment *Segment
	Root    Hash // of Segment
	Runs    []Holding
	Ref     *HeldRef
}

// Described is a description that lives as long as a segment does.
type Described struct {
	Segment SegmentID
	Chunk   Chunk
}

// Damage is where the records of what a node keeps for others disagree, or one of them is lost.
type Damage struct {
	Key  string `json:"key"`
	Text string `json:"text"`
}
