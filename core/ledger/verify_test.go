// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/license"
)

// rewrite changes the entries of a closed log as one would who knows the format but not the node's key: checksums are
// right again.
func rewrite(t testing.TB, dir string, change func([]Entry)) {
	t.Helper()
	r := reader(t, dir)
	entries := all(t, r, 100)
	change(entries)
	out := []byte(magic)
	for i, e := range entries {
		e.Index = int64(i)
		out = appendRecord(out, e)
	}
	if err := os.WriteFile(filepath.Join(dir, "entries"), out, 0o600); err != nil {
		t.Fatal(err)
	}
}

// receiptOf is a receipt as long as the one in e, for another run.
func receiptOf(t testing.TB, e Entry, run int) []byte {
	t.Helper()
	r, err := license.OpenReceipt(e.Envelope)
	if err != nil {
		t.Fatal(err)
	}
	r.Runs[0].Start = run
	envelope, err := license.SignReceipt(r, target)
	if err != nil {
		t.Fatal(err)
	}
	return envelope
}

func TestVerify(t *testing.T) {
	dir := filled(t)
	head, _ := reader(t, dir).Head()
	report, err := reader(t, dir).Verify(head)
	if err != nil {
		t.Fatal(err)
	}
	if report.Node != node.ID() || report.Size != 5 || report.Root != head.Root || report.Heads != 3 ||
		report.Licenses != 2 || report.Receipts != 3 {
		t.Errorf("%+v", report)
	}
}

// Each row is a deed done to a sound log of two licences and three receipts, and what Verify says to it.
func TestVerifyShows(t *testing.T) {
	full := filled(t)
	for _, tc := range []struct {
		name  string
		do    func(t *testing.T, dir string)
		words string
	}{
		{"a flipped bit", func(t *testing.T, dir string) { flip(t, dir, "entries", 200) }, "entry 0 is cut or damaged"},
		{"an entry rewritten", func(t *testing.T, dir string) {
			rewrite(t, dir, func(e []Entry) { e[2].Envelope = receiptOf(t, e[2], 7) })
		}, "entry 2 is not the one"},
		{"an entry rewritten and its hash too", func(t *testing.T, dir string) {
			rewrite(t, dir, func(e []Entry) { e[2].Envelope = receiptOf(t, e[2], 7) })
			rehash(t, dir)
		}, "history was rewritten: the first 5 entries"},
		{"an entry of the first head rewritten and its hash too", func(t *testing.T, dir string) {
			rewrite(t, dir, func(e []Entry) {
				e[0].Envelope = licence(t,
					1)[:len(e[0].Envelope)]
				e[0].Kind = KindReceipt
			})
			rehash(t, dir)
		}, "entry 0: receipt: payload type"},
		{"two entries exchanged", func(t *testing.T, dir string) {
			rewrite(t, dir, func(e []Entry) { e[3], e[0] = e[0], e[3] })
		}, "entry 0 is not the one"},
		{"entries cut", func(t *testing.T, dir string) {
			r := reader(t, dir)
			s, _ := r.seek(4, mark{bytes: 1 << 30})
			os.Truncate(filepath.Join(dir, "entries"), s.at)
		}, "entry 4 is cut or damaged"},
		{"the last head forged", func(t *testing.T, dir string) {
			resize(t, dir, "heads", -markSize)
			h := key.SignHead(5, [32]byte{1}, stranger)
			extend(t, dir, "heads", mark{SignedHead: h, bytes: size(t, dir, "entries")}.encode())
		}, "is signed by"},
		{"a head in the middle damaged", func(t *testing.T, dir string) { flip(t, dir, "heads", markSize+20) },
			"head 1"},
		{"a head that reaches elsewhere", func(t *testing.T, dir string) { flip(t, dir, "heads", markSize+9) },
			"head over 2 entries: they end at byte"},
		{"heads exchanged", func(t *testing.T, dir string) {
			path := filepath.Join(dir, "heads")
			h, _ := os.ReadFile(path)
			os.WriteFile(path, slices.Concat(h[markSize:2*markSize], h[:markSize], h[2*markSize:]), 0o600)
		}, "stands behind one over more"},
		{"hashes damaged", func(t *testing.T, dir string) { flip(t, dir, "hashes", 2*32) },
			"hashes: level 1 is wrong at entry 1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := copyDir(t, full)
			tc.do(t, dir)
			report, err := reader(t, dir).Verify()
			wantError(t, err, core.CodeWrong, tc.words)
			if len(report.Problems) == 0 {
				t.Error("the report has no problem")
			}
		})
	}
}

// A log that was cut or made anew together with its heads looks sound by itself: only a head kept elsewhere shows it.
func TestVerifyAgainstKnownHead(t *testing.T) {
	full := filled(t)
	known, _ := reader(t, full).Head()

	cut := copyDir(t, full)
	resize(t, cut, "heads", -markSize)
	s, _ := reader(t, cut).seek(2, mark{bytes: 1 << 30})
	os.Truncate(filepath.Join(cut, "entries"), s.at)

	anew := t.TempDir()
	l := open(t, anew)
	for n := range byte(6) {
		add(t, l, KindLicense, licence(t, n+1))
	}
	l.Close()

	forged := known
	forged.Size--
	for _, tc := range []struct {
		name, dir, words string
		known            []SignedHead
	}{
		{"cut", cut, "history was cut: " + node.ID().Short() + " signed a head over 5 entries, here are 2",
			[]SignedHead{known}},
		{"made anew", anew, "history was rewritten: the first 5 entries", []SignedHead{known}},
		{"a forged head proves nothing", full, "does not fit", []SignedHead{forged}},
		{"another node's head", full, "signed by " + stranger.ID().String(),
			[]SignedHead{key.SignHead(5, [32]byte(known.Root), stranger)}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := reader(t, tc.dir).Verify(tc.known...); err == nil {
				t.Error("sound")
			} else {
				wantError(t, err, core.CodeWrong, tc.words)
			}
			if tc.dir != full {
				if _, err := reader(t, tc.dir).Verify(); err != nil {
					t.Errorf("without a known head: %v", err)
				}
			}
		})
	}
}

// What the words themselves say wrong, in a log that is otherwise sound.
func TestVerifyReadsTheWords(t *testing.T) {
	first := receipt(t, 1, 0, nil)
	own := receiptBy(t, node, 1, 0, nil)
	second := receiptBy(t, node, 1, 1, own)
	again, err := license.Sign(core.License{
		ID: core.LicenseID{1}, Task: core.TaskID{1}, TaskSource: core.TaskSource{Owner: owner.ID(), Node: node.ID()},
		Targets: []core.ID{target.ID()}, Op: license.OpStore, Root: core.Hash{99}, NotBefore: noon, Expires: noon,
		RetainUntil: noon,
	}, owner)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name    string
		entries []Entry
		words   string
	}{
		{"sound", []Entry{{Kind: KindLicense, Envelope: licence(t, 1)}, {Kind: KindReceipt, Envelope: first}}, ""},
		{"2 a bit of a licence flipped", []Entry{{Kind: KindLicense, Envelope: flipped(licence(t, 1))}},
			"entry 0: license:"},
		{"10 the same id with another root", []Entry{{Kind: KindLicense, Envelope: licence(t, 1)},
			{Kind: KindLicense, Envelope: again}}, "entry 1: license: licence 01"},
		{"14 a receipt as a licence", []Entry{{Kind: KindLicense, Envelope: first}}, "payload type"},
		{"a receipt without a licence", []Entry{{Kind: KindReceipt, Envelope: first}}, "was not logged before it"},
		{"its own receipts", []Entry{{Kind: KindLicense, Envelope: licence(t, 1)}, {Kind: KindReceipt, Envelope: own},
			{Kind: KindReceipt, Envelope: second}}, ""},
		{"another node's discharge", []Entry{{Kind: KindLost,
			Envelope: dischargeOf(t, stranger, core.WhyLost, owner.ID())}}, "entry 0: lost: it is the word of node"},
		{"lost as expired", []Entry{{Kind: KindExpired, Envelope: discharge(t, core.WhyLost, owner.ID())}},
			"entry 0: expired: it says that runs are lost"},
		{"a receipt as a release", []Entry{{Kind: KindRelease, Envelope: first}}, "entry 0: release:"},
		{"an own receipt left out", []Entry{{Kind: KindLicense, Envelope: licence(t, 1)},
			{Kind: KindReceipt, Envelope: second}}, "entry 1: receipt: it follows"},
		{"an own receipt twice", []Entry{{Kind: KindLicense, Envelope: licence(t, 1)},
			{Kind: KindReceipt, Envelope: own}, {Kind: KindReceipt, Envelope: own}}, "entry 2: receipt: it follows"},
		{"others' receipts late, twice or never", []Entry{
			{Kind: KindLicense, Envelope: licence(t, 1)},
			{Kind: KindReceipt, Envelope: receipt(t, 1, 1, first)},
			{Kind: KindReceipt, Envelope: receipt(t, 1, 1, first)},
			{Kind: KindReceipt, Envelope: first}, {Kind: KindReceipt, Envelope: receipt(t, 1, 3, own)},
		}, ""},
		{"another's two receipts in one place", []Entry{
			{Kind: KindLicense, Envelope: licence(t, 1)},
			{Kind: KindReceipt, Envelope: receipt(t, 1, 1, first)},
			{Kind: KindReceipt, Envelope: receipt(t, 1, 2, first)},
		}, "entry 2: receipt: " + target.ID().String() + " signed two receipts"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := open(t, t.TempDir())
			for _, e := range tc.entries {
				add(t, l, e.Kind, e.Envelope)
			}
			settle(t, l)
			_, err := l.Verify()
			code := core.CodeWrong
			if tc.words == "" {
				code = core.CodeOK
			}
			wantError(t, err, code, tc.words)
		})
	}
}

// countersignedBy is that the owner has a receipt of a licence, by whoever says so.
func countersignedBy(t testing.TB, who *key.Signer, receipt []byte) Entry {
	t.Helper()
	envelope, err := license.SignCountersigned(core.Countersigned{Owner: owner.ID(), Time: noon}, receipt, who)
	if err != nil {
		t.Fatal(err)
	}
	return Entry{Kind: KindCountersigned, Envelope: envelope}
}

// A log shows of which of the node's own receipts the owner's side said that they came, and a bundle of it, too;
// countersignatures that show nothing are named.
func TestVerifyCountersigned(t *testing.T) {
	first := receiptBy(t, node, 1, 0, nil)
	second := receiptBy(t, node, 1, 1, first)
	third := receiptBy(t, node, 1, 2, second)
	begin := []Entry{{Kind: KindLicense, Envelope: licence(t, 1)}, {Kind: KindReceipt, Envelope: first},
		{Kind: KindReceipt, Envelope: second}}
	for _, tc := range []struct {
		name          string
		more          []Entry
		own, answered int64
		words         string
	}{
		{"none", nil, 2, 0, ""},
		{"the newest speaks for those before", []Entry{countersignedBy(t, owner, second)}, 2, 2, ""},
		{"and not for what follows", []Entry{countersignedBy(t, owner, second), {Kind: KindReceipt, Envelope: third}}, 3, 2, ""},
		{"wrong key", []Entry{countersignedBy(t, stranger, second)}, 2, 2, "entry 3: countersigned: signed by"},
		{"other receipt", []Entry{countersignedBy(t, owner, third)}, 2, 0, "entry 3: countersigned: it is for receipt"},
		{"replay", []Entry{countersignedBy(t, owner, second), countersignedBy(t, owner, second)}, 2, 2, "was countersigned before"},
		{"no licence", []Entry{countersignedBy(t, owner, receiptBy(t, node, 2, 0, nil))}, 2, 0, "was not logged before it"},
		{"a receipt as one", []Entry{{Kind: KindCountersigned, Envelope: second}}, 2, 0, "payload type"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			l := open(t, dir)
			for _, e := range slices.Concat(begin, tc.more) {
				add(t, l, e.Kind, e.Envelope)
			}
			settle(t, l)
			code := core.CodeWrong
			if tc.words == "" {
				code = core.CodeOK
			}
			var bundle bytes.Buffer
			if _, err := reader(t, dir).Export(&bundle); err != nil {
				t.Fatal(err)
			}
			for what, verify := range map[string]func() (Report, error){
				"log":    func() (Report, error) { return l.Verify() },
				"bundle": func() (Report, error) { return VerifyBundle(&bundle, MaxBundle, nil) },
			} {
				report, err := verify()
				wantError(t, err, code, tc.words)
				if report.Own != tc.own || tc.words == "" && report.Countersigned != tc.answered {
					t.Errorf("%s: %d of %d receipts, want %d of %d", what, report.Countersigned, report.Own, tc.answered, tc.own)
				}
			}
			if _, err := l.Standing(); err != nil && tc.words != "" {
				t.Logf("standing: %v", err)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

// The list of problems is bounded; the first is what the error tells.
func TestProblemsAreBounded(t *testing.T) {
	l := open(t, t.TempDir())
	for range 3 * maxProblems {
		add(t, l, KindLicense, []byte("x"))
	}
	settle(t, l)
	report, err := l.Verify()
	wantError(t, err, core.CodeWrong, "entry 0")
	if len(report.Problems) != maxProblems {
		t.Errorf("%d problems", len(report.Problems))
	}
}

func flip(t *testing.T, dir, name string, at int) {
	t.Helper()
	path := filepath.Join(dir, name)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[at] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func flipped(envelope []byte) []byte {
	out := slices.Clone(envelope)
	out[100] ^= 1
	return out
}

func size(t *testing.T, dir, name string) int64 {
	t.Helper()
	info, err := os.Stat(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// rehash makes hashes fit the entries, as they are now.
func rehash(t *testing.T, dir string) {
	t.Helper()
	var tree edge
	var out []byte
	s := newScanner(reader(t, dir).entries, 0, int64(len(magic)), size(t, dir, "entries"))
	for {
		e, err := s.scan()
		if err != nil {
			break
		}
		hashes, err := tree.add(e.leaf())
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range hashes {
			out = append(out, h[:]...)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "hashes"), out, 0o600); err != nil {
		t.Fatal(err)
	}
}
