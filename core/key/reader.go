// SPDX-License-Identifier: Apache-2.0

package key

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/bkp-tool/bkp/core"
)

// MaxRecipients bounds who besides its owner a ref is sealed to.
const MaxRecipients = 16

// reader is all that it takes to find and read what an owner has placed since its age key was made a recipient: the
// right to read, that key, and the names' aliases. Nothing of it signs, cuts or seals.
type reader struct {
	owner      core.ID
	node       *Signer // of the machine that reads
	delegation []byte
	age        *age.X25519Identity
	aliases    [32]byte // the secret that aliases are made of
}

// readerFile is the JSON of an identity that may only read; byte arrays are base64.
type readerFile struct {
	V           int      `json:"v"` // 1
	Owner       core.ID  `json:"owner"`
	NodeSeed    [32]byte `json:"node_seed"` // of the machine that it is for
	Delegation  []byte   `json:"delegation"`
	AgeIdentity string   `json:"age_identity"`
	AliasSecret [32]byte `json:"alias_secret"`
	Peers       []string `json:"peers"`
}

// errMayOnlyRead is why an identity that may only read does nothing else.
var errMayOnlyRead = core.WithHint(core.Fail(core.CodeRefused, "this machine has an identity that may only read: it "+
	"lists and fetches, and can neither back up nor remove"), "do that where the owner's own identity is")

// ReaderFor is an identity that may read what is sealed to its recipient, and nothing else, until it expires or its
// node is revoked. Its keys are new.
func (o *Owner) ReaderFor(expires time.Time, rand io.Reader) (*Owner, error) {
	if err := o.signs(); err != nil {
		return nil, err
	}
	node, err := NewSigner(rand)
	if err != nil {
		return nil, err
	}
	r := &reader{owner: o.ID(), node: node, aliases: o.aliasSecret()}
	if r.delegation, err = o.Delegate(node.ID(), []Right{RightRead}, expires); err != nil {
		return nil, err
	}
	if r.age, err = age.GenerateX25519Identity(); err != nil {
		return nil, fmt.Errorf("new reader: %w", err)
	}
	return &Owner{Peers: o.Peers, reader: r}, nil
}

// MayWrite is nil where the identity backs up, or else says that it only reads.
func (o *Owner) MayWrite() error {
	switch {
	case o.reader != nil:
		return errMayOnlyRead
	case o.shared != nil:
		return errReadOnly
	}
	return nil
}

// ParseRecipient reads who is to be able to open refs: a public key of age, age1….
func ParseRecipient(text string) (string, error) {
	r, err := age.ParseX25519Recipient(strings.TrimSpace(text))
	if err != nil {
		return "", fmt.Errorf("%q is not a public key of age, age1…", text)
	}
	return r.String(), nil
}

// recipients is who can open what is sealed now: the owner, and whom it added.
func (o *Owner) recipients() (all []age.Recipient, err error) {
	all = []age.Recipient{o.recipient()}
	if o.Recipients == nil {
		return all, nil
	}
	others, err := o.Recipients()
	if len(others) > MaxRecipients {
		err = fmt.Errorf("%d recipients, at most %d are allowed", len(others), MaxRecipients)
	}
	for _, text := range others {
		r, parseErr := age.ParseX25519Recipient(text)
		if err = errors.Join(err, parseErr); err == nil && text != o.Recipient() {
			all = append(all, r)
		}
	}
	return all, err
}

// marshal is its JSON.
func (r *reader) marshal(o *Owner) ([]byte, error) {
	return json.Marshal(readerFile{V: 1, Owner: r.owner, NodeSeed: r.node.Seed(), Delegation: r.delegation,
		AgeIdentity: r.age.String(), AliasSecret: r.aliases, Peers: o.Peers}, jsontext.WithIndent("  "))
}

// isReader reports whether an identity file is of one that may only read.
func isReader(data []byte) bool {
	var f struct {
		AliasSecret [32]byte `json:"alias_secret"`
	}
	return json.Unmarshal(data, &f) == nil && f.AliasSecret != [32]byte{}
}

func parseReader(data []byte) (*Owner, error) {
	var f readerFile
	if err := json.Unmarshal(data, &f, strict); err != nil {
		return nil, withoutSecrets(err)
	}
	if f.V != 1 {
		return nil, fmt.Errorf("version %d is not known here", f.V)
	}
	if f.NodeSeed == [32]byte{} {
		return nil, errors.New("node_seed is missing")
	}
	r := &reader{owner: f.Owner, node: SignerFromSeed(f.NodeSeed), delegation: f.Delegation, aliases: f.AliasSecret}
	var err error
	if r.age, err = age.ParseX25519Identity(f.AgeIdentity); err != nil {
		return nil, errors.New("age_identity is not an AGE-SECRET-KEY-1")
	}
	d, err := OpenDelegation(f.Delegation)
	switch {
	case err != nil:
		return nil, err
	case d.Owner != f.Owner || d.Node != r.node.ID() || d.Alias != "" || !slices.Equal(d.Rights, []Right{RightRead}):
		return nil, errors.New("its delegation is of something else")
	}
	return &Owner{Peers: f.Peers, reader: r}, nil
}
