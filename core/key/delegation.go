// SPDX-License-Identifier: Apache-2.0

package key

import (
	"fmt"
	"slices"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/bkp-tool/bkp/core"
)

// DelegationType is the payload type of a delegation.
const DelegationType = "application/vnd.bkp.delegation.v1+json"

// Right is something that an owner lets a node do in its name.
type Right string

const (
	RightRead    Right = "read"    // fetch runs, list refs
	RightWrite   Right = "write"   // sign licences and refs
	RightRelease Right = "release" // sign releases
	RightKeep    Right = "keep"    // coordinate what of one name was handed over: see Handover
)

// AllRights is what an owner's own machine is given.
var AllRights = []Right{RightRead, RightWrite, RightRelease}

// Delegation is an owner's word that a node may act for it until Expires, in Unix seconds.
type Delegation struct {
	V       int     `json:"v"` // 1
	Owner   core.ID `json:"owner"`
	Node    core.ID `json:"node"`
	Rights  []Right `json:"rights"`
	Alias   string  `json:"alias,omitempty"` // of that name's versions alone, to read one or to keep them
	Version int     `json:"version,omitzero"`
	Term    int     `json:"term,omitzero"`   // to keep: of several nodes the one of the highest term does
	Copies  int     `json:"copies,omitzero"` // to keep: of so many nobody is released
	Expires int64   `json:"expires"`
	Key     []byte  `json:"key"` // the owner's public key
}

// Delegate signs a delegation for node.
func (o *Owner) Delegate(node core.ID, rights []Right, expires time.Time) ([]byte, error) {
	return o.delegate(Delegation{V: 1, Owner: o.ID(), Node: node, Rights: rights, Expires: expires.Unix()})
}

func (o *Owner) delegate(d Delegation) ([]byte, error) {
	if err := o.signs(); err != nil {
		return nil, err
	}
	d.Key = o.signer.Public()
	node := d.Node
	if err := d.check(); err != nil {
		return nil, fmt.Errorf("delegate to %s: %w", node, err)
	}
	payload, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("delegate to %s: %w", node, err)
	}
	return o.signer.Envelope(DelegationType, payload)
}

// OpenDelegation returns a delegation that its owner really signed. Whether it covers a deed is Allows' to say.
func OpenDelegation(envelope []byte) (Delegation, error) {
	var d Delegation
	_, err := OpenEnvelope(envelope, DelegationType, func(payload []byte) ([]byte, error) {
		if err := json.Unmarshal(payload, &d, strict); err != nil {
			return nil, err
		}
		if id := IDOf(d.Key); id != d.Owner {
			return nil, fmt.Errorf("signed with the key of %s, not of the owner %s", id, d.Owner)
		}
		return d.Key, nil
	})
	if err == nil {
		err = d.check()
	}
	if err != nil {
		return Delegation{}, fmt.Errorf("delegation: %w", err)
	}
	return d, nil
}

// DelegationFields opens a delegation for rooms that do not know this one, such as core/license.
func DelegationFields(envelope []byte) (core.Delegated, error) {
	d, err := OpenDelegation(envelope)
	if err == nil && d.Alias != "" && !slices.Contains(d.Rights, RightKeep) {
		err = fmt.Errorf("delegation of %s to %s is for one version alone", d.Owner, d.Node)
	}
	f := core.Delegated{Owner: d.Owner, Node: d.Node, Alias: d.Alias, Version: d.Version, Term: d.Term, Expires: d.Expires}
	for _, r := range d.Rights {
		f.Rights = append(f.Rights, string(r))
	}
	return f, err
}

// Allows returns nil where d lets node do what right says at now, or else what is missing. Clocks may differ by
// core.ClockSkew.
func (d Delegation) Allows(node core.ID, right Right, now time.Time) error {
	switch {
	case d.Node != node:
		return fmt.Errorf("delegation of %s is for node %s, not for %s", d.Owner, d.Node, node)
	case d.Alias != "":
		return fmt.Errorf("delegation of %s to %s is for one version alone", d.Owner, d.Node)
	case !slices.Contains(d.Rights, right):
		return fmt.Errorf("delegation of %s to %s does not give the right to %s", d.Owner, d.Node, right)
	case now.Unix() > d.Expires+int64(core.ClockSkew/time.Second):
		return fmt.Errorf("delegation of %s to %s expired %s", d.Owner, d.Node, day(d.Expires))
	}
	return nil
}

// Shares reports whether d lets node read one version at now.
func (d Delegation) Shares(node core.ID, alias string, version int, now time.Time) bool {
	return d.Alias != "" && !d.keeps() && d.Alias == alias && d.Version == version && d.Node == node &&
		now.Unix() <= d.Expires+int64(core.ClockSkew/time.Second)
}

func (d Delegation) check() error {
	switch {
	case d.V != 1:
		return fmt.Errorf("version %d is not known here", d.V)
	case d.Owner.IsZero() || d.Node.IsZero():
		return fmt.Errorf("owner or node is missing")
	case len(d.Rights) == 0:
		return fmt.Errorf("it gives no right")
	case d.keeps():
		if err := d.checkKeep(); err != nil {
			return err
		}
	case (d.Alias == "") != (d.Version == 0) || d.Version < 0:
		return fmt.Errorf("an alias without a version, or the other way round")
	case d.Alias != "" && (len(d.Rights) != 1 || d.Rights[0] != RightRead):
		return fmt.Errorf("of one version it can give the right to read alone")
	case d.Term != 0 || d.Copies != 0:
		return fmt.Errorf("a term or copies without the right to keep")
	}
	switch {
	case d.Expires <= 0 || d.Expires > lastSecond:
		return fmt.Errorf("expires %d is not a date", d.Expires)
	}
	for i, r := range d.Rights {
		if !slices.Contains(AllRights, r) && r != RightKeep {
			return fmt.Errorf("right %q is not known (want read, write, release or keep)", r)
		}
		if slices.Contains(d.Rights[:i], r) {
			return fmt.Errorf("right %q is given twice", r)
		}
	}
	return nil
}

// acting checks that the key of a payload is its owner's, or that of a node to which the delegation in the payload
// gives the right at the given second.
func acting(owner core.ID, key, delegation []byte, right Right, at int64) error {
	signer := IDOf(key)
	if len(delegation) == 0 {
		if signer != owner {
			return fmt.Errorf("signed by %s, which is not the owner %s and shows no delegation", signer, owner)
		}
		return nil
	}
	d, err := OpenDelegation(delegation)
	if err != nil {
		return err
	}
	if d.Owner != owner {
		return fmt.Errorf("delegation is of %s, but the owner is %s", d.Owner, owner)
	}
	return d.Allows(signer, right, time.Unix(at, 0))
}

// lastSecond is the last second of the year 9999: later dates are taken for mistakes.
const lastSecond = 253402300799

func day(unix int64) string { return time.Unix(unix, 0).UTC().Format("2006-01-02 15:04:05Z") }
