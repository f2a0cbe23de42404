// SPDX-License-Identifier: Apache-2.0

// Package version is what an owner's refs and records say of the versions of his names.
//
//	found.go   refs that were verified and opened, which of them to go by, and what they tell of a version
//	pick.go    which version is meant
//	doubts.go  what the refs of a name contradict each other in
//	record.go  the sealed word of a segment: its runs, and who keeps which
//	reader.go  reading tree nodes and records
//	peers.go   asking a peer for refs and records
package version
