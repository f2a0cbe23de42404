// SPDX-License-Identifier: Apache-2.0

package key

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"filippo.io/age"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/zeebo/blake3"

	"github.com/bkp-tool/bkp/core"
)

// writer is all that a machine needs to back up for an owner: the right to write, whom refs are sealed to, and the
// dedup secret. Nothing of it opens a ref.
type writer struct {
	owner      core.ID
	node       *Signer // the machine's own
	delegation []byte
	recipient  *age.X25519Recipient
}

// writerFile is the JSON of an identity that may only write; byte arrays are base64.
type writerFile struct {
	V           int      `json:"v"` // 1
	Owner       core.ID  `json:"owner"`
	NodeSeed    [32]byte `json:"node_seed"` // of the machine that it is for
	Delegation  []byte   `json:"delegation"`
	Recipient   string   `json:"recipient"`
	DedupSecret [32]byte `json:"dedup_secret"`
	Peers       []string `json:"peers"`
}

// Notes is where a machine that may only write keeps what it seals as long as it needs to know it, since it cannot open
// it again. A body is found by the hash of what it was sealed to.
type Notes interface {
	Note(alias string, version int, sealed core.Hash, body []byte) error
	Noted(alias string, version int, sealed core.Hash) ([]byte, error) // core.ErrNotFound where it is not there
}

// errWriteOnly is why an identity that may only write does nothing else.
var errWriteOnly = core.WithHint(core.Fail(core.CodeRefused, "this machine has an identity that may only write: it backs "+
	"up, and can neither read backups nor remove them"), "do that where the owner's own identity is: bkp key export there "+
	"takes it to another machine")

// Writer is this owner for a machine that is to back up, and not to read: its node's key is drawn from rand, and may
// write until it expires or is revoked.
func (o *Owner) Writer(expires time.Time, rand io.Reader) (*Owner, error) {
	node, err := NewSigner(rand)
	if err != nil {
		return nil, err
	}
	if err := o.signs(); err != nil {
		return nil, err
	}
	w := &writer{owner: o.ID(), node: node}
	if w.delegation, err = o.Delegate(node.ID(), []Right{RightWrite}, expires); err != nil {
		return nil, err
	}
	w.recipient = o.age.Recipient()
	return &Owner{Peers: o.Peers, DedupSecret: o.DedupSecret, writer: w}, nil
}

// Node is the key of the machine that an identity was made for which may only write, or only read; nil for every other.
func (o *Owner) Node() *Signer {
	switch {
	case o.writer != nil:
		return o.writer.node
	case o.reader != nil:
		return o.reader.node
	}
	return nil
}

// MayRead is nil where the identity opens backups, or else says that it only writes.
func (o *Owner) MayRead() error {
	if o.writer != nil {
		return errWriteOnly
	}
	return nil
}

// Delegation is the owner's word that Signer may sign licences; nil where that is the owner.
func (o *Owner) Delegation() []byte {
	if o.writer == nil {
		return nil
	}
	return o.writer.delegation
}

// signs is an error where the identity cannot sign what only its owner signs.
func (o *Owner) signs() error {
	switch {
	case o.signer != nil:
		return nil
	case o.writer != nil:
		return errWriteOnly
	}
	return o.MayWrite()
}

// marshal is its JSON.
func (w *writer) marshal(o *Owner) ([]byte, error) {
	return json.Marshal(writerFile{V: 1, Owner: w.owner, NodeSeed: w.node.Seed(), Delegation: w.delegation,
		Recipient: w.recipient.String(), DedupSecret: o.DedupSecret, Peers: o.Peers}, jsontext.WithIndent("  "))
}

// isWriter reports whether an identity file is of one that may only write.
func isWriter(data []byte) bool {
	var f struct {
		Recipient string `json:"recipient"`
	}
	return json.Unmarshal(data, &f) == nil && f.Recipient != ""
}

func parseWriter(data []byte) (*Owner, error) {
	var f writerFile
	if err := json.Unmarshal(data, &f, strict); err != nil {
		return nil, withoutSecrets(err)
	}
	if f.V != 1 {
		return nil, fmt.Errorf("version %d is not known here", f.V)
	}
	if f.NodeSeed == [32]byte{} || f.DedupSecret == [32]byte{} {
		return nil, errors.New("node_seed or dedup_secret is missing")
	}
	w := &writer{owner: f.Owner, node: SignerFromSeed(f.NodeSeed), delegation: f.Delegation}
	var err error
	if w.recipient, err = age.ParseX25519Recipient(f.Recipient); err != nil {
		return nil, errors.New("recipient is not a public key of age")
	}
	d, err := OpenDelegation(f.Delegation)
	switch {
	case err != nil:
		return nil, err
	case d.Owner != f.Owner || d.Node != w.node.ID() || d.Alias != "" || !slices.Equal(d.Rights, []Right{RightWrite}):
		return nil, errors.New("its delegation is of something else")
	}
	return &Owner{Peers: f.Peers, DedupSecret: f.DedupSecret, writer: w}, nil
}

// rootKey is RefBody.RootKey: as it was made while the key was known.
func (o *Owner) rootKey(body RefBody) ([]byte, error) {
	switch {
	case len(body.RootKey) > 0:
		return body.RootKey, nil
	case body.Forgotten():
		return nil, errors.New("the key of its content is not known here")
	}
	return o.encrypt(body.Root.Key[:])
}

// openRootKey puts the key of the content back that the machine which wrote the body had forgotten.
func (o *Owner) openRootKey(body *RefBody) error {
	k, err := o.decrypt(body.RootKey)
	if err == nil && len(k) != len(body.Root.Key) {
		err = fmt.Errorf("the key of its content has %d bytes", len(k))
	}
	if err == nil {
		body.Root.Key, body.RootKey = core.Key(k), nil
	}
	return err
}

// note keeps the body of a ref that is sealed now. Refs of version 1 are for others only.
func (o *Owner) note(r Ref, body RefBody) error {
	if o.writer == nil || r.V == 1 {
		return nil
	}
	if o.Notes == nil {
		return errors.New("there is nowhere to note what is in it")
	}
	plain, err := body.encode()
	if err != nil {
		return err
	}
	return o.Notes.Note(r.Alias, r.Version, SealedBy(r), plain)
}

// noted is the body of a ref that this machine sealed.
func (o *Owner) noted(r Ref) ([]byte, error) {
	err := error(core.ErrNotFound)
	var plain []byte
	if o.Notes != nil {
		plain, err = o.Notes.Noted(r.Alias, r.Version, SealedBy(r))
	}
	if errors.Is(err, core.ErrNotFound) {
		err = core.Fail(core.CodeWrong, "this machine may only write, and did not note what is in it")
	}
	return plain, err
}

// SealedBy names the sealed body of a ref.
func SealedBy(r Ref) core.Hash { return blake3.Sum256(r.Body) }

// Forget is a noted body without the key of its content, but as its owner alone can open it: name, size and records
// stay, by which the machine knows what peers keep already, and nothing of the content can be read.
func Forget(body []byte) ([]byte, error) {
	b, err := decodeRefBody(body)
	if err != nil {
		return nil, fmt.Errorf("noted body: %w", err)
	}
	b.Root.Key = core.Key{}
	return b.encode()
}

// Forgotten reports whether the key of the content is not known here any more.
func (body RefBody) Forgotten() bool { return body.Root.Key == core.Key{} }
