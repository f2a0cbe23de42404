// SPDX-License-Identifier: Apache-2.0

package datadir

import (
	"fmt"
	"sync"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/ledger"
	"github.com/bkp-tool/bkp/core/license"
)

// Logbook is a ledger as the node writes it: it remembers the newest receipt that this node gave for each licence,
// since the next one has to name it, and whether that is countersigned.
type Logbook struct {
	*ledger.Log
	node core.ID

	mu   sync.Mutex
	last map[core.LicenseID]newest // nil until the log was read
}

type newest struct {
	receipt       core.Hash
	countersigned bool
}

// NewLogbook is the ledger of a node.
func NewLogbook(log *ledger.Log, node core.ID) *Logbook { return &Logbook{Log: log, node: node} }

// AppendLicense enters a licence that was accepted, or given.
func (l *Logbook) AppendLicense(envelope []byte) error {
	_, err := l.Append(ledger.KindLicense, envelope)
	return err
}

// AppendReceipt enters a receipt, of this node or for one.
func (l *Logbook) AppendReceipt(envelope []byte) error {
	r, err := license.OpenReceipt(envelope)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.read(); err != nil {
		return err
	}
	if _, err = l.Append(ledger.KindReceipt, envelope); err == nil && r.Target == l.node {
		l.last[r.License] = newest{receipt: license.ReceiptHash(envelope)}
	}
	return err
}

// AppendCountersigned enters that the owner's side has the newest receipt that this node gave for a licence, once, and
// returns when that is durable: for long nothing may follow that would make it so.
func (l *Logbook) AppendCountersigned(envelope []byte) error {
	c, _, err := license.OpenCountersigned(envelope)
	if err == nil {
		err = l.countersigned(c, envelope)
	}
	if err == nil {
		err = l.Sync()
	}
	return err
}

func (l *Logbook) countersigned(c core.Countersigned, envelope []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.read(); err != nil {
		return err
	}
	if last := l.last[c.License]; last.receipt != c.Receipt || last.countersigned {
		return fmt.Errorf("receipt %s is not the newest for licence %s, or is countersigned", c.Receipt, c.License)
	}
	_, err := l.Append(ledger.KindCountersigned, envelope)
	if err == nil {
		l.last[c.License] = newest{c.Receipt, true}
	}
	return err
}

// AppendRelease enters an owner's release.
func (l *Logbook) AppendRelease(envelope []byte) error {
	_, err := l.Append(ledger.KindRelease, envelope)
	return err
}

// AppendDischarge enters this node's own word that it keeps runs no longer.
func (l *Logbook) AppendDischarge(envelope []byte) error {
	d, err := license.OpenDischarge(envelope)
	if err == nil {
		_, err = l.Append(ledger.Kind(d.Why), envelope)
	}
	return err
}

// AppendAudited enters what audits of this node came to, durably: for long nothing may follow that would make it so.
func (l *Logbook) AppendAudited(envelope []byte) error {
	_, err := l.Append(ledger.KindAudit, envelope)
	if err == nil {
		err = l.Sync()
	}
	return err
}

// Durable is the newest head.
func (l *Logbook) Durable() (core.LedgerHead, error) {
	head, err := l.Head()
	return core.LedgerHead{Size: head.Size, Root: head.Root}, err
}

// LastReceipt is the hash of the newest receipt that this node entered for a licence, zero where there is none.
func (l *Logbook) LastReceipt(id core.LicenseID) (core.Hash, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.read()
	return l.last[id].receipt, err
}

// read goes through the log once, at the first receipt: a node that only carries out commands never needs to.
func (l *Logbook) read() error {
	if l.last != nil {
		return nil
	}
	last := map[core.LicenseID]newest{}
	err := l.Each(func(e ledger.Entry) error {
		if e.Kind == ledger.KindCountersigned {
			c, _, err := license.OpenCountersigned(e.Envelope)
			last[c.License] = newest{c.Receipt, true}
			return err
		}
		if e.Kind != ledger.KindReceipt {
			return nil
		}
		r, err := license.OpenReceipt(e.Envelope)
		if err == nil && r.Target == l.node {
			last[r.License] = newest{receipt: license.ReceiptHash(e.Envelope)}
		}
		return err
	})
	if err == nil {
		l.last = last
	}
	return err
}
