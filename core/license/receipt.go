// SPDX-License-Identifier: Apache-2.0

package license

import (
	"bytes"
	"encoding/base64"
	"fmt"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"github.com/zeebo/blake3"

	"github.com/bkp-tool/bkp/core"
)

// ReceiptType is the payload type of a receipt.
const ReceiptType = "application/vnd.bkp.receipt.v1+json"

// SignReceipt signs r as its target, filling V, Target and Key.
func SignReceipt(r core.Receipt, signer Signer) ([]byte, error) {
	r.V, r.Target, r.Key = 1, signer.ID(), signer.Public()
	if err := checkReceipt(r); err != nil {
		return nil, fmt.Errorf("sign receipt for licence %s: %w", r.License, err)
	}
	envelope, err := seal(ReceiptType, r, signer)
	if err != nil {
		return nil, fmt.Errorf("sign receipt for licence %s: %w", r.License, err)
	}
	return envelope, nil
}

// OpenReceipt returns a receipt that is well formed and really signed by its target. Since the next receipt points to
// this one by ReceiptHash, the envelope must be spelled exactly as SignReceipt does.
func OpenReceipt(envelope []byte) (core.Receipt, error) {
	var r core.Receipt
	_, signer, err := open(envelope, ReceiptType, func(payload []byte) ([]byte, error) {
		err := parse("receipt", payload, &r)
		return r.Key, err
	})
	if err == nil && signer != r.Target {
		err = refuse(RuleIssuer, "signed by %s, not by its target %s", signer, r.Target)
	}
	if err == nil {
		err = checkSpelling(envelope)
	}
	if err == nil {
		err = checkReceipt(r)
	}
	if err != nil {
		return core.Receipt{}, err
	}
	return r, nil
}

// ReceiptHash is what the target's next receipt for the same licence says in Previous.
func ReceiptHash(envelope []byte) core.Hash { return blake3.Sum256(envelope) }

// checkReceipt holds every rule that needs no context.
func checkReceipt(r core.Receipt) error {
	switch {
	case r.V != 1:
		return refuse(RuleVersion, "receipt version %d is not known here", r.V)
	case r.License.IsZero() || r.Task.IsZero():
		return refuse(RuleField, "license or task is missing")
	case r.Segment < 0:
		return refuse(RuleBounds, "segment is negative: %d", r.Segment)
	case r.Bytes < 0 || r.Bytes > MaxBytes:
		return refuse(RuleBounds, "bytes %d is not between 0 and %d", r.Bytes, MaxBytes)
	case r.RetainUntil <= 0 || r.RetainUntil > lastSecond:
		return refuse(RuleBounds, "retain_until %d is not a date", r.RetainUntil)
	case r.Time <= 0 || r.Time > lastSecond:
		return refuse(RuleBounds, "time %d is not a date", r.Time)
	case len(r.Runs) == 0:
		return refuse(RuleField, "runs is empty")
	}
	return checkRuns(r.Runs)
}

// checkRuns wants ranges of a segment's runs in order.
func checkRuns(all []core.Range) error {
	next := 0
	for i, runs := range all {
		if runs.Start < next || runs.Length < 1 || runs.Start > core.SegmentRuns ||
			runs.Length > core.SegmentRuns-runs.Start {
			return refuse(RuleBounds, "runs[%d] (start %d, length %d) is empty, out of order or past run %d",
				i, runs.Start, runs.Length, core.SegmentRuns-1)
		}
		next = runs.Start + runs.Length
	}
	return nil
}

// checkSpelling refuses an envelope that says the same in other bytes than seal writes. It comes after open.
func checkSpelling(envelope []byte) error {
	var e dsse.Envelope
	if err := parse("envelope", envelope, &e); err != nil {
		return err
	}
	for _, text := range []*string{&e.Payload, &e.Signatures[0].Sig} {
		raw, err := base64.StdEncoding.DecodeString(*text)
		if err != nil {
			return refuse(RuleEnvelope, "envelope is not in its one spelling")
		}
		*text = base64.StdEncoding.EncodeToString(raw)
	}
	if again, err := spell(e); err != nil || !bytes.Equal(again, envelope) {
		return refuse(RuleEnvelope, "envelope is not in its one spelling")
	}
	return nil
}
