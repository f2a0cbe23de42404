// SPDX-License-Identifier: Apache-2.0

package license

import (
	"fmt"

	"github.com/bkp-tool/bkp/core"
)

// DischargeType is the payload type of a discharge.
const DischargeType = "application/vnd.bkp.discharge.v1+json"

const maxNote = 1000

// SignDischarge signs d as the node that kept the runs, filling V, Node and Key.
func SignDischarge(d core.Discharge, signer Signer) ([]byte, error) {
	d.V, d.Node, d.Key = 1, signer.ID(), signer.Public()
	err := checkDischarge(d)
	var envelope []byte
	if err == nil {
		envelope, err = seal(DischargeType, d, signer)
	}
	if err != nil {
		return nil, fmt.Errorf("sign discharge of task %s: %w", d.Task, err)
	}
	return envelope, nil
}

// OpenDischarge returns a discharge that is well formed and really signed by its node.
func OpenDischarge(envelope []byte) (core.Discharge, error) {
	var d core.Discharge
	_, signer, err := open(envelope, DischargeType, func(payload []byte) ([]byte, error) {
		err := parse("discharge", payload, &d)
		return d.Key, err
	})
	if err == nil && signer != d.Node {
		err = refuse(RuleIssuer, "signed by %s, not by its node %s", signer, d.Node)
	}
	if err == nil {
		err = checkDischarge(d)
	}
	if err != nil {
		return core.Discharge{}, err
	}
	return d, nil
}

func checkDischarge(d core.Discharge) error {
	switch {
	case d.V != 1:
		return refuse(RuleVersion, "discharge version %d is not known here", d.V)
	case d.Why != core.WhyExpired && d.Why != core.WhyLost:
		return refuse(RuleField, "why is %.20q, which is not known here", d.Why)
	case d.Owner.IsZero() || d.Task.IsZero():
		return refuse(RuleField, "owner or task is missing")
	case d.Segment < 0:
		return refuse(RuleBounds, "segment is negative: %d", d.Segment)
	case len(d.Note) > maxNote:
		return refuse(RuleBounds, "note has %d bytes, at most %d are allowed", len(d.Note), maxNote)
	case d.Time <= 0 || d.Time > lastSecond:
		return refuse(RuleBounds, "time %d is not a date", d.Time)
	}
	return checkRuns(d.Runs)
}
