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
)

func exported(t testing.TB, dir string) []byte {
	t.Helper()
	var out bytes.Buffer
	if _, err := reader(t, dir).Export(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func verifyBundle(data []byte, known ...SignedHead) (Report, error) {
	return VerifyBundle(bytes.NewReader(data), MaxBundle, func(id core.ID) []SignedHead {
		if id != node.ID() {
			return nil
		}
		return known
	})
}

// A bundle tells what the log itself does, and its form is that of the first release that wrote one.
func TestBundle(t *testing.T) {
	dir := filled(t)
	want, err := reader(t, dir).Verify()
	if err != nil {
		t.Fatal(err)
	}
	data := exported(t, dir)
	head, _ := reader(t, dir).Head()
	if got, err := verifyBundle(data, head); err != nil || got.Size != want.Size || got.Root != want.Root ||
		got.Heads != want.Heads || got.Receipts != want.Receipts || got.Node != node.ID() {
		t.Errorf("%+v, %v; the log itself: %+v", got, err, want)
	}
	path := filepath.Join("testdata", "bundle.v1")
	if *update {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := verifyBundle(golden); err != nil || got.Size != 5 {
		t.Errorf("the golden bundle: %+v, %v", got, err)
	}
	if !bytes.Equal(data, golden) {
		t.Error("the form of bundles changed: raise its version, and read this one still")
	}
}

// Wherever a bundle is cut, and whichever byte is another, it is told.
func TestBundleShowsEveryByte(t *testing.T) {
	data, step := exported(t, filled(t)), 1
	if testing.Short() {
		step = 17
	}
	for n := 0; n < len(data); n += step {
		if _, err := verifyBundle(data[:n]); core.CodeOf(err) != core.CodeWrong {
			t.Fatalf("cut at byte %d of %d: %v", n, len(data), err)
		}
	}
	for n := 0; n < len(data); n += 3 * step {
		changed := bytes.Clone(data)
		changed[n] ^= 1
		if _, err := verifyBundle(changed); core.CodeOf(err) != core.CodeWrong {
			t.Fatalf("byte %d of %d changed: %v", n, len(data), err)
		}
	}
	_, err := verifyBundle(append(bytes.Clone(data), data[len(bundleMagic)+markSize:]...))
	wantError(t, err, core.CodeWrong, "is cut or damaged")
}

// bundleOf makes a bundle as one would who knows the form but not the node's key: checksums are right.
func bundleOf(first mark, records ...any) []byte {
	out, next := append([]byte(bundleMagic), first.encode()...), int64(0)
	for _, r := range records {
		switch r := r.(type) {
		case mark:
			out = appendFramed(out, next, kindHead, r.encode())
		case Entry:
			r.Index = next
			out = appendRecord(out, r)
			next++
		}
	}
	return out
}

func TestBundleShows(t *testing.T) {
	dir := filled(t)
	r := reader(t, dir)
	e := all(t, r, 100)
	var m []mark
	for heads := r.marks(); heads.has; heads.advance() {
		m = append(m, heads.next)
	}
	whole := []any{m[0], e[0], e[1], m[1], e[2], e[3], e[4], m[2]}
	if !bytes.Equal(bundleOf(m[2], whole...), exported(t, dir)) {
		t.Fatal("that is not how a bundle is made")
	}
	without := func(i int) []any { return slices.Delete(slices.Clone(whole), i, i+1) }
	forged := mark{SignedHead: key.SignHead(5, m[2].Root, stranger), bytes: m[2].bytes}
	other := e[2]
	other.Envelope = receiptOf(t, e[2], 7)
	for _, tc := range []struct {
		name  string
		data  []byte
		words string
	}{
		{"an entry is gone", bundleOf(m[2], without(4)...), "head over 5 entries stands behind 4"},
		{"the last entry is gone", bundleOf(m[2], without(6)...), "head over 5 entries stands behind 4"},
		{"entries exchanged", bundleOf(m[2], m[0], e[0], e[1], m[1], e[3], e[2], e[4], m[2]), "history was rewritten"},
		{"an entry changed", bundleOf(m[2], m[0], e[0], e[1], m[1], other, e[3], e[4], m[2]), "history was rewritten"},
		{"the last head is gone", bundleOf(m[2], without(7)...), "it was cut"},
		{"entries follow", bundleOf(m[1], whole...), "3 entries follow"},
		{"the last head is another's", bundleOf(m[2], m[0], e[0], e[1], m[1], e[2], e[3], e[4], forged), "is signed by"},
		{"the first head is another's", bundleOf(forged, whole...), "is signed by"},
		{"heads exchanged", bundleOf(m[2], m[1], e[0], e[1], m[0], e[2], e[3], e[4], m[2]), "head over 2 entries stands behind 0"},
		{"nothing", nil, "no bundle"},
		{"something else", []byte(magic), "no bundle"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := verifyBundle(tc.data)
			wantError(t, err, core.CodeWrong, tc.words)
		})
	}
	older := bundleOf(m[1], m[0], e[0], e[1], m[1])
	if _, err := verifyBundle(older); err != nil {
		t.Errorf("a bundle of before: %v", err)
	}
	_, err := verifyBundle(older, m[2].SignedHead)
	wantError(t, err, core.CodeWrong, "history was cut")
	data := exported(t, dir)
	_, err = VerifyBundle(bytes.NewReader(data), core.Size(len(data)-1), nil)
	wantError(t, err, core.CodeWrong, "cut or damaged")
	_, err = VerifyBundle(bytes.NewReader(data), core.Size(len(data)-markSize-recordOverhead), nil)
	wantError(t, err, core.CodeRefused, "longer than a bundle may be")
}

// Whatever a stranger hands over, what holds as this node's log has one of the roots that the node signed.
func FuzzVerifyBundle(f *testing.F) {
	dir := filled(f)
	signed := map[core.Hash]bool{}
	for heads := reader(f, dir).marks(); heads.has; heads.advance() {
		signed[heads.next.Root] = true
	}
	f.Add(exported(f, dir))
	f.Add([]byte(bundleMagic))
	f.Fuzz(func(t *testing.T, data []byte) {
		if r, err := verifyBundle(data); err == nil && r.Node == node.ID() && !signed[r.Root] {
			t.Errorf("%+v holds", r)
		}
	})
}
