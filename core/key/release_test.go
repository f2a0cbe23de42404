// SPDX-License-Identifier: Apache-2.0

package key_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
)

func release(t testing.TB) key.Release {
	return key.Release{Task: task, Alias: owner(t).Alias("big.iso"), Version: 3, Time: noon.Unix()}
}

func TestSignRelease(t *testing.T) {
	o := owner(t)
	envelope := must[[]byte](t)(o.SignRelease(release(t)))
	golden(t, "release.json", envelope)
	r := must[key.Release](t)(key.OpenRelease(envelope))
	want := release(t)
	want.V, want.Owner, want.Key = 1, o.ID(), o.Signer().Public()
	if !reflect.DeepEqual(r, want) {
		t.Errorf("got %+v\nwant %+v", r, want)
	}
	wantError(t, r.Allowed(noon.AddDate(10, 0, 0)), "") // the owner's word does not age
}

func TestReleaseByDelegate(t *testing.T) {
	o := owner(t)
	for _, tc := range []struct {
		name    string
		to      core.ID
		rights  []key.Right
		expires time.Time
		want    string
	}{
		{"with the right", node.ID(), []key.Right{key.RightRelease}, noon, ""},
		{"without it", node.ID(), []key.Right{key.RightWrite}, noon, "right to release"},
		{"another's delegation", signer(3).ID(), key.AllRights, noon, "not for"},
		{"signed after it expired", node.ID(), key.AllRights, noon.Add(-time.Hour), "expired"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := release(t)
			r.Owner = o.ID()
			r.Delegation = must[[]byte](t)(o.Delegate(tc.to, tc.rights, tc.expires))
			envelope, err := node.SignRelease(r)
			wantError(t, err, tc.want)
			if err != nil {
				return
			}
			opened := must[key.Release](t)(key.OpenRelease(envelope))
			wantError(t, opened.Allowed(noon.Add(300*time.Second)), "")
			wantError(t, opened.Allowed(noon.Add(301*time.Second)), "expired")
		})
	}
}

func TestSignReleaseRefuses(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*key.Release)
		want   string
	}{
		{"no task", func(r *key.Release) { r.Task = core.TaskID{} }, "task"},
		{"a plain name for the alias", func(r *key.Release) { r.Alias = "big.iso" }, "alias"},
		{"version 0", func(r *key.Release) { r.Version = 0 }, "version"},
		{"no time", func(r *key.Release) { r.Time = 0 }, "date"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := release(t)
			tc.change(&r)
			_, err := owner(t).SignRelease(r)
			wantError(t, err, tc.want)
		})
	}
	t.Run("3 in another owner's name with a delegation", func(t *testing.T) {
		r := release(t)
		r.Owner = signer(3).ID()
		r.Delegation = must[[]byte](t)(owner(t).Delegate(node.ID(), key.AllRights, noon))
		_, err := node.SignRelease(r)
		wantError(t, err, "but the owner is")
	})
	t.Run("3 in another owner's name", func(t *testing.T) {
		r := release(t)
		r.Owner = owner(t).ID()
		_, err := node.SignRelease(r)
		wantError(t, err, "not the owner")
	})
}

func FuzzOpenRelease(f *testing.F) {
	f.Add([]byte(`{"v":1,"owner":"","task":"01020300000000000000000000000000","alias":"","version":1,"time":1,"key":""}`))
	own := release(f)
	own.Owner = node.ID()
	f.Add(payloadOf(f, must[[]byte](f)(node.SignRelease(own))))
	f.Fuzz(func(t *testing.T, payload []byte) {
		envelope, err := node.Envelope(key.ReleaseType, payload)
		if err != nil {
			t.Skip()
		}
		if r, err := key.OpenRelease(envelope); err == nil && r.Owner != node.ID() {
			t.Errorf("%s released for %s", node, r.Owner)
		}
	})
}

func FuzzOpenTombstone(f *testing.F) {
	o := owner(f)
	f.Add(payloadOf(f, must[[]byte](f)(o.SignTombstone(key.Tombstone{Alias: o.Alias("disk.img"), Version: 3,
		Content: core.Hash{1}, Time: noon.Unix() - 1, Until: noon.Unix()}))))
	f.Fuzz(func(t *testing.T, payload []byte) {
		envelope, err := node.Envelope(key.TombstoneType, payload)
		if err != nil {
			t.Skip()
		}
		if x, err := key.OpenTombstone(envelope); err == nil && (x.Version < 1 || x.Content.IsZero() || x.Until < x.Time) {
			t.Errorf("%+v", x)
		}
	})
}
