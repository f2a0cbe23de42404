// SPDX-License-Identifier: Apache-2.0

// Package file splits a file into sealed chunks and joins them again.
//
// Splitting is a pipeline of goroutines over a few reused blocks of memory, so that it needs as much for a terabyte as
// for a gigabyte:
//
//	read      several fill blocks from the file, one takes what comes out of a pipe; holes are skipped
//	cut       finds the chunks in them, in order; what is left at the end of a block is copied before the next one's bytes
//	workers   some more than cores: identify; where the store knows the chunk, that is all; else seal, open again, put
//	collect   gives the chunks and holes to the manifest in the order of the file, and makes checkpoints
//	digest    where one is asked for, of the whole file, as blocks come to be cut
//
// Every chunk is a slice of its block, which goes back to read when its last chunk is done. One goroutine cuts as fast
// as four cores seal; where there are more, the readers mark the places where chunks may end and cut walks along the
// marks. When all is collected, one barrier makes the chunks and the manifest's tree nodes durable; only then is there
// a root to speak of.
//
// A checkpoint is a manifest of what is durable so far. A split of the same file goes on behind it: a chunk begins
// there, and nothing that comes after depends on what came before.
//
// Putting together goes window by window through the manifest, so that memory does not grow with the file either. Every
// chunk is looked for where it costs least: in what an interrupted try left in place, in a seed, in this machine's
// stores, and at last elsewhere. A chunk's key is derived from its bytes, so bytes that are there already prove
// themselves. The output, a file, a block device or a stream, gets its bytes verified; a file gets its name when it is
// whole.
package file
