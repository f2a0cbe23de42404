// SPDX-License-Identifier: Apache-2.0

package node

import (
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/invite"
	"github.com/bkp-tool/bkp/core/link"
	"github.com/bkp-tool/bkp/core/wire"
)

// Guests is where a node keeps its invites. Any goroutine may use it.
type Guests interface {
	// Book is the invites as they stand. It does not wait.
	Book() invite.Book
	// Change replaces the book by what change makes of it, durably.
	Change(change func(invite.Book) (invite.Book, error)) error
	// DrawToken makes a cluster token for a node that has none, durably, or finds the one that was drawn before.
	DrawToken() ([]byte, error)
}

// Token is the cluster token, which a node that has none gets with its first invite.
func (n *Node) Token() []byte { return *n.secret.Load() }

// invitedBy is by which invite a node came, and the quota that goes with it.
func (n *Node) invitedBy(node core.ID) (name core.Nonce, quota core.Size) {
	if n.Guests == nil {
		return name, 0
	}
	i, _ := n.Guests.Book().By(node)
	return i.Name, i.Quota
}

// UseToken gives a node without a cluster token one.
func (n *Node) UseToken() error {
	if len(n.Token()) > 0 {
		return nil
	}
	token, err := n.Guests.DrawToken()
	if err != nil {
		return err
	}
	n.secret.Store(&token)
	n.hub.UseToken(token)
	return nil
}

// inviting is the node as who joins sees it.
func (n *Node) inviting() link.Invites {
	if n.Guests == nil {
		return nil
	}
	return (*host)(n)
}

type host Node

// Join lets a node in that has proved an invite's secret.
func (h *host) Join(guest core.ID, name core.Nonce, proves func(invite.Secret) bool) (joined wire.Joined, err error) {
	n := (*Node)(h)
	var by invite.Invite
	if err := n.Guests.Change(func(b invite.Book) (invite.Book, error) {
		b, i, err := b.Redeem(name, guest, time.Now(), proves)
		by = i
		return b, err
	}); err != nil {
		return joined, err
	}
	n.Log.Info("joined by an invite", "peer", guest.Short(), "invite", by.Name.String()[:8])
	return wire.Joined{Token: n.Token(), Labels: by.Labels, Quota: by.Quota, Peers: n.introductions(guest)}, nil
}

// introductions are the members that a new one may dial itself, as entries of a peer list.
func (n *Node) introductions(guest core.ID) (entries []string) {
	n.ask(do(func(n *state) {
		for _, p := range n.connected() {
			info := p.session.Peer()
			dialled, err := core.ParsePeer("wss://" + p.id.String() + "@" + p.address)
			member := info.Token && info.TLS && (info.Dialled || info.Listen != "")
			if err == nil && member && p.id != guest && len(entries) < wire.MaxInvited {
				entries = append(entries, dialled.String())
			}
		}
	}))
	return entries
}
