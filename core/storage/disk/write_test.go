// SPDX-License-Identifier: Apache-2.0

package disk_test

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/storage/disk"
)

// Records end and barriers fall at every side of the edges of blocks and buffers.
func TestRecordsAcrossBuffers(t *testing.T) {
	long(t)
	dir := t.TempDir()
	s := open(t, dir)
	const header, record, block, buffer = 16, 80, 4096, 4 << 20
	end := header
	var pieces []piece
	add := func(until int, flush bool) { // a record that ends there
		if until < end+record {
			until += buffer
		}
		p := makePiece(len(pieces), until-end-record)
		put(t, s, p)
		if flush {
			barrier(t, s)
		}
		pieces = append(pieces, p)
		end = until
		for _, p := range pieces[max(0, len(pieces)-4):] {
			wantPiece(t, s, p)
		}
	}
	for _, flush := range []bool{true, false, true} {
		for _, more := range []int{block - 1, block, block + 1, 2*block + record} {
			add((end+block-1)/block*block+more, flush)
		}
	}
	for _, flush := range []bool{true, false, true} {
		for _, more := range []int{-1, 0, 1, buffer, buffer + record/2} {
			add((end/buffer+1)*buffer+more, flush)
		}
	}
	checkDurable(t, s, dir, pieces)
	for _, path := range packFiles(t, dir, ".pack") {
		pack, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(pack, []byte("\x89bkppak\n\x01")) || bytes.HasSuffix(pack, make([]byte, 48)) {
			t.Errorf("%s begins or ends with something else", path)
		}
	}
}

// checkDurable puts a barrier, and holds that every piece is there after a crash behind it, and after a close.
func checkDurable(t *testing.T, s *disk.Store, dir string, pieces []piece) {
	t.Helper()
	barrier(t, s)
	crashed := open(t, afterCrash(t, dir))
	closeStore(t, s)
	again := open(t, dir)
	for _, p := range pieces {
		wantPiece(t, crashed, p)
		wantPiece(t, again, p)
	}
	closeStore(t, crashed)
	closeStore(t, again)
}

// A barrier gives the block that records end in to be written, which is written again with the next, while puts go on.
func TestPutsGoOnBesideBarriers(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	done, barriers := make(chan struct{}), make(chan error, 1)
	go func() { // ends with the puts
		for {
			select {
			case <-done:
				close(barriers)
				return
			default:
				if err := s.Barrier(bg); err != nil {
					barriers <- err
					return
				}
			}
		}
	}()
	var pieces []piece
	for i := range 150 {
		p := makePiece(i, 700_000+1000*i)
		put(t, s, p)
		pieces = append(pieces, p)
	}
	close(done)
	if err := <-barriers; err != nil {
		t.Fatal(err)
	}
	checkDurable(t, s, dir, pieces)
}

// Bad input 48, the full disk: what is put is refused with the next step, and all goes on when there is room again.
func TestANearlyFullDiskIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	first, second := makePiece(1, 2<<20), makePiece(2, 3<<20)
	put(t, s, first)
	s.SetSpace(func(string) (free, all core.Size, err error) { return 255 * core.MiB, core.TiB, nil })
	_, err := s.Put(bg, second.Chunk, second.id, second.data)
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(core.HintOf(err), "bkp gc") ||
		!strings.Contains(err.Error(), "256 MiB") {
		t.Errorf("got %v, hint %q", err, core.HintOf(err))
	}
	barrier(t, s)
	wantPiece(t, s, first)
	if has(s, second.Hash) {
		t.Error("has what it refused")
	}
	s.SetSpace(func(string) (free, all core.Size, err error) { return 300 * core.MiB, core.TiB, nil })
	put(t, s, second)
	closeStore(t, s)
	s = open(t, dir)
	defer closeStore(t, s)
	wantPiece(t, s, first)
	wantPiece(t, s, second)
}
