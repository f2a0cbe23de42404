// SPDX-License-Identifier: Apache-2.0

package link

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"net"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/wire"
)

// introduction is what the HELLO and AUTH of a socket came to.
type introduction struct {
	peer    Peer
	channel string
	rtt     time.Duration // of the exchange
}

// handshake is one socket's HELLO and AUTH under way.
type handshake struct {
	h            *Hub
	sock         *socket
	mine, theirs wire.Hello
	deadline     time.Time
}

// introduceDialler runs the dialling side. want is the ID expected there, zero for any; met is told who answered,
// before that is proved, and may refuse.
func (h *Hub) introduceDialler(sock *socket, channel string, want core.ID,
	met func(wire.Hello) error) (*introduction, error) {
	hs := h.newHandshake(sock, channel)
	began := time.Now()
	if err := hs.send(hs.mine); err != nil {
		return nil, err
	}
	if err := hs.hear(want); err != nil {
		return nil, err
	}
	rtt := time.Since(began)
	if hs.theirs.Node == h.id {
		return nil, errSelf
	}
	if hs.theirs.Channel != channel {
		return nil, refuse(core.ReasonProtocol, "HELLO for channel %s answers one for %s", hs.theirs.Channel, channel)
	}
	if err := met(hs.theirs); err != nil {
		return nil, err
	}
	if err := hs.prove(wire.SideDial); err != nil {
		return nil, err
	}
	return hs.judge(wire.SideListen, rtt)
}

// greet runs the listening side up to its own HELLO.
func (h *Hub) greet(sock *socket) (*handshake, error) {
	hs := h.newHandshake(sock, "")
	if err := hs.hear(core.ID{}); err != nil {
		return nil, err
	}
	hs.mine.Channel = hs.theirs.Channel
	if err := hs.send(hs.mine); err != nil {
		return nil, err
	}
	if hs.theirs.Node == h.id { // after HELLO, by which the dialler knows itself and stops dialling
		return nil, errSelf
	}
	return hs, nil
}

// introduceListener runs the listening side, greeted at began, up to its own AUTH, which the caller sends with welcome
// once the socket has its place.
func (hs *handshake) introduceListener(began time.Time) (*introduction, error) {
	in, err := hs.judge(wire.SideDial, 0)
	if err != nil {
		return nil, err
	}
	in.rtt = time.Since(began)
	return in, nil
}

func (hs *handshake) welcome() error { return hs.prove(wire.SideListen) }

func (h *Hub) newHandshake(sock *socket, channel string) *handshake {
	deadline := time.Now().Add(handshakeTimeout)
	sock.SetReadDeadline(deadline)
	return &handshake{h: h, sock: sock, mine: h.hello(sock.dialect.Version, channel), deadline: deadline}
}

// hello is what this node says first on a socket.
func (h *Hub) hello(version int, channel string) wire.Hello {
	hello := wire.Hello{
		V: version, Node: h.id, Key: h.config.Signer.Public(), Channel: channel,
		Epoch: h.config.Epoch, Time: time.Now().Unix(), Listen: h.config.Listen, Labels: h.config.Labels,
		Features: wire.Features,
	}
	rand.Read(hello.Nonce[:])
	return hello
}

// introducible reports whether this node's HELLO can be sent to anybody: its labels and address may be too long.
func (h *Hub) introducible() error {
	if _, err := wire.Encode(h.hello(wire.Version, wire.ChannelControl)); err != nil {
		return core.WithHint(core.Fail(core.CodeUsage, "this node cannot introduce itself: %w", err),
			"give it fewer or shorter labels")
	}
	return nil
}

func (hs *handshake) send(m wire.Message) error {
	data, err := hs.sock.dialect.Encode(m)
	if err != nil {
		return err
	}
	if err := hs.sock.send(data, hs.deadline); err != nil {
		return explain(err)
	}
	hs.trace(sent, hs.sock.dialect.Trim(m))
	return nil
}

// trace shows what was said on a control socket.
func (hs *handshake) trace(dir string, m wire.Message) {
	if hs.h.config.Trace != nil && cmp.Or(hs.theirs.Channel, hs.mine.Channel) == wire.ChannelControl {
		hs.h.config.Trace(dir, hs.theirs.Node, m)
	}
}

// hear reads the other side's HELLO, checks what needs no proof, and settles what both speak from now on.
func (hs *handshake) hear(want core.ID) error {
	sock := hs.sock
	sock.SetReadLimit(wire.MaxHello)
	if err := sock.receive(hs.h.memory, func(data []byte) (err error) {
		hs.theirs, err = wire.DecodeHello(sock.dialect.Version, data)
		return protocol(err)
	}); err != nil {
		return err
	}
	hello := hs.theirs
	hs.trace(received, hello)
	if hello.V != sock.dialect.Version {
		return refuse(core.ReasonProtocol, "HELLO of protocol version %d on a socket of version %d", hello.V,
			sock.dialect.Version)
	}
	sock.dialect = wire.Agree(hello.V, hello.Features)
	pub, err := core.ParsePublicKey(hello.Key)
	if err != nil {
		return refuse(core.ReasonRights, "HELLO: %v", err)
	}
	if id := key.IDOf(pub); id != hello.Node {
		return refuse(core.ReasonRights, "HELLO names node %s with the key of %s", hello.Node.Short(), id.Short())
	}
	if err := sameKey(hs.sock.tls, hello.Key); err != nil {
		return err
	}
	if err := only(want)(hello.Node); err != nil {
		return err
	}
	return checkClock(hello.Time, time.Now())
}

// checkClock refuses a clock that would make licences and delegations expire or begin at another time.
func checkClock(theirs int64, now time.Time) error {
	their := time.Unix(theirs, 0)
	if skew := their.Sub(now.Truncate(time.Second)).Abs(); skew > core.ClockSkew {
		return refuse(core.ReasonRights, "clocks differ by %v: yours %s, mine %s", skew,
			their.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return nil
}

// parties is what both sides' proofs cover beside the side itself.
func (hs *handshake) parties() (binding []byte, dialler, listener core.ID, err error) {
	d, l := hs.mine, hs.theirs
	if !hs.sock.dialled {
		d, l = l, d
	}
	binding, err = hs.sock.binding(d.Nonce, l.Nonce)
	return binding, d.Node, l.Node, err
}

// prove sends this side's AUTH.
func (hs *handshake) prove(side string) error {
	binding, dialler, listener, err := hs.parties()
	if err != nil {
		return err
	}
	auth := wire.Auth{Signature: hs.h.config.Signer.Sign(wire.ProofMessage(side, binding, dialler, listener))}
	if token := hs.h.token(); len(token) > 0 {
		auth.Proof = wire.Proof(token, side, binding, dialler, listener)
	}
	if hs.h.config.Delegations != nil && hs.mine.Channel == wire.ChannelControl {
		auth.Delegations = hs.h.config.Delegations()
	}
	return hs.send(auth)
}

// judge reads the other side's AUTH, checks it, and decides whether the node is admitted.
func (hs *handshake) judge(side string, rtt time.Duration) (*introduction, error) {
	var auth wire.Auth
	hs.sock.SetReadLimit(wire.MaxAuth)
	if err := hs.sock.receive(hs.h.memory, func(data []byte) (err error) {
		auth, err = hs.sock.dialect.DecodeAuth(data)
		return protocol(err)
	}); err != nil {
		return nil, err
	}
	hs.trace(received, auth)
	binding, dialler, listener, err := hs.parties()
	if err != nil {
		return nil, err
	}
	switch k := core.PublicKey(hs.theirs.Key); {
	case !k.Verify(wire.ProofMessage(side, binding, dialler, listener), auth.Signature):
		return nil, refuse(core.ReasonRights, "the signature in AUTH is wrong")
	case hs.h.config.Pins != nil:
		if err := hs.h.config.Pins.Follow(k); err != nil {
			return nil, core.WithHint(refuse(core.ReasonRights, "%v", err), "%s", core.HintOf(err))
		}
	}
	hello, sock := hs.theirs, hs.sock
	p := Peer{
		ID: hello.Node, Address: sock.address, Listen: seenAt(hello.Listen, sock.address), Labels: hello.Labels,
		Epoch:       hello.Epoch,
		Token:       wire.CheckProof(auth.Proof, hs.h.token(), side, binding, dialler, listener),
		Pinned:      hs.h.pinned(hello.Node),
		Delegations: auth.Delegations, Dialled: sock.dialled, TLS: sock.tls != nil,
		ClockSkew: time.Until(time.Unix(hello.Time, 0)),
	}
	if hello.Channel == wire.ChannelControl { // a data socket is admitted by the session that it joins
		if err := hs.h.admit(p, len(auth.Proof) > 0); err != nil {
			return nil, err
		}
	}
	return &introduction{peer: p, channel: hello.Channel, rtt: rtt}, nil
}

// admit lets in who proved the token or is pinned, and asks Config.Admit about others. Who proved the token is pinned
// from then on, at the address where it was met last.
func (h *Hub) admit(p Peer, proof bool) error {
	if !p.Token && !p.Pinned {
		words := h.stranger(p, proof)
		if h.config.Admit == nil {
			return refuse(core.ReasonRights, "%s", words)
		}
		why := h.config.Admit(p)
		if why == nil {
			return nil
		}
		closed := &Closed{Code: core.ReasonRights, Reason: words + "; " + why.Error()}
		return &core.Error{Code: closed.Code.ExitCode(), Hint: core.HintOf(why), Err: closed}
	}
	if h.config.Pins == nil || !p.Token && !h.config.Pins.Known(p.ID) {
		return nil
	}
	address := p.Listen // "" of one that only dials: where it dials from it cannot be reached
	if p.Dialled {
		address = p.Address
	}
	if err := h.config.Pins.Pin(p.ID, address); err != nil {
		return fmt.Errorf("pin node %s: %w", p.ID.Short(), err)
	}
	return nil
}

// stranger says why a peer is not admitted without further questions.
func (h *Hub) stranger(p Peer, proof bool) string {
	switch {
	case len(h.token()) > 0 && proof:
		return fmt.Sprintf("node %s is not pinned here and has another cluster token", p.ID.Short())
	case len(h.token()) > 0:
		return fmt.Sprintf("node %s is not pinned here and showed no cluster token", p.ID.Short())
	}
	return fmt.Sprintf("node %s is not pinned here, and this node has no cluster token to admit it by", p.ID.Short())
}

// seenAt completes a listen address without a host by the host that the node is seen at.
func seenAt(listen, address string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return ""
	}
	if ip := net.ParseIP(host); host != "" && (ip == nil || !ip.IsUnspecified()) {
		return listen
	}
	seen, _, err := net.SplitHostPort(address)
	if err != nil {
		return ""
	}
	return net.JoinHostPort(seen, port)
}
