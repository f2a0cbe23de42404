// SPDX-License-Identifier: Apache-2.0

// Package overlay keeps what is written over a version that itself never changes: a sparse file has the blocks that
// were written, whole, and a bitmap of them; every other block is read from the version.
//
// The file, version 1, in units of 4096 bytes:
//
//	header   1 unit: "bkp overlay 1\n", a JSON object with what it lies over, a line feed, zeros
//	bitmap   a bit a block, the lowest bit of a byte first, filled up with zeros to whole units
//	blocks   each at its place in the version; what stands where a bit is not set means nothing
//
// Bits are set alone, never cleared, and written once the blocks that they stand for are durable. So a power loss may
// take what was written since the last Flush, as with any disk, but never shows a block that nobody wrote.
package overlay
