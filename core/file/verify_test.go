// SPDX-License-Identifier: Apache-2.0

package file_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/file"
	"github.com/bkp-tool/bkp/core/manifest"
)

// looked is a store that counts what is read of it.
type looked struct {
	*memoryStore
	reads map[core.Hash]int
}

func (l *looked) Get(ctx context.Context, hash core.Hash, dst []byte) ([]byte, error) {
	l.mu.Lock()
	l.reads[hash]++
	l.mu.Unlock()
	data, err := l.memoryStore.Get(ctx, hash, dst)
	if err == nil && chunk.Hash(data[len(dst):]) != hash {
		err = core.Fail(core.CodeWrong, "its bytes do not match its hash") // as core/storage/disk does
	}
	return data, err
}

// damage flips a bit of a chunk.
func (l *looked) damage(hash core.Hash) {
	data := bytes.Clone(l.chunks[hash])
	data[len(data)/2] ^= 1
	l.chunks[hash] = data
}

func verifying(s *memoryStore) (*looked, *file.Verifier) {
	l := &looked{s, map[core.Hash]int{}}
	return l, &file.Verifier{Local: l, Secrets: testSecrets, Share: 1}
}

func quiet(file.Verified) error { return nil }

func TestVerifyNamesEveryPlaceOfAHurtChunk(t *testing.T) {
	s := memory()
	part := noise(1, 100_000)
	data := slices.Concat(part, noise(2, 100_000), part)
	root := splitBytes(t, s, data)
	local, v := verifying(s)
	list := entries(t, s, root)
	twice := list[3]
	local.damage(twice.Chunk.Hash)
	gone := list[len(list)/2]
	delete(s.chunks, gone.Chunk.Hash)

	got, err := v.Verify(t.Context(), root, core.Size(len(data)), file.Verified{}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	var wrong, missing []core.Size
	for _, e := range list {
		switch e.Chunk.Hash {
		case twice.Chunk.Hash:
			wrong = append(wrong, e.Offset)
		case gone.Chunk.Hash:
			missing = append(missing, e.Offset)
		}
	}
	if len(wrong) != 2 {
		t.Fatalf("the chunk stands at %v: want two places", wrong)
	}
	for _, h := range got.Damaged {
		at := &missing
		if h.Wrong {
			at = &wrong
		}
		if len(*at) == 0 || (*at)[0] != h.Start {
			t.Fatalf("damaged %+v: want wrong at %v, missing at %v", h, wrong, missing)
		}
		*at = (*at)[1:]
	}
	if len(wrong)+len(missing) > 0 || got.Wrong != 2*twice.Span || got.Missing != gone.Span || got.Chunks != len(list) {
		t.Errorf("found %+v; not named: wrong at %v, missing at %v", got, wrong, missing)
	}
}

func TestVerifyNamesWhatATreeNodeStandsFor(t *testing.T) {
	s := memory()
	data := noise(1, 3_000_000)
	root := splitBytes(t, s, data)
	local, v := verifying(s)
	var second manifest.Entry
	err := manifest.Nodes(root, openerOf(s), func(e manifest.Entry) error {
		if e.Name == "1" && e.Type == core.TypeDirectory {
			second = e
		}
		return nil
	})
	if err != nil || second.Span == 0 {
		t.Fatalf("no second tree node: %v", err)
	}
	local.damage(second.Chunk.Hash)
	got, err := v.Verify(t.Context(), root, core.Size(len(data)), file.Verified{}, quiet)
	if err != nil || len(got.Damaged) != 1 || got.Damaged[0].Start != second.Offset || got.Wrong != second.Span {
		t.Errorf("found %+v, %v: want bytes %d-%d wrong", got, err, second.Offset, second.Offset+second.Span)
	}
	local.damage(root.Hash)
	got, err = v.Verify(t.Context(), root, core.Size(len(data)), file.Verified{}, quiet)
	if err != nil || got.Wrong != core.Size(len(data)) {
		t.Errorf("without a root: found %+v, %v: want all of it wrong", got, err)
	}
}

// A chunk whose hash is right may still open to other bytes than were cut, where the machine that sealed it computed
// wrongly.
func TestVerifySeesWhatWasSealedWrongly(t *testing.T) {
	s := memory()
	root := splitBytes(t, s, noise(1, 50_000))
	_, v := verifying(s)
	v.Secrets = chunk.NewSecrets([32]byte{9})
	got, err := v.Verify(t.Context(), root, 50_000, file.Verified{}, quiet)
	if err != nil || got.Wrong != 50_000 {
		t.Errorf("found %+v, %v: want all of it wrong", got, err)
	}
}

func TestVerifyReadsNoMoreThanItIsAsked(t *testing.T) {
	s := memory()
	root := splitBytes(t, s, noise(1, 1_000_000))
	list := entries(t, s, root)
	for _, share := range []float64{0, 0.2} {
		_, v := verifying(s)
		v.Share = share
		got, err := v.Verify(t.Context(), root, 1_000_000, file.Verified{}, quiet)
		if err != nil || len(got.Damaged) > 0 || got.Chunks != len(list) {
			t.Fatalf("share %g: found %+v, %v", share, got, err)
		}
		if read := float64(got.Read) / 1_000_000; read < share/2 || read > share*2 {
			t.Errorf("share %g: read %g of it", share, read)
		}
	}
	local, v := verifying(s)
	for range 2 {
		if _, err := v.Verify(t.Context(), root, 1_000_000, file.Verified{}, quiet); err != nil {
			t.Fatal(err)
		}
	}
	for _, e := range list {
		if n := local.reads[e.Chunk.Hash]; n != 1 {
			t.Fatalf("chunk at %d was read %d times for two versions", e.Offset, n)
		}
	}
}

func TestVerifyGoesOnWhereItWasStopped(t *testing.T) {
	const size = 150 << 20
	s := memory()
	in := file.SplitInput{Source: file.NewReader(bytes.NewReader(noise(1, size))),
		Params: chunk.DefaultParams(chunk.MethodFixed, size), Level: chunk.LevelOff, Store: s}
	root := split(t, in).Root
	list := entries(t, s, root)
	local, v := verifying(s)
	local.damage(list[5].Chunk.Hash)
	local.damage(list[len(list)-5].Chunk.Hash)
	whole, err := v.Verify(t.Context(), root, size, file.Verified{}, quiet)
	if err != nil {
		t.Fatal(err)
	}

	killed := errors.New("killed")
	var saved file.Verified
	_, first := verifying(s)
	_, err = first.Verify(t.Context(), root, size, file.Verified{}, func(so file.Verified) error {
		saved = so
		return killed
	})
	if !errors.Is(err, killed) || saved.At == 0 || saved.At >= size/2 {
		t.Fatalf("stopped at %d: %v", saved.At, err)
	}
	local, again := verifying(s)
	got, err := again.Verify(t.Context(), root, size, saved, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got.Damaged, whole.Damaged) || got.Chunks != whole.Chunks || got.Read != whole.Read ||
		got.At != size {
		t.Errorf("in two goes: %+v, in one: %+v", got, whole)
	}
	if local.reads[list[5].Chunk.Hash] > 0 {
		t.Error("what was verified before was read again")
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if _, err := again.Verify(stopped, root, size, saved, quiet); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: %v", err)
	}
}
