// SPDX-License-Identifier: Apache-2.0

package license

import (
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
)

// Role is what the node that judges a licence is to do under it.
type Role int

const (
	RoleTarget  Role = iota // keep runs: it must be among targets or spares
	RoleCarrier             // pass runs on: it must be among carriers, or targets where the licence lists none
)

// OpenDelegation opens a delegation envelope, checking its owner's signature; key.DelegationFields is one.
type OpenDelegation func(envelope []byte) (core.Delegated, error)

// Claim is what a licence is shown for.
type Claim struct {
	Peer  core.ID   // who shows it: the other end of the connection
	Node  core.ID   // who judges it
	Role  Role      // of Node
	Root  core.Hash // over the runs that are to be kept, as Node computed it
	Bytes core.Size // all that Node would then keep under it, new or reused
	Runs  int
	Now   time.Time
	// OpenDelegation is asked where the signer is not the owner; nil refuses every delegate.
	OpenDelegation OpenDelegation
}

// Check returns nil where l, signed by signer, covers the claim, or else a *Refusal. Both come from Open.
//
// A licence that passes may still be a replay: see CheckBound. Quotas and who may store at all are for verifiers.
func Check(l core.License, signer core.ID, c Claim) error {
	for _, rule := range []func(core.License, core.ID, Claim) error{
		checkIssuer, checkPresenter, checkRole, checkNow, checkLimits,
	} {
		if err := rule(l, signer, c); err != nil {
			return err
		}
	}
	return nil
}

// CheckBound returns nil where a licence's id is not bound yet (bound is zero), or is bound to the same root.
func CheckBound(l core.License, bound core.Hash) error {
	if bound.IsZero() || bound == l.Root {
		return nil
	}
	r := refuse(RuleReplay, "licence %s was accepted before with root %s, now it has %s", l.ID, bound, l.Root)
	r.Code = core.ReasonReplay
	return r
}

// checkIssuer wants the owner's signature, or that of the source where the owner gave it the right to write.
func checkIssuer(l core.License, signer core.ID, c Claim) error {
	owner := l.TaskSource.Owner
	if signer == owner {
		return nil
	}
	if len(l.Delegation) == 0 || c.OpenDelegation == nil {
		return refuse(RuleIssuer, "signed by %s, which is not the owner %s and shows no delegation", signer, owner)
	}
	d, err := c.OpenDelegation(l.Delegation)
	switch {
	case err != nil:
		return refuse(RuleIssuer, "signed by %s: %v", signer, err)
	case d.Owner != owner:
		return refuse(RuleIssuer, "signed by %s with a delegation of %s, but the owner is %s", signer, d.Owner, owner)
	case d.Node != signer:
		return refuse(RuleIssuer, "signed by %s with a delegation for %s", signer, d.Node)
	case c.Now.Unix() > d.Expires+skew:
		return refuse(RuleIssuer, "signed by %s, whose delegation expired %s", signer, date(d.Expires))
	case signer != l.TaskSource.Node:
		return refuse(RuleIssuer, "signed by %s, a delegate, for the source %s: a delegate signs for itself only",
			signer, l.TaskSource.Node)
	case d.Alias != "":
		return checkKept(l, signer, d)
	case !slices.Contains(d.Rights, "write"):
		return refuse(RuleIssuer, "signed by %s, whose delegation does not give the right to write", signer)
	}
	return nil
}

// checkKept wants what a delegate to keep signs to be of the version that it keeps, of its term, and of runs that the
// owner licensed for that version.
func checkKept(l core.License, signer core.ID, d core.Delegated) error {
	switch {
	case !slices.Contains(d.Rights, "keep"):
		return refuse(RuleIssuer, "signed by %s, whose delegation does not give the right to keep", signer)
	case l.Alias != d.Alias || d.Version != 0 && d.Version != l.Version:
		return refuse(RuleIssuer, "signed by %s for version %d of a name, whose delegation is to keep another", signer, l.Version)
	case l.Term != d.Term:
		return refuse(RuleIssuer, "signed by %s in term %d with a delegation for term %d", signer, l.Term, d.Term)
	}
	of, _, by, err := Open(l.Of)
	switch {
	case err != nil:
		return refuse(RuleIssuer, "signed by %s without the owner's licence: %v", signer, err)
	case by != d.Owner || of.TaskSource.Owner != d.Owner:
		return refuse(RuleIssuer, "signed by %s over a licence of %s, which is not the owner", signer, by)
	case of.Alias != l.Alias || of.Version != l.Version || of.Segment != l.Segment || of.Root != l.Root || of.Op != l.Op:
		return refuse(RuleIssuer, "signed by %s for runs that the owner licensed for something else", signer)
	case l.LockedUntil > of.LockedUntil:
		return refuse(RuleIssuer, "signed by %s with a lock that the owner did not ask for", signer)
	}
	return nil
}

// Parties is whom a licence names, beside its source.
func Parties(l core.License) []core.ID { return slices.Concat(l.Targets, l.Spares, l.Carriers) }

// Spans is those of nodes that a licence names as targets or spares: nobody signed the others, and no run goes to them.
func Spans(l core.License, spans []core.Span) []core.Span {
	return slices.DeleteFunc(slices.Clone(spans), func(s core.Span) bool {
		return !slices.Contains(l.Targets, s.Node) && !slices.Contains(l.Spares, s.Node)
	})
}

// carriers may pass runs on and show the licence.
func carriers(l core.License) []core.ID {
	if len(l.Carriers) == 0 {
		return l.Targets
	}
	return l.Carriers
}

func checkPresenter(l core.License, _ core.ID, c Claim) error {
	if c.Peer == l.TaskSource.Node || slices.Contains(carriers(l), c.Peer) {
		return nil
	}
	return refuse(RulePresenter, "shown by %s, which is neither its source %s nor one of its %d carriers", c.Peer,
		l.TaskSource.Node, len(carriers(l)))
}

func checkRole(l core.License, _ core.ID, c Claim) error {
	switch c.Role {
	case RoleTarget:
		if slices.Contains(l.Targets, c.Node) || slices.Contains(l.Spares, c.Node) {
			return nil
		}
		return refuse(RuleTarget, "%s is not among its targets or spares", c.Node)
	case RoleCarrier:
		if slices.Contains(carriers(l), c.Node) {
			return nil
		}
		return refuse(RuleTarget, "%s is not among its carriers", c.Node)
	}
	return refuse(RuleTarget, "role %d is not known here", c.Role)
}

const skew = int64(core.ClockSkew / time.Second)

func checkNow(l core.License, _ core.ID, c Claim) error {
	now := c.Now.Unix()
	if now < l.NotBefore-skew {
		return refuse(RuleEarly, "not valid before %s, and it is %s", date(l.NotBefore), date(now))
	}
	if now > l.Expires+skew {
		return refuse(RuleExpired, "licence expired %s, and it is %s", date(l.Expires), date(now))
	}
	return nil
}

func checkLimits(l core.License, _ core.ID, c Claim) error {
	switch {
	case c.Root != l.Root:
		return refuse(RuleRoot, "it is for runs with root %s, these have %s", l.Root, c.Root)
	case c.Bytes < 0 || c.Bytes > l.MaxBytes:
		return refuse(RuleLimit, "%d bytes to keep, it allows %d", c.Bytes, l.MaxBytes)
	case c.Runs < 0 || c.Runs > l.MaxRuns:
		return refuse(RuleLimit, "%d runs to keep, it allows %d", c.Runs, l.MaxRuns)
	}
	return nil
}
