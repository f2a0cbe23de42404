// SPDX-License-Identifier: Apache-2.0

// Package keeptest has what a target stands on in tests: a ledger and a store in memory.
package keeptest

import (
	"fmt"
	"slices"
	"sync"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/ledger"
	"github.com/bkp-tool/bkp/core/license"
)

// Ledger is a log in memory. It takes a node's own receipts only where those for a licence form a chain.
type Ledger struct {
	Node  core.ID
	Watch *OffLoop

	mu      sync.Mutex
	entries []ledger.Entry
	last    map[core.LicenseID]core.Hash
	fails   error

	countersigned map[core.Hash]bool // receipts
}

// Fail has every call fail from now on; nil ends that.
func (l *Ledger) Fail(why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fails = why
}

// Entries is all that was entered.
func (l *Ledger) Entries() []ledger.Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.entries)
}

// Last is the kind of the newest entry.
func (l *Ledger) Last() ledger.Kind {
	all := l.Entries()
	return all[len(all)-1].Kind
}

// Count is how many entries of a kind there are.
func (l *Ledger) Count(kind ledger.Kind) (count int) {
	for _, e := range l.Entries() {
		if e.Kind == kind {
			count++
		}
	}
	return count
}

// Rewrite puts other entries in the place of those that were entered.
func (l *Ledger) Rewrite(entries []ledger.Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = entries
}

// enter takes an entry down. mu is held.
func (l *Ledger) enter(kind ledger.Kind, envelope []byte) error {
	if l.fails == nil {
		l.entries = append(l.entries, ledger.Entry{Index: int64(len(l.entries)), Kind: kind, Envelope: envelope})
	}
	return l.fails
}

func (l *Ledger) AppendLicense(envelope []byte) error {
	l.Watch.Called("AppendLicense")
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.enter(ledger.KindLicense, envelope)
}

func (l *Ledger) AppendRelease(envelope []byte) error {
	l.Watch.Called("AppendRelease")
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.enter(ledger.KindRelease, envelope)
}

func (l *Ledger) AppendDischarge(envelope []byte) error {
	l.Watch.Called("AppendDischarge")
	l.mu.Lock()
	defer l.mu.Unlock()
	d, err := license.OpenDischarge(envelope)
	if err != nil {
		return err
	}
	return l.enter(ledger.Kind(d.Why), envelope)
}

func (l *Ledger) AppendAudited(envelope []byte) error {
	l.Watch.Called("AppendAudited")
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.enter(ledger.KindAudit, envelope)
}

func (l *Ledger) AppendReceipt(envelope []byte) error {
	l.Watch.Called("AppendReceipt")
	l.mu.Lock()
	defer l.mu.Unlock()
	r, err := license.OpenReceipt(envelope)
	if err != nil || r.Target != l.Node {
		return err
	}
	if r.Previous != l.last[r.License] {
		return fmt.Errorf("receipt does not follow the last one")
	}
	if err := l.enter(ledger.KindReceipt, envelope); err != nil {
		return err
	}
	if l.last == nil {
		l.last = map[core.LicenseID]core.Hash{}
	}
	l.last[r.License] = license.ReceiptHash(envelope)
	return nil
}

func (l *Ledger) AppendCountersigned(envelope []byte) error {
	l.Watch.Called("AppendCountersigned")
	l.mu.Lock()
	defer l.mu.Unlock()
	c, _, err := license.OpenCountersigned(envelope)
	if err == nil && (c.Receipt != l.last[c.License] || l.countersigned[c.Receipt]) {
		err = fmt.Errorf("receipt %s is not the newest, or is countersigned", c.Receipt)
	}
	if err != nil {
		return err
	}
	if l.countersigned == nil {
		l.countersigned = map[core.Hash]bool{}
	}
	l.countersigned[c.Receipt] = true
	return l.enter(ledger.KindCountersigned, envelope)
}

func (l *Ledger) LastReceipt(id core.LicenseID) (core.Hash, error) {
	l.Watch.Called("LastReceipt")
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last[id], l.fails
}

func (l *Ledger) Standing() (core.Standing, error) {
	l.Watch.Called("Standing")
	f := ledger.NewFold(l.Node)
	for _, e := range l.Entries() {
		if err := f.Add(e); err != nil {
			return core.Standing{}, err
		}
	}
	return f.Standing, nil
}

func (l *Ledger) Durable() (core.LedgerHead, error) {
	l.Watch.Called("Durable")
	return core.LedgerHead{Size: int64(len(l.Entries()))}, nil
}

func (l *Ledger) Holds(head core.LedgerHead) error {
	if now, _ := l.Durable(); now.Size < head.Size {
		return core.Fail(core.CodeWrong, "the ledger was cut: it had %d entries, here are %d", head.Size, now.Size)
	}
	return nil
}

func (l *Ledger) Sync() error {
	l.Watch.Called("Sync")
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fails
}
