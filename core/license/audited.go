// SPDX-License-Identifier: Apache-2.0

package license

import (
	"fmt"

	"github.com/bkp-tool/bkp/core"
)

// AuditedType is the payload type of what audits came to.
const AuditedType = "application/vnd.bkp.audited.v1+json"

// SignAudited signs a as the node that audited, filling V, Node and Key; a longer note is cut.
func SignAudited(a core.Audited, signer Signer) ([]byte, error) {
	a.V, a.Node, a.Key = 1, signer.ID(), signer.Public()
	if len(a.Note) > maxNote {
		a.Note = a.Note[:maxNote]
	}
	err := checkAudited(a)
	var envelope []byte
	if err == nil {
		envelope, err = seal(AuditedType, a, signer)
	}
	if err != nil {
		return nil, fmt.Errorf("sign what audits of task %s came to: %w", a.Task, err)
	}
	return envelope, nil
}

// OpenAudited returns what audits came to, well formed and really signed by the node that made them.
func OpenAudited(envelope []byte) (core.Audited, error) {
	var a core.Audited
	_, signer, err := open(envelope, AuditedType, func(payload []byte) ([]byte, error) {
		err := parse("audited", payload, &a)
		return a.Key, err
	})
	if err == nil && signer != a.Node {
		err = refuse(RuleIssuer, "signed by %s, not by its node %s", signer, a.Node)
	}
	if err == nil {
		err = checkAudited(a)
	}
	if err != nil {
		return core.Audited{}, err
	}
	return a, nil
}

func checkAudited(a core.Audited) error {
	switch {
	case a.V != 1:
		return refuse(RuleVersion, "audits of version %d are not known here", a.V)
	case a.Owner.IsZero() || a.Task.IsZero():
		return refuse(RuleField, "owner or task is missing")
	case min(a.Proved, a.Unanswered, a.Failed) < 0 || a.Proved+a.Unanswered+a.Failed == 0:
		return refuse(RuleBounds, "it sums up %d, %d and %d audits", a.Proved, a.Unanswered, a.Failed)
	case len(a.Note) > maxNote:
		return refuse(RuleBounds, "note has %d bytes, at most %d are allowed", len(a.Note), maxNote)
	case a.Since <= 0 || a.Time < a.Since || a.Time > lastSecond:
		return refuse(RuleBounds, "times %d and %d are no dates in this order", a.Since, a.Time)
	}
	return nil
}
