// SPDX-License-Identifier: Apache-2.0

package license

import (
	"fmt"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
)

// CountersignedType is the payload type of a countersignature.
const CountersignedType = "application/vnd.bkp.countersigned.v1+json"

// MaxCountersigned bounds the envelope of a countersignature: one with a delegation has some 2.5 KiB.
const MaxCountersigned = 4 * core.KiB

// SignCountersigned signs, as its owner or with the owner's delegation, that a receipt came. It fills V, License, Receipt
// and Key of c.
func SignCountersigned(c core.Countersigned, receipt []byte, signer Signer) ([]byte, error) {
	r, err := OpenReceipt(receipt)
	if err != nil {
		return nil, fmt.Errorf("countersign: %w", err)
	}
	c.V, c.License, c.Receipt, c.Key = 1, r.License, ReceiptHash(receipt), signer.Public()
	var envelope []byte
	if err = checkCountersigned(c); err == nil {
		envelope, err = seal(CountersignedType, c, signer)
	}
	if err != nil {
		return nil, fmt.Errorf("countersign a receipt for licence %s: %w", r.License, err)
	}
	return envelope, nil
}

// OpenCountersigned returns a countersignature that is well formed, and who really signed it. Whether that node speaks
// for the owner is CheckCountersigned's to say.
func OpenCountersigned(envelope []byte) (c core.Countersigned, signer core.ID, err error) {
	if core.Size(len(envelope)) > MaxCountersigned {
		return c, signer, refuse(RuleEnvelope, "envelope has %d bytes, at most %d are allowed", len(envelope), MaxCountersigned)
	}
	_, signer, err = open(envelope, CountersignedType, func(payload []byte) ([]byte, error) {
		err := parse("countersignature", payload, &c)
		return c.Key, err
	})
	if err == nil {
		err = checkCountersigned(c)
	}
	if err != nil {
		return core.Countersigned{}, core.ID{}, err
	}
	return c, signer, nil
}

// OpenCountersignedReceipt returns a countersignature, who signed it, and the receipt that it is for, all well formed and
// really signed. It is refused where it is of another receipt, or was not signed about now.
func OpenCountersignedReceipt(envelope, receipt []byte, now time.Time) (c core.Countersigned, signer core.ID,
	r core.Receipt, err error) {
	if c, signer, err = OpenCountersigned(envelope); err == nil {
		r, err = OpenReceipt(receipt)
	}
	switch hash := ReceiptHash(receipt); {
	case err != nil:
	case c.Receipt != hash || c.License != r.License:
		err = refuse(RuleField, "it is for receipt %s, and this is %s", c.Receipt, hash)
	case c.Time < now.Unix()-skew || c.Time > now.Unix()+skew:
		err = refuse(RuleExpired, "signed %s, and it is %s", date(c.Time), date(now.Unix()))
	}
	return c, signer, r, err
}

// Party is for whom and by whom runs were placed that a receipt is for: what a licence says of its version.
type Party struct {
	core.TaskSource
	Alias   string // empty in licences of versions that nobody else coordinates
	Version int
}

// PartyOf is that of a licence.
func PartyOf(l core.License) Party { return Party{l.TaskSource, l.Alias, l.Version} }

// CheckCountersigned returns nil where c, signed by signer, is the word of the owner of what was placed, or, with the
// owner's delegation to write or to keep that version, of the node that placed it. c and signer come from
// OpenCountersigned.
func CheckCountersigned(c core.Countersigned, signer core.ID, p Party, open OpenDelegation) error {
	if c.Owner != p.Owner {
		return refuse(RuleIssuer, "it is for %s, but the owner is %s", c.Owner, p.Owner)
	}
	return speaks(signer, c.Delegation, c.Time, p, open)
}

// speaks returns nil where signer is the owner of what was placed or, with the owner's delegation to write or to keep that
// version, the node that placed it.
func speaks(signer core.ID, delegation []byte, at int64, p Party, open OpenDelegation) error {
	if signer == p.Owner {
		return nil
	}
	if len(delegation) == 0 {
		return refuse(RuleIssuer, "signed by %s, which is not the owner %s and shows no delegation", signer, p.Owner)
	}
	d, err := open(delegation)
	right := "write"
	if d.Alias != "" {
		right = "keep"
	}
	switch {
	case err != nil:
		return refuse(RuleIssuer, "signed by %s: %v", signer, err)
	case d.Owner != p.Owner || d.Node != signer:
		return refuse(RuleIssuer, "signed by %s with a delegation of %s for %s", signer, d.Owner, d.Node)
	case signer != p.Node:
		return refuse(RuleIssuer, "signed by %s, a delegate, for the source %s", signer, p.Node)
	case !slices.Contains(d.Rights, right):
		return refuse(RuleIssuer, "signed by %s, whose delegation does not give the right to %s", signer, right)
	case d.Alias != "" && (d.Alias != p.Alias || d.Version != 0 && d.Version != p.Version):
		return refuse(RuleIssuer, "signed by %s, whose delegation is to keep another version", signer)
	case at > d.Expires+skew:
		return refuse(RuleIssuer, "signed by %s, whose delegation expired %s", signer, date(d.Expires))
	}
	return nil
}

func checkCountersigned(c core.Countersigned) error {
	switch {
	case c.V != 1:
		return refuse(RuleVersion, "countersignature version %d is not known here", c.V)
	case c.License.IsZero() || c.Receipt.IsZero() || c.Owner.IsZero():
		return refuse(RuleField, "license, receipt or owner is missing")
	case c.Time <= 0 || c.Time > lastSecond:
		return refuse(RuleBounds, "time %d is not a date", c.Time)
	}
	return nil
}
