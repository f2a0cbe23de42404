// Package file splits a file into sealed chunks and joins them again.
//
// Splitting is a pipeline of goroutines over a few reused blocks of memory, so that it needs as much for a terabyte as for
// a gigabyte:
//
//	read      fills blocks from the file
//	cut       finds the chunks in them; what is left at the end of a block is copied before the next one's bytes
//	workers   one a core: identify; where the store knows the chunk, that is all; else seal, open again, put
//	collect   gives the chunks to the manifest in the order of the file
//
// Every chunk is a slice of its block, which goes back to read when its last chunk is done. When all is collected, one
// barrier makes the chunks and the manifest's tree nodes durable; only then is there a root to speak of.
//
// Putting together goes window by window through the manifest, so that memory does not grow with the file either. Every chunk
// is looked for where it costs least: in what an interrupted try left in place, in a seed, in this machine's stores, and at
// last elsewhere. A chunk's key is derived from its bytes, so bytes that are there already prove themselves. The output, a
// file, a block device or a stream, gets its bytes verified; a file gets its name when it is whole.
package file
