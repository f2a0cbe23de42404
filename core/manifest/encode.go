// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"bytes"
	"fmt"

	"github.com/bkp-tool/bkp/core"
	"github.com/fxamacker/cbor/v2"
)

const version = 1

// node is a tree node in memory.
type node struct {
	level   int
	order   uint64
	entries []child
	info    *Info // root only
}

// child is an entry of a node; span equals sealed.Plain at level 0.
type child struct {
	sealed core.Sealed
	span   core.Size
}

// The shapes below are the encoded form; see the package comment.
type (
	wireNode struct {
		_       struct{} `cbor:",toarray"`
		Version uint64
		Level   uint64
		Order   uint64
		Entries cbor.RawMessage
		Info    *wireInfo
	}
	wireLeaf struct {
		_     struct{} `cbor:",toarray"`
		Hash  []byte
		Key   []byte
		Size  uint64
		Plain uint64
	}
	wireDirectory struct {
		_     struct{} `cbor:",toarray"`
		Hash  []byte
		Key   []byte
		Size  uint64
		Plain uint64
		Span  uint64
	}
	wireInfo struct {
		_          struct{} `cbor:",toarray"`
		Size       uint64
		Method     string
		Min        uint64
		Avg        uint64
		Max        uint64
		DigestName string
		Digest     []byte
	}
)

var (
	encoder = must(cbor.EncOptions{Sort: cbor.SortCoreDeterministic, IndefLength: cbor.IndefLengthForbidden,
		TagsMd: cbor.TagsForbidden, NilContainers: cbor.NilContainerAsEmpty}.EncMode())
	decoder = must(cbor.DecOptions{MaxArrayElements: Fanout, MaxNestedLevels: 4, MaxMapPairs: 16,
		IndefLength: cbor.IndefLengthForbidden, TagsMd: cbor.TagsForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField}.DecMode())
)

func must[M any](mode M, err error) M {
	if err != nil {
		panic(err) // the options are constants
	}
	return mode
}

func (n *node) encode() ([]byte, error) {
	var entries []byte
	var err error
	if n.level == 0 {
		leaves := make([]wireLeaf, len(n.entries))
		for i, c := range n.entries {
			leaves[i] = wireLeaf{Size: uint64(c.sealed.Size), Plain: uint64(c.sealed.Plain)}
			if !c.sealed.Hash.IsZero() {
				leaves[i].Hash, leaves[i].Key = n.entries[i].sealed.Hash[:], n.entries[i].sealed.Key[:]
			}
		}
		entries, err = encoder.Marshal(leaves)
	} else {
		directories := make([]wireDirectory, len(n.entries))
		for i, c := range n.entries {
			directories[i] = wireDirectory{Hash: n.entries[i].sealed.Hash[:], Key: n.entries[i].sealed.Key[:],
				Size: uint64(c.sealed.Size), Plain: uint64(c.sealed.Plain), Span: uint64(c.span)}
		}
		entries, err = encoder.Marshal(directories)
	}
	if err != nil {
		return nil, err
	}
	w := wireNode{Version: version, Level: uint64(n.level), Order: n.order, Entries: entries}
	if n.info != nil {
		w.Info = &wireInfo{Size: uint64(n.info.Size), Method: n.info.Method, Min: uint64(n.info.Min),
			Avg: uint64(n.info.Avg),
			Max: uint64(n.info.Max), DigestName: n.info.DigestName, Digest: n.info.Digest}
	}
	return encoder.Marshal(w)
}

// decode reads a node and refuses every form but the one that encode writes.
func decode(plain []byte) (*node, error) {
	var w wireNode
	if err := decoder.Unmarshal(plain, &w); err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	if w.Version != version {
		return nil, fmt.Errorf("version %d is not known here (have %d)", w.Version, version)
	}
	if w.Level > maxLevel {
		return nil, fmt.Errorf("level %d: a tree has at most %d", w.Level, maxLevel)
	}
	n := &node{level: int(w.Level), order: w.Order}
	var err error
	if n.entries, err = decodeEntries(w.Entries, n.level); err != nil {
		return nil, err
	}
	if w.Info != nil {
		if n.info, err = w.Info.info(); err != nil {
			return nil, err
		}
	}
	if again, err := n.encode(); err != nil || !bytes.Equal(again, plain) {
		return nil, fmt.Errorf("not in the one form that a tree node has")
	}
	return n, nil
}

func decodeEntries(raw []byte, level int) ([]child, error) {
	var leaves []wireLeaf
	var directories []wireDirectory
	var err error
	if level == 0 {
		err = decoder.Unmarshal(raw, &leaves)
	} else {
		err = decoder.Unmarshal(raw, &directories)
	}
	if err != nil {
		return nil, fmt.Errorf("decode entries: %w", err)
	}
	for _, l := range leaves {
		directories = append(directories, wireDirectory{Hash: l.Hash, Key: l.Key, Size: l.Size, Plain: l.Plain,
			Span: l.Plain})
	}
	out := make([]child, len(directories))
	for i, d := range directories {
		if out[i], err = d.child(level); err != nil {
			return nil, fmt.Errorf("entry %d: %w", i, err)
		}
	}
	return out, nil
}

func (d wireDirectory) child(level int) (c child, err error) {
	if d.Size > uint64(maxFile) || d.Plain > uint64(maxFile) || d.Span > uint64(maxFile) {
		return c, fmt.Errorf("sizes %d, %d, %d are out of bounds", d.Size, d.Plain, d.Span)
	}
	c = child{sealed: core.Sealed{Size: core.Size(d.Size), Plain: core.Size(d.Plain)}, span: core.Size(d.Span)}
	hole := level == 0 && len(d.Hash) == 0 && len(d.Key) == 0
	switch {
	case c.span == 0 || c.sealed.Plain == 0:
		return c, fmt.Errorf("covers no bytes")
	case hole && c.sealed.Size != 0:
		return c, fmt.Errorf("a hole with %d stored bytes", c.sealed.Size)
	case hole:
		return c, nil
	case len(d.Hash) != len(c.sealed.Hash) || len(d.Key) != len(c.sealed.Key):
		return c, fmt.Errorf("hash of %d and key of %d bytes: want 32", len(d.Hash), len(d.Key))
	case c.sealed.Size == 0:
		return c, fmt.Errorf("no stored bytes")
	}
	copy(c.sealed.Hash[:], d.Hash)
	copy(c.sealed.Key[:], d.Key)
	if c.sealed.Hash.IsZero() {
		return c, fmt.Errorf("hash of zeros")
	}
	return c, nil
}

func (w wireInfo) info() (*Info, error) {
	const maxChunk = 1 << 30 // whoever cuts by these has tighter bounds; this keeps them an int everywhere
	if w.Size > uint64(maxFile) || w.Min > maxChunk || w.Avg > maxChunk || w.Max > maxChunk {
		return nil, fmt.Errorf("info: sizes %d, %d, %d, %d are out of bounds", w.Size, w.Min, w.Avg, w.Max)
	}
	want := 32
	switch w.DigestName {
	case "":
		want = 0
	case "sha256", "blake3":
	default:
		return nil, fmt.Errorf("info: unknown digest %q", w.DigestName)
	}
	if len(w.Digest) != want {
		return nil, fmt.Errorf("info: digest %q of %d bytes: want %d", w.DigestName, len(w.Digest), want)
	}
	return &Info{Size: core.Size(w.Size), Method: w.Method, Min: int(w.Min), Avg: int(w.Avg), Max: int(w.Max),
		DigestName: w.DigestName, Digest: w.Digest}, nil
}
