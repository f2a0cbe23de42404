// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"fmt"
	"sync"

	"github.com/bkp-tool/bkp/core"
)

// binding is the licences that are being accepted: from when they go to the ledger until the holdings have their
// segments, so that no segment is ever without its licence.
type binding struct {
	mu    sync.Mutex
	roots map[core.LicenseID][]core.Hash // all the same; one for each who is at it
}

func (b *binding) done(id core.LicenseID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.roots[id] = b.roots[id][1:]; len(b.roots[id]) == 0 {
		delete(b.roots, id)
	}
}

// bind makes an acceptance durable.
func (t *Target) bind(seg *Segment, root core.Hash) error {
	replayed := refuse(core.ReasonReplay, "licence %s is bound to another root", seg.LicenseID)
	free, err := t.enterLicense(seg, root)
	if err != nil {
		return fmt.Errorf("enter licence in the ledger: %w", err)
	}
	if !free {
		return replayed
	}
	defer t.binding.done(seg.LicenseID)
	if err := t.Ledger.Sync(); err != nil {
		return fmt.Errorf("enter licence in the ledger: %w", err)
	}
	bound, err := t.Holdings.PutSegment(seg.Segment, root)
	if err != nil {
		return fmt.Errorf("keep licence: %w", err)
	}
	if !bound {
		return replayed
	}
	return nil
}

// enterLicense appends a licence to the ledger, unless its id is bound to another root.
func (t *Target) enterLicense(seg *Segment, root core.Hash) (free bool, err error) {
	b := &t.binding
	b.mu.Lock()
	defer b.mu.Unlock()
	known, err := t.Holdings.Bound(seg.LicenseID)
	if err != nil {
		return false, err
	}
	if others := b.roots[seg.LicenseID]; len(others) > 0 {
		known = others[0]
	}
	if !known.IsZero() && known != root {
		return false, nil
	}
	if known.IsZero() {
		err = t.Ledger.AppendLicense(seg.License) // once, however often it is shown
	}
	if err != nil {
		return false, err
	}
	if b.roots == nil {
		b.roots = map[core.LicenseID][]core.Hash{}
	}
	b.roots[seg.LicenseID] = append(b.roots[seg.LicenseID], root)
	return true, nil
}
