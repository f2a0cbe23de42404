// SPDX-License-Identifier: Apache-2.0

// Package audit draws challenges that only who has the bytes can answer, and judges the answers.
//
// A range of a chunk is answered by a slice of the chunk's BLAKE3 tree: the range's bytes and the nodes beside the way
// from there to the root, which is the chunk's hash. So the auditor needs to know the hash and the size only. The
// holder has to read the whole chunk, and signs its answer together with the challenge, so that it can be shown later.
package audit
