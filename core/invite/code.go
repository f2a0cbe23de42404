// SPDX-License-Identifier: Apache-2.0

// Package invite is how a node lets others in: the code that a person carries, and who may come by it.
//
// A [Code] says where a node is reached, what its key is, and a secret that was drawn for it alone. The new machine
// checks the key before it says anything, names the invite and proves the secret over its TLS connection (wire.Join),
// so that neither who stands between learns anything nor who answers in the node's place. The node's [Book] says
// whether the invite still stands. Who has proved its secret is told why not; who has not learns nothing.
package invite

import (
	"encoding/base32"
	"fmt"
	"strings"

	"github.com/bkp-tool/bkp/core"
	"github.com/zeebo/blake3"
)

const (
	// Half of an ID: to find another key with the same takes 2^128 tries.
	fingerprintSize = 16
	secretSize      = 16
	checkSize       = 2 // tells a mistyped code from a wrong one
)

// Secret is the random part of a code, 128 bits.
type Secret [secretSize]byte

// Name is the name of the invite that a secret belongs to, from which nobody finds the secret.
func (s Secret) Name() (name core.Nonce) {
	blake3.DeriveKey("bkp invite name v1", s[:], name[:])
	return name
}

// Code is what an invited machine is told.
type Code struct {
	Address     string // HOST:PORT
	Fingerprint [fingerprintSize]byte
	Secret      Secret
}

// NewCode is the code of a secret for a node at an address.
func NewCode(address string, node core.ID, secret Secret) Code {
	return Code{Address: address, Fingerprint: [fingerprintSize]byte(node[:fingerprintSize]), Secret: secret}
}

// Leads reports whether the code is one for a node.
func (c Code) Leads(to core.ID) bool {
	return c.Fingerprint == [fingerprintSize]byte(to[:fingerprintSize])
}

var codeText = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// String is HOST:PORT/ and 55 characters.
func (c Code) String() string { return c.Address + "/" + codeText.EncodeToString(c.sealed()) }

// GoString keeps the secret out of %#v.
func (c Code) GoString() string { return "invite.Code(" + c.Address + ")" }

// sealed is all but the address, and a check over everything.
func (c Code) sealed() []byte {
	raw := append(c.Fingerprint[:len(c.Fingerprint):len(c.Fingerprint)], c.Secret[:]...)
	check := blake3.Sum256(append([]byte("bkp invite v1 "+c.Address+"/"), raw...))
	return append(raw, check[:checkSize]...)
}

// ParseCode reads a code, in either case and with space around.
func ParseCode(text string) (Code, error) {
	text = strings.ToLower(strings.TrimSpace(text))
	bad := func(why string) (Code, error) {
		return Code{}, core.WithHint(core.Fail(core.CodeUsage, "the invite's code %s", why),
			"copy the whole of it, HOST:PORT/ and 55 characters, as bkp invite printed it")
	}
	address, rest, ok := strings.Cut(text, "/")
	if !ok {
		return bad("has no / in it")
	}
	peer, err := core.ParsePeer("wss://" + address)
	if err != nil || peer.Rate != 0 || !peer.ID.IsZero() {
		return bad(fmt.Sprintf("does not begin with HOST:PORT, but %q", core.Printable(address)))
	}
	raw, err := codeText.DecodeString(rest)
	if err != nil || len(raw) != fingerprintSize+secretSize+checkSize {
		return bad(fmt.Sprintf("has %d characters behind the /, or strange ones", len(rest)))
	}
	c := Code{Address: peer.Address()}
	copy(c.Fingerprint[:], raw)
	copy(c.Secret[:], raw[fingerprintSize:])
	if c.String() != peer.Address()+"/"+rest {
		return bad("is mistyped")
	}
	return c, nil
}
