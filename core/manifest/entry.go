// SPDX-License-Identifier: Apache-2.0

package manifest

import "github.com/bkp-tool/bkp/core"

// Fanout is how many entries a tree node holds at most.
const Fanout = 1024

const (
	maxLevel = 5               // 1024^6 entries are more than any file has
	maxFile  = core.Size(1e18) // bytes; keeps every sum far from overflow
)

// Entry is one entry of the tree: a chunk of the file, a hole in it, or a tree node.
type Entry struct {
	Type   core.FileType // file for chunks and holes, directory for tree nodes
	Name   string        // the orders on the way from the root, as 2/17; empty for the root itself
	Order  int           // position among its siblings
	Chunk  core.Sealed   // Hash is zero for a hole
	Offset core.Size     // of its first byte in the file
	Span   core.Size     // how many bytes of the file it covers; for a chunk or a hole, Chunk.Plain
	Level  int           // of a tree node: 0 holds chunks
}

// Hole reports whether the entry stands for zeros that nobody stores.
func (e Entry) Hole() bool { return e.Type == core.TypeFile && e.Chunk.Hash.IsZero() }

// File is the entry as the stored-file list shows it.
func (e Entry) File() core.File {
	return core.File{Name: e.Name, Type: e.Type, Order: e.Order, Hash: e.Chunk.Hash, Size: e.Chunk.Size}
}

// Info is what the root tells about the whole file.
type Info struct {
	Size          core.Size // plain bytes, holes included
	Method        string    // how it was cut, with Min, Avg and Max in bytes
	Min, Avg, Max int
	DigestName    string // "", "sha256" or "blake3"
	Digest        []byte // of the plain bytes, where asked for
}
