// SPDX-License-Identifier: Apache-2.0

package core

import "cmp"

// SegmentID names a segment of a task.
type SegmentID struct {
	Task   TaskID
	Number int
}

// Compare orders segments by their tasks, then by number.
func (id SegmentID) Compare(other SegmentID) int {
	return cmp.Or(id.Task.Compare(other.Task), cmp.Compare(id.Number, other.Number))
}

// Discharge is a node's signed word that runs which it gave receipts for are kept no longer, other than by their
// owner's release.
type Discharge struct {
	V       int     `json:"v"` // 1
	Why     string  `json:"why"`
	Node    ID      `json:"node"`
	Owner   ID      `json:"owner"` // of the task
	Task    TaskID  `json:"task"`
	Segment int     `json:"segment"`        // of Runs
	Runs    []Range `json:"runs,omitempty"` // none: all that it kept for the task
	Note    string  `json:"note,omitempty"` // for people
	Time    int64   `json:"time"`
	Key     []byte  `json:"key"` // the node's public key
}

// Why a node keeps runs no longer.
const (
	WhyExpired = "expired" // the time is over for which they were to be kept
	WhyLost    = "lost"    // their bytes are not here any more
)

// Audited is a node's signed word on what audits of a placement came to: a failure, or all that there were in some
// time.
type Audited struct {
	V          int    `json:"v"` // 1
	Node       ID     `json:"node"`
	Owner      ID     `json:"owner"`
	Task       TaskID `json:"task"`
	Since      int64  `json:"since"`           // of those that are summed up, Unix seconds
	Proved     int    `json:"proved"`          // of them: a holder proved what it was asked for
	Unanswered int    `json:"unanswered"`      // a holder could not be asked, or did not answer
	Failed     int    `json:"failed"`          // a holder was found not to have what it signed for
	Target     ID     `json:"target,omitzero"` // the holder, where it is about one failure
	Note       string `json:"note,omitempty"`  // what that was, for people
	Time       int64  `json:"time"`
	Key        []byte `json:"key"` // the node's public key
}

// Standing is what a ledger says that its node keeps: its receipts that no release, expiry or loss came after.
type Standing struct {
	Licenses map[LicenseID]bool
	Segments map[SegmentID]StandingSegment
}

// StandingSegment is the receipted runs of a segment.
type StandingSegment struct {
	Owner ID
	Runs  Bitmap
}

// LedgerHead is how long a ledger is, and the root of the tree over its entries.
type LedgerHead struct {
	Size int64
	Root Hash
}
