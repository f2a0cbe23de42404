// SPDX-License-Identifier: Apache-2.0

// Package fetch reaches a version where it is kept.
//
//	fetch.go   what it asks of the node that it runs on
//	find.go    which version it is, and its records
//	index.go   which run a chunk stands in, and who has that
//	bring.go   chunks and tree nodes, from this machine or from all holders at once
//	verify.go  what the holders say that they keep, held against the records
//	read.go    and against the bytes
package fetch
