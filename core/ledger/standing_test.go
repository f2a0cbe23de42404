// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"fmt"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/license"
)

// release by whom, of task 1, which is all that the tests have.
func release(t testing.TB, by *key.Signer) []byte {
	t.Helper()
	envelope, err := by.SignRelease(key.Release{Owner: by.ID(), Task: core.TaskID{1}, Alias: alias, Version: 1,
		Time: noon})
	if err != nil {
		t.Fatal(err)
	}
	return envelope
}

const alias = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

// discharge is the node's word about runs of an owner's task; none: all of them.
func discharge(t testing.TB, why string, of core.ID, runs ...int) []byte {
	t.Helper()
	return dischargeOf(t, node, why, of, runs...)
}

func dischargeOf(t testing.TB, by *key.Signer, why string, of core.ID, runs ...int) []byte {
	t.Helper()
	envelope, err := license.SignDischarge(core.Discharge{
		Why: why, Owner: of, Task: core.TaskID{1}, Runs: core.Ranges(runs), Time: noon,
	}, by)
	if err != nil {
		t.Fatal(err)
	}
	return envelope
}

// TestStanding enters words one after the other and says which runs are to be kept after them.
func TestStanding(t *testing.T) {
	first := receiptBy(t, node, 1, 0, nil)
	second := receiptBy(t, node, 1, 7, first)
	begin := []Entry{{Kind: KindLicense, Envelope: licence(t, 1)}, {Kind: KindReceipt, Envelope: first},
		{Kind: KindReceipt, Envelope: second}}
	for _, tc := range []struct {
		name string
		then []Entry
		want string
	}{
		{"receipts", nil, "[0 7]"},
		{"another node's receipt", []Entry{{Kind: KindReceipt, Envelope: receipt(t, 1, 3, nil)}}, "[0 7]"},
		{"released", []Entry{{Kind: KindRelease, Envelope: release(t, owner)}}, "[]"},
		{"released by another owner", []Entry{{Kind: KindRelease, Envelope: release(t, stranger)}}, "[0 7]"},
		{"released, and kept anew", []Entry{
			{Kind: KindRelease, Envelope: release(t, owner)},
			{Kind: KindReceipt, Envelope: receiptBy(t, node, 1, 5, second)},
		}, "[5]"},
		{"expired", []Entry{{Kind: KindExpired, Envelope: discharge(t, core.WhyExpired, owner.ID())}}, "[]"},
		{"one lost", []Entry{{Kind: KindLost, Envelope: discharge(t, core.WhyLost, owner.ID(), 7)}}, "[0]"},
		{"another owner's lost", []Entry{{Kind: KindLost, Envelope: discharge(t, core.WhyLost, stranger.ID(), 7)}},
			"[0 7]"},
		{"lost, and brought again", []Entry{
			{Kind: KindLost, Envelope: discharge(t, core.WhyLost, owner.ID(), 7)},
			{Kind: KindReceipt, Envelope: receiptBy(t, node, 1, 7, second)},
		}, "[0 7]"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := open(t, t.TempDir())
			for _, e := range append(begin[:len(begin):len(begin)], tc.then...) {
				add(t, l, e.Kind, e.Envelope)
			}
			settle(t, l)
			standing, err := l.Standing()
			if err != nil {
				t.Fatal(err)
			}
			runs := []int{}
			for _, s := range standing.Segments {
				s.Runs.Each(func(run int) { runs = append(runs, run) })
			}
			if got := fmt.Sprint(runs); got != tc.want || !standing.Licenses[core.LicenseID{1}] {
				t.Errorf("%s, want %s; licences %v", got, tc.want, standing.Licenses)
			}
			if _, err := l.Verify(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A log says whether it is what it was, or more.
func TestHolds(t *testing.T) {
	dir := filled(t)
	r := reader(t, dir)
	newest, err := r.Head()
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name  string
		head  core.LedgerHead
		words string
	}{
		{"nothing", core.LedgerHead{}, ""},
		{"all of it", core.LedgerHead{Size: newest.Size, Root: newest.Root}, ""},
		{"one entry more", core.LedgerHead{Size: newest.Size + 1, Root: newest.Root},
			"ledger was cut: it had 6 entries, here are 5"},
		{"others", core.LedgerHead{Size: newest.Size - 1, Root: newest.Root}, "first 4 entries are not those"},
	} {
		code := core.CodeWrong
		if tc.words == "" {
			code = core.CodeOK
		}
		t.Run(tc.name, func(t *testing.T) { wantError(t, r.Holds(tc.head), code, tc.words) })
	}
	first := r.marks().next
	if err := r.Holds(core.LedgerHead{Size: first.Size, Root: first.Root}); err != nil {
		t.Errorf("its first head: %v", err)
	}
}
