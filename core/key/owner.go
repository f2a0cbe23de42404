// SPDX-License-Identifier: Apache-2.0

package key

import (
	"encoding/base32"
	"fmt"
	"io"
	"time"

	"filippo.io/age"
	"github.com/zeebo/blake3"

	"github.com/bkp-tool/bkp/core"
)

// Owner is the identity whose files they are: everything that is needed to find, read and give up backups.
// All of it is secret but the ID and the peers.
type Owner struct {
	Peers       []string // addresses of peers that hold this owner's refs, as in a peer list
	DedupSecret [32]byte // cuts, seals and names: see core/chunk

	Notes Notes // for an identity that may only write
	// who besides the owner can open what is sealed from now on: public keys of age; nil: nobody
	Recipients func() ([]string, error)
	Permits    func() [][]byte // by which it may store where it is no issuer itself, as core/license has them; nil: none

	signer *Signer
	age    *age.X25519Identity
	shared *Share  // what there is of an owner who shared a version; neither of the two above then
	writer *writer // what there is of one whose machine may only write; neither of them either
	reader *reader // what there is of one whose machine may only read; neither of them either
}

// NewOwner draws an owner from rand; age draws its identity from the system by itself.
func NewOwner(rand io.Reader) (*Owner, error) {
	signer, err := NewSigner(rand)
	if err != nil {
		return nil, fmt.Errorf("new owner: %w", err)
	}
	o := &Owner{signer: signer}
	if _, err := io.ReadFull(rand, o.DedupSecret[:]); err != nil {
		return nil, fmt.Errorf("new owner: draw the dedup secret: %w", err)
	}
	if o.age, err = age.GenerateX25519Identity(); err != nil {
		return nil, fmt.Errorf("new owner: %w", err)
	}
	return o, nil
}

// ID is the ID of the owner's key.
func (o *Owner) ID() core.ID {
	if o.shared != nil {
		return o.shared.Owner
	}
	if o.writer != nil {
		return o.writer.owner
	}
	if o.reader != nil {
		return o.reader.owner
	}
	return o.signer.ID()
}

// Words is what the owner's word is that a node may act for it: made now where the owner is here, for so long, or
// what the identity came with.
func (o *Owner) Words(node core.ID, until time.Time) ([]byte, error) {
	if o.shared != nil {
		return o.shared.Delegation, nil
	}
	if o.writer != nil {
		return o.writer.delegation, nil
	}
	if o.reader != nil {
		return o.reader.delegation, nil
	}
	return o.Delegate(node, AllRights, until)
}

// Shows are the permits that it has.
func (o *Owner) Shows() [][]byte {
	if o == nil || o.Permits == nil {
		return nil
	}
	return o.Permits()
}

// Signer signs as the owner, or as the machine that Delegation is for.
func (o *Owner) Signer() *Signer {
	if o.writer != nil {
		return o.writer.node
	}
	if o.reader != nil {
		return o.reader.node
	}
	return o.signer
}

// Recipient is the age public key that ref bodies are encrypted to.
func (o *Owner) Recipient() string { return o.recipient().String() }

func (o *Owner) recipient() *age.X25519Recipient {
	if o.writer != nil {
		return o.writer.recipient
	}
	if o.reader != nil {
		return o.reader.age.Recipient()
	}
	return o.age.Recipient()
}

// String is the ID, so that an owner may stand in a log line.
func (o *Owner) String() string { return o.ID().String() }

// GoString keeps the secrets out of %#v.
func (o *Owner) GoString() string { return "key.Owner(" + o.ID().String() + ")" }

var aliasText = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// Alias is the keyed name under which peers know name: 52 characters of base32 that mean nothing without the dedup
// secret.
func (o *Owner) Alias(name string) string {
	if o.shared != nil && name == o.shared.Name {
		return o.shared.Alias
	}
	secret := o.aliasSecret()
	h, err := blake3.NewKeyed(secret[:])
	if err != nil {
		panic(err) // the key has 32 bytes
	}
	h.WriteString(name)
	return aliasText.EncodeToString(h.Sum(nil))
}

func (o *Owner) aliasSecret() [32]byte {
	if o.reader != nil {
		return o.reader.aliases
	}
	return DeriveSecret("bkp alias v1", o.DedupSecret)
}

// checkAlias refuses what Alias cannot have made.
func checkAlias(alias string) error {
	raw, err := aliasText.DecodeString(alias)
	if err != nil || len(raw) != 32 || aliasText.EncodeToString(raw) != alias {
		return fmt.Errorf("not an alias (52 characters of base32): %q", alias)
	}
	return nil
}
