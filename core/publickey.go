// SPDX-License-Identifier: Apache-2.0

package core

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"iter"
	"slices"
)

// PublicKey is what a signer shows of its key: the first Ed25519 key, 32 bytes, of which its ID is made, and for each
// rotation 96 bytes more: the next key, and the signature of the one before by which it stands in its place. So the ID
// stays whatever key is used, and whoever is shown the last can tell without asking anybody.
type PublicKey []byte

const (
	// MaxRotations bounds how often a key is rotated, and so what it takes wherever it is shown.
	MaxRotations = 16

	rotationSize = ed25519.PublicKeySize + ed25519.SignatureSize

	// MaxPublicKey is the most bytes of a PublicKey.
	MaxPublicKey = ed25519.PublicKeySize + MaxRotations*rotationSize
)

// ParsePublicKey reads what a signer shows, and refuses keys that must not be taken for one and a rotation that the key
// before did not sign.
func ParsePublicKey(raw []byte) (PublicKey, error) {
	rotations := (len(raw) - ed25519.PublicKeySize) / rotationSize
	switch {
	case len(raw) < ed25519.PublicKeySize || len(raw) != ed25519.PublicKeySize+rotations*rotationSize:
		return nil, fmt.Errorf("public key has %d bytes, want %d, and %d more for each rotation", len(raw),
			ed25519.PublicKeySize, rotationSize)
	case rotations > MaxRotations:
		return nil, fmt.Errorf("public key was rotated %d times, at most %d are allowed", rotations, MaxRotations)
	}
	k := PublicKey(raw[:ed25519.PublicKeySize])
	if err := checkKey(k); err != nil {
		return nil, err
	}
	for len(k) < len(raw) {
		rotation := raw[len(k) : len(k)+rotationSize]
		next, signature := rotation[:ed25519.PublicKeySize], rotation[ed25519.PublicKeySize:]
		if err := checkKey(next); err != nil {
			return nil, err
		}
		if !k.Verify(k.rotation(next), signature) {
			return nil, fmt.Errorf("rotation %d of the public key is not signed by the key before", k.Rotations()+1)
		}
		k = PublicKey(raw[:len(k)+rotationSize])
	}
	return k, nil
}

// PublicKeySizes are the bytes that a PublicKey may have, that of one that was never rotated first.
func PublicKeySizes() iter.Seq[int] {
	return func(yield func(int) bool) {
		for n := ed25519.PublicKeySize; n <= MaxPublicKey && yield(n); n += rotationSize {
		}
	}
}

// First is the first key, whose BLAKE3-256 digest is the ID; of what is no public key, all of it.
func (k PublicKey) First() []byte { return k[:min(len(k), ed25519.PublicKeySize)] }

// Rotations is how many keys were in use before the last.
func (k PublicKey) Rotations() int { return max(0, len(k)-ed25519.PublicKeySize) / rotationSize }

// Last is the key that signs now, of one that was parsed.
func (k PublicKey) Last() ed25519.PublicKey {
	if k.Rotations() == 0 {
		return ed25519.PublicKey(k)
	}
	rotation := k[len(k)-rotationSize:]
	return ed25519.PublicKey(rotation[:ed25519.PublicKeySize])
}

// All is k as it was before each rotation, the first key first, and as it is.
func (k PublicKey) All() iter.Seq[PublicKey] {
	return func(yield func(PublicKey) bool) {
		for n := range PublicKeySizes() {
			if n > len(k) || !yield(k[:n]) {
				return
			}
		}
	}
}

// Verify reports whether the last key signed a message.
func (k PublicKey) Verify(message, signature []byte) bool {
	return ed25519.Verify(k.Last(), message, signature)
}

// Extends reports whether k is before, or what it became by being rotated.
func (k PublicKey) Extends(before PublicKey) bool { return bytes.HasPrefix(k, before) }

// Rotated is k with one rotation more: sign signs with its last key.
func (k PublicKey) Rotated(next ed25519.PublicKey, sign func(message []byte) []byte) (PublicKey, error) {
	return ParsePublicKey(slices.Concat(k, PublicKey(next), sign(k.rotation(next))))
}

// rotation is what the last key signs where next takes its place.
func (k PublicKey) rotation(next []byte) []byte {
	return slices.Concat([]byte("bkp rotation v1\x00"), k, next)
}
