// SPDX-License-Identifier: Apache-2.0

package key

import (
	"fmt"

	"github.com/bkp-tool/bkp/core"
)

// SignedHead is a node's word on all that its ledger held at one moment.
type SignedHead struct {
	Size      int64     `json:"size"` // entries
	Root      core.Hash `json:"root"` // of the Merkle tree over them: SHA-256, as in RFC 6962
	Key       []byte    `json:"key"`  // the node's public key
	Signature []byte    `json:"signature"`
}

// HeadSigner signs heads with the node's key; *Signer is one.
type HeadSigner interface {
	ID() core.ID
	Public() core.PublicKey
	Sign(msg []byte) []byte
}

// SignHead is the head of a ledger of so many entries.
func SignHead(size int64, root core.Hash, signer HeadSigner) SignedHead {
	h := SignedHead{Size: size, Root: root, Key: signer.Public()}
	h.Signature = signer.Sign(h.message())
	return h
}

// Node is the ID of the key that signed.
func (h SignedHead) Node() core.ID { return IDOf(h.Key) }

// Check returns nil where the signature is good.
func (h SignedHead) Check() error {
	switch k, err := core.ParsePublicKey(h.Key); {
	case err != nil:
		return fmt.Errorf("head over %d entries: %w", h.Size, err)
	case h.Size < 0:
		return fmt.Errorf("head over %d entries", h.Size)
	case !k.Verify(h.message(), h.Signature):
		return fmt.Errorf("head over %d entries: the signature of %s does not fit", h.Size, h.Node())
	}
	return nil
}

func (h SignedHead) message() []byte {
	return fmt.Appendf(nil, "bkp ledger head v1\n%d\n%s\n", h.Size, h.Root)
}
