// SPDX-License-Identifier: Apache-2.0

package key

import (
	"fmt"

	"github.com/go-json-experiment/json"

	"github.com/bkp-tool/bkp/core"
)

// RevocationType is the payload type of a list of revocations.
const RevocationType = "application/vnd.bkp.revocations.v1+json"

// MaxRevoked and MaxRevokedLicenses bound the nodes and licences of one list, and MaxRevocations its envelope's bytes.
const (
	MaxRevoked         = 1024
	MaxRevokedLicenses = 2048
	MaxRevocations     = 256 << 10
)

// Revocations is an owner's word that what it let some nodes do in its name is over, whatever delegations they show,
// and that some licences are, whoever shows them. Of two lists the one with the higher sequence counts. It ends what
// is new, and deletes nothing.
type Revocations struct {
	V        int     `json:"v"` // 1
	Owner    core.ID `json:"owner"`
	Sequence int64   `json:"sequence"` // from 1
	Time     int64   `json:"time"`     // when it was signed, Unix seconds
	core.Revoked
	Key []byte `json:"key"` // the owner's public key
}

// Revoke signs the list that follows on another, with more; before is zero where there was none.
func (o *Owner) Revoke(before Revocations, more core.Revoked, now int64) ([]byte, error) {
	if err := o.signs(); err != nil {
		return nil, err
	}
	r := Revocations{V: 1, Owner: o.ID(), Sequence: before.Sequence + 1, Time: now, Key: o.signer.Public()}
	r.Revoked = before.With(more)
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("revoke: %w", err)
	}
	payload, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("revoke: %w", err)
	}
	return o.signer.Envelope(RevocationType, payload)
}

// OpenRevocations returns a list that its owner really signed. No delegate may.
func OpenRevocations(envelope []byte) (Revocations, error) {
	var r Revocations
	if len(envelope) > MaxRevocations {
		return r, fmt.Errorf("revocations: %d bytes, at most %d are allowed", len(envelope), MaxRevocations)
	}
	_, err := OpenEnvelope(envelope, RevocationType, func(payload []byte) ([]byte, error) {
		if err := json.Unmarshal(payload, &r, strict); err != nil {
			return nil, err
		}
		if id := IDOf(r.Key); id != r.Owner {
			return nil, fmt.Errorf("signed with the key of %s, not of the owner %s", id, r.Owner)
		}
		return r.Key, nil
	})
	if err == nil {
		err = r.check()
	}
	if err != nil {
		return Revocations{}, fmt.Errorf("revocations: %w", err)
	}
	return r, nil
}

// Follows reports whether the list takes another's place. Of two with one sequence, which two machines of an owner made
// at once, everybody keeps the same.
func (r Revocations) Follows(other Revocations) bool {
	if r.Sequence != other.Sequence {
		return r.Sequence > other.Sequence
	}
	return r.Compare(other.Revoked) > 0
}

func (r Revocations) check() error {
	switch {
	case r.V != 1:
		return fmt.Errorf("version %d is not known here", r.V)
	case r.Owner.IsZero():
		return fmt.Errorf("owner is missing")
	case r.Sequence < 1 || r.Sequence > 1<<53:
		return fmt.Errorf("sequence %d is out of bounds", r.Sequence)
	case r.Time <= 0 || r.Time > lastSecond:
		return fmt.Errorf("time %d is not a date", r.Time)
	case len(r.Nodes) > MaxRevoked:
		return fmt.Errorf("%d nodes, at most %d are allowed", len(r.Nodes), MaxRevoked)
	case len(r.Licenses) > MaxRevokedLicenses:
		return fmt.Errorf("%d licences, at most %d are allowed", len(r.Licenses), MaxRevokedLicenses)
	}
	return r.Revoked.Check()
}
