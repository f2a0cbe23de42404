// SPDX-License-Identifier: Apache-2.0

package datadir

import (
	"crypto/rand"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
)

func newOwner(t *testing.T) *key.Owner {
	t.Helper()
	o, err := key.NewOwner(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// sealed makes the envelope of a version, as split does.
func sealed(o *key.Owner, name string) func(int, []byte) ([]byte, error) {
	return func(version int, previous []byte) ([]byte, error) {
		r := key.Ref{Version: version, Created: time.Now().Unix()}
		if previous != nil {
			r.Prev = key.RefHash(previous)
		}
		return o.SealRef(r, key.RefBody{Name: name, Root: core.Sealed{Hash: core.Hash{1}}, Size: core.Size(version)})
	}
}

func TestRefVersionsAreConsecutive(t *testing.T) {
	o, refs := newOwner(t), Refs{t.TempDir()}
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			if _, err := refs.Append(o.Alias("f"), sealed(o, "f")); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	found, err := refs.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	var versions []int
	for i, v := range found {
		versions = append(versions, v.Ref.Version)
		if i > 0 && v.Ref.Prev != key.RefHash(found[i-1].envelope) {
			t.Errorf("version %d does not point to the one before it", v.Ref.Version)
		}
	}
	if want := []int{1, 2, 3, 4, 5, 6, 7, 8}; !slices.Equal(versions, want) {
		t.Errorf("versions %v, want %v", versions, want)
	}
}

func TestRefVersionsAreNotGivenTwice(t *testing.T) {
	o, refs := newOwner(t), Refs{t.TempDir()}
	alias := o.Alias("f")
	for want := range 3 {
		if got, err := refs.Append(alias, sealed(o, "f")); err != nil || got != want+1 {
			t.Fatalf("version %d, %v; want %d", got, err, want+1)
		}
	}
	for _, v := range []int{3, 2} {
		if err := refs.Remove(alias, v); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := refs.Append(alias, sealed(o, "f")); err != nil || got != 4 {
		t.Errorf("after versions 2 and 3 were removed the next is %d, %v; want 4", got, err)
	}
	if v, err := refs.Find(o, "f", 0); err != nil || v.Ref.Version != 4 {
		t.Errorf("the latest version is %d, %v; want 4", v.Ref.Version, err)
	}
	if _, err := refs.Find(o, "f", 3); core.CodeOf(err) != core.CodeNoName {
		t.Errorf("a removed version: %v, want code %d", err, core.CodeNoName)
	}
}

func TestRefOfAnotherVersionIsNotTaken(t *testing.T) {
	o, refs := newOwner(t), Refs{t.TempDir()}
	for range 2 {
		if _, err := refs.Append(o.Alias("f"), sealed(o, "f")); err != nil {
			t.Fatal(err)
		}
	}
	old, err := refs.Find(o, "f", 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := refs.Put(o.Alias("f"), 2, old.envelope); err != nil {
		t.Fatal(err)
	}
	if _, err := refs.Find(o, "f", 2); core.CodeOf(err) != core.CodeWrong {
		t.Errorf("version 1 in the place of version 2: %v, want code %d", err, core.CodeWrong)
	}
}
