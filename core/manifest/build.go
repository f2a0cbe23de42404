// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"fmt"
	"slices"

	"github.com/bkp-tool/bkp/core"
)

// Sealer seals a tree node and keeps it.
type Sealer interface {
	SealNode(plain []byte) (core.Sealed, error)
}

// Builder builds the tree of one file. It keeps one open node of each level in memory, whatever the size of the file.
type Builder struct {
	sealer Sealer
	levels []*node // open nodes, leaves first
	size   core.Size
	leaves uint64
}

// NewBuilder builds a tree whose nodes go to s as soon as they are full, so that they stand before their parents.
func NewBuilder(s Sealer) *Builder {
	return &Builder{sealer: s, levels: []*node{{}}}
}

// Size is how many bytes of the file the entries so far cover.
func (b *Builder) Size() core.Size { return b.size }

// Add takes the file's next chunk; one with a zero hash is a hole of c.Plain bytes.
func (b *Builder) Add(c core.Sealed) error {
	if c.Plain <= 0 || b.size+c.Plain > maxFile {
		return fmt.Errorf("add a chunk of %d bytes at %d: out of bounds", c.Plain, b.size)
	}
	if c.Hash.IsZero() {
		c = core.Sealed{Plain: c.Plain}
	}
	if err := b.add(0, child{sealed: c, span: c.Plain}); err != nil {
		return err
	}
	b.size += c.Plain
	b.leaves++
	return nil
}

// add appends to the open node of a level, sealing it first where it is full.
func (b *Builder) add(level int, c child) error {
	n := b.levels[level]
	if len(n.entries) == Fanout {
		if err := b.close(level); err != nil {
			return err
		}
	}
	n.entries = append(n.entries, c)
	return nil
}

// close seals the open node of a level, gives it to the level above, and empties it.
func (b *Builder) close(level int) error {
	n := b.levels[level]
	plain, err := n.encode()
	if err != nil {
		return fmt.Errorf("encode tree node: %w", err)
	}
	sealed, err := b.sealer.SealNode(plain)
	if err != nil {
		return fmt.Errorf("seal tree node: %w", err)
	}
	var span core.Size
	for _, c := range n.entries {
		span += c.span
	}
	if level+1 == len(b.levels) {
		if level == maxLevel {
			return fmt.Errorf("more entries than a tree can hold")
		}
		b.levels = append(b.levels, &node{level: level + 1})
	}
	if err := b.add(level+1, child{sealed: sealed, span: span}); err != nil {
		return err
	}
	n.order += capacity(level)
	n.entries = n.entries[:0]
	return nil
}

// capacity is how many leaf entries a full node of the level stands for.
func capacity(level int) uint64 { return 1 << (10 * (level + 1)) }

// Snapshot is the root of a tree for what was added so far; more may be added after.
func (b *Builder) Snapshot(info Info) (core.Sealed, error) {
	now := *b
	now.levels = make([]*node, len(b.levels))
	for i, n := range b.levels {
		copied := *n
		copied.entries = slices.Clone(n.entries)
		now.levels[i] = &copied
	}
	return now.Finish(info)
}

// Finish seals what is open and returns the root, which carries info with its Size filled in. Nothing may be added
// after.
func (b *Builder) Finish(info Info) (core.Sealed, error) {
	for level := 0; level < len(b.levels)-1; level++ {
		if err := b.close(level); err != nil {
			return core.Sealed{}, err
		}
	}
	root := b.levels[len(b.levels)-1]
	info.Size = b.size
	root.info = &info
	plain, err := root.encode()
	if err != nil {
		return core.Sealed{}, fmt.Errorf("encode root: %w", err)
	}
	if _, err := decode(plain); err != nil {
		return core.Sealed{}, fmt.Errorf("check root: %w", err) // an info that nobody could read back
	}
	sealed, err := b.sealer.SealNode(plain)
	if err != nil {
		return core.Sealed{}, fmt.Errorf("seal root: %w", err)
	}
	return sealed, nil
}
