// SPDX-License-Identifier: Apache-2.0

// Package wrap is wrap-around assignment: the runs of a class are laid in a circle that is walked once for each copy,
// and every node takes consecutive runs up to its quota, so that none gets a run twice (McNaughton 1959, for machines
// instead of nodes). It is pure.
//
//	circle.go  the runs, and walking them
//	seat.go    nodes at the circle, and who gets what
//	quota.go   how much each should take: the cheapest first, by weight among equals
package wrap
