// SPDX-License-Identifier: Apache-2.0

// Package repair keeps placements as they shall be: it has copies proved again, and has those made anew that count no
// more.
//
// It acts round decisions that do not: core/reconcile judges each placement, and Next says whose turn it is.
//
//	turn.go      whose turn it is, and when to look again
//	keeper.go    looking: who is there, what is proved, what is lacking
//	sums.go      what audits came to, for the ledger
//	standing.go  how placements stand, for who asks
package repair
