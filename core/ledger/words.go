// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"encoding/binary"
	"fmt"
	"unique"

	"github.com/zeebo/blake3"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/license"
)

// words is what the licences and receipts of a log say that were read so far.
type words struct {
	node     core.ID // whose log it is
	licenses map[core.LicenseID]licensed
	own      map[core.LicenseID]own  // receipts that the node itself gave
	others   map[shortHash]shortHash // what a receipt of another node follows → that receipt

	given, countersigned int64 // of its own
}

// licensed is what a licence is for. Many share one party.
type licensed struct {
	root  core.Hash
	party unique.Handle[license.Party]
}

// own is the node's receipts for a licence.
type own struct {
	newest core.Hash
	open   int64 // that the owner's side has not countersigned
}

// shortHash is the first 8 bytes of a hash: enough to tell receipts apart, and there may be millions.
type shortHash uint64

func newWords(node core.ID) *words {
	return &words{
		node:     node,
		licenses: map[core.LicenseID]licensed{},
		own:      map[core.LicenseID]own{},
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
	case KindCountersigned:
		return w.countersignature(e.Envelope)
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
	if err := license.CheckBound(l, w.licenses[l.ID].root); err != nil {
		return err
	}
	w.licenses[l.ID] = licensed{l.Root, unique.Make(license.PartyOf(l))}
	return nil
}

// receipt wants the node's own in the order of their chain, all of them. Those of others come over the network, late,
// twice or never: of them no two may follow the same one, for then their signer keeps two histories.
func (w *words) receipt(envelope []byte) error {
	r, err := license.OpenReceipt(envelope)
	if err != nil {
		return err
	}
	if w.licenses[r.License].root.IsZero() {
		return fmt.Errorf("licence %s was not logged before it", r.License)
	}
	hash := license.ReceiptHash(envelope)
	if r.Target == w.node {
		before := w.own[r.License]
		w.own[r.License] = own{hash, before.open + 1}
		w.given++
		if r.Previous != before.newest {
			return fmt.Errorf("it follows receipt %s, but the log has %s before it", r.Previous, before.newest)
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

// countersignature is once for the newest receipt of the node under a licence, and speaks for those before.
func (w *words) countersignature(envelope []byte) error {
	c, signer, err := license.OpenCountersigned(envelope)
	if err != nil {
		return err
	}
	l, receipts := w.licenses[c.License], w.own[c.License]
	switch {
	case l.root.IsZero():
		return fmt.Errorf("licence %s was not logged before it", c.License)
	case c.Receipt != receipts.newest:
		return fmt.Errorf("it is for receipt %s, and the newest is %s", c.Receipt, receipts.newest)
	case receipts.open == 0:
		return fmt.Errorf("receipt %s was countersigned before", c.Receipt)
	}
	w.countersigned += receipts.open
	w.own[c.License] = own{newest: receipts.newest}
	return license.CheckCountersigned(c, signer, l.party.Value(), key.DelegationFields)
}

// place names a receipt's place in its chain.
func place(r core.Receipt) shortHash {
	h := blake3.New()
	h.Write(r.License[:])
	h.Write(r.Target[:])
	h.Write(r.Previous[:])
	return shortHash(binary.LittleEndian.Uint64(h.Sum(nil)))
}
