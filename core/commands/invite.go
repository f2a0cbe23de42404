// SPDX-License-Identifier: Apache-2.0

package commands

import (
	"cmp"
	"context"
	"crypto/rand"
	"net"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/invite"
	"github.com/bkp-tool/bkp/core/wire"
)

// Invite makes an invite to this node's cluster.
func (n *Node) Invite(_ context.Context, args control.InviteArgs, _ func(control.Status)) (r control.InviteResult,
	err error) {
	switch {
	case n.Guests == nil || n.Listener == nil:
		return r, core.WithHint(core.Fail(core.CodeUsage, "this node does not listen"), "bkp node start")
	case n.Plaintext && len(n.Token()) == 0:
		return r, core.WithHint(core.Fail(core.CodeRefused, "this node takes anybody: it runs with --insecure-plaintext and "+
			"without a cluster token"), "start it without --insecure-plaintext to let in only who is invited")
	}
	address, err := n.reachedAt(args.Address)
	if err != nil {
		return r, err
	}
	var secret invite.Secret
	rand.Read(secret[:]) // never fails
	now := time.Now()
	made := invite.Invite{Name: secret.Name(), Secret: secret, Made: now.Unix(), Expires: now.Unix() + args.ExpiresS,
		Uses: args.Uses, Labels: args.Labels, Quota: args.Quota}
	if args.Uses > 1 && made.Labels["zone"] == "" { // who came by one invite fails together, as far as anybody knows
		made.Labels = map[string]string{"zone": "invite-" + made.Name.String()[:8]}
		for name, value := range args.Labels {
			made.Labels[name] = value
		}
	}
	if err := (wire.Joined{Token: []byte{1}, Labels: made.Labels, Quota: made.Quota}).Validate(); err != nil {
		return r, core.Fail(core.CodeUsage, "%w", err)
	}
	if err := n.UseToken(); err != nil {
		return r, err
	}
	if err := n.Guests.Change(func(b invite.Book) (invite.Book, error) { return b.Add(made, now) }); err != nil {
		return r, err
	}
	return control.InviteResult{Code: invite.NewCode(address, n.ID(), secret).String(), Invite: inviteRow(made, now)}, nil
}

// Invites lists the invites, after one was revoked.
func (n *Node) Invites(_ context.Context, args control.InvitesArgs, _ func(control.Status)) (r control.InvitesResult,
	err error) {
	if n.Guests == nil {
		return r, core.Fail(core.CodeUsage, "this node invites nobody")
	}
	now := time.Now()
	if args.Revoke != "" {
		if err := n.Guests.Change(func(b invite.Book) (invite.Book, error) {
			b, _, err := b.Revoke(args.Revoke, now)
			return b, err
		}); err != nil {
			return r, err
		}
	}
	r.Invites = []control.Invite{}
	for _, i := range n.Guests.Book().Invites {
		r.Invites = append(r.Invites, inviteRow(i, now))
	}
	return r, nil
}

// inviteRow is an invite as its owner is told of it.
func inviteRow(i invite.Invite, now time.Time) control.Invite {
	t := control.Invite{Name: i.Name, State: "open", Made: i.Made, Expires: i.Expires, Uses: i.Uses, Labels: i.Labels,
		Quota: i.Quota, Came: []control.Guest{}}
	if err := i.Stands(now); err != nil {
		t.State = err.Error()
	}
	for _, g := range i.Came {
		t.Came = append(t.Came, control.Guest(g))
	}
	return t
}

// reachedAt is where new nodes reach this one: as they are told to, or at the host that it listens at, or else at an
// address of this machine, on its loopback only where it has no other.
func (n *Node) reachedAt(told string) (string, error) {
	if told != "" {
		p, err := core.ParsePeer("wss://" + told)
		if err != nil || p.Rate != 0 || !p.ID.IsZero() {
			return "", core.Fail(core.CodeUsage, "--address %q: want HOST:PORT", told)
		}
		return p.Address(), nil
	}
	host, _, _ := net.SplitHostPort(n.Listen)
	_, port, err := net.SplitHostPort(n.Listener.Addr().String())
	if err != nil {
		return "", err
	}
	if ip := net.ParseIP(host); host != "" && (ip == nil || !ip.IsUnspecified()) {
		return net.JoinHostPort(host, port), nil
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return "", err
	}
	var four, six string
	for _, a := range addresses {
		block, ok := a.(*net.IPNet)
		switch {
		case !ok || !block.IP.IsGlobalUnicast():
		case block.IP.To4() != nil:
			four = cmp.Or(four, block.IP.String())
		default:
			six = cmp.Or(six, block.IP.String())
		}
	}
	return net.JoinHostPort(cmp.Or(four, six, "127.0.0.1"), port), nil
}
