// SPDX-License-Identifier: Apache-2.0

package key

import (
	"fmt"
	"slices"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/bkp-tool/bkp/core"
)

// DelegateKeep signs a delegation by which a node coordinates versions of a name: number is that of one, or 0 for all.
// Of copies it releases none, and of several nodes the one of the highest term coordinates.
func (o *Owner) DelegateKeep(node core.ID, alias string, number, term, copies int, expires time.Time) ([]byte, error) {
	return o.delegate(Delegation{V: 1, Owner: o.ID(), Node: node, Rights: []Right{RightKeep}, Alias: alias,
		Version: number, Term: term, Copies: copies, Expires: expires.Unix()})
}

// keeps reports whether a delegation is one to keep.
func (d Delegation) keeps() bool { return slices.Contains(d.Rights, RightKeep) }

func (d Delegation) checkKeep() error {
	switch {
	case len(d.Rights) != 1:
		return fmt.Errorf("the right to keep stands alone")
	case d.Version < 0:
		return fmt.Errorf("version of the name is %d", d.Version)
	case d.Term < 1:
		return fmt.Errorf("term is %d, want 1 or more", d.Term)
	case d.Copies < 1:
		return fmt.Errorf("copies are %d, want 1 or more", d.Copies)
	}
	return checkAlias(d.Alias)
}

// Keeps returns nil where d lets node coordinate a version at now, or else what is missing.
func (d Delegation) Keeps(node core.ID, alias string, number int, now time.Time) error {
	switch {
	case d.Node != node:
		return fmt.Errorf("delegation of %s is for node %s, not for %s", d.Owner, d.Node, node)
	case !d.keeps():
		return fmt.Errorf("delegation of %s to %s does not give the right to keep", d.Owner, d.Node)
	case d.Alias != alias || d.Version != 0 && d.Version != number:
		return fmt.Errorf("delegation of %s to %s is to keep another version than %s.%d", d.Owner, d.Node, alias, number)
	case now.Unix() > d.Expires+int64(core.ClockSkew/time.Second):
		return fmt.Errorf("delegation of %s to %s expired %s", d.Owner, d.Node, day(d.Expires))
	}
	return nil
}

// HandoverType is the payload type of a handover.
const HandoverType = "application/vnd.bkp.handover.v1+json"

// Handover is an owner's word on who coordinates a version from now on, and what the version shall have. The
// coordinator keeps everything of it already, by task.
type Handover struct {
	V       int         `json:"v"` // 1
	Owner   core.ID     `json:"owner"`
	Alias   string      `json:"alias"`
	Version int         `json:"version"`
	Task    core.TaskID `json:"task"` // by which its first coordinator keeps all of it
	Node    core.ID     `json:"node"` // who coordinates it
	Term    int         `json:"term"`
	Copies  int         `json:"copies"` // of what is in no stripe
	// Erasure is the code of its stripes, whose runs are each kept once; zero: there are none.
	Erasure    core.Erasure `json:"erasure,omitzero"`
	Strategy   string       `json:"strategy,omitempty"`
	Retain     int64        `json:"retain_s,omitzero"`     // how long targets are to keep it
	Locked     int64        `json:"locked_until,omitzero"` // Unix seconds; 0: no lock
	Out        []core.ID    `json:"out,omitempty"`         // nodes that are to keep nothing of it
	Only       []core.ID    `json:"only,omitempty"`        // none but these are to; none: any may
	Time       int64        `json:"time"`                  // when it was signed, Unix seconds
	Delegation []byte       `json:"delegation,omitempty"`  // to Node, to keep it; none where that is the owner's own
	Key        []byte       `json:"key"`                   // the owner's public key
}

// SignHandover signs h as its owner, filling V, Owner and Key.
func (o *Owner) SignHandover(h Handover) ([]byte, error) {
	if err := o.signs(); err != nil {
		return nil, err
	}
	h.V, h.Owner, h.Key = 1, o.ID(), o.signer.Public()
	err := h.check()
	var payload []byte
	if err == nil {
		payload, err = json.Marshal(h)
	}
	if err != nil {
		return nil, fmt.Errorf("sign handover of %s.%d: %w", h.Alias, h.Version, err)
	}
	return o.signer.Envelope(HandoverType, payload)
}

// OpenHandover returns a handover that its owner really signed.
func OpenHandover(envelope []byte) (Handover, error) {
	var h Handover
	_, err := OpenEnvelope(envelope, HandoverType, func(payload []byte) ([]byte, error) {
		err := json.Unmarshal(payload, &h, strict)
		return h.Key, err
	})
	if err == nil {
		err = h.check()
	}
	if err != nil {
		return Handover{}, fmt.Errorf("handover: %w", err)
	}
	return h, nil
}

// Fewest is how many copies of each run the coordinator leaves where it releases any.
func (h Handover) Fewest() int {
	if !h.Erasure.IsZero() {
		return 1
	}
	return h.Copies
}

func (h Handover) check() error {
	switch {
	case h.V != 1:
		return fmt.Errorf("version %d is not known here", h.V)
	case IDOf(h.Key) != h.Owner:
		return fmt.Errorf("signed with the key of %s, not of the owner %s", IDOf(h.Key), h.Owner)
	case h.Task.IsZero() || h.Node.IsZero():
		return fmt.Errorf("task or node is missing")
	case h.Version < 1 || h.Term < 1 || h.Copies < 1:
		return fmt.Errorf("version %d, term %d and copies %d: want 1 or more of each", h.Version, h.Term, h.Copies)
	case h.Time <= 0 || h.Time > lastSecond || h.Retain < 0 || h.Locked < 0 || h.Locked > lastSecond:
		return fmt.Errorf("times %d, %d and %d are out of bounds", h.Time, h.Retain, h.Locked)
	}
	if err := checkAlias(h.Alias); err != nil || len(h.Delegation) == 0 {
		return err
	}
	d, err := OpenDelegation(h.Delegation)
	if err == nil {
		err = d.Keeps(h.Node, h.Alias, h.Version, time.Unix(h.Time, 0))
	}
	if err == nil && (d.Owner != h.Owner || d.Term != h.Term || d.Copies != h.Fewest()) {
		err = fmt.Errorf("the delegation is of %s, term %d, %d copies", d.Owner, d.Term, d.Copies)
	}
	return err
}

// TakenType is the payload type of a receipt for a handover.
const TakenType = "application/vnd.bkp.taken.v1+json"

// Taken is a node's word that it coordinates what was handed over to it.
type Taken struct {
	V        int       `json:"v"` // 1
	Handover core.Hash `json:"handover"`
	Time     int64     `json:"time"` // Unix seconds
	Key      []byte    `json:"key"`  // the node's public key
}

// SignTaken signs the receipt for a handover.
func (s *Signer) SignTaken(handover []byte, at time.Time) ([]byte, error) {
	payload, err := json.Marshal(Taken{V: 1, Handover: RefHash(handover), Time: at.Unix(), Key: s.Public()})
	if err != nil {
		return nil, fmt.Errorf("sign receipt of a handover: %w", err)
	}
	return s.Envelope(TakenType, payload)
}

// CheckTaken returns nil where an envelope is a node's receipt for a handover.
func CheckTaken(envelope, handover []byte, node core.ID) error {
	var t Taken
	_, err := OpenEnvelope(envelope, TakenType, func(payload []byte) ([]byte, error) {
		err := json.Unmarshal(payload, &t, strict)
		return t.Key, err
	})
	switch {
	case err != nil:
	case IDOf(t.Key) != node:
		err = fmt.Errorf("signed by %s, not by %s", IDOf(t.Key), node)
	case t.V != 1 || t.Handover != RefHash(handover):
		err = fmt.Errorf("it is for another handover")
	}
	if err != nil {
		return fmt.Errorf("receipt of a handover: %w", err)
	}
	return nil
}
