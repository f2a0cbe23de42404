// SPDX-License-Identifier: Apache-2.0

package datadir

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/commands"
	"github.com/bkp-tool/bkp/core/storage/disk"
)

// piece is made-up stored bytes and their id.
func piece(n int) (c core.Chunk, id core.Hash, data []byte) {
	data = fmt.Appendf(nil, "chunk %d", n)
	return core.Chunk{Hash: chunk.Hash(data), Size: core.Size(len(data))}, core.Hash{byte(n), 1}, data
}

func TestWindowsLoseNothingThatWasNotPlaced(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	staging, err := disk.Open(filepath.Join(dir, "staging"))
	if err != nil {
		t.Fatal(err)
	}
	defer staging.Close()
	away, err := disk.OpenAway(filepath.Join(dir, "away"))
	if err != nil {
		t.Fatal(err)
	}
	defer away.Close()
	atPeers, _, _ := piece(9)
	w, err := openWindows(filepath.Join(dir, "windows"), commands.Cutting{
		Staging: staging,
		Covered: func(h core.Hash) bool { return h == atPeers.Hash },
		Keep: func(c core.Chunk, id core.Hash, data []byte) error {
			_, err := staging.Put(ctx, c, id, data)
			return err
		},
		Away: away,
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	put := func(n int) core.Chunk {
		t.Helper()
		c, id, data := piece(n)
		if _, err := w.Put(ctx, c, id, data); err != nil {
			t.Fatal(err)
		}
		found, ok, err := w.Find(ctx, id)
		if err != nil || !ok || found != c || !has(w, c.Hash) {
			t.Fatalf("chunk %d is not known once it was put", n)
		}
		return c
	}
	rotate := func(end core.Size) {
		t.Helper()
		if err := w.rotate(end); err != nil {
			t.Fatal(err)
		}
	}
	content, index := put(1), put(2)
	put(9)
	if _, err := w.Get(ctx, atPeers.Hash, nil); err == nil {
		t.Error("what peers keep was kept here")
	}
	rotate(100)
	later := put(3)
	if err := w.placed(ctx, []core.Chunk{content}, 2); err != nil {
		t.Fatal(err)
	}
	if _, id, _ := piece(1); !noted(away, id, content, 2) {
		t.Error("what was placed is not noted for versions to come")
	}
	if err := w.drop(ctx, 99); err != nil || has(staging, index.Hash) {
		t.Fatalf("dropped a window of which some is under way: %v", err)
	}
	if err := w.drop(ctx, 100); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "windows", "0")); err == nil {
		t.Error("the window still stands on disk")
	}
	if has(staging, content.Hash) || !has(staging, index.Hash) {
		t.Error("want what was not placed in staging, and nothing else")
	}
	if _, _, data := piece(3); !has(w, later.Hash) {
		t.Error("the open window was dropped")
	} else if got, err := w.Get(ctx, later.Hash, nil); err != nil || !bytes.Equal(got, data) {
		t.Errorf("got %q, %v", got, err)
	}
	if err := w.stageAll(ctx); err != nil || !has(staging, later.Hash) {
		t.Errorf("at the end: %v; what is left must be staged", err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(w.dir); err == nil {
		t.Error("windows are left behind")
	}
}

func has(s interface {
	Has(context.Context, core.Hash) (bool, error)
}, hash core.Hash) bool {
	ok, err := s.Has(context.Background(), hash)
	return ok && err == nil
}

func noted(away *disk.Away, id core.Hash, want core.Chunk, copies int) bool {
	c, n, ok, err := away.Find(context.Background(), id)
	return err == nil && ok && c == want && n == copies
}
