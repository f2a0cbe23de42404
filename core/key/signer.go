// SPDX-License-Identifier: Apache-2.0

package key

import (
	"crypto/ed25519"
	"fmt"
	"io"

	"github.com/zeebo/blake3"

	"github.com/bkp-tool/bkp/core"
)

// Signer is an Ed25519 key pair: a node's, or an owner's. It may be used from many goroutines.
type Signer struct {
	private ed25519.PrivateKey
	id      core.ID
}

// NewSigner draws a key pair from rand.
func NewSigner(rand io.Reader) (*Signer, error) {
	var seed [32]byte
	if _, err := io.ReadFull(rand, seed[:]); err != nil {
		return nil, fmt.Errorf("draw a key: %w", err)
	}
	return SignerFromSeed(seed), nil
}

// SignerFromSeed is the key pair of a seed, always the same.
func SignerFromSeed(seed [32]byte) *Signer {
	private := ed25519.NewKeyFromSeed(seed[:])
	return &Signer{private: private, id: IDOf(private.Public().(ed25519.PublicKey))}
}

// ID is the ID of the public key.
func (s *Signer) ID() core.ID { return s.id }

// Public is the public key; the caller must not change it.
func (s *Signer) Public() ed25519.PublicKey { return s.private.Public().(ed25519.PublicKey) }

// Private is the private key, for TLS; the caller must not change it.
func (s *Signer) Private() ed25519.PrivateKey { return s.private }

// Seed is what SignerFromSeed makes the same key pair of. It is secret.
func (s *Signer) Seed() [32]byte { return [32]byte(s.private.Seed()) }

// Sign signs msg as it is. Callers keep their messages apart by a prefix of their own, as DSSE does with "DSSEv1".
func (s *Signer) Sign(msg []byte) []byte { return ed25519.Sign(s.private, msg) }

// String is the ID, so that a key pair may stand in a log line.
func (s *Signer) String() string { return s.id.String() }

// GoString keeps the private key out of %#v.
func (s *Signer) GoString() string { return "key.Signer(" + s.id.String() + ")" }

// IDOf is the ID of a public key: its BLAKE3-256 digest. It refuses nothing; see ParsePublic.
func IDOf(pub ed25519.PublicKey) core.ID { return core.ID(blake3.Sum256(pub)) }

// ParsePublic reads a raw public key and refuses one that core.CheckPublicKey refuses.
func ParsePublic(raw []byte) (ed25519.PublicKey, error) {
	if err := core.CheckPublicKey(raw); err != nil {
		return nil, err
	}
	return ed25519.PublicKey(raw), nil
}

// DeriveSecret derives one secret from another for a purpose that context names: BLAKE3's key derivation. A context is
// a constant of the program and is used for one purpose only.
func DeriveSecret(context string, secret [32]byte) [32]byte {
	var out [32]byte
	blake3.DeriveKey(context, secret[:], out[:])
	return out
}
