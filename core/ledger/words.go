// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"encoding/binary"
	"fmt"

	"github.com/zeebo/blake3"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/license"
)

// words is what the licences and receipts of a log say that were read so far.
type words struct {
	node     core.ID                      // whose log it is
	licenses map[core.LicenseID]core.Hash // → root
	own      map[core.LicenseID]core.Hash // → the newest receipt that the node itself gave
	others   map[shortHash]shortHash      // what a receipt of another node follows → that receipt
}

// shortHash is the first 8 bytes of a hash: enough to tell receipts apart, and there may be millions.
type shortHash uint64

func newWords(node core.ID) *words {
	return &words{
		node:     node,
		licenses: map[core.LicenseID]core.Hash{},
		own:      map[core.LicenseID]core.Hash{},
		others:   map[shortHash]shortHash{},
	}
}

// check opens an entry and holds it against those before.
func (w *words) check(e Entry) error {
	switch e.Kind {
	case KindLicense:
		return w.license(e.Envelope)
	case KindReceipt:
		return w.receipt(e.Envelope)
	case KindRelease:
		_, err := key.OpenRelease(e.Envelope)
		return err
	case KindAudit:
		a, err := license.OpenAudited(e.Envelope)
		if err == nil && a.Node != w.node {
			err = fmt.Errorf("it is the word of node %s", a.Node)
		}
		return err
	case KindExpired, KindLost:
	}
	d, err := license.OpenDischarge(e.Envelope)
	switch {
	case err != nil:
		return err
	case d.Node != w.node:
		return fmt.Errorf("it is the word of node %s", d.Node)
	case d.Why != string(e.Kind):
		return fmt.Errorf("it says that runs are %s", d.Why)
	}
	return nil
}

// license may be logged again, as often as it is shown, but under one id it stays one licence.
func (w *words) license(envelope []byte) error {
	l, _, _, err := license.Open(envelope)
	if err != nil {
		return err
	}
	if err := license.CheckBound(l, w.licenses[l.ID]); err != nil {
		return err
	}
	w.licenses[l.ID] = l.Root
	return nil
}

// receipt wants the node's own in the order of their chain, all of them. Those of others come over the network, late,
// twice or never: of them no two may follow the same one, for then their signer keeps two histories.
func (w *words) receipt(envelope []byte) error {
	r, err := license.OpenReceipt(envelope)
	if err != nil {
		return err
	}
	if w.licenses[r.License].IsZero() {
		return fmt.Errorf("licence %s was not logged before it", r.License)
	}
	hash := license.ReceiptHash(envelope)
	if r.Target == w.node {
		previous := w.own[r.License]
		w.own[r.License] = hash
		if r.Previous != previous {
			return fmt.Errorf("it follows receipt %s, but the log has %s before it", r.Previous, previous)
		}
		return nil
	}
	follows, this := place(r), shortHash(binary.LittleEndian.Uint64(hash[:]))
	if other, ok := w.others[follows]; ok && other != this {
		return fmt.Errorf("%s signed two receipts after the same one, %s", r.Target, r.Previous)
	}
	w.others[follows] = this
	return nil
}

// place names a receipt's place in its chain.
func place(r core.Receipt) shortHash {
	h := blake3.New()
	h.Write(r.License[:])
	h.Write(r.Target[:])
	h.Write(r.Previous[:])
	return shortHash(binary.LittleEndian.Uint64(h.Sum(nil)))
}
