// SPDX-License-Identifier: Apache-2.0

package core

import "context"

// License is the payload of a signed licence: who may keep what, for how long. Times are Unix seconds.
// core/license signs, opens and checks it.
type License struct {
	V           int        `json:"v"` // 1
	ID          LicenseID  `json:"id"`
	Task        TaskID     `json:"task"`
	Segment     int        `json:"segment"`
	TaskSource  TaskSource `json:"task_source"`
	Targets     []ID       `json:"targets"`
	Spares      []ID       `json:"spares,omitempty"`
	Carriers    []ID       `json:"carriers,omitempty"` // empty: all targets
	Op          string     `json:"op"`                 // "store"
	Root        Hash       `json:"root"`               // RunRoot over the segment's runs, new then reused
	MaxBytes    Size       `json:"max_bytes"`          // what one target may keep under it, new or reused
	MaxRuns     int        `json:"max_runs"`
	NotBefore   int64      `json:"not_before"`
	Expires     int64      `json:"expires"`
	RetainUntil int64      `json:"retain_until"`
	LockedUntil int64      `json:"locked_until,omitzero"` // nobody releases earlier, the owner included; 0: no lock
	Key         []byte     `json:"key"`                   // the signer's public key, base64
	Delegation  []byte     `json:"delegation,omitempty"`  // a delegation envelope where the signer is not the owner

	// What follows is of versions that are handed over to a coordinator, or may be.
	Alias   string `json:"alias,omitempty"` // of the version that the segment is of
	Version int    `json:"version,omitzero"`
	Term    int    `json:"term,omitzero"` // of who coordinates the version: holders refuse lower ones
	Of      []byte `json:"of,omitempty"`  // by a delegate to keep: the owner's licence of the same runs

	Permits [][]byte `json:"permits,omitempty"` // by which its owner may store, who is no issuer itself
}

// Permit is the payload of an issuer's word that somebody else may store, as it itself may, at the nodes that serve the
// issuer. What is under it counts against the issuer's quota as well. Times are Unix seconds.
type Permit struct {
	V          int       `json:"v"`  // 1
	ID         LicenseID `json:"id"` // by which its issuer revokes it
	Issuer     ID        `json:"issuer"`
	Owner      ID        `json:"owner"`                  // who may store
	Nodes      []ID      `json:"nodes,omitempty"`        // where; empty: wherever the issuer may
	MaxBytes   Size      `json:"max_bytes"`              // that the owner may have at each of them
	KeepAtMost int64     `json:"keep_at_most,omitempty"` // seconds from an acceptance on; 0: as long as the node does
	NotBefore  int64     `json:"not_before"`
	Expires    int64     `json:"expires"` // nothing new is taken then
	Key        []byte    `json:"key"`     // the issuer's public key
}

// Delegated is what a delegation says, for rooms that do not know core/key.
type Delegated struct {
	Owner, Node ID
	Rights      []string
	Alias       string // it is to keep versions of this name; empty: it is for all that is the owner's
	Version     int    // of them this one; 0: all
	Term        int
	Expires     int64 // Unix seconds
}

// TaskSource is the owner whose file it is and the node that holds the staged bytes.
type TaskSource struct {
	Owner ID `json:"owner"`
	Node  ID `json:"node"`
}

// Receipt is the payload of a target's signed word that it keeps runs durably. Times are Unix seconds.
type Receipt struct {
	V           int       `json:"v"` // 1
	License     LicenseID `json:"license"`
	Task        TaskID    `json:"task"`
	Segment     int       `json:"segment"`
	Target      ID        `json:"target"`
	Runs        []Range   `json:"runs"`  // run numbers of the segment, all that this receipt adds
	Bytes       Size      `json:"bytes"` // stored bytes of those runs
	RetainUntil int64     `json:"retain_until"`
	// BLAKE3 of the previous receipt envelope of this target and licence, zero for the first
	Previous Hash   `json:"previous"`
	Time     int64  `json:"time"`
	Key      []byte `json:"key"` // the target's public key
}

// Countersigned is the payload of the owner's side's word that a receipt came: its target shows by it that the owner knows
// what it keeps. Receipts of one target and licence form a chain, so it speaks for those before as well.
type Countersigned struct {
	V          int       `json:"v"` // 1
	License    LicenseID `json:"license"`
	Receipt    Hash      `json:"receipt"` // BLAKE3 of its envelope
	Owner      ID        `json:"owner"`
	Time       int64     `json:"time"`                 // Unix seconds
	Key        []byte    `json:"key"`                  // the signer's public key
	Delegation []byte    `json:"delegation,omitempty"` // a delegation envelope where the signer is not the owner
}

// Booking is the payload of a coordinator's word, in an order that several have, that it sees to a version from then on
// in a term, and is about to sign licences for it: nobody else may then. It is signed by who signs those licences.
type Booking struct {
	V          int         `json:"v"` // 1
	Owner      ID          `json:"owner"`
	Alias      string      `json:"alias"`
	Version    int         `json:"version"`
	Node       ID          `json:"node"` // the coordinator
	Term       int         `json:"term"`
	Licenses   []LicenseID `json:"licenses"`
	Time       int64       `json:"time"`                 // Unix seconds
	Key        []byte      `json:"key"`                  // the signer's public key
	Delegation []byte      `json:"delegation,omitempty"` // a delegation envelope where the signer is not the owner
}

// Verifier judges licences. It runs in a process of its own; see plugins.
type Verifier interface {
	// Verify returns the verdict, or an error where nothing could be judged (then the node refuses with
	// ReasonVerifier).
	Verify(ctx context.Context, req VerifyRequest) (Verdict, error)
}

// VerifyRequest is everything a verifier is told.
type VerifyRequest struct {
	Envelope    []byte // the DSSE envelope as received
	Payload     []byte // its payload, signature already checked by the node
	Op          string // "store"
	Node        ID     // this node
	Peer        ID     // who presents it
	TokenMember bool   // the peer proved the cluster token
	UsedBytes   Size   // what the licence's owner keeps here now
	// what accepting would add to that at most: what is asked of this node less what it keeps already
	AddedBytes Size
	Now        int64 // Unix seconds
}

// Verdict is a verifier's answer. Reason is shown to people.
type Verdict struct {
	OK     bool
	Code   string
	Reason string
}
