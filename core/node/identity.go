// SPDX-License-Identifier: Apache-2.0

package node

import (
	"errors"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/license"
	"github.com/bkp-tool/bkp/core/link"
	"github.com/bkp-tool/bkp/core/wire"
)

// ErrNoIdentity is that a node has no owner, and keeps things for others only.
var ErrNoIdentity = errors.New("there is no owner identity in this data dir")

// Identity is the owner at home here, or why there is none to act for: ErrNoIdentity, or it cannot be opened. Not on
// the loop.
func (n *Node) Identity(doing string) (*key.Owner, error) {
	if o := n.found.Load(); o != nil {
		return o, nil
	}
	var o *key.Owner
	var err error
	if n.Config.Owner != nil {
		o, err = n.Config.Owner()
	}
	if err != nil {
		return nil, err
	}
	if o == nil {
		return nil, core.WithHint(core.Fail(core.CodeRefused, "%s: %w", doing, ErrNoIdentity),
			"bring yours with: bkp key import FILE")
	}
	if n.found.CompareAndSwap(nil, o) {
		n.announce()
	}
	return n.found.Load(), nil
}

// Owner is the owner at home here, nil without one.
func (n *Node) Owner() *key.Owner {
	o, err := n.Identity("identity")
	if err != nil && core.CodeOf(err) != core.CodeRefused {
		n.Log.Error("identity", "error", err)
	}
	return o
}

// announce shows peers that are connected already that this node acts for its owner.
func (n *Node) announce() {
	n.Act(func() {
		delegations := n.delegations()
		n.post(do(func(n *state) {
			for _, p := range n.peers {
				n.send(p.id, wire.Delegation{Delegations: delegations})
			}
		}))
	})
}

// delegations are what this node shows after HELLO: its owner's word that it may act for them, and by what permits its
// owner may store.
func (n *Node) delegations() [][]byte {
	o := n.Owner()
	if o == nil {
		return nil
	}
	envelope, err := o.Words(n.ID(), time.Now().Add(30*24*time.Hour))
	if err != nil {
		n.Log.Error("delegate", "error", err)
		return nil
	}
	return append([][]byte{envelope}, o.Shows()...)
}

// admit decides about a peer that showed neither the cluster token nor a pinned key: an owner whom this node
// serves may vouch for it, and a plaintext node without a token takes anyone. An owner's machine without a token, one
// that restores from the identity alone, trusts on first use whom it was told to dial: whatever it gets from there is
// held against the owner's own seals.
func (n *Node) admit(info link.Peer) error {
	if n.Plaintext && len(n.Token()) == 0 {
		return nil
	}
	if info.Dialled && n.Owner() != nil && len(n.Token()) == 0 {
		return n.firstUse(info)
	}
	for _, d := range n.validRights(info.Delegations, info.ID) {
		if _, served := n.Issuers[d.Owner]; served || n.permits(info.Delegations, d.Owner) {
			return nil
		}
		if refs, err := n.Holdings.Refs(d.Owner); err == nil && len(refs) > 0 {
			return nil
		}
	}
	return core.WithHint(core.Fail(core.CodeRefused, "node %s showed neither the cluster token nor a delegation of an owner served here", info.ID.Short()),
		"give it the token with --token-file, or place something for its owner here first")
}

// permits reports whether one of the envelopes is a permit of an issuer served here for an owner to store at this node.
func (n *Node) permits(envelopes [][]byte, owner core.ID) bool {
	return slices.ContainsFunc(envelopes, func(envelope []byte) bool {
		p, err := license.OpenPermit(envelope)
		_, served := n.Issuers[p.Issuer]
		return err == nil && served && p.Owner == owner && license.PermitStands(p, n.ID(), time.Now()) &&
			!n.revoked(p.Issuer).NamesLicense(p.ID)
	})
}

// FirstUse is link.Pins that remember whom they trusted at first use.
type FirstUse interface {
	// Meet pins a node at an address, unless another was trusted there first: that one it returns.
	Meet(id core.ID, address string) (other core.ID, err error)
}

// firstUse trusts who answers at an address for the first time; somebody else there later is an error that names both.
func (n *Node) firstUse(info link.Peer) error {
	pins, ok := n.Pins.(FirstUse)
	if !ok {
		return nil
	}
	other, err := pins.Meet(info.ID, info.Address)
	switch {
	case err != nil:
		return err
	case !other.IsZero():
		return core.WithHint(core.Fail(core.CodeRefused, "another key answers at %s: it was %s when it was trusted at "+
			"first use, now it is %s", info.Address, other, info.ID),
			"if the node there was replaced: bkp peers remove --forget %s; else somebody stands in its place", info.Address)
	}
	n.Log.Info("trusted on first use", "peer", info.ID, "address", info.Address)
	return nil
}

// validRights are the delegations among envelopes that name the node, have not expired and were not revoked.
func (n *Node) validRights(envelopes [][]byte, node core.ID) []key.Delegation {
	var valid []key.Delegation
	for _, envelope := range envelopes {
		d, err := key.OpenDelegation(envelope)
		if err == nil && d.Node == node && time.Now().Unix() < d.Expires && !n.isRevoked(d.Owner, node) {
			valid = append(valid, d)
		}
	}
	return valid
}

// sharing is the versions of an owner that were shared with p.
func (p *peer) sharing(owner core.ID) func(alias string, version int) bool {
	return func(alias string, version int) bool {
		return slices.ContainsFunc(p.rights, func(d key.Delegation) bool {
			return d.Owner == owner && d.Shares(p.id, alias, version, time.Now())
		})
	}
}

// may reports whether p acts for owner with the right.
func (p *peer) may(owner core.ID, right key.Right) bool {
	return slices.ContainsFunc(p.rights, func(d key.Delegation) bool {
		return d.Owner == owner && d.Allows(p.id, right, time.Now()) == nil
	})
}
