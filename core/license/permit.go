// SPDX-License-Identifier: Apache-2.0

package license

import (
	"fmt"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
)

// PermitType is the payload type of a permit.
const PermitType = "application/vnd.bkp.permit.v1+json"

// MaxPermits bounds the permits of one licence, and MaxPermitNodes the nodes of one permit.
const (
	MaxPermits     = 32
	MaxPermitNodes = 64
)

// SignPermit signs p as its issuer, filling V, Issuer and Key.
func SignPermit(p core.Permit, signer Signer) ([]byte, error) {
	p.V, p.Issuer, p.Key = 1, signer.ID(), signer.Public()
	if err := checkPermit(p); err != nil {
		return nil, fmt.Errorf("sign permit for %s: %w", p.Owner, err)
	}
	envelope, err := seal(PermitType, p, signer)
	if err != nil {
		return nil, fmt.Errorf("sign permit for %s: %w", p.Owner, err)
	}
	return envelope, nil
}

// OpenPermit returns a permit that its issuer really signed: no delegate may. Whether a node serves that issuer is for
// the node to say.
func OpenPermit(envelope []byte) (core.Permit, error) {
	var p core.Permit
	_, signer, err := open(envelope, PermitType, func(payload []byte) ([]byte, error) {
		err := parse("permit", payload, &p)
		return p.Key, err
	})
	if err == nil && signer != p.Issuer {
		err = refuse(RuleIssuer, "signed by %s, not by its issuer %s", signer, p.Issuer)
	}
	if err == nil {
		err = checkPermit(p)
	}
	if err != nil {
		return core.Permit{}, err
	}
	return p, nil
}

// PermitsFor are those of an owner's permits that say something of one of the targets.
func PermitsFor(permits [][]byte, targets []core.ID) (some [][]byte) {
	for _, envelope := range permits {
		p, err := OpenPermit(envelope)
		if err == nil && (len(p.Nodes) == 0 || slices.ContainsFunc(targets, func(id core.ID) bool {
			return slices.Contains(p.Nodes, id)
		})) && len(some) < MaxPermits {
			some = append(some, envelope)
		}
	}
	return some
}

// PermitOf is the permit under which the owner of a licence may store at a node at now: of those that counts says count
// there, the one of the most bytes. What a delegate to keep signs has those of the owner's licence.
func PermitOf(l core.License, node core.ID, now time.Time, counts func(core.Permit) bool) (best core.Permit, ok bool) {
	permits := l.Permits
	if of, _, _, err := Open(l.Of); err == nil {
		permits = of.Permits
	}
	for _, envelope := range permits {
		p, err := OpenPermit(envelope)
		if err != nil || p.Owner != l.TaskSource.Owner || !PermitStands(p, node, now) || !counts(p) {
			continue
		}
		if !ok || p.MaxBytes > best.MaxBytes {
			best, ok = p, true
		}
	}
	return best, ok
}

// PermitStands reports whether a permit is for a node, and of that day.
func PermitStands(p core.Permit, node core.ID, now time.Time) bool {
	return (len(p.Nodes) == 0 || slices.Contains(p.Nodes, node)) &&
		now.Unix() >= p.NotBefore-skew && now.Unix() <= p.Expires+skew
}

func checkPermit(p core.Permit) error {
	switch {
	case p.V != 1:
		return refuse(RuleVersion, "permit version %d is not known here", p.V)
	case p.ID.IsZero() || p.Issuer.IsZero() || p.Owner.IsZero():
		return refuse(RuleField, "id, issuer or owner is missing")
	case p.Issuer == p.Owner:
		return refuse(RuleField, "an issuer needs no permit of its own")
	case p.MaxBytes <= 0 || p.MaxBytes > MaxBytes:
		return refuse(RuleBounds, "max_bytes %d is not between 1 and %d", p.MaxBytes, MaxBytes)
	case p.KeepAtMost < 0 || p.KeepAtMost > lastSecond:
		return refuse(RuleBounds, "keep_at_most %d is out of bounds", p.KeepAtMost)
	case p.NotBefore <= 0 || p.NotBefore > lastSecond:
		return refuse(RuleBounds, "not_before %d is not a date", p.NotBefore)
	case p.Expires < p.NotBefore || p.Expires > lastSecond:
		return refuse(RuleBounds, "expires %d is not a date from not_before on", p.Expires)
	case len(p.Nodes) > MaxPermitNodes:
		return refuse(RuleBounds, "%d nodes, at most %d are allowed", len(p.Nodes), MaxPermitNodes)
	}
	return checkNodes("nodes", p.Nodes)
}
