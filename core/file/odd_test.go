// SPDX-License-Identifier: Apache-2.0

package file_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/file"
)

// Bad input 81: who writes to a pipe and fails at once leaves an empty one, and nothing is put into the store for it.
func TestAnEmptyReaderIsNoVersion(t *testing.T) {
	s := memory()
	in := file.SplitInput{
		Source: file.NewReader(strings.NewReader("")), Params: small, Level: chunk.LevelOff, Secrets: testSecrets,
		Store: s,
	}
	_, err := file.Split(t.Context(), in)
	if core.CodeOf(err) != core.CodeFailed || !strings.Contains(core.HintOf(err), "--allow-empty") {
		t.Errorf("got %v", err)
	}
	if len(s.chunks) > 0 {
		t.Errorf("%d chunks stored", len(s.chunks))
	}
	in.Empty = true
	if _, err := file.Split(t.Context(), in); err != nil {
		t.Error(err)
	}
}

// Bad input 82: a file is split whole or not at all, whatever its file system says of its size.
func TestASizeThatIsUntrue(t *testing.T) {
	const short = "its file system says that it has 4096 bytes, and it ended after "
	for path, say := range map[string]string{
		"/proc/version":                               "", // 0 bytes are said
		"/sys/kernel/uevent_seqnum":                   short,
		"/sys/kernel/mm/transparent_hugepage/enabled": short,
	} {
		info, err := os.Stat(path)
		content, readErr := os.ReadFile(path)
		if err != nil || readErr != nil || int(info.Size()) == len(content) {
			t.Logf("%s says its size here, or is not there", path)
			continue
		}
		s := memory()
		r, err := file.Split(t.Context(), file.SplitInput{
			Source: openSource(t, path), Params: small, Level: chunk.LevelOff, Secrets: testSecrets, Store: s,
		})
		switch {
		case say == "" && (err != nil || string(join(t, r.Root, s, len(content))) != string(content)):
			t.Errorf("%s: %d bytes, %v; want %d", path, r.Bytes, err, len(content))
		case say == "":
		case err == nil || !strings.Contains(err.Error(), say) || !strings.HasPrefix(core.HintOf(err), "pipe it"):
			t.Errorf("%s: %v", path, err)
		}
	}
}

// Bad input 83: what has no bytes that stay where they are is refused, and nobody waits for its other end.
func TestNothingWaitsForAnotherEnd(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	makeFIFO(t, fifo)
	for _, path := range []string{fifo, dir, "/dev/zero"} {
		if _, err := file.Open(path); core.CodeOf(err) != core.CodeUsage || core.HintOf(err) == "" {
			t.Errorf("split %s: %v", path, err)
		}
		_, err := file.OpenSeed(t.Context(), path, testSecrets, small)
		if core.CodeOf(err) != core.CodeUsage || !strings.HasPrefix(core.HintOf(err), "a seed is ") {
			t.Errorf("seed %s: %v", path, err)
		}
	}
	if err := file.CheckSeed(filepath.Join(dir, "nothing")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// Bad input 79: a stream that failed takes nothing more, since nobody knows how much of a Write was written.
func TestAStreamThatCannotBeWritten(t *testing.T) {
	full := errors.New("the disk is full")
	broken, pipe := io.Pipe()
	broken.CloseWithError(full)
	s := file.NewStream(t.Context(), pipe)
	if _, err := s.WriteAt([]byte("bytes"), 0); err != nil {
		t.Error(err)
	}
	if err := s.Flush(5); !errors.Is(err, full) {
		t.Errorf("flush: %v", err)
	}
	if _, err := s.WriteAt([]byte("more"), 5); !errors.Is(err, full) {
		t.Errorf("write after it: %v", err)
	}
	if err := s.Flush(9); !errors.Is(err, full) {
		t.Errorf("flush after it: %v", err)
	}
}

func TestCancelEndsAStreamThatNobodyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stop := errors.New("the user said stop")
		ctx, cancel := context.WithCancelCause(t.Context())
		stalled, pipe := io.Pipe()
		defer stalled.Close() // lets the goroutine that stayed behind go
		s := file.NewStream(ctx, pipe)
		if _, err := s.WriteAt([]byte("bytes"), 0); err != nil {
			t.Fatal(err)
		}
		go cancel(stop)
		if err := s.Flush(5); !errors.Is(err, stop) {
			t.Errorf("got %v", err)
		}
	})
}

// A stamp that is kept tells of every later change, though file systems go by a clock that stands still for up to 10
// ms.
func TestASettledStampIsOld(t *testing.T) {
	path := writeFile(t, []byte("content"))
	source := openSource(t, path)
	if settled := source.Settled(); settled == "" || settled != source.Stamp() {
		t.Errorf("settled %q, its stamp is %q", settled, source.Stamp())
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if age := time.Since(info.ModTime()); age < 10*time.Millisecond {
		t.Errorf("it settled after %s: a change right now could have the same time", age)
	}
	if err := os.WriteFile(path, []byte("CONTENT"), 0o600); err != nil {
		t.Fatal(err)
	}
	if settled := source.Settled(); settled != "" {
		t.Errorf("settled %q though it was changed since it was opened", settled)
	}
	if later := openSource(t, path); later.Stamp() == source.Stamp() {
		t.Errorf("a change of the content left the stamp %q", later.Stamp())
	}
}
