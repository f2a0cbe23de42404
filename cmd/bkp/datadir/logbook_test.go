// SPDX-License-Identifier: Apache-2.0

package datadir_test

import (
	"bytes"
	"testing"

	"github.com/bkp-tool/bkp/cmd/bkp/datadir"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/ledger"
	"github.com/bkp-tool/bkp/core/license"
)

// TestCountersignedOnce: a receipt is countersigned once, also after a restart, and only the newest for its licence.
func TestCountersignedOnce(t *testing.T) {
	signer := func(b byte) *key.Signer { return key.SignerFromSeed([32]byte(bytes.Repeat([]byte{b}, 32))) }
	node, owner, dir := signer(1), signer(2), t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	open := func() *datadir.Logbook {
		log, err := ledger.Open(dir, node)
		must(err)
		return datadir.NewLogbook(log, node.ID())
	}
	give := func(book *datadir.Logbook, run int) (countersigned []byte) {
		previous, err := book.LastReceipt(core.LicenseID{1})
		must(err)
		receipt, err := license.SignReceipt(core.Receipt{License: core.LicenseID{1}, Task: core.TaskID{1}, Previous: previous,
			Runs: []core.Range{{Start: run, Length: 1}}, RetainUntil: 1, Time: 1}, node)
		must(err)
		must(book.AppendReceipt(receipt))
		countersigned, err = license.SignCountersigned(core.Countersigned{Owner: owner.ID(), Time: 1}, receipt, owner)
		must(err)
		return countersigned
	}
	refused := func(book *datadir.Logbook, envelope []byte) {
		t.Helper()
		size := book.Size()
		if err := book.AppendCountersigned(envelope); err == nil || book.Size() != size {
			t.Errorf("entered: %v", err)
		}
	}
	l, err := license.Sign(core.License{ID: core.LicenseID{1}, Task: core.TaskID{1}, TaskSource: core.TaskSource{
		Owner: owner.ID(), Node: node.ID()}, Targets: []core.ID{node.ID()}, Op: license.OpStore, Root: core.Hash{1},
		NotBefore: 1, Expires: 1, RetainUntil: 1}, owner)
	must(err)
	book := open()
	must(book.AppendLicense(l))
	first := give(book, 0)
	second := give(book, 1)
	refused(book, first)
	must(book.AppendCountersigned(second))
	refused(book, second)
	must(book.Close())
	book = open()
	refused(book, second)
	third := give(book, 2)
	must(book.Close())
	book = open()
	must(book.AppendCountersigned(third))
	report, err := book.Verify()
	if err != nil || report.Own != 3 || report.Countersigned != 3 {
		t.Errorf("%+v, %v", report, err)
	}
	must(book.Close())
}
