// SPDX-License-Identifier: Apache-2.0

package key_test

import (
	"bytes"
	"encoding/hex"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
)

var body = key.RefBody{
	Name: "big.iso",
	Root: core.Sealed{Hash: core.Hash{1}, Size: 300, Key: core.Key{2}, Plain: 280},
	Size: 5 * core.GiB,
	Task: task,
	Records: []core.Sealed{
		{Hash: core.Hash{3}, Size: 4000, Key: core.Key{4}, Plain: 5000},
		{Hash: core.Hash{5}, Size: 6000, Key: core.Key{6}, Plain: 7000},
	},
}

// later is when a version that was split at noon is placed again.
var later = noon.AddDate(0, 0, 5)

func ref() key.Ref {
	return key.Ref{Version: 2, Prev: core.Hash{7}, Created: noon.Unix(), Placed: later.Unix()}
}

// opened is what ref() reads as in each version of the payload: the first had one date, that of the signature.
var opened = map[int]key.Ref{
	1: {V: 1, Version: 2, Prev: core.Hash{7}, Created: later.Unix(), Placed: later.Unix()},
	2: {V: 2, Version: 2, Prev: core.Hash{7}, Created: noon.Unix(), Placed: later.Unix(), Content: body.Root.Hash},
}

// checkRef opens an envelope of big.iso and holds it against what it was sealed from.
func checkRef(t *testing.T, envelope []byte, want key.Ref) {
	t.Helper()
	o := owner(t)
	r := must[key.Ref](t)(key.OpenRef(envelope))
	want.Owner, want.Alias, want.Body, want.Key = o.ID(), o.Alias("big.iso"), r.Body, signer(1).Public()
	if !reflect.DeepEqual(r, want) {
		t.Errorf("got %+v\nwant %+v", r, want)
	}
	if got := must[key.RefBody](t)(o.OpenRefBody(r)); !reflect.DeepEqual(got, body) {
		t.Errorf("got %+v\nwant %+v", got, body)
	}
	if bytes.Contains(envelope, []byte("big.iso")) || bytes.Contains(r.Body, []byte("big.iso")) {
		t.Error("the name stands in the open")
	}
}

func TestSealRef(t *testing.T) {
	for v, want := range opened {
		r := ref()
		r.V = v
		checkRef(t, must[[]byte](t)(owner(t).SealRef(r, body)), want)
	}
	checkRef(t, must[[]byte](t)(owner(t).SealRef(ref(), body)), opened[2])
}

// A ref differs each time it is sealed, so its golden vector is one that an earlier bkp made.
func TestOpenRefGolden(t *testing.T) {
	checkRef(t, read(t, "ref.json"), key.Ref{V: 1, Version: 2, Prev: core.Hash{7}, Created: noon.Unix(),
		Placed: noon.Unix()})
	golden(t, "ref.hash", []byte(key.RefHash(read(t, "ref.json")).String()+"\n"))
	if *update {
		golden(t, "ref2.json", must[[]byte](t)(owner(t).SealRef(ref(), body)))
	}
	checkRef(t, read(t, "ref2.json"), opened[2])
}

func TestRefBeforePlacement(t *testing.T) {
	o := owner(t)
	staged := key.RefBody{Name: "big.iso", Root: body.Root, Size: 0}
	r := must[key.Ref](t)(key.OpenRef(must[[]byte](t)(o.SealRef(key.Ref{Version: 1, Created: 1}, staged))))
	if got := must[key.RefBody](t)(o.OpenRefBody(r)); !reflect.DeepEqual(got, staged) {
		t.Errorf("got %+v\nwant %+v", got, staged)
	}
}

func TestSealRefRefuses(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*key.Ref, *key.RefBody)
		want   string
	}{
		{"version 0", func(r *key.Ref, b *key.RefBody) { r.Version = 0 }, "version"},
		{"a first version with one before it", func(r *key.Ref, b *key.RefBody) { r.Version = 1 }, "first version"},
		{"no date", func(r *key.Ref, b *key.RefBody) { r.Created = 0 }, "created 0 is not a date"},
		{"no date but when it was split", func(r *key.Ref, b *key.RefBody) { r.Placed = -1 },
			"placed -1 is not a date"},
		{"a version to come", func(r *key.Ref, b *key.RefBody) { r.V = 3 }, "version 3 is not known here"},
		{"no name", func(r *key.Ref, b *key.RefBody) { b.Name = "" }, "empty"},
		{"a name that is not UTF-8", func(r *key.Ref, b *key.RefBody) { b.Name = "a\xff" }, "UTF-8"},
		{"no root", func(r *key.Ref, b *key.RefBody) { b.Root = core.Sealed{} }, "root is missing"},
		{"a negative size", func(r *key.Ref, b *key.RefBody) { b.Size = -1 }, "negative"},
		{"a record of negative size", func(r *key.Ref, b *key.RefBody) {
			b.Records = []core.Sealed{{Hash: core.Hash{1},
				Size: -1}}
		}, "negative"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, b := ref(), body
			tc.change(&r, &b)
			_, err := owner(t).SealRef(r, b)
			wantError(t, err, tc.want)
		})
	}
}

// A write-only machine: it signs with its own key and the owner's delegation.
func TestRefByDelegate(t *testing.T) {
	o := owner(t)
	for _, file := range []string{"ref.json", "ref2.json"} {
		r := must[key.Ref](t)(key.OpenRef(read(t, file)))
		signed := time.Unix(r.Placed, 0)
		_, err := node.SignRef(r)
		wantError(t, err, "not the owner")
		r.Delegation = must[[]byte](t)(o.Delegate(node.ID(), []key.Right{key.RightRead}, signed))
		_, err = node.SignRef(r)
		wantError(t, err, "right to write")
		r.Delegation = must[[]byte](t)(o.Delegate(node.ID(), []key.Right{key.RightWrite}, signed.AddDate(0, 0, -1)))
		_, err = node.SignRef(r)
		wantError(t, err, "expired")
		r.Delegation = must[[]byte](t)(o.Delegate(node.ID(), []key.Right{key.RightWrite}, signed))
		opened := must[key.Ref](t)(key.OpenRef(must[[]byte](t)(node.SignRef(r))))
		wantError(t, opened.Allowed(signed), "")
		wantError(t, opened.Allowed(signed.AddDate(0, 0, 1)), "expired")
		if got := must[key.RefBody](t)(o.OpenRefBody(opened)); got.Name != body.Name {
			t.Error(got)
		}
	}
}

func TestOpenRefBodyRefuses(t *testing.T) {
	o := owner(t)
	r := must[key.Ref](t)(key.OpenRef(read(t, "ref.json")))
	t.Run("of another owner", func(t *testing.T) {
		other := must[*key.Owner](t)(key.NewOwner(bytes.NewReader(make([]byte, 64))))
		_, err := other.OpenRefBody(r)
		wantError(t, err, "did not match")
	})
	t.Run("45 a body put under another name's alias", func(t *testing.T) {
		moved := r
		moved.Alias = o.Alias("other.iso")
		_, err := o.OpenRefBody(moved)
		wantError(t, err, "another alias")
		if core.CodeOf(err) != core.CodeWrong {
			t.Errorf("code %d", core.CodeOf(err))
		}
	})
	t.Run("70 content other than its body's", func(t *testing.T) {
		moved := must[key.Ref](t)(key.OpenRef(read(t, "ref2.json")))
		moved.Content[0] ^= 1
		_, err := o.OpenRefBody(moved)
		wantError(t, err, "other content")
		if core.CodeOf(err) != core.CodeWrong {
			t.Errorf("code %d", core.CodeOf(err))
		}
	})
	t.Run("a changed body", func(t *testing.T) {
		changed := r
		changed.Body = bytes.Clone(r.Body)
		changed.Body[len(changed.Body)-1] ^= 1
		_, err := o.OpenRefBody(changed)
		wantError(t, err, "open ref")
	})
}

// Versions are chained by the hash of an envelope, so nobody may pass on another spelling of the same ref.
func TestOpenRefRefusesAnotherSpelling(t *testing.T) {
	good := string(read(t, "ref.json"))
	for name, envelope := range map[string]string{
		"a blank":                 strings.Replace(good, ",", ", ", 1),
		"a newline at the end":    good + "\n",
		"an escaped letter":       strings.Replace(good, "vnd.bkp", `vnd.bk\u0070`, 1),
		"a broken line of base64": strings.Replace(good, `"payload":"`, `"payload":"\n`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			if envelope == good {
				t.Fatal("nothing was changed")
			}
			_, err := key.OpenRef([]byte(envelope))
			wantError(t, err, "spelling")
		})
	}
}

// Each payload is well signed; it is CBOR that another writer might make, but not what bkp makes.
func TestOpenRefWantsDeterministicCBOR(t *testing.T) {
	for _, tc := range []struct{ name, payload, want string }{
		{"a length in more bytes than it needs", "b8" + "00", "deterministic"},
		{"an indefinite length", "bfff", "indefinite"},
		{"15 duplicate key", "a2" + "617601" + "617602", "duplicate"},
		{"16 an unknown name", "a1" + "615601", "unknown"},
		{"17 trailing bytes", "a0" + "00", "extra"},
		{"a short hash", "a1" + "6470726576" + "4101", "deterministic"},
		{"a tag", "c074323032362d31312d30315431323a30303a30305a", "tag"},
		{"44 a count of 2^32", "bb0000000100000000", ""},
		{"28 deep nesting", strings.Repeat("81", 1000) + "00", "nest"},
	} {
		for _, payloadType := range []string{key.RefType1, key.RefType2} {
			t.Run(tc.name, func(t *testing.T) {
				payload := must[[]byte](t)(hex.DecodeString(tc.payload))
				_, err := key.OpenRef(must[[]byte](t)(signer(1).Envelope(payloadType, payload)))
				if err == nil || !strings.Contains(strings.ToLower(err.Error()), tc.want) {
					t.Errorf("error %v, want %q in it", err, tc.want)
				}
			})
		}
	}
}

// Each version has a payload type of its own, so that nobody reads one as the other.
func TestOpenRefWantsTheTypeOfItsVersion(t *testing.T) {
	for file, other := range map[string]string{"ref.json": key.RefType2, "ref2.json": key.RefType1} {
		_, err := key.OpenRef(must[[]byte](t)(signer(1).Envelope(other, payloadOf(t, read(t, file)))))
		wantError(t, err, "ref:")
	}
	r := ref()
	r.V, r.Owner, r.Alias, r.Content, r.Body = 2, signer(1).ID(), owner(t).Alias("big.iso"), core.Hash{1},
		[]byte("sealed")
	payload := bytes.Replace(payloadOf(t, must[[]byte](t)(signer(1).SignRef(r))), []byte("av\x02"), []byte("av\x01"), 1)
	_, err := key.OpenRef(must[[]byte](t)(signer(1).Envelope(key.RefType2, payload)))
	wantError(t, err, "version 1 in an envelope of type "+key.RefType2)
}

// What opens, of either version, is what its signer signs again, to the byte.
func FuzzOpenRef(f *testing.F) {
	f.Add([]byte{0xa0})
	f.Add([]byte("\xa9\x61v\x01"))
	for _, v := range []int{1, 2} {
		own := ref()
		own.V, own.Owner, own.Alias, own.Content, own.Body = v, node.ID(), owner(f).Alias("big.iso"), core.Hash{1},
			[]byte("sealed")
		f.Add(payloadOf(f, must[[]byte](f)(node.SignRef(own))))
		own.Version, own.Prev = 1, core.Hash{}
		f.Add(payloadOf(f, must[[]byte](f)(node.SignRef(own))))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		for _, payloadType := range []string{key.RefType1, key.RefType2} {
			envelope, err := node.Envelope(payloadType, payload)
			if err != nil {
				t.Skip()
			}
			r, err := key.OpenRef(envelope)
			if err != nil {
				continue
			}
			if r.Owner != node.ID() {
				t.Errorf("%s wrote for %s", node, r.Owner)
			}
			again, err := node.SignRef(r)
			if err != nil || !bytes.Equal(again, envelope) {
				t.Errorf("signed again: %v\n%q\n%q", err, again, envelope)
			}
		}
	})
}

// The mode of a file stands in refs of version 2 alone: who reads version 1 refuses a body with anything more in it.
func TestTheModeOfAFile(t *testing.T) {
	o := owner(t)
	with := body
	with.Mode = 0o100640
	for v, want := range map[int]uint32{1: 0, 2: 0o100640} {
		r := ref()
		if r.V = v; v == 1 {
			r.Prev = core.Hash{7}
		}
		opened := must[key.Ref](t)(key.OpenRef(must[[]byte](t)(o.SealRef(r, with))))
		if got := must[key.RefBody](t)(o.OpenRefBody(opened)); got.Mode != want {
			t.Errorf("version %d: mode %o, want %o", v, got.Mode, want)
		}
	}
	for _, bad := range []uint32{0o640, 0o40755, 0o104755, 1 << 31} {
		with.Mode = bad
		if _, err := o.SealRef(ref(), with); err == nil {
			t.Errorf("mode %o was taken", bad)
		}
	}
}
