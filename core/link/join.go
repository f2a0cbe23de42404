// SPDX-License-Identifier: Apache-2.0

package link

import (
	"context"
	"errors"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/invite"
	"github.com/bkp-tool/bkp/core/wire"
)

// joinListener answers JOIN, in place of AUTH, on the listening side.
func (hs *handshake) joinListener() error {
	switch {
	case hs.sock.tls == nil:
		return refuse(core.ReasonRights, "invites are taken over wss:// only")
	case hs.h.config.Invites == nil || !hs.sock.dialect.Has(wire.FeatureInvites):
		return refuse(core.ReasonRights, "this node invites nobody")
	}
	var join wire.Join
	if err := hs.sock.receive(hs.h.memory, func(data []byte) (err error) {
		join, err = hs.sock.dialect.DecodeJoin(data)
		return protocol(err)
	}); err != nil {
		return err
	}
	binding, dialler, listener, err := hs.parties()
	if err != nil {
		return err
	}
	joined, err := hs.h.config.Invites.Join(dialler, join.Invite, func(secret invite.Secret) bool {
		return wire.CheckProof(join.Proof, secret[:], wire.SideJoin, binding, dialler, listener)
	})
	if err != nil {
		return refuse(core.ReasonRights, "%v", err)
	}
	if err := hs.send(joined); err != nil {
		return err
	}
	hs.sock.bow(refuse(core.ReasonNone, "joined")) // it dials anew, as a member
	return nil
}

// Join becomes a member of a cluster by an invite: before this side says anything, the key of the node at the code's
// address is held against the code, and the invite's secret is proved without being told. It returns who answered, and
// what that node said. The hub needs no Serve for it.
func (h *Hub) Join(ctx context.Context, code invite.Code) (node core.ID, joined wire.Joined, err error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	peer, err := core.ParsePeer("wss://" + code.Address)
	if err != nil {
		return node, joined, err
	}
	sock, stop, err := h.connect(ctx, peer, func(id core.ID) error {
		if node = id; !code.Leads(id) {
			return core.WithHint(refuse(core.ReasonRights, "the node at %s has another key than the invite says", code.Address),
				"nothing was told to it. Ask who invited you for a new code: the node there may have been set up anew, "+
					"or somebody stands in its place")
		}
		return nil
	})
	if err != nil {
		return node, joined, err
	}
	defer stop()
	defer sock.Close()
	hs := h.newHandshake(sock, wire.ChannelJoin)
	if err = hs.askToJoin(node, code.Secret); err == nil {
		joined, err = hs.hearJoined()
	}
	return node, joined, err
}

// askToJoin greets a node, and proves an invite's secret to it.
func (hs *handshake) askToJoin(node core.ID, secret invite.Secret) error {
	if err := hs.send(hs.mine); err != nil {
		return err
	}
	if err := hs.hear(node); err != nil {
		return err
	}
	switch {
	case hs.theirs.Node == hs.h.id:
		return core.Fail(core.CodeUsage, "the invite is this machine's own")
	case !hs.sock.dialect.Has(wire.FeatureInvites):
		return core.WithHint(core.Fail(core.CodeRefused, "the node there is of a release without invites"),
			"take its cluster token there by hand, for --token-file")
	}
	binding, dialler, listener, err := hs.parties()
	if err != nil {
		return err
	}
	return hs.send(wire.Join{Invite: secret.Name(), Proof: wire.Proof(secret[:], wire.SideJoin, binding, dialler, listener)})
}

func (hs *handshake) hearJoined() (joined wire.Joined, err error) {
	hs.sock.SetReadLimit(wire.MaxAuth)
	err = hs.sock.receive(hs.h.memory, func(data []byte) (err error) {
		joined, err = hs.sock.dialect.DecodeJoined(data)
		return protocol(err)
	})
	if closed, ok := errors.AsType[*Closed](err); ok && closed.ByPeer && closed.Code == core.ReasonRights {
		err = core.WithHint(err, "ask who invited you for a new code: bkp invite")
	}
	return joined, err
}
