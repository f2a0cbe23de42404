// SPDX-License-Identifier: Apache-2.0

// Package content says what a version consists of: runs of new chunks, and runs of earlier tasks that it uses. It is pure.
//
//	content.go  the runs, and new ones grouped from chunks
//	reuse.go    which chunks peers have already, in runs that can be used again
//	stripe.go   stripes of new runs, and those of earlier tasks that are kept as a whole
//	cut.go      segments of all of it
package content
