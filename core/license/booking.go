// SPDX-License-Identifier: Apache-2.0

package license

import (
	"fmt"
	"strings"

	"github.com/bkp-tool/bkp/core"
)

// BookingType is the payload type of a booking.
const BookingType = "application/vnd.bkp.booking.v1+json"

// MaxBooked is how many licences one booking has at most: with them it stays below core.MaxEngineEntry.
const MaxBooked = 2048

// SignBooking signs, as the owner or with the owner's delegation, that licences are booked. It fills V and Key.
func SignBooking(b core.Booking, signer Signer) ([]byte, error) {
	b.V, b.Key = 1, signer.Public()
	err := checkBooking(b)
	var envelope []byte
	if err == nil {
		envelope, err = seal(BookingType, b, signer)
	}
	if err != nil {
		return nil, fmt.Errorf("book licences of version %d of a name: %w", b.Version, err)
	}
	return envelope, nil
}

// OpenBooking returns a booking that is well formed and signed by who may coordinate the version, and whether that is a
// node that the owner handed it over to in this very term: such a one comes before the owner's own nodes.
func OpenBooking(envelope []byte, open OpenDelegation) (b core.Booking, handed bool, err error) {
	signer, err := openBooking(envelope, &b)
	if err == nil {
		err = checkBooking(b)
	}
	if err == nil {
		err = speaks(signer, b.Delegation, b.Time, Party{core.TaskSource{Owner: b.Owner, Node: b.Node}, b.Alias, b.Version}, open)
	}
	if err != nil {
		return core.Booking{}, false, err
	}
	if signer == b.Owner {
		return b, false, nil
	}
	d, err := open(b.Delegation)
	if err == nil && d.Alias != "" && d.Term != b.Term {
		err = refuse(RuleIssuer, "signed by %s in term %d with a delegation for term %d", signer, b.Term, d.Term)
	}
	return b, d.Alias != "", err
}

func openBooking(envelope []byte, b *core.Booking) (signer core.ID, err error) {
	if core.Size(len(envelope)) > core.MaxEngineEntry {
		return signer, refuse(RuleEnvelope, "envelope has %d bytes, at most %d are allowed", len(envelope), core.MaxEngineEntry)
	}
	_, signer, err = open(envelope, BookingType, func(payload []byte) ([]byte, error) {
		err := parse("booking", payload, b)
		return b.Key, err
	})
	return signer, err
}

func checkBooking(b core.Booking) error {
	switch {
	case b.V != 1:
		return refuse(RuleVersion, "booking version %d is not known here", b.V)
	case b.Owner.IsZero() || b.Node.IsZero() || b.Alias == "" || strings.Trim(b.Alias, "abcdefghijklmnopqrstuvwxyz234567") != "":
		return refuse(RuleField, "owner, node or alias is missing")
	case b.Version < 1 || b.Term < 0:
		return refuse(RuleBounds, "version %d of a name, or term %d, is out of bounds", b.Version, b.Term)
	case len(b.Licenses) == 0 || len(b.Licenses) > MaxBooked:
		return refuse(RuleBounds, "%d licences, want 1 to %d", len(b.Licenses), MaxBooked)
	case b.Time <= 0 || b.Time > lastSecond:
		return refuse(RuleBounds, "time %d is not a date", b.Time)
	}
	return nil
}
