// SPDX-License-Identifier: Apache-2.0

package chunk

import (
	"crypto/aes"
	"crypto/cipher"
	"fmt"

	"github.com/bkp-tool/bkp/core"
	"github.com/zeebo/blake3"
)

const (
	version      = 1
	methodPlain  = 0
	methodZstd   = 1
	nonceSize    = 12
	headerSize   = 2 + nonceSize
	tagSize      = 16
	nonceContext = "bkp nonce v1"
)

// Overhead is how many bytes longer than its body a sealed chunk is. Compression never makes the body longer than the
// plain bytes, so no stored chunk is longer than MaxStored.
const (
	Overhead  = headerSize + tagSize
	MaxStored = MaxPlain + Overhead
)

// Sealer seals plain content. One goroutine may use it at a time; it owns its compressor and its memory.
type Sealer struct {
	chunks   *blake3.Hasher // keyed for core.KindChunk
	nodes    *blake3.Hasher // keyed for core.KindNode
	compress compressor     // nil for LevelOff
	body     []byte         // compressor's output, reused
}

// NewSealer seals with the owner's secrets at the given level.
func NewSealer(s Secrets, level Level) (*Sealer, error) {
	if _, err := ParseLevel(string(level)); err != nil {
		return nil, err
	}
	sealer := &Sealer{chunks: s.hasher(core.KindChunk), nodes: s.hasher(core.KindNode)}
	if level == LevelOff {
		return sealer, nil
	}
	var err error
	if sealer.compress, err = newCompressor(level); err != nil {
		return nil, err
	}
	return sealer, nil
}

// Identify is Secrets.Identify without allocating.
func (s *Sealer) Identify(kind core.Kind, plain []byte) (id core.Hash, k core.Key) {
	h := s.chunks
	if kind == core.KindNode {
		h = s.nodes
	}
	h.Reset()
	return identify(h, plain)
}

// Seal appends the sealed form of plain to dst. k must come from identifying the same plain bytes as the same kind;
// plain is at most MaxPlain long.
func (s *Sealer) Seal(dst []byte, kind core.Kind, k core.Key, plain []byte) ([]byte, error) {
	if len(plain) > MaxPlain {
		return nil, fmt.Errorf("seal %d bytes: a chunk holds at most %d", len(plain), MaxPlain)
	}
	if s.compress != nil && len(plain) > 0 {
		var err error
		if s.body, err = s.compress(s.body[:0], plain); err != nil {
			return nil, err
		}
		if len(s.body) < len(plain) {
			return sealBody(dst, kind, k, methodZstd, s.body)
		}
	}
	return sealBody(dst, kind, k, methodPlain, plain)
}

func sealBody(dst []byte, kind core.Kind, k core.Key, method byte, body []byte) ([]byte, error) {
	aead, err := newAEAD(k)
	if err != nil {
		return nil, err
	}
	start := len(dst)
	var header [headerSize]byte
	header[0], header[1] = version, method
	if method != methodPlain {
		nonce := nonceOf(k, method, body)
		copy(header[2:], nonce[:])
	}
	dst = append(dst, header[:]...)
	return aead.Seal(dst, dst[start+2:start+headerSize], body, associated(dst[start:start+headerSize], kind)), nil
}

// nonceOf draws the nonce from the body, for every method but 0.
func nonceOf(k core.Key, method byte, body []byte) (nonce [nonceSize]byte) {
	var key [32]byte
	blake3.DeriveKey(nonceContext, k[:], key[:])
	h := keyed(key[:])
	h.Write(body)
	nonce[0] = method
	h.Digest().Read(nonce[1:])
	return nonce
}

func newAEAD(k core.Key) (cipher.AEAD, error) {
	block, err := aes.NewCipher(k[:])
	if err != nil {
		return nil, fmt.Errorf("make cipher: %w", err)
	}
	return cipher.NewGCM(block)
}

// associated is what GCM authenticates beside the body.
func associated(header []byte, kind core.Kind) []byte {
	return append(append(make([]byte, 0, headerSize+8), header...), kind...)
}
