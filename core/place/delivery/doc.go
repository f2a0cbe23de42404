// SPDX-License-Identifier: Apache-2.0

// Package delivery decides what is to be done while the data of a placement moves. It is pure: Watch is told what happens,
// with the time, and says what follows as Actions.
//
//	watch.go   targets that went, came, or send no receipts
//	deal.go    copies dealt anew: a target was lost, the placement is late, or somebody joined
//	assign.go  segments that say who is to keep which runs, as a plan has it
package delivery
