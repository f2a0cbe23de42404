// SPDX-License-Identifier: Apache-2.0

package control

import (
	"time"

	"github.com/bkp-tool/bkp/core"
)

// StatusResult is `bkp node status`.
type StatusResult struct {
	ID        core.ID        `json:"id"`
	Listen    string         `json:"listen"`
	Health    string         `json:"health"` // "ready" or "degraded"
	Ready     bool           `json:"ready"`  // it is not degraded
	Reasons   []HealthReason `json:"reasons"`
	Started   time.Time      `json:"started"`
	Capacity  core.Size      `json:"capacity"`
	Used      core.Size      `json:"used"`
	Reserved  core.Size      `json:"reserved"`
	Remaining core.Size      `json:"remaining"` // what peers are told that it still takes
	Staged    core.Size      `json:"staged"`
	Bucket    string         `json:"bucket,omitempty"` // that what it keeps stands in; "" for its own disk
	LockS     float64        `json:"lock_s,omitempty"` // for how long nobody can remove a pack there; 0: anybody may
	Runs      int            `json:"runs"`
	Peers     int            `json:"peers"` // connected
	Verifiers []string       `json:"verifiers"`
	Accounts  []core.Account `json:"accounts"`
	Leases    []LeaseRow     `json:"leases"` // live ones, then the last 64 that ended
	Tasks     []TaskRow      `json:"tasks"`
	Work      []WorkRow      `json:"work"`  // commands that move bytes and are under way, the oldest first
	Links     []PeerRow      `json:"links"` // to peers that are connected, as this node itself knows them
}

// WorkRow is a command under way and how far it has come, against what its plan promised.
type WorkRow struct {
	Command string    `json:"command"` // "place", "fetch" or "backup"
	Name    string    `json:"name"`
	Version int       `json:"version"` // 0 while it is the latest, or not known yet
	Began   time.Time `json:"began"`
	Status
}

// LeaseRow is one lease: what it was expected to take and what it took.
type LeaseRow struct {
	Lease     uint64    `json:"lease"`
	Peer      core.ID   `json:"peer"`
	Direction string    `json:"direction"` // "send" or "receive"
	Purpose   string    `json:"purpose"`   // "store" or "gain"
	Rate      core.Rate `json:"rate"`
	Bytes     core.Size `json:"bytes"` // payload moved
	ExpectedS float64   `json:"expected_s"`
	TookS     float64   `json:"took_s"`
	State     string    `json:"state"` // "live", "done", "aborted", "expired"
}

// TaskRow is a task that this node coordinates or keeps parts of.
type TaskRow struct {
	Task     core.TaskID `json:"task"`
	Owner    core.ID     `json:"owner"`
	Alias    string      `json:"alias"`
	Version  int         `json:"version"`
	Segments int         `json:"segments"`
	Runs     int         `json:"runs"`
	Bytes    core.Size   `json:"bytes"`
}

// FilesArgs pages the stored-file list.
type FilesArgs struct {
	After int `json:"after"`
	Limit int `json:"limit"`
}

// FilesResult is `bkp node files`.
type FilesResult struct {
	Files []core.File `json:"files"`
	More  bool        `json:"more"`
}

// GCArgs asks for collection. With Copies the staged content of a version goes too, once so many holders say that they
// keep all of it; its tree nodes and records stay.
type GCArgs struct {
	Copies int `json:"copies"`
}

// GCResult says what collection freed in staging and in what is kept for others.
type GCResult struct {
	StagingFreed  core.Size      `json:"staging_freed"`
	HoldingsFreed core.Size      `json:"holdings_freed"`
	StagingKept   core.Size      `json:"staging_kept"` // with what waits
	HoldingsKept  core.Size      `json:"holdings_kept"`
	Staging       core.Collected `json:"staging"`
	Holdings      core.Collected `json:"holdings"`
	Seconds       float64        `json:"seconds"`
}

// RemoveArgs asks for a version (0: all of them) to be forgotten here and released on its holders.
type RemoveArgs struct {
	Name    string `json:"name"`
	Version int    `json:"version"`
	Force   bool   `json:"force"` // also what is locked: its holders let go once the lock is over
}

// RemoveResult says what was let go.
type RemoveResult struct {
	Name     string    `json:"name"`
	Versions []int     `json:"versions"`
	Released []Release `json:"released"`
	Unheard  []Refused `json:"unheard"`          // holders that could not be told yet
	Locked   []Locked  `json:"locked,omitempty"` // versions that stay, since nobody may remove them yet, unless forced
}

// Locked is a version that nobody may remove yet, its owner included.
type Locked struct {
	Version int   `json:"version"`
	Until   int64 `json:"until"` // Unix seconds
}

// Release is what one holder let go.
type Release struct {
	Node  core.ID   `json:"node"`
	Runs  int       `json:"runs"`
	Bytes core.Size `json:"bytes"`
}

// The two words of a node's health.
const (
	HealthReady    = "ready"
	HealthDegraded = "degraded" // it runs, and something that people should know is wrong: Reasons says what
)

// HealthReason is one thing that is wrong with a node. Key tells it from the others: "verifier issuers", "disk".
type HealthReason struct {
	Key     string    `json:"key"`
	Text    string    `json:"text"`
	Refuses bool      `json:"refuses"` // until it is mended the node can keep nothing new, and accepts no task
	Since   time.Time `json:"since"`
}

// RecordsResult is where the records of what the node keeps for others disagree.
type RecordsResult struct {
	Damage []core.Damage `json:"damage,omitempty"`
}
