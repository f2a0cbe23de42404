// SPDX-License-Identifier: Apache-2.0

package link

import (
	"context"
	"crypto/ed25519"
	"log/slog"
	"net"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/invite"
	"github.com/bkp-tool/bkp/core/wire"
)

// Config is what a hub is made of. Signer and Epoch are needed, all else has a meaning when left out.
type Config struct {
	Signer    Signer
	Epoch     core.Epoch        // 64 random bits drawn at node start
	Token     []byte            // cluster token; without one nobody is admitted by token
	Plaintext bool              // ws:// may be dialled and is accepted beside wss://
	Listen    string            // where this node is reached, told in HELLO; an empty host means the one it is seen at
	Labels    map[string]string // told in HELLO

	Pins        Pins             // nil: nothing is pinned but the IDs named in dialled peers
	Delegations func() [][]byte  // shown in AUTH; nil: none
	Admit       func(Peer) error // decides about who shows neither token nor pinned key; nil: refuses
	Invites     Invites          // nil: nobody joins by one

	Dial func(ctx context.Context, network, address string) (net.Conn, error) // nil: net.Dialer
	// every control message, "sent" or "received"; called by many goroutines
	Trace func(dir string, peer core.ID, m wire.Message)
	Log   *slog.Logger // nil: discards
}

// Invites are who may become a member of this node's cluster.
type Invites interface {
	// Join is what a node is told that comes by the invite of a name; proves says whether it showed that it knows a
	// secret. What follows from it is durable when Join returns. The error is told to the other side.
	Join(node core.ID, name core.Nonce, proves func(invite.Secret) bool) (wire.Joined, error)
}

// Signer is this node's key pair.
type Signer interface {
	ID() core.ID
	Public() core.PublicKey
	Private() ed25519.PrivateKey
	Sign(message []byte) []byte
}

// Pins remembers the nodes that were admitted once; they need no token again.
type Pins interface {
	Known(id core.ID) bool
	// also whenever a node that is known is met again; address is "" where it cannot be dialled
	Pin(id core.ID, address string) error
	// Follow is asked with each key that a node has proved to have, and remembers rotations durably. It refuses a key
	// where another is known that took its place.
	Follow(k core.PublicKey) error
}

// Handler is who sessions are for. For one session the calls of Up, Message and Down follow each other in this order;
// Data is called beside Message by another goroutine, one call after another. A session's Up follows the Down of the
// one it replaces.
type Handler interface {
	// Up: the session stands and may be sent on.
	Up(*Session)
	// Message: the next one is read when it returns, or later where this one is held (Session.Hold) and others are.
	Message(*Session, wire.Message)
	// Data: the bytes are valid during the call only. Blocking holds the sender back; it must end when the session is
	// Done.
	Data(*Session, wire.Data)
	// Down is the last call for a session, with the reason why it ended.
	Down(*Session, error)
}

// Peer is the node at the other end of a session, as it introduced itself and as it was found to be.
type Peer struct {
	ID      core.ID
	Address string // as dialled (core.Peer.Address), or where it dialled from
	// where it says that it is reached, with the host it is seen at where it names none; may be empty
	Listen      string
	Labels      map[string]string
	Epoch       core.Epoch
	Token       bool // it proved the cluster token
	Pinned      bool // its key was pinned before, or its ID is named in the peer list
	Delegations [][]byte
	Dialled     bool          // this side dialled
	TLS         bool          // wss
	ClockSkew   time.Duration // its clock minus ours
}

// The times that govern sessions.
const (
	pingEvery        = 5 * time.Second
	pingsMissed      = 3
	gone             = pingEvery * pingsMissed
	handshakeTimeout = 10 * time.Second
	firstByte        = 2 * time.Second
	patience         = 300 * time.Millisecond // and ten round trips: for the peer to dial a data socket back
	mostPatience     = handshakeTimeout / 4
	answerTimeout    = 2 * time.Second   // for a ping that tells whether a node started anew, or runs twice
	controlWrite     = 15 * time.Second  // one control message
	dataWrite        = 60 * time.Second  // one data message
	lingerTimeout    = time.Second       // for the other side to read why a session ends
	wordsTimeout     = lingerTimeout / 2 // for that reason to arrive beside the end of a data socket
	steady           = 10 * time.Second  // a session of this age resets its dialler's backoff
)

// The bounds of what one peer, or many strangers, can make this node hold.
const (
	maxHandshakes   = 128       // sockets that have not proved themselves
	maxHeader       = 8 << 10   // bytes of the HTTP request
	maxQueued       = 4096      // control messages of a session that wait to be written
	maxQueuedBytes  = 64 << 20  //
	writeBufferSize = 128 << 10 // a frame up to this size goes out in one piece
	readBufferSize  = 16 << 10  // larger payloads are read past it

	// slowest is what the kernel is held back to at most: a data message once begun must be through in dataWrite,
	// whatever its lease has become.
	slowest = core.Rate(2 * wire.MaxData / (dataWrite / time.Second))
)

// path is what a bkp listener answers to.
const path = "/bkp"

// subprotocols are the versions of the protocol that this build speaks, the newest first. A dialler offers all of them,
// and a listener takes the first that it knows; release d6aae67 offers and takes bkp.v1 only.
var subprotocols = []string{"bkp.v2", "bkp.v1"}

// versionOf is the version of the protocol that a subprotocol stands for, 0 for one that this build does not speak.
func versionOf(subprotocol string) int {
	if i := slices.Index(subprotocols, subprotocol); i >= 0 {
		return wire.Version - i
	}
	return 0
}
