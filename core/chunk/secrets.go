// SPDX-License-Identifier: Apache-2.0

package chunk

import (
	"encoding/binary"

	"github.com/bkp-tool/bkp/core"
	"github.com/zeebo/blake3"
)

// Secrets are the keys derived from an owner's dedup secret. Copies share them; they never change.
type Secrets struct {
	gear  *[256]uint64
	chunk [32]byte // Sk of core.KindChunk
	node  [32]byte // Sk of core.KindNode
}

// NewSecrets derives the keys.
func NewSecrets(dedup [32]byte) Secrets {
	s := Secrets{gear: new([256]uint64)}
	var raw [8 * 256]byte
	blake3.DeriveKey("bkp gear v1", dedup[:], raw[:])
	for i := range s.gear {
		s.gear[i] = binary.LittleEndian.Uint64(raw[8*i:])
	}
	blake3.DeriveKey("bkp seal v1 chunk", dedup[:], s.chunk[:])
	blake3.DeriveKey("bkp seal v1 node", dedup[:], s.node[:])
	return s
}

// Identify names plain content: id finds it in the owner's own index, k seals it. Neither is ever sent to a peer.
func (s Secrets) Identify(kind core.Kind, plain []byte) (id core.Hash, k core.Key) {
	return identify(s.hasher(kind), plain)
}

// hasher computes H for one kind.
func (s Secrets) hasher(kind core.Kind) *blake3.Hasher {
	switch kind {
	case core.KindChunk:
		return keyed(s.chunk[:])
	case core.KindNode:
		return keyed(s.node[:])
	}
	panic("chunk: unknown kind " + string(kind))
}

func keyed(key []byte) *blake3.Hasher {
	h, err := blake3.NewKeyed(key)
	if err != nil {
		panic(err) // a key of another length than 32
	}
	return h
}

func identify(h *blake3.Hasher, plain []byte) (id core.Hash, k core.Key) {
	h.Write(plain)
	var sum [64]byte
	h.Digest().Read(sum[:])
	copy(id[:], sum[:32])
	copy(k[:], sum[32:])
	return id, k
}
