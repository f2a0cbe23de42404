// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"fmt"
	"strings"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/manifest"
)

// damage writes what a report says is wrong, in chunks of the file.
func damage(r Report) string {
	var all []string
	for _, h := range r.Damaged {
		who := "-"
		if !h.Node.IsZero() {
			who = string(h.Node[:1])
		}
		word := "gone"
		if h.Wrong {
			word = "wrong"
		}
		all = append(all, fmt.Sprintf("%s %s %d %d", who, word, h.Start/80, h.Length/80))
	}
	return strings.Join(all, ", ")
}

// TestVerify says what a verification reports of what is done to a version of six chunks, in runs of two, at b and c.
func TestVerify(t *testing.T) {
	for _, c := range []struct {
		name    string
		does    func(w *world, f file)
		look    Look
		damaged string // who, how, from which chunk on, how many
		copies  int
	}{
		{"all is well", nil, Look{}, "", 2},
		{"all is well, by its bytes", nil, Look{Share: 1}, "", 2},
		{"a run went from a holder", func(w *world, f file) {
			w.peers[id("b")].lists = w.peers[id("b")].lists[1:]
		}, Look{}, "b gone 0 2", 1},
		{"a holder is away", func(w *world, _ file) { w.peers[id("b")].away = true }, Look{}, "", 1},
		{"both are away", func(w *world, _ file) {
			w.peers[id("b")].away, w.peers[id("c")].away = true, true
		}, Look{All: true}, "- gone 0 6, - gone 0 6", 0}, // all below the tree node, and that
		{"a holder that lists a run has wrong bytes of one chunk", func(w *world, f file) {
			w.peers[id("c")].wrong[f.chunks[3].Hash] = true
		}, Look{Share: 1}, "c wrong 3 1", 2},
		{"two chunks of a run are wrong", func(w *world, f file) {
			w.peers[id("c")].wrong[f.chunks[2].Hash], w.peers[id("c")].wrong[f.chunks[3].Hash] = true, true
		}, Look{Share: 1}, "c wrong 2 1, c wrong 3 1", 2},
		{"its bytes are not looked at", func(w *world, f file) {
			w.peers[id("c")].wrong[f.chunks[3].Hash] = true
		}, Look{}, "", 2},
		{"a holder that lists a run lacks a chunk", func(w *world, f file) {
			w.peers[id("b")].lacks[f.chunks[5].Hash] = true
		}, Look{Share: 1}, "b gone 5 1", 2},
		{"the manifest is nowhere", func(w *world, f file) {
			w.peers[id("b")].lacks[f.Body.Root.Hash], w.peers[id("c")].lacks[f.Body.Root.Hash] = true, true
		}, Look{}, "- gone 0 6", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.add("b")
			w.add("c")
			f := w.place(w.split("disk", 1, 6), 1, "b", "c")
			refs, record := w.refs, w.here[f.Body.Records[0].Hash]
			tree := w.here[f.Body.Root.Hash]
			w.forget()
			if w.refs = refs; c.look.All { // a machine that has all but the content
				w.here[f.Body.Root.Hash], w.here[f.Body.Records[0].Hash] = tree, record
			}
			if c.name == "a holder is away" || c.look.All {
				w.here[f.Body.Records[0].Hash] = record
			}
			if c.does != nil {
				c.does(w, f)
			}
			r, err := w.fetcher().Verify(t.Context(), "disk", 0, c.look)
			check(t, err)
			if got := damage(r); got != c.damaged || r.Copies != c.copies {
				t.Errorf("%s; %d copies: want %s; %d\n%+v", got, r.Copies, c.damaged, c.copies, r.Damaged)
			}
			if (r.Read > 0) != (c.look.Share > 0) && c.look.Share > 0 {
				t.Errorf("%d bytes were read", r.Read)
			}
			for _, h := range r.Holders {
				if away := w.peers[h.Node].away; away != (h.Problem != "") || away && h.Kept > 0 {
					t.Errorf("%s: %+v", h.Node[:1], h)
				}
			}
		})
	}
}

// What is on this machine is not asked for, unless all is; what was never placed counts as staged then.
func TestVerifyOfWhatIsHere(t *testing.T) {
	w := newWorld(t)
	w.add("b")
	w.place(w.split("disk", 1, 4), 1, "b")
	r, err := w.fetcher().Verify(t.Context(), "disk", 1, Look{})
	if check(t, err); r.Chunks != 0 || r.Staged != 0 || r.Size != 320 {
		t.Errorf("where all is here: %+v", r)
	}
	r, err = w.fetcher().Verify(t.Context(), "disk", 1, Look{All: true})
	if check(t, err); r.Chunks != 5 || r.Copies != 1 || r.Staged != 0 || r.Holders[0].Kept != 3 {
		t.Errorf("asked for all: %+v", r)
	}
	w.split("disk", 2, 3)
	r, err = w.fetcher().Verify(t.Context(), "disk", 2, Look{All: true})
	if check(t, err); r.Staged != 4 || r.Chunks != 0 || len(r.Damaged) > 0 {
		t.Errorf("a version that was never placed: %+v", r)
	}
	clear(w.here)
	r, err = w.fetcher().Verify(t.Context(), "disk", 2, Look{})
	if check(t, err); damage(r) != "- gone 0 3" {
		t.Errorf("and that is lost: %s", damage(r))
	}
	if _, err = w.fetcher().Verify(t.Context(), "none", 0, Look{}); core.CodeOf(err) != core.CodeNoName {
		t.Errorf("a name that nobody knows: %v", err)
	}
}

// A tree node that is nowhere is named, and what stands below the others is looked at still.
func TestVerifyOfALostTreeNode(t *testing.T) {
	w := newWorld(t)
	b := w.add("b")
	f := w.place(w.split("disk", 1, manifest.Fanout+5), 1, "b")
	w.forget()
	b.lacks[f.nodes[0].Hash] = true
	r, err := w.fetcher().Verify(t.Context(), "disk", 1, Look{})
	if check(t, err); damage(r) != "- gone 0 1024" {
		t.Errorf("it reports %s\n%+v", damage(r), r.Damaged)
	}
	if r.Chunks != 5+3 {
		t.Errorf("%d chunks were asked for, want those of the second leaf and the tree nodes", r.Chunks)
	}
}

// Of a share of the runs the bytes are read.
func TestVerifyReadsAShare(t *testing.T) {
	w := newWorld(t)
	w.add("b")
	w.place(w.split("disk", 1, 400), 1, "b")
	r, err := w.fetcher().Verify(t.Context(), "disk", 1, Look{All: true, Share: 0.5})
	w.kept = w.here
	if check(t, err); r.Read != 0 {
		t.Errorf("%d bytes were read of what nobody keeps", r.Read)
	}
	var read, all core.Size
	for range 10 { // what is drawn varies
		r, err = w.fetcher().Verify(t.Context(), "disk", 1, Look{All: true, Share: 0.5})
		check(t, err)
		read, all = read+r.Read, all+r.Bytes
	}
	if read < all/4 || read > all*3/4 {
		t.Errorf("%d bytes were read of %d", read, all)
	}
}
