// SPDX-License-Identifier: Apache-2.0

// Package staging is the owner's versions on this machine: which of their chunks must stay, and which may go since
// peers keep them.
package staging

// Refs keeps the owner's own refs: DATA/refs.
type Refs interface {
	// List is the newest envelope of every version, by alias and version.
	List() ([]StoredRef, error)
	Put(alias string, version int, envelope []byte) error
	Remove(alias string, version int) error
	// Learn keeps a tombstone: its number is never given again, and Tombstones is all of them. Forget drops one.
	Learn(alias string, version int, tombstone []byte) error
	Forget(alias string, version int) error
	Tombstones() ([]StoredRef, error)
	// SetAway says whether this machine does without the content of a version, since peers keep it.
	SetAway(alias string, version int, away bool) error
}

// Unfinished is Refs that know of splits which were interrupted and may go on.
type Unfinished interface {
	// Unfinished is a ref for each of them, to what is durable already.
	Unfinished() ([]StoredRef, error)
}

// StoredRef is one ref of this data dir, or a tombstone.
type StoredRef struct {
	Alias    string
	Version  int
	Envelope []byte
	Away     bool // collection may take its content; tree nodes and records stay
}
