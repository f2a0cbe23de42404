// SPDX-License-Identifier: Apache-2.0

package link

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/invite"
	"github.com/bkp-tool/bkp/core/link/linktest"
	"github.com/bkp-tool/bkp/core/wire"
)

var invited = invite.Secret{4, 5, 6}

// guestBook lets in who proves a secret, and notes who did.
type guestBook struct{ came []core.ID }

func (g *guestBook) Join(node core.ID, name core.Nonce, proves func(invite.Secret) bool) (wire.Joined, error) {
	if name != invited.Name() || !proves(invited) {
		return wire.Joined{}, errors.New("no invite here has that secret")
	}
	g.came = append(g.came, node)
	return wire.Joined{Token: clusterToken, Peers: []string{"wss://other:8001"}}, nil
}

// join has a new host ask the host at an address to let it in.
func join(t *testing.T, net *linktest.Net, code invite.Code) (core.ID, wire.Joined, error) {
	t.Helper()
	guest := newHost(t, net, "guest", func(c *Config) { c.Token = nil })
	defer guest.close()
	node, joined, err := guest.hub.Join(t.Context(), code)
	if err == nil && joined.Token == nil {
		t.Error("joined without a token")
	}
	return node, joined, err
}

// Who proves the secret to the node of the code is given the token; of everybody else the node says nothing but that.
func TestJoin(t *testing.T) {
	bubble(t, func(t *testing.T, net *linktest.Net) {
		book := &guestBook{}
		victim := newHost(t, net, "victim", func(c *Config) { c.Invites = book })
		victim.serve(net)
		defer victim.close()
		node, joined, err := join(t, net, invite.NewCode("victim:8001", victim.id(), invited))
		if err != nil || node != victim.id() || string(joined.Token) != string(clusterToken) || len(book.came) != 1 {
			t.Errorf("joined %v: %+v, %v", node, joined, err)
		}
		_, _, err = join(t, net, invite.NewCode("victim:8001", victim.id(), invite.Secret{1}))
		if core.CodeOf(err) != core.CodeRefused || core.HintOf(err) == "" || len(book.came) != 1 {
			t.Errorf("with a wrong secret: %v (%s)", err, core.HintOf(err))
		}
		mustContain(t, "the error", err.Error(), "no invite here has that secret")
	})
}

// Who answers with another key than the code names is told nothing, neither a HELLO nor whose key asked.
func TestJoinTellsNothingToAnotherKey(t *testing.T) {
	bubble(t, func(t *testing.T, net *linktest.Net) {
		book := &guestBook{}
		thief := newHost(t, net, "victim", func(c *Config) { c.Invites = book })
		thief.serve(net)
		defer thief.close()
		_, _, err := join(t, net, invite.NewCode("victim:8001", core.ID{1}, invited))
		if core.CodeOf(err) != core.CodeRefused || core.HintOf(err) == "" || len(book.came) != 0 {
			t.Errorf("joined at another key: %v (%s)", err, core.HintOf(err))
		}
		after(time.Second)
		if thief.log.count("bad certificate") != 1 || thief.log.count("HELLO") != 0 {
			t.Errorf("the thief heard more than the beginning of TLS: %q", thief.log.lines)
		}
	})
}

// A node that invites nobody says so, and so does one that is asked without TLS or in version 1.
func TestJoinIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T, net *linktest.Net) {
		lonely := newHost(t, net, "lonely", nil)
		lonely.serve(net)
		defer lonely.close()
		_, _, err := join(t, net, invite.NewCode("lonely:8001", lonely.id(), invited))
		mustContain(t, "the error", text("%v", err), "invites nobody")

		book := &guestBook{}
		victim := newHost(t, net, "victim", func(c *Config) { c.Invites, c.Plaintext = book, true })
		victim.serve(net)
		defer victim.close()
		for _, c := range []struct {
			version int
			tls     bool
			words   string
		}{{2, false, "wss:// only"}, {1, true, "of version 2"}} {
			r := &rogue{t: t, net: net, signer: newSigner(t), v: c.version, tls: c.tls, epoch: 1}
			ws := r.open()
			hello := r.myHello(wire.ChannelControl)
			data, _ := wire.Encode(hello)
			r.text(ws, strings.Replace(string(data), `"channel":"control"`, `"channel":"join"`, 1))
			mustContain(t, "the end", r.end(ws), c.words)
		}
		if len(book.came) != 0 {
			t.Error("somebody came all the same")
		}
	})
}

// JOIN stands in place of AUTH on a socket of its own, and nowhere else; a proof is bound to its connection.
func TestJoinOutOfPlace(t *testing.T) {
	bubble(t, func(t *testing.T, net *linktest.Net) {
		book := &guestBook{}
		victim := newHost(t, net, "victim", func(c *Config) { c.Invites = book })
		victim.serve(net)
		defer victim.close()
		proof := wire.Join{Invite: invited.Name(), Proof: make([]byte, 32)}
		member := &rogue{t: t, net: net, signer: newSigner(t), token: clusterToken, tls: true, epoch: 1,
			hello: func(h *wire.Hello) { h.Features = wire.Features }}
		member.join()
		member.write(member.control, proof)
		mustContain(t, "the end", member.end(member.control), "a second JOIN")

		stranger := &rogue{t: t, net: net, signer: newSigner(t), tls: true, epoch: 2,
			hello: func(h *wire.Hello) { h.Features = wire.Features }}
		ws := stranger.open()
		stranger.write(ws, stranger.myHello(wire.ChannelControl))
		stranger.write(ws, proof)
		mustContain(t, "the end", stranger.end(ws), "JOIN before AUTH")

		ws = stranger.open()
		hello := stranger.myHello(wire.ChannelJoin)
		hello.Features = wire.Features
		stranger.write(ws, hello)
		ws.ReadMessage()
		proof.Proof = wire.Proof(invited[:], wire.SideJoin, make([]byte, wire.BindingSize), stranger.signer.ID(), victim.id())
		stranger.write(ws, proof) // as heard on another connection
		mustContain(t, "the end", stranger.end(ws), "no invite here")
		if len(book.came) != 0 {
			t.Error("somebody came all the same")
		}
	})
}

// A node that does not answer is not waited for.
func TestJoinWaitsForNobody(t *testing.T) {
	bubble(t, func(t *testing.T, net *linktest.Net) {
		l, err := net.Listen("victim:8001")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		began := time.Now()
		_, _, err = join(t, net, invite.NewCode("victim:8001", core.ID{1}, invited))
		if err == nil || time.Since(began) > handshakeTimeout+time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}
