// SPDX-License-Identifier: Apache-2.0

package license

import (
	"fmt"
	"time"

	"github.com/bkp-tool/bkp/core"
)

// Type is the payload type of a licence.
const Type = "application/vnd.bkp.license.v1+json"

// OpStore is the only operation that a licence can allow so far.
const OpStore = "store"

// MaxBytes bounds max_bytes and the bytes of a receipt, so that sums over thousands of licences cannot overflow: 1 PiB.
const MaxBytes = 1 << 10 * core.TiB

// Sign signs l, filling V and Key. It refuses to sign what Open would refuse.
func Sign(l core.License, signer Signer) ([]byte, error) {
	l.V, l.Key = 1, signer.Public()
	if err := checkLicense(l); err != nil {
		return nil, fmt.Errorf("sign licence %s: %w", l.ID, err)
	}
	envelope, err := seal(Type, l, signer)
	if err != nil {
		return nil, fmt.Errorf("sign licence %s: %w", l.ID, err)
	}
	return envelope, nil
}

// Open returns a licence that is well formed and really signed by signer, with its payload as it was signed.
// Whether that signer, this peer, this node and this day are right is Check's to say.
func Open(envelope []byte) (l core.License, payload []byte, signer core.ID, err error) {
	payload, signer, err = open(envelope, Type, func(payload []byte) ([]byte, error) {
		err := parse("licence", payload, &l)
		return l.Key, err
	})
	if err == nil {
		err = checkLicense(l)
	}
	if err != nil {
		return core.License{}, nil, core.ID{}, err
	}
	return l, payload, signer, nil
}

// checkLicense holds every rule that needs no context.
func checkLicense(l core.License) error {
	switch {
	case l.V != 1:
		return refuse(RuleVersion, "licence version %d is not known here", l.V)
	case l.ID.IsZero() || l.Task.IsZero():
		return refuse(RuleField, "id or task is missing")
	case l.TaskSource.Owner.IsZero() || l.TaskSource.Node.IsZero():
		return refuse(RuleField, "task_source does not name an owner and a node")
	case l.Op != OpStore:
		return refuse(RuleField, "op %q is not known here, want %q", l.Op, OpStore)
	case l.Root.IsZero():
		return refuse(RuleField, "root is missing")
	case len(l.Targets) == 0:
		return refuse(RuleNoTargets, "targets is empty")
	case l.Segment < 0:
		return refuse(RuleBounds, "segment is negative: %d", l.Segment)
	case l.MaxBytes < 0 || l.MaxBytes > MaxBytes:
		return refuse(RuleBounds, "max_bytes %d is not between 0 and %d", l.MaxBytes, MaxBytes)
	case l.MaxRuns < 0 || l.MaxRuns > core.SegmentRuns:
		return refuse(RuleBounds, "max_runs %d is not between 0 and %d", l.MaxRuns, core.SegmentRuns)
	case (l.Alias == "") != (l.Version == 0) || l.Version < 0 || l.Term < 0:
		return refuse(RuleBounds, "version %d of a name, or term %d, is out of bounds", l.Version, l.Term)
	case l.Alias == "" && (l.Term > 0 || len(l.Of) > 0):
		return refuse(RuleField, "a term, or the owner's licence, without the version that it is of")
	}
	if len(l.Permits) > MaxPermits {
		return refuse(RuleBounds, "%d permits, at most %d are allowed", len(l.Permits), MaxPermits)
	}
	if err := checkDates(l); err != nil {
		return err
	}
	for name, nodes := range lists(l) {
		if err := checkNodes(name, nodes); err != nil {
			return err
		}
	}
	return nil
}

// lists are the licence's lists of nodes by name.
func lists(l core.License) func(yield func(string, []core.ID) bool) {
	return func(yield func(string, []core.ID) bool) {
		_ = yield("targets", l.Targets) && yield("spares", l.Spares) && yield("carriers", l.Carriers)
	}
}

// checkNodes wants each entry to be one node, and no node twice.
func checkNodes(list string, nodes []core.ID) error {
	seen := make(map[core.ID]bool, len(nodes))
	for i, id := range nodes {
		if id.IsZero() {
			return refuse(RuleWildcard, "%s[%d] names no node", list, i)
		}
		if seen[id] {
			return refuse(RuleField, "%s[%d] names %s again", list, i, id)
		}
		seen[id] = true
	}
	return nil
}

// lastSecond is the last second of the year 9999; later dates are taken for mistakes.
const lastSecond = 253402300799

func checkDates(l core.License) error {
	switch {
	case l.NotBefore <= 0 || l.NotBefore > lastSecond:
		return refuse(RuleBounds, "not_before %d is not a date", l.NotBefore)
	case l.Expires < l.NotBefore || l.Expires > lastSecond:
		return refuse(RuleBounds, "expires %d is not a date from not_before on", l.Expires)
	case l.RetainUntil < l.NotBefore || l.RetainUntil > lastSecond:
		return refuse(RuleBounds, "retain_until %d is not a date from not_before on", l.RetainUntil)
	case l.LockedUntil != 0 && (l.LockedUntil < l.NotBefore || l.LockedUntil > l.RetainUntil):
		return refuse(RuleBounds, "locked_until %d is not between not_before and retain_until", l.LockedUntil)
	}
	return nil
}

func date(unix int64) string { return time.Unix(unix, 0).UTC().Format(time.DateTime + "Z") }
