// SPDX-License-Identifier: Apache-2.0

package key_test

import (
	"encoding/base64"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
)

var noon = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func TestDelegate(t *testing.T) {
	o := owner(t)
	envelope := must[[]byte](t)(o.Delegate(node.ID(), []key.Right{key.RightRead, key.RightWrite}, noon))
	golden(t, "delegation.json", envelope)
	d := must[key.Delegation](t)(key.OpenDelegation(envelope))
	want := key.Delegation{V: 1, Owner: o.ID(), Node: node.ID(), Rights: []key.Right{"read", "write"},
		Expires: noon.Unix(), Key: o.Signer().Public()}
	if !reflect.DeepEqual(d, want) {
		t.Errorf("got %+v\nwant %+v", d, want)
	}
	f, err := key.DelegationFields(envelope)
	if f.Owner != o.ID() || f.Node != node.ID() || !reflect.DeepEqual(f.Rights, []string{"read", "write"}) ||
		f.Expires != noon.Unix() || err != nil {
		t.Errorf("DelegationFields: %+v, %v", f, err)
	}
}

func TestDelegateRefuses(t *testing.T) {
	for _, tc := range []struct {
		name    string
		node    core.ID
		rights  []key.Right
		expires time.Time
		want    string
	}{
		{"no node", core.ID{}, key.AllRights, noon, "missing"},
		{"no right", node.ID(), nil, noon, "no right"},
		{"an unknown right", node.ID(), []key.Right{"admin"}, noon, `"admin"`},
		{"a right twice", node.ID(), []key.Right{"read", "read"}, noon, "twice"},
		{"no date", node.ID(), key.AllRights, time.Time{}, "not a date"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := owner(t).Delegate(tc.node, tc.rights, tc.expires)
			wantError(t, err, tc.want)
		})
	}
}

func TestDelegationAllows(t *testing.T) {
	d := must[key.Delegation](t)(key.OpenDelegation(read(t, "delegation.json")))
	for _, tc := range []struct {
		name  string
		node  core.ID
		right key.Right
		now   time.Time
		want  string
	}{
		{"in time", node.ID(), key.RightWrite, noon, ""},
		{"5 expired, at the end of the allowed skew", node.ID(), key.RightWrite, noon.Add(300 * time.Second), ""},
		{"5 expired, 1 s beyond the allowed skew", node.ID(), key.RightWrite, noon.Add(301 * time.Second),
			"expired 2026-11-01 12:00:00Z"},
		{"another node", signer(3).ID(), key.RightWrite, noon, "not for"},
		{"a right that it does not give", node.ID(), key.RightRelease, noon, "right to release"},
	} {
		t.Run(tc.name, func(t *testing.T) { wantError(t, d.Allows(tc.node, tc.right, tc.now), tc.want) })
	}
}

// Each payload is well signed by the owner's key; what it says is what is wrong.
func TestOpenDelegationRefuses(t *testing.T) {
	o := owner(t)
	pub := base64.StdEncoding.EncodeToString(o.Signer().Public())
	good := `{"v":1,"owner":"` + o.ID().String() + `","node":"` + node.ID().String() +
		`","rights":["read"],"expires":1793534400,"key":"` + pub + `"}`
	with := func(old, new string) string { return strings.Replace(good, old, new, 1) }
	for _, tc := range []struct{ name, payload, want string }{
		{"as it should be", good, ""},
		{"3 in another owner's name", with(o.ID().String(), node.ID().String()), "not of the owner"},
		{"4 small-order public key", with(pub, base64.StdEncoding.EncodeToString(make([]byte, 32))),
			"not of the owner"},
		{"9 for any node", with(`"node":"`+node.ID().String(), `"node":"*`), "not an ID"},
		{"9 for no node", with(`"node":"`+node.ID().String(), `"node":"`), "missing"},
		{"15 duplicate key", with(`"v":1`, `"v":1,"v":1`), "duplicate"},
		{"16 a name in capitals", with(`"rights"`, `"RIGHTS"`), "unknown"},
		{"17 trailing JSON", good + "1", "after top-level value"},
		{"another version", with(`"v":1`, `"v":2`), "version 2"},
		{"an unknown right", with(`"read"`, `"admin"`), `"admin"`},
		{"18 an overflowing date", with("1793534400", "9223372036854775808"), "expires"},
		{"18 a negative date", with("1793534400", "-1"), "not a date"},
		{"no payload", "", "delegation"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			envelope := must[[]byte](t)(o.Signer().Envelope(key.DelegationType, []byte(tc.payload)))
			_, err := key.OpenDelegation(envelope)
			wantError(t, err, tc.want)
		})
	}
	t.Run("14 a release", func(t *testing.T) {
		_, err := key.OpenDelegation(read(t, "release.json"))
		wantError(t, err, "payload type")
	})
}

// The fuzzer's payloads are well signed, so that it gets behind the signature.
func FuzzOpenDelegation(f *testing.F) {
	f.Add([]byte(`{"v":1,"owner":"","node":"","rights":["read"],"expires":1,"key":""}`))
	f.Add(payloadOf(f, must[[]byte](f)(owner(f).Delegate(node.ID(), key.AllRights, noon))))
	f.Fuzz(func(t *testing.T, payload []byte) {
		envelope, err := signer(1).Envelope(key.DelegationType, payload)
		if err != nil {
			t.Skip()
		}
		if d, err := key.OpenDelegation(envelope); err == nil &&
			(d.Owner != signer(1).ID() || d.Node.IsZero() || len(d.Rights) == 0) {
			t.Errorf("%+v", d)
		}
	})
}
