// SPDX-License-Identifier: Apache-2.0

// Package booking has a placement's licences entered in the order that several coordinators have, before they are signed.
package booking

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/license"
)

// Order is the order that several coordinators have; *ledger.Order is one.
type Order interface {
	// Coordinator is who coordinates a version, and in which term; false: nobody has booked yet.
	Coordinator(ctx context.Context, owner core.ID, alias string, version int) (core.ID, int, bool, error)
	// Book enters a signed booking, once, however often it is told. It is a *license.OutrunError where another node
	// coordinates the version.
	Book(ctx context.Context, envelope []byte) error
}

const (
	// patience is with an engine that does not answer: it may be started again meanwhile, or choose another leader.
	patience   = 15 * time.Second
	firstPause = 500 * time.Millisecond
)

// Term is in which term a version is coordinated here that would be in one otherwise: where another node has booked in it,
// or in a higher one, the next. mends is for one that leaves it to the other then, which is a *license.OutrunError.
func Term(ctx context.Context, o Order, b core.Booking, mends bool, say func(phase, format string, args ...any)) (term int, err error) {
	term = b.Term
	if o == nil {
		return term, nil
	}
	err = patiently(ctx, say, func() error {
		node, booked, begun, err := o.Coordinator(ctx, b.Owner, b.Alias, b.Version)
		switch {
		case err != nil || !begun:
			return err
		case node == b.Node:
			term = max(b.Term, booked)
		case booked < b.Term:
		case mends:
			return &license.OutrunError{Node: node, Term: booked}
		default:
			term = booked + 1
		}
		return nil
	})
	return term, err
}

// Draw is so many new licence ids, which are booked where there is an order.
func Draw(ctx context.Context, o Order, b core.Booking, n int, signer license.Signer, say func(phase, format string, args ...any)) ([]core.LicenseID, error) {
	ids := make([]core.LicenseID, n)
	for i := range ids {
		if _, err := rand.Read(ids[i][:]); err != nil {
			return nil, fmt.Errorf("draw licence id: %w", err)
		}
	}
	for at := 0; at < n && o != nil; at += license.MaxBooked {
		b.Licenses, b.Time = ids[at:min(at+license.MaxBooked, n)], time.Now().Unix()
		envelope, err := license.SignBooking(b, signer)
		if err == nil {
			err = patiently(ctx, say, func() error { return o.Book(ctx, envelope) })
		}
		if err != nil {
			return nil, err
		}
	}
	return ids, nil
}

// patiently asks an engine again that does not answer, and says so.
func patiently(ctx context.Context, say func(phase, format string, args ...any), ask func() error) error {
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := ask()
		if _, outrun := errors.AsType[*license.OutrunError](err); outrun || core.CodeOf(err) == core.CodeWrong {
			err = backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithMaxElapsedTime(patience), backoff.WithBackOff(&backoff.ExponentialBackOff{InitialInterval: firstPause,
		RandomizationFactor: 0.2, Multiplier: 1.5, MaxInterval: 5 * time.Second}),
		backoff.WithNotify(func(err error, _ time.Duration) {
			say("license", "the order cannot be asked, and is asked again: %v", err)
		}))
	if _, outrun := errors.AsType[*license.OutrunError](err); err == nil || outrun || core.CodeOf(err) == core.CodeWrong {
		return err
	}
	return core.WithHint(fmt.Errorf("enter it in the order of all coordinators: %w", err),
		"no licence was signed, and nothing new is sent without; the same again once the engine is there")
}
