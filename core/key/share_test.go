// SPDX-License-Identifier: Apache-2.0

package key_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
)

func sharedVersion(t testing.TB) (o *key.Owner, ref key.Ref, text []byte) {
	t.Helper()
	o = owner(t)
	body := key.RefBody{Name: "disk", Root: core.Sealed{Hash: core.Hash{1}, Size: 9, Plain: 9}, Task: core.TaskID{2}}
	envelope := must[[]byte](t)(o.SealRef(key.Ref{V: 2, Version: 3, Created: 1_796_000_000}, body))
	ref = must[key.Ref](t)(key.OpenRef(envelope))
	text, _, err := o.Share(ref, body, time.Unix(1_796_000_000, 0), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return o, ref, text
}

// A share opens the ref of its version, and no other; nothing of the owner's secrets is in it, and it signs nothing.
func TestShare(t *testing.T) {
	o, ref, text := sharedVersion(t)
	reader := must[*key.Share](t)(key.ParseShare(text)).Reader()
	body, err := reader.OpenRefBody(ref)
	if err != nil || body.Name != "disk" || reader.ID() != o.ID() || reader.Alias("disk") != ref.Alias {
		t.Errorf("opened %+v, %v", body, err)
	}
	for _, change := range []func(*key.Ref){
		func(r *key.Ref) { r.Version = 4 }, func(r *key.Ref) { r.Alias = o.Alias("other") },
		func(r *key.Ref) { r.Content = core.Hash{8} }, func(r *key.Ref) { r.Owner = core.ID{1} },
	} {
		other := ref
		change(&other)
		if body, err := reader.OpenRefBody(other); err == nil {
			t.Errorf("it opens %+v as %+v", other, body)
		}
	}
	if reader.Alias("other") == o.Alias("other") {
		t.Error("it knows the aliases of other names")
	}
	for _, err := range []error{
		second(reader.SealRef(ref, body)), second(reader.Delegate(core.ID{1}, key.AllRights, time.Now())),
		second(reader.SignRelease(key.Release{})), second(reader.Revoke(key.Revocations{}, core.Revoked{}, 1)),
		second(reader.SignTombstone(key.Tombstone{})),
	} {
		wantError(t, err, "only be read")
	}
	seed, secret := o.Signer().Seed(), o.DedupSecret
	if bytes.Contains(text, seed[:]) || strings.Contains(string(text), base64.StdEncoding.EncodeToString(seed[:])) ||
		strings.Contains(string(text), base64.StdEncoding.EncodeToString(secret[:])) ||
		strings.Contains(string(text), "AGE-SECRET-KEY") {
		t.Error("it has a secret of the owner in it")
	}
}

func second[T any](_ T, err error) error { return err }

// What of a share was changed shows.
func TestBadShares(t *testing.T) {
	_, _, text := sharedVersion(t)
	for from, to := range map[string]string{`"version": 3`: `"version": 2`, `"name": "disk"`: `"name": "disc"`,
		`"v": 1`: `"v": 2`, `"peers": [`: `"x": [`} {
		changed := strings.Replace(string(text), from, to, 1)
		if changed == string(text) {
			t.Fatalf("no %s in %s", from, text)
		}
		if _, err := key.ParseShare([]byte(changed)); err == nil {
			t.Errorf("with %s it is a share still", to)
		}
	}
}

func FuzzParseShare(f *testing.F) {
	_, _, text := sharedVersion(f)
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := key.ParseShare(text)
		if err == nil && s.Reader().ID() != s.Owner {
			t.Error("a share of nobody")
		}
	})
}
