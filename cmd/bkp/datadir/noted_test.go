// SPDX-License-Identifier: Apache-2.0

package datadir

import (
	"bytes"
	"crypto/rand"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/file"
	"github.com/bkp-tool/bkp/core/key"
)

// Once peers keep a version nothing in the data directory of a machine that may only write has the key of its
// content; of one that is here still the key stays, and so does that of an interrupted split.
func TestPlacedIsForgotten(t *testing.T) {
	o, err := key.NewOwner(rand.Reader)
	must(t, err)
	w, err := o.Writer(time.Now().Add(time.Hour), rand.Reader)
	must(t, err)
	d := Dir(t.TempDir())
	w.Notes = d.Refs()
	alias, root := o.Alias("f"), core.Sealed{Hash: core.Hash{1}, Key: core.Key{2}}
	put := func(version int, records ...core.Sealed) {
		t.Helper()
		envelope, err := w.SealRef(key.Ref{Version: version, Created: time.Now().Unix()},
			key.RefBody{Name: "f", Root: root, Records: records})
		must(t, err)
		must(t, d.Refs().Put(alias, version, envelope))
	}
	put(1)
	put(1, core.Sealed{Hash: core.Hash{3}, Key: core.Key{4}}) // as it was placed
	put(2)
	saved := d.savedSplit(w, "f")
	must(t, saved.save(file.Checkpoint{Root: root, Bytes: 1}))
	must(t, d.Refs().SetAway(alias, 1, true))
	want := func(version int, forgotten bool) {
		t.Helper()
		v, err := d.Refs().Find(w, "f", version)
		must(t, err)
		if v.Body.Forgotten() != forgotten {
			t.Errorf("version %d: forgotten is %t", version, !forgotten)
		}
	}
	want(1, true)
	want(2, false)
	for _, path := range notesOf(t, d) { // also what no ref needs any more
		body, err := os.ReadFile(path)
		must(t, err)
		without, err := key.Forget(body)
		must(t, err)
		v, err := d.Refs().Find(w, "f", 2)
		must(t, err)
		if keeps := path == d.Refs().noted(alias, 2, key.SealedBy(v.Ref)) || path == d.Refs().resumed(alias, 1); keeps ==
			bytes.Equal(body, without) {
			t.Errorf("%s: the key stays: %t", path, !keeps)
		}
	}
	if saved.load() == nil {
		t.Error("the interrupted split cannot go on")
	}
	saved.remove()
	for range 2 { // first its note is written without the key
		for _, path := range notesOf(t, d) {
			must(t, os.Chtimes(path, time.Time{}, time.Now().Add(-2*noteLife)))
		}
		_, err = d.Tidy(false)
		must(t, err)
	}
	if left := notesOf(t, d); len(left) != 2 {
		t.Errorf("noted is %q", left)
	}
	want(1, true)
	want(2, false)
	must(t, d.Refs().Remove(alias, 1))
	must(t, d.Refs().Remove(alias, 2))
	if left := notesOf(t, d); len(left) != 0 {
		t.Errorf("of what was removed is noted %q", left)
	}
}

func notesOf(t *testing.T, d Dir) []string {
	t.Helper()
	paths, err := filepath.Glob(d.Path("refs", "*", "*"+notedMark+"*"))
	must(t, err)
	return paths
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
