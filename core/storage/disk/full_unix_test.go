// SPDX-License-Identifier: Apache-2.0

//go:build unix

package disk_test

import (
	"errors"
	"os/signal"
	"syscall"
	"testing"

	"github.com/bkp-tool/bkp/core/storage/disk"
)

// A disk that has no room for a record, which a limit on the size of files stands for here.
func TestAFailedWriteHurtsNothingElse(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	before, large, after := makePiece(1, 5000), makePiece(2, 9<<20), makePiece(3, 6000)
	put(t, s, before)

	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	small := limit
	small.Cur = 8 << 20 // not so small that the testing package's own log hurts itself
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &small); err != nil {
		t.Skip(err)
	}
	defer syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit)
	_, err := s.Put(bg, large.Chunk, large.id, large.data)
	if !errors.Is(err, syscall.EFBIG) {
		t.Errorf("put: %v", err)
	}
	if has(s, large.Hash) {
		t.Error("has what it could not write")
	}
	put(t, s, after)
	if err := s.Barrier(bg); err != nil {
		t.Error(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}

	crashed := afterCrash(t, dir)
	put(t, s, large)
	closeStore(t, s)
	for _, d := range []string{dir, crashed} {
		s, err := disk.Open(d)
		if err != nil {
			t.Fatal(err)
		}
		wantPiece(t, s, before)
		wantPiece(t, s, after)
		if has(s, large.Hash) != (d == dir) {
			t.Error("the large chunk, after the crash or not: has is", has(s, large.Hash))
		}
		closeStore(t, s)
	}
}
