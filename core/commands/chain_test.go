// SPDX-License-Identifier: Apache-2.0

package commands_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/key"
)

// fetchWarned fetches the newest version of a name and returns it with the warnings on the way.
func (m *member) fetchWarned(name string) (data []byte, warnings string) {
	t := m.cluster.t
	t.Helper()
	path := filepath.Join(t.TempDir(), "fetched")
	_, err := m.Fetch(t.Context(), control.FetchArgs{Name: name, Output: path}, func(s control.Status) {
		if s.Warning {
			warnings += s.Text + "\n"
		}
	})
	check(t, err)
	data, err = os.ReadFile(path)
	check(t, err)
	return data, warnings
}

// offerOld has a holder answer with the first version where it is asked for the second.
func (m *member) offerOld() {
	t := m.cluster.t
	t.Helper()
	refs, err := m.holdings.Refs(m.cluster.owner.ID())
	check(t, err)
	if len(refs) != 2 {
		t.Fatalf("it keeps %d refs", len(refs))
	}
	refs[1].Envelope = refs[0].Envelope
	check(t, m.holdings.PutRef(refs[1]))
}

// Bad input 45: a holder offers an older version as the newest.
func TestAnOlderVersionOfferedAsTheNewest(t *testing.T) {
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.start("a", "b-20MiB,c-20MiB", c.owned)
		b := c.start("b", "a-20MiB,c-20MiB")
		c.start("c", "a-20MiB,b-20MiB")
		old, now := content(3, 1<<20), content(4, 1<<20)
		a.split("disk.img", 1, old)
		c.settle()
		a.place(control.PlaceArgs{Replicas: 2})
		a.split("disk.img", 2, now)
		a.place(control.PlaceArgs{Replicas: 2})
		a.stop()
		d := c.start("d", "b-20MiB,c-20MiB", c.owned)
		c.settle()
		if got, warnings := d.fetchWarned("disk.img"); !bytes.Equal(got, now) || warnings != "" {
			t.Errorf("where all agree: the newest %v, warned of %q", bytes.Equal(got, now), warnings)
		}
		b.offerOld()
		got, warnings := d.fetchWarned("disk.img")
		if !bytes.Equal(got, now) {
			t.Error("another version than the newest came")
		}
		if !strings.Contains(warnings, "version 2 is also at "+b.signer.ID().Short()+
			": an older one is offered there as the newest") {
			t.Errorf("warned of %q", warnings)
		}
	})
}

// Two machines of one owner split a name under one number, or a version is nowhere: whoever lists or fetches is told.
func TestForksAndGapsAreReported(t *testing.T) {
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a := c.start("a", "b-20MiB", c.owned)
		b := c.start("b", "a-20MiB")
		a.split("disk.img", 1, content(5, 1<<20))
		c.settle()
		a.place(control.PlaceArgs{Replicas: 1})
		problems := func() string {
			list, err := a.ListVersions(t.Context(), control.ListArgs{}, quiet)
			check(t, err)
			return strings.Join(list.Problems, "\n")
		}
		if got := problems(); got != "" {
			t.Errorf("where all agree: %s", got)
		}

		seal := func(version int, prev core.Hash, root byte) []byte {
			body := key.RefBody{Name: "disk.img", Root: core.Sealed{Hash: core.Hash{root}, Size: 1, Key: core.Key{root},
				Plain: 1}, Size: 1}
			envelope, err := c.owner.SealRef(key.Ref{Version: version, Prev: prev, Created: time.Now().Unix()}, body)
			check(t, err)
			return envelope
		}
		held, err := b.holdings.Refs(c.owner.ID())
		check(t, err)
		other := held[0]
		other.Envelope = seal(1, core.Hash{}, 7)
		check(t, b.holdings.PutRef(other))
		if got := problems(); !strings.Contains(got, "disk.img: version 1 stands for two files") ||
			!strings.Contains(got, "another is at "+b.signer.ID().Short()) {
			t.Errorf("a fork: %q", got)
		}
		if _, warnings := a.fetchWarned("disk.img"); !strings.Contains(warnings, "version 1 stands for two files") {
			t.Errorf("a fork at a fetch: %q", warnings)
		}
		check(t, b.holdings.PutRef(held[0]))

		for _, r := range []core.HeldRef{
			{Version: 2, Envelope: seal(2, core.Hash{9}, 8)}, // of a first version that was placed again since: no gap
			{Version: 5, Envelope: seal(5, core.Hash{4}, 9)},
		} {
			r.Owner, r.Alias, r.Task = other.Owner, other.Alias, other.Task
			check(t, b.holdings.PutRef(r))
		}
		if got := problems(); got != "disk.img: of its versions one or more of 3 to 4 are nowhere: removed, or at peers that are away or hide them" {
			t.Errorf("a gap: %q", got)
		}
	})
}

// ref is what this machine's refs say of a version of disk.img.
func (m *member) ref(version int) (r key.Ref, body key.RefBody, envelope []byte) {
	t := m.cluster.t
	t.Helper()
	refs, err := m.refs.List()
	check(t, err)
	for _, stored := range refs {
		if stored.Version == version {
			r, err = key.OpenRef(stored.Envelope)
			check(t, err)
			body, err = m.cluster.owner.OpenRefBody(r)
			check(t, err)
			envelope = stored.Envelope
		}
	}
	return r, body, envelope
}

// asVersion1 gives a ref the form that an earlier release would have left here, and returns its envelope.
func (m *member) asVersion1(version int, before []byte) []byte {
	t := m.cluster.t
	t.Helper()
	r, body, _ := m.ref(version)
	r.V, r.Prev = 1, core.Hash{}
	if before != nil {
		r.Prev = key.RefHash(before)
	}
	envelope, err := m.cluster.owner.SealRef(r, body)
	check(t, err)
	check(t, m.refs.Put(r.Alias, version, envelope))
	return envelope
}

// A version that is placed again, as a repair does, keeps when its content was split, and its place in the chain; also
// one that an earlier release split, whose refs know one date.
func TestPlacedAgainKeepsWhenItWasSplit(t *testing.T) {
	t.Parallel()
	for _, old := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			c := newCluster(t)
			a := c.start("a", "b-20MiB", c.owned)
			c.start("b", "a-20MiB")
			c.settle()
			var splitAt []int64
			for v := 1; v <= 2; v++ {
				splitAt = append(splitAt, time.Now().Unix())
				a.split("disk.img", v, content(byte(v), 1<<20))
				time.Sleep(time.Minute)
			}
			first, _, _ := a.ref(1)
			if old {
				a.asVersion1(2, a.asVersion1(1, nil))
			}
			for range 2 {
				for v := 1; v <= 2; v++ {
					placedAt := time.Now().Unix()
					a.place(control.PlaceArgs{Name: "disk.img", Version: v, Replicas: 1})
					r, body, _ := a.ref(v)
					if r.V != 2 || r.Created != splitAt[v-1] || r.Placed < placedAt || r.Content != body.Root.Hash {
						t.Errorf("version %d, placed at %d: %+v, want it created at %d", v, placedAt, r, splitAt[v-1])
					}
					if old && v == 2 && r.Prev != first.Content {
						t.Errorf("version 2 follows %s, want %s", r.Prev, first.Content)
					}
				}
				time.Sleep(time.Minute)
			}
			z := c.start("z", "b-20MiB", c.owned) // has the identity alone
			c.settle()
			for _, m := range []*member{a, z} {
				list, err := m.ListVersions(t.Context(), control.ListArgs{}, quiet)
				check(t, err)
				if len(list.Problems) > 0 || len(list.Versions) != 2 {
					t.Errorf("%d versions, problems: %v", len(list.Versions), list.Problems)
				}
				for i, row := range list.Versions {
					if row.Created != splitAt[i] {
						t.Errorf("version %d is listed as of %d, want %d", row.Version, row.Created, splitAt[i])
					}
				}
			}
		})
	}
}
