// SPDX-License-Identifier: Apache-2.0

// Package placements keeps what versions shall have, and what is known to be there.
//
//	record.go    it, durable: DATA/placements
//	standing.go  it, as one placement under way sees it: what was asked of whom, and what came of it
//	known.go     it, as core/reconcile reads it
package placements
