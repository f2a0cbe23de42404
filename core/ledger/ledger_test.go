// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/license"
)

var update = flag.Bool("update", false, "write golden files anew (a stored format changes: raise its version)")

// The cast: the seed of each is one repeated byte.
var node, owner, target, stranger = signer(1), signer(2), signer(3), signer(4)

func signer(b byte) *key.Signer { return key.SignerFromSeed([32]byte(bytes.Repeat([]byte{b}, 32))) }

var noon = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC).Unix()

// licence number n, to keep runs at target.
func licence(t testing.TB, n byte) []byte {
	t.Helper()
	envelope, err := license.Sign(core.License{
		ID: core.LicenseID{n}, Task: core.TaskID{1}, TaskSource: core.TaskSource{Owner: owner.ID(), Node: node.ID()},
		Targets: []core.ID{target.ID()}, Op: license.OpStore, Root: core.Hash{n}, MaxBytes: 100, MaxRuns: 10,
		NotBefore: noon, Expires: noon, RetainUntil: noon,
	}, owner)
	if err != nil {
		t.Fatal(err)
	}
	return envelope
}

// receipt of target for licence n and one run, after previous (nil for none).
func receipt(t testing.TB, n byte, run int, previous []byte) []byte {
	t.Helper()
	return receiptBy(t, target, n, run, previous)
}

func receiptBy(t testing.TB, who *key.Signer, n byte, run int, previous []byte) []byte {
	t.Helper()
	r := core.Receipt{
		License: core.LicenseID{n}, Task: core.TaskID{1}, Runs: []core.Range{{Start: run, Length: 1}}, Bytes: 10,
		RetainUntil: noon, Time: noon,
	}
	if previous != nil {
		r.Previous = license.ReceiptHash(previous)
	}
	envelope, err := license.SignReceipt(r, who)
	if err != nil {
		t.Fatal(err)
	}
	return envelope
}

func open(t testing.TB, dir string) *Log {
	t.Helper()
	l, err := Open(dir, node)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func add(t testing.TB, l *Log, kind Kind, envelope []byte) {
	t.Helper()
	if _, err := l.Append(kind, envelope); err != nil {
		t.Fatal(err)
	}
}

func settle(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
}

// crash leaves the disk as kill -9 would: what waits in memory is gone.
func crash(l *Log) {
	l.Reader.Close()
	l.lock.Close()
}

// filled is a log of two licences and three receipts under three heads (the first over none), closed.
func filled(t testing.TB) (dir string) {
	t.Helper()
	dir = t.TempDir()
	l := open(t, dir)
	first := receipt(t, 1, 0, nil)
	add(t, l, KindLicense, licence(t, 1))
	add(t, l, KindReceipt, first)
	settle(t, l)
	add(t, l, KindReceipt, receipt(t, 1, 1, first))
	add(t, l, KindLicense, licence(t, 2))
	add(t, l, KindReceipt, receipt(t, 2, 0, nil))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func reader(t testing.TB, dir string) *Reader {
	t.Helper()
	r, err := OpenRead(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// all reads every entry, page entries at a time.
func all(t testing.TB, r *Reader, page int) (out []Entry) {
	t.Helper()
	for {
		got, err := r.Entries(int64(len(out)), page)
		if err != nil {
			t.Fatal(err)
		}
		if len(got) == 0 {
			return out
		}
		out = append(out, got...)
	}
}

func wantError(t *testing.T, err error, code core.Code, words string) {
	t.Helper()
	if core.CodeOf(err) != code || err != nil && !strings.Contains(err.Error(), words) {
		t.Errorf("error %v (code %d), want code %d and %q", err, core.CodeOf(err), code, words)
	}
}

func TestLog(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	r := reader(t, dir)
	for i := range 5 {
		if index, err := l.Append(KindLicense, []byte{byte(i)}); index != int64(i) || err != nil {
			t.Fatal(index, err)
		}
	}
	if got := all(t, r, 10); len(got) != 0 {
		t.Errorf("%d entries are seen before Sync", len(got))
	}
	settle(t, l)
	for page := 1; page <= 6; page++ {
		for _, from := range []*Reader{r, l.Reader} {
			got := all(t, from, page)
			if len(got) != 5 || got[4].Index != 4 || got[4].Kind != KindLicense ||
				!bytes.Equal(got[4].Envelope, []byte{4}) {
				t.Errorf("pages of %d: %v", page, got)
			}
		}
	}
	head, err := r.Head()
	if err != nil || head.Size != 5 || head.Node() != node.ID() || head.Check() != nil || l.Size() != 5 {
		t.Errorf("%+v, %v", head, err)
	}
	for _, after := range []int64{-1, 5, 1 << 40} {
		if got, err := r.Entries(after, 1); len(got) != 0 || err != nil {
			t.Errorf("after %d: %v, %v", after, got, err)
		}
	}
}

func TestLogGoesOnAfterReopening(t *testing.T) {
	dir := filled(t)
	before, _ := reader(t, dir).Head()
	l := open(t, dir)
	if head, _ := l.Head(); !reflect.DeepEqual(head, before) {
		t.Errorf("opening changed the head: %+v", head)
	}
	add(t, l, KindLicense, licence(t, 3))
	settle(t, l)
	if got := all(t, l.Reader, 2); len(got) != 6 {
		t.Errorf("%d entries, want 6", len(got))
	}
	if _, err := l.Verify(before); err != nil {
		t.Error(err)
	}
}

// The files are a format: a log of the same words and keys has the same bytes, and one that an earlier bkp wrote opens.
func TestGolden(t *testing.T) {
	dir := filled(t)
	for _, name := range []string{"entries", "heads", "hashes", "offsets"} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		golden := filepath.Join("testdata", "v1", name)
		if *update {
			os.MkdirAll(filepath.Dir(golden), 0o755)
			os.WriteFile(golden, got, 0o644)
		}
		if want, err := os.ReadFile(golden); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s differs from %s (%v)", name, golden, err)
		}
	}
	report, err := reader(t, filepath.Join("testdata", "v1")).Verify()
	if err != nil || report.Size != 5 {
		t.Errorf("%+v, %v", report, err)
	}
}

func TestAppendRefuses(t *testing.T) {
	l := open(t, t.TempDir())
	for _, tc := range []struct {
		name, words string
		kind        Kind
		size        int
	}{
		{"an unknown kind", "kind", "gossip", 1},
		{"nothing", "0 bytes", KindLicense, 0},
		{"one byte over the limit", "bytes", KindLicense, maxEnvelope + 1},
	} {
		_, err := l.Append(tc.kind, make([]byte, tc.size))
		wantError(t, err, core.CodeFailed, tc.words)
	}
	if _, err := l.Append(KindLicense, make([]byte, maxEnvelope)); err != nil {
		t.Errorf("exactly the limit: %v", err)
	}
}

func TestOneWriter(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	_, err := Open(dir, node)
	wantError(t, err, core.CodeBusy, "another process")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = l.Append(KindLicense, []byte("x"))
	wantError(t, err, core.CodeFailed, "closed")
	_, err = Open(dir, stranger)
	wantError(t, err, core.CodeRefused, "it is the ledger of node "+node.ID().String())
	open(t, dir) // none of the refusals keeps the lock
}

func TestOpenRead(t *testing.T) {
	_, err := OpenRead(filepath.Join(t.TempDir(), "none"))
	if !errors.Is(err, core.ErrNotFound) {
		t.Errorf("%v, want ErrNotFound", err)
	}
}

// Envelopes wait in memory until Sync, but not all of them.
func TestMemoryIsBounded(t *testing.T) {
	l := open(t, t.TempDir())
	for range 40 {
		add(t, l, KindLicense, make([]byte, flushAt/4))
		if waits := cap(l.out.entries.waiting); waits > 4*flushAt {
			t.Fatalf("%d bytes wait", waits)
		}
	}
	if l.out.entries.written < int64(8*flushAt) {
		t.Errorf("only %d bytes were written out", l.out.entries.written)
	}
	settle(t, l)
	var bytes int
	page, err := l.Entries(0, 1000)
	for _, e := range page {
		bytes += len(e.Envelope)
	}
	if err != nil || bytes > int(pageBytes)+flushAt || len(all(t, l.Reader, 1000)) != 40 {
		t.Errorf("a page of %d bytes, %v", bytes, err)
	}
}

func BenchmarkAppendSync(b *testing.B) {
	for _, batch := range []int{1, 64} {
		b.Run(fmt.Sprintf("batch-%d", batch), func(b *testing.B) {
			l, envelope := open(b, b.TempDir()), licence(b, 1)
			b.SetBytes(int64(batch * len(envelope)))
			for b.Loop() {
				for range batch {
					add(b, l, KindLicense, envelope)
				}
				settle(b, l)
			}
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	dir := b.TempDir()
	l := open(b, dir)
	for i := range 1000 {
		add(b, l, KindLicense, licence(b, byte(i%200+1)))
	}
	settle(b, l)
	for b.Loop() {
		if _, err := l.Verify(); err != nil {
			b.Fatal(err)
		}
	}
}
