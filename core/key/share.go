// SPDX-License-Identifier: Apache-2.0

package key

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/bkp-tool/bkp/core"
)

// Share is all that it takes to fetch one version of an owner, and nothing else of it: the key of a node that may ask
// for it, until the delegation ends or is revoked, and the version's own keys. Whoever has it can.
type Share struct {
	V          int      `json:"v"` // 1
	Owner      core.ID  `json:"owner"`
	Name       string   `json:"name"`
	Alias      string   `json:"alias"`
	Version    int      `json:"version"`
	Seed       [32]byte `json:"node_seed"` // of the node that may ask
	Delegation []byte   `json:"delegation"`
	Body       []byte   `json:"body"`  // CBOR, as within a ref
	Peers      []string `json:"peers"` // who may be asked, as in a peer list
	body       RefBody
}

// errReadOnly is why a share signs nothing.
var errReadOnly = errors.New("a share may only be read")

// Share makes a share of a version of this owner, for a node whose key is drawn from rand. Its ID is what is revoked.
func (o *Owner) Share(r Ref, body RefBody, expires time.Time, rand io.Reader) (text []byte, node core.ID, err error) {
	signer, err := NewSigner(rand)
	if err != nil {
		return nil, node, err
	}
	d := Delegation{V: 1, Owner: o.ID(), Node: signer.ID(), Rights: []Right{RightRead}, Alias: r.Alias,
		Version: r.Version, Expires: expires.Unix()}
	s := Share{V: 1, Owner: o.ID(), Name: body.Name, Alias: r.Alias, Version: r.Version, Seed: signer.Seed(), Peers: o.Peers}
	if s.Delegation, err = o.delegate(d); err != nil {
		return nil, node, err
	}
	if s.Body, err = body.encode(); err != nil {
		return nil, node, fmt.Errorf("share %s: %w", r.Alias, err)
	}
	text, err = json.Marshal(s, jsontext.WithIndent("  "))
	return append(text, '\n'), signer.ID(), err
}

// ParseShare reads a share.
func ParseShare(text []byte) (*Share, error) {
	if core.Size(len(text)) > maxIdentity {
		return nil, fmt.Errorf("read share: %d bytes, at most %d are allowed", len(text), maxIdentity)
	}
	var s Share
	err := json.Unmarshal(text, &s, strict)
	if err != nil {
		return nil, fmt.Errorf("read share: %w", withoutSecrets(err))
	}
	d, err := OpenDelegation(s.Delegation)
	switch {
	case err != nil:
	case s.V != 1:
		err = fmt.Errorf("version %d is not known here", s.V)
	case d.Owner != s.Owner || d.Alias != s.Alias || d.Version != s.Version || d.Node != s.Signer().ID():
		err = fmt.Errorf("its delegation is of something else")
	default:
		s.body, err = decodeRefBody(s.Body)
	}
	if err == nil && s.body.Name != s.Name {
		err = fmt.Errorf("its body is of another name")
	}
	if err != nil {
		return nil, fmt.Errorf("read share: %w", err)
	}
	return &s, nil
}

// Signer is the node that may ask for the version.
func (s *Share) Signer() *Signer { return SignerFromSeed(s.Seed) }

// Expires is when the share ends, if it is not revoked before.
func (s *Share) Expires() time.Time {
	d, err := OpenDelegation(s.Delegation)
	if err != nil {
		return time.Time{}
	}
	return time.Unix(d.Expires, 0)
}

// Reader is the owner as far as the share goes: it opens the version's ref, and signs nothing.
func (s *Share) Reader() *Owner { return &Owner{Peers: s.Peers, shared: s} }

// opens returns what the share says of a ref.
func (s *Share) opens(r Ref) (RefBody, error) {
	if r.Owner != s.Owner || r.Alias != s.Alias || r.Version != s.Version {
		return RefBody{}, fmt.Errorf("open ref %s.%d: the share is of another version", r.Alias, r.Version)
	}
	if r.V > 1 && r.Content != s.body.Root.Hash {
		return RefBody{}, core.Fail(core.CodeWrong, "open ref %s.%d: it is of other content than was shared", r.Alias, r.Version)
	}
	return s.body, nil
}

// GoString keeps the secrets out of %#v.
func (s *Share) GoString() string { return fmt.Sprintf("key.Share(%s@%d)", s.Alias, s.Version) }
