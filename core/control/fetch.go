// SPDX-License-Identifier: Apache-2.0

package control

import (
	"io"

	"github.com/bkp-tool/bkp/core"
)

// FetchArgs asks for a version, or the bytes from Start up to End of it (both 0: all), to be brought back into Output,
// an absolute path, or in order and verified to Out.
type FetchArgs struct {
	Name    string    `json:"name"`
	Version int       `json:"version"`
	Output  string    `json:"output"`
	Out     io.Writer `json:"-"` // nil: Output is a path; else it is only named so
	Force   bool      `json:"force"`
	Start   core.Size `json:"start"`
	End     core.Size `json:"end"`
	Seed    string    `json:"seed"`    // absolute path of an older version of the file
	Partial bool      `json:"partial"` // leave holes where chunks are lost
}

// FetchResult says where the bytes came from; Node is zero for this machine's own store.
type FetchResult struct {
	Name    string       `json:"name"`
	Version int          `json:"version"`
	Output  string       `json:"output"`
	Bytes   core.Size    `json:"bytes"`
	Seconds float64      `json:"seconds"`
	Sources []Source     `json:"sources"`
	Resumed core.Size    `json:"resumed_bytes"`   // plain, left by a fetch that was interrupted
	Seeded  core.Size    `json:"seeded_bytes"`    // plain, out of the seed
	Holes   []core.Range `json:"holes,omitempty"` // lost, in bytes of the file
	Lost    []Refused    `json:"lost"`            // holders that failed on the way, and how
}

// Source is a holder that sent stored bytes.
type Source struct {
	Node    core.ID   `json:"node"`
	Address string    `json:"address"`
	Bytes   core.Size `json:"bytes"`
}

// VerifyArgs asks whether the chunks of a version that are not on this machine can be had from their holders.
type VerifyArgs struct {
	Name    string `json:"name"`
	Version int    `json:"version"`
	All     bool   `json:"all"` // also chunks that are on this machine
	// of the runs, to be brought from every holder and held against their hashes; nothing is written
	Share float64 `json:"share"`
}

// VerifyResult says what the holders keep.
type VerifyResult struct {
	Name    string         `json:"name"`
	Version int            `json:"version"`
	Size    core.Size      `json:"size"`    // plain bytes of the version
	Chunks  int            `json:"chunks"`  // asked for
	Bytes   core.Size      `json:"bytes"`   // stored, of them
	Copies  int            `json:"copies"`  // the fewest holders that keep any of them
	Staged  int            `json:"staged"`  // chunks, not asked for, that are on this machine and on no record
	Read    core.Size      `json:"read"`    // stored bytes that were brought
	Holders []HolderRow    `json:"holders"` // those on record
	Damaged []core.Damaged `json:"hurt,omitempty"`
}

// HolderRow is what a holder keeps of a version, of what was asked for.
type HolderRow struct {
	Node    core.ID   `json:"node"`
	Address string    `json:"address"`
	Runs    int       `json:"runs"`  // on record
	Kept    int       `json:"kept"`  // of them, by its own word
	Bytes   core.Size `json:"bytes"` // stored, of what it keeps
	Problem string    `json:"problem,omitempty"`

	Degraded []string `json:"degraded,omitempty"` // what it says is wrong with it: keys of HealthReason
}

// ListArgs asks for every version that can be found.
type ListArgs struct{}

// ListResult is `bkp ls` over the network.
type ListResult struct {
	Versions []VersionRow `json:"versions"`
	Problems []string     `json:"problems,omitempty"`
}

// VersionRow is a version that this machine or a peer knows.
type VersionRow struct {
	Name    string    `json:"name"`
	Version int       `json:"version"`
	Size    core.Size `json:"size"`
	Created int64     `json:"created"`
	Placed  bool      `json:"placed"`           // in as many copies as are wanted
	Copies  int       `json:"copies,omitempty"` // of the run that has the fewest, where that is on record here
	// Erasure is how its stripes were made, if it is kept in such: Copies is the losses that the worst bears, and one
	Erasure core.Erasure `json:"erasure,omitzero"`
	Wanted  int          `json:"wanted,omitempty"` // likewise
	Root    core.Hash    `json:"root"`
	Local   bool         `json:"local"` // its ref is on this machine
	Away    bool         `json:"away"`  // and its content went from there, since peers keep it
}
