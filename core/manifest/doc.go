// SPDX-License-Identifier: Apache-2.0

// Package manifest builds and walks the directory tree that orders the chunks of a file.
//
// A tree node is a sealed chunk of kind node. Its plain bytes are one deterministic CBOR array, and its fields stand in
// this order:
//
//	version   1
//	level     0: the entries are chunks of the file; above: they are tree nodes one level lower
//	order     how many leaf entries stand before this node's first in the whole file
//	entries   at most 1024, each an array
//	            at level 0:  [hash, K, size, plain]          a hole has empty hash and K and size 0
//	            above:       [hash, K, size, plain, span]    span: bytes of the file below the entry
//	info      in the root: [file size, method, min, avg, max, digest name, digest]; null in all others
//
// hash (32 bytes) and size are those of the sealed bytes, plain is how many bytes K opens them to. Leaves are filled
// from left to right: only nodes on the right edge have fewer than 1024 entries, and a root above level 0 has two at
// least. So a file's entries have one tree only. An entry's order is its position; its name is the orders on the way
// from the root, as 2/17. A tree for 40 million entries has three levels, and building or walking it keeps one node of
// each in memory.
package manifest
