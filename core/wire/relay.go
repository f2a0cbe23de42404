// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/zeebo/blake3"

	"github.com/bkp-tool/bkp/core"
)

// MaxRoute is how many nodes a relayed message may see, its sender and receiver included.
const MaxRoute = 16

// relayLife is how far the clocks of two nodes may be apart, and how long a relayed message is good for.
const relayLife = 10 * time.Minute

// Relay carries a message between two nodes that no session joins, along a route that its sender found. The nodes
// between pass it on as it is.
type Relay struct {
	Route     []core.ID `json:"route" most:"route"` // from its sender to whom it is for
	Key       []byte    `json:"key"`                // the sender's public key
	Signature []byte    `json:"signature"`          // by it, over all of the rest
	Time      int64     `json:"time"`
	Message   []byte    `json:"message"` // as inRelay has it encoded
}

// Signer signs for a node.
type Signer interface {
	Public() core.PublicKey
	Sign(message []byte) []byte
}

// NewRelay wraps a message for the last node of a route that begins with the signer's.
func NewRelay(route []core.ID, m Message, now time.Time, by Signer) (Relay, error) {
	encoded, err := inRelay(m).Encode(m)
	if err != nil {
		return Relay{}, err
	}
	r := Relay{Route: route, Key: by.Public(), Time: now.Unix(), Message: encoded}
	r.Signature = by.Sign(r.signed())
	return r, r.Validate()
}

// Open is the message, if it is the first node's and of now. The route was Validated.
func (r Relay) Open(now time.Time) (Message, error) {
	k, err := core.ParsePublicKey(r.Key)
	switch age := now.Sub(time.Unix(r.Time, 0)); {
	case err != nil || core.ID(blake3.Sum256(k.First())) != r.Route[0] || !k.Verify(r.signed(), r.Signature):
		return nil, fmt.Errorf("a relayed message that is not signed by %s", r.Route[0].Short())
	case age > relayLife || age < -relayLife:
		return nil, fmt.Errorf("a relayed message of %s: its clock or this one is wrong",
			time.Unix(r.Time, 0).UTC().Format(time.DateTime))
	}
	return openInRelay(r.Message)
}

func openInRelay(data []byte) (Message, error) {
	m, _, err := V1.Decode(data)
	if err != nil {
		m, _, err = newest.Decode(data)
	}
	return m, err
}

// inRelay is what is spoken inside RELAY, whose two ends have agreed on nothing: version 1, but for types of message
// that it does not have, and refs with a location, which say nothing without. Who does not know that either drops it, and
// nothing answers.
func inRelay(m Message) Dialect {
	if put, is := m.(RefPut); is && len(put.Ref) > 0 && !put.Location.IsZero() {
		return newest
	}
	if c := codecs[m.Type()]; c != nil && c.since != "" {
		return newest
	}
	return V1
}

func (r Relay) signed() []byte {
	out := []byte("bkp v1 relay")
	for _, id := range r.Route {
		out = append(out, id[:]...)
	}
	out = binary.LittleEndian.AppendUint64(out, uint64(r.Time))
	return append(out, r.Message...)
}

func (Relay) Type() string { return "RELAY" }

func (r Relay) Validate() error {
	var b bounds
	b.must(len(r.Route) >= 3 && len(r.Route) <= MaxRoute, "a route over %d nodes, not 3 to %d", len(r.Route), MaxRoute)
	seen := map[core.ID]bool{}
	for _, id := range r.Route {
		b.id("route", id)
		b.must(!seen[id], "route names %s twice", id.Short())
		seen[id] = true
	}
	b.bytes("key", r.Key, ed25519.PublicKeySize, core.MaxPublicKey)
	b.bytes("signature", r.Signature, ed25519.SignatureSize, ed25519.SignatureSize)
	b.within("time", r.Time, 0, maxTime)
	b.bytes("message", r.Message, 1, MaxMessage)
	return b.err
}
