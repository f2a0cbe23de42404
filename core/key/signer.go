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
	public  core.PublicKey
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
	public := core.PublicKey(private.Public().(ed25519.PublicKey))
	return &Signer{private: private, public: public, id: IDOf(public)}
}

// RotatedSigner is the key pair of a seed that is the last of those that public tells of.
func RotatedSigner(seed [32]byte, public []byte) (*Signer, error) {
	s := SignerFromSeed(seed)
	k, err := core.ParsePublicKey(public)
	if err != nil {
		return nil, err
	}
	if !k.Last().Equal(s.private.Public()) {
		return nil, fmt.Errorf("the key is not the last of %s", IDOf(k))
	}
	s.public, s.id = k, IDOf(k)
	return s, nil
}

// Rotate draws from rand the key pair that takes the place of this one, under its ID.
func (s *Signer) Rotate(rand io.Reader) (*Signer, error) {
	next, err := NewSigner(rand)
	if err != nil {
		return nil, err
	}
	public, err := s.public.Rotated(next.public.Last(), s.Sign)
	if err != nil {
		return nil, err
	}
	return RotatedSigner(next.Seed(), public)
}

// ID is the ID of the public key.
func (s *Signer) ID() core.ID { return s.id }

// Public is the public key; the caller must not change it.
func (s *Signer) Public() core.PublicKey { return s.public }

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

// IDOf is the ID of a public key: the BLAKE3-256 digest of its first. It refuses nothing; see core.ParsePublicKey.
func IDOf(k core.PublicKey) core.ID { return core.ID(blake3.Sum256(k.First())) }

// DeriveSecret derives one secret from another for a purpose that context names: BLAKE3's key derivation. A context is
// a constant of the program and is used for one purpose only.
func DeriveSecret(context string, secret [32]byte) [32]byte {
	var out [32]byte
	blake3.DeriveKey(context, secret[:], out[:])
	return out
}
