// SPDX-License-Identifier: Apache-2.0

package file_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/file"
)

// lender is a Remote that gives out of a store, to one caller at a time.
type lender struct {
	from  *memoryStore
	calls atomic.Int64
	busy  atomic.Bool
	gone  atomic.Bool
}

func (l *lender) Bring(ctx context.Context, wanted []core.Sealed, deliver func(core.Hash, []byte) error) (
	missing []core.Hash, why error) {
	l.calls.Add(1)
	if l.busy.Swap(true) {
		return nil, errors.New("two ask at once")
	}
	defer l.busy.Store(false)
	for _, s := range wanted {
		data, err := l.from.Get(ctx, s.Hash, nil)
		if err != nil || l.gone.Load() {
			missing = append(missing, s.Hash)
			continue
		}
		if err := deliver(s.Hash, data); err != nil {
			return nil, err
		}
	}
	return missing, nil
}

// lent is a volume of data of which only the manifest is here.
func lent(t *testing.T, data []byte, there []file.Extent) (*file.Volume, *lender) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "source")
	check(t, sparseFile(path, data, there))
	s := memory()
	root := split(t, file.SplitInput{Source: openSource(t, path), Params: chunk.DefaultParams(chunk.MethodCDC, -1),
		Store: s}).Root
	l := &lender{from: nodesOnly(t, s, root).memoryStore}
	r, err := file.OpenVolume(t.Context(), file.Assembly{Root: root, Secrets: testSecrets, Local: s, Remote: l})
	check(t, err)
	return r, l
}

// TestVolumeReadsAnywhere: what many read at once, in order and at random, is what stands in the file.
func TestVolumeReadsAnywhere(t *testing.T) {
	const mib = 1 << 20
	data := content(1, 24*mib+77, false)
	clear(data[5*mib : 9*mib])
	r, l := lent(t, data, []file.Extent{{Offset: 0, Length: 5 * mib}, {Offset: 9 * mib, Length: 15*mib + 77}})
	var all sync.WaitGroup
	for reader := range 4 {
		all.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(reader)))
			for range 60 {
				at := random.IntN(len(data))
				want := data[at:min(at+random.IntN(300_000), len(data))]
				got := make([]byte, len(want))
				if n, err := r.ReadAt(got, int64(at)); n != len(want) || err != nil || !bytes.Equal(got, want) {
					t.Errorf("%d bytes at %d: %d, %v", len(want), at, n, err)
				}
			}
		})
	}
	all.Go(func() {
		got, err := io.ReadAll(io.NewSectionReader(r, 0, int64(r.Size)))
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("read in order: %d bytes, %v", len(got), err)
		}
	})
	all.Wait()
	if n, err := r.ReadAt(make([]byte, 10), int64(len(data))-3); n != 3 || err != io.EOF {
		t.Errorf("across the end: %d, %v", n, err)
	}
	if l.calls.Load() > 40 {
		t.Errorf("peers were asked %d times for 25 pieces", l.calls.Load())
	}
}

// TestVolumeReadsAhead: who reads in order has peers asked seldom, for more and more at a time.
func TestVolumeReadsAhead(t *testing.T) {
	data := content(1, 32<<20, false)
	r, l := lent(t, data, []file.Extent{{Offset: 0, Length: 32 << 20}})
	if _, err := io.Copy(io.Discard, io.NewSectionReader(r, 0, int64(r.Size))); err != nil {
		t.Fatal(err)
	}
	if calls := l.calls.Load(); calls > 6 { // 1, 2, 4, 8, 16, 1 pieces
		t.Errorf("peers were asked %d times", calls)
	}
}

// TestVolumeTriesAgain: what cannot be had now is an error now, and is asked for again.
func TestVolumeTriesAgain(t *testing.T) {
	data := content(1, 3<<20, false)
	r, l := lent(t, data, []file.Extent{{Offset: 0, Length: 3 << 20}})
	l.gone.Store(true)
	got := make([]byte, 1000)
	if _, err := r.ReadAt(got, 5000); core.CodeOf(err) != core.CodeRedundant {
		t.Errorf("of what is gone: %v", err)
	}
	l.gone.Store(false)
	if _, err := r.ReadAt(got, 5000); err != nil || !bytes.Equal(got, data[5000:6000]) {
		t.Errorf("of what is back: %v", err)
	}
}

// TestVolumeReadOnce: who goes through all of it beside a reader gets what stands in the file, and has nothing brought
// ahead nor kept.
func TestVolumeReadOnce(t *testing.T) {
	const mib = 1 << 20
	data := content(1, 6*mib+77, false)
	clear(data[2*mib : 4*mib])
	r, l := lent(t, data, []file.Extent{{Offset: 0, Length: 2 * mib}, {Offset: 4 * mib, Length: 2*mib + 77}})
	through := func() {
		got := bytes.Repeat([]byte("?"), mib)
		for at := 0; at < len(data); at += mib {
			p := got[:min(mib, len(data)-at)]
			if err := r.ReadOnce(p, int64(at)); err != nil || !bytes.Equal(p, data[at:at+len(p)]) {
				t.Errorf("at %d: %v", at, err)
			}
		}
	}
	for range 2 {
		before := l.calls.Load()
		if through(); l.calls.Load() != before+5 {
			t.Errorf("5 MiB have data, and %d times a holder was asked", l.calls.Load()-before)
		}
	}
	var all sync.WaitGroup
	all.Go(through)
	all.Go(func() {
		if got, err := io.ReadAll(io.NewSectionReader(r, 0, int64(len(data)))); err != nil || !bytes.Equal(got, data) {
			t.Errorf("read beside it: %d bytes, %v", len(got), err)
		}
	})
	all.Wait()
	l.gone.Store(true)
	if err := r.ReadOnce(make([]byte, mib), 0); core.CodeOf(err) != core.CodeRedundant {
		t.Errorf("without a holder: %v", err)
	}
}
