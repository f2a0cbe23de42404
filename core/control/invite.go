// SPDX-License-Identifier: Apache-2.0

package control

import "github.com/bkp-tool/bkp/core"

// InviteArgs asks for an invite: a code by which so many new nodes become members of this node's cluster.
type InviteArgs struct {
	Uses     int               `json:"uses"`
	ExpiresS int64             `json:"expires_s"` // from now on
	Labels   map[string]string `json:"labels"`    // that who comes by it is to have
	Quota    core.Size         `json:"quota"`     // of all owners who come by it, at this node; 0: none
	Address  string            `json:"address"`   // HOST:PORT where new nodes reach this one; empty: as it knows itself
}

// Invite is an invite, as the node that made it knows it. Times are in Unix seconds.
type Invite struct {
	Name    core.Nonce        `json:"name"`
	State   string            `json:"state"` // open, or why it brings nobody any more
	Made    int64             `json:"made"`
	Expires int64             `json:"expires"`
	Uses    int               `json:"uses"` // how many nodes it may bring
	Labels  map[string]string `json:"labels,omitempty"`
	Quota   core.Size         `json:"quota"`
	Came    []Guest           `json:"came"`
}

// Guest is a node that came by an invite.
type Guest struct {
	Node core.ID `json:"node"`
	At   int64   `json:"at"` // Unix seconds
}

// InviteResult is a new invite, and the code that the new node is given: whoever has it may join.
type InviteResult struct {
	Code   string `json:"join"`
	Invite Invite `json:"invite"`
}

// InvitesArgs asks for all invites, after the one whose name begins with Revoke was revoked.
type InvitesArgs struct {
	Revoke string `json:"revoke"`
}

// InvitesResult is all invites of a node, the oldest first.
type InvitesResult struct {
	Invites []Invite `json:"invites"`
}

// RevokeArgs asks to take back whatever the owner let nodes do in its name, or single licences.
type RevokeArgs struct {
	core.Revoked
}

// RevokeResult is the owner's list of revocations as it stands now.
type RevokeResult struct {
	Sequence     int64     `json:"sequence"`
	core.Revoked           // all that is
	Told         []core.ID `json:"told"` // the peers that were told; others hear of it from them
}
