// SPDX-License-Identifier: Apache-2.0

package datadir

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/file"
	"github.com/bkp-tool/bkp/core/key"
)

func TestCheckpointsComeBack(t *testing.T) {
	h := Dir(t.TempDir())
	o, err := key.NewOwner(strings.NewReader(strings.Repeat("randomness ", 100)))
	if err != nil {
		t.Fatal(err)
	}
	saved := h.savedSplit(o, "disk.img")
	if saved.load() != nil {
		t.Error("resumes what never began")
	}
	want := file.Checkpoint{Root: core.Sealed{Hash: core.Hash{1}, Key: core.Key{2}, Size: 3, Plain: 4}, Bytes: 5,
		Stamp: "as it was"}
	if err := saved.save(want); err != nil {
		t.Fatal(err)
	}
	if got := saved.load(); got == nil || *got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if h.savedSplit(o, "other.img").load() != nil {
		t.Error("another name resumes it")
	}
	if roots, err := h.Refs().Unfinished(); err != nil || len(roots) != 1 {
		t.Errorf("%d roots for gc, %v", len(roots), err)
	}
	if list, err := h.Refs().List(); err != nil || len(list) != 0 {
		t.Errorf("a checkpoint counts as a version: %v, %v", list, err)
	}

	path := h.Refs().checkpoint(o.Alias("disk.img"))
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	year := time.Now().UTC().Format(`"created":"2006`)
	old := strings.Replace(string(text), year, `"created":"2001`, 1)
	for name, bad := range map[string]string{"too old": old, "torn": string(text[:len(text)/2]),
		"of a later version": strings.Replace(string(text), `"v":1`, `"v":2`, 1)} {
		if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if saved.load() != nil {
			t.Errorf("resumes from a checkpoint that is %s", name)
		}
	}
	saved.remove()
	if roots, _ := h.Refs().Unfinished(); len(roots) != 0 {
		t.Error("removed, and still a root")
	}
}
