// SPDX-License-Identifier: Apache-2.0

package key_test

import (
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
)

// keeping is a delegation of the tests' owner to the tests' node, to keep version 3 of a name in term 2.
func keeping(t testing.TB, o *key.Owner) []byte {
	t.Helper()
	return must[[]byte](t)(o.DelegateKeep(node.ID(), o.Alias("disk.img"), 3, 2, 2, noon))
}

func TestDelegateKeep(t *testing.T) {
	o := owner(t)
	alias, other := o.Alias("disk.img"), o.Alias("other.img")
	envelope := keeping(t, o)
	golden(t, "delegation-keep.json", envelope)
	d := must[key.Delegation](t)(key.OpenDelegation(envelope))
	all := must[key.Delegation](t)(key.OpenDelegation(must[[]byte](t)(o.DelegateKeep(node.ID(), alias, 0, 1, 2, noon))))
	for _, tc := range []struct {
		name    string
		d       key.Delegation
		node    core.ID
		alias   string
		version int
		now     time.Time
		want    string
	}{
		{"the version", d, node.ID(), alias, 3, noon, ""},
		{"another version", d, node.ID(), alias, 4, noon, "another version"},
		{"another name", d, node.ID(), other, 3, noon, "another version"},
		{"another name, of all versions", all, node.ID(), other, 3, noon, "another version"},
		{"any version", all, node.ID(), alias, 9, noon, ""},
		{"another node", d, signer(3).ID(), alias, 3, noon, "not for"},
		{"too late", d, node.ID(), alias, 3, noon.Add(301 * time.Second), "expired"},
	} {
		t.Run(tc.name, func(t *testing.T) { wantError(t, tc.d.Keeps(tc.node, tc.alias, tc.version, tc.now), tc.want) })
	}
	for _, right := range key.AllRights { // it is for nothing else
		wantError(t, d.Allows(node.ID(), right, noon), "alone")
	}
	if d.Shares(node.ID(), alias, 3, noon) {
		t.Error("it is to read")
	}
	for name, sign := range map[string]func() ([]byte, error){
		"term":   func() ([]byte, error) { return o.DelegateKeep(node.ID(), alias, 3, 0, 2, noon) },
		"copies": func() ([]byte, error) { return o.DelegateKeep(node.ID(), alias, 3, 1, 0, noon) },
		"alias":  func() ([]byte, error) { return o.DelegateKeep(node.ID(), "disk.img", 3, 1, 2, noon) },
		"alone":  func() ([]byte, error) { return o.Delegate(node.ID(), []key.Right{key.RightKeep, key.RightWrite}, noon) },
	} {
		if _, err := sign(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestHandover(t *testing.T) {
	o := owner(t)
	h := key.Handover{Alias: o.Alias("disk.img"), Version: 3, Task: core.TaskID{1}, Node: node.ID(), Term: 2, Copies: 2,
		Strategy: "seed", Time: noon.Unix(), Delegation: keeping(t, o)}
	envelope := must[[]byte](t)(o.SignHandover(h))
	golden(t, "handover.json", envelope)
	got := must[key.Handover](t)(key.OpenHandover(envelope))
	h.V, h.Owner, h.Key = 1, o.ID(), o.Signer().Public()
	if !reflect.DeepEqual(got, h) {
		t.Errorf("got %+v\nwant %+v", got, h)
	}
	for name, spoil := range map[string]func(h *key.Handover){
		"not for":         func(h *key.Handover) { h.Node = signer(3).ID() },
		"another version": func(h *key.Handover) { h.Version = 4 },
		"term 2":          func(h *key.Handover) { h.Term = 3 },
		"2 copies":        func(h *key.Handover) { h.Copies = 1 },
		"missing":         func(h *key.Handover) { h.Task = core.TaskID{} },
	} {
		bad := h
		spoil(&bad)
		if _, err := o.SignHandover(bad); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	receipt := must[[]byte](t)(node.SignTaken(envelope, noon))
	wantError(t, key.CheckTaken(receipt, envelope, node.ID()), "")
	wantError(t, key.CheckTaken(receipt, envelope, signer(3).ID()), "not by")
	wantError(t, key.CheckTaken(receipt, receipt, node.ID()), "another handover")
}

func location(t testing.TB, o *key.Owner) key.Location {
	t.Helper()
	return key.Location{Owner: o.ID(), Alias: o.Alias("disk.img"), Version: 3, Task: core.TaskID{1}, Term: 2, Seq: 5,
		Delegation: keeping(t, o), Segments: [][]core.Span{
			{{Node: core.ID{1}, Length: 10}, {Node: core.ID{2}, Length: 4}, {Node: core.ID{2}, Start: 4, Length: 6}},
			{{Node: core.ID{2}, Start: 1, Length: 1}},
		}}
}

func TestLocation(t *testing.T) {
	o := owner(t)
	l := location(t, o)
	envelope := must[[]byte](t)(node.SignLocation(l))
	golden(t, "location.json", envelope)
	got := must[key.Location](t)(key.OpenLocation(envelope))
	l.Node = node.ID()
	if !reflect.DeepEqual(got, l) {
		t.Errorf("got %+v\nwant %+v", got, l)
	}
	if n := got.Copies(0, 5, core.ID{1}); n != 1 || got.Copies(0, 5, core.ID{9}) != 2 || got.Copies(1, 0, core.ID{}) != 0 ||
		got.Copies(7, 0, core.ID{}) != 0 {
		t.Errorf("%d copies beside one of two", n)
	}
	later, earlier := got, got
	later.Term, later.Seq, earlier.Seq = 3, 0, 4
	if !later.After(got) || got.After(later) || earlier.After(got) || got.After(got) {
		t.Error("of two the higher term counts, then the higher number")
	}
	for name, spoil := range map[string]func(l *key.Location){
		"another version": func(l *key.Location) { l.Alias = o.Alias("other.img") },
		"term 2":          func(l *key.Location) { l.Term = 1 },
		"no span":         func(l *key.Location) { l.Segments = [][]core.Span{{{Node: core.ID{1}, Start: -1, Length: 1}}} },
		"is no span": func(l *key.Location) { // start and length together passed the largest number
			l.Segments = [][]core.Span{{{Node: core.ID{1}, Start: math.MaxInt, Length: 1}}}
		},
		"missing": func(l *key.Location) { l.Task = core.TaskID{} },
	} {
		bad := location(t, o)
		spoil(&bad)
		if _, err := node.SignLocation(bad); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := signer(3).SignLocation(location(t, o)); err == nil {
		t.Error("a node signs with the delegation of another")
	}
}

// TestReleaseByCoordinator: who keeps a version for its owner says with a release who keeps it instead.
func TestReleaseByCoordinator(t *testing.T) {
	o := owner(t)
	where := must[[]byte](t)(node.SignLocation(location(t, o)))
	r := key.Release{Owner: o.ID(), Task: core.TaskID{1}, Alias: o.Alias("disk.img"), Version: 3, Time: noon.Unix(),
		Delegation: keeping(t, o), Location: where}
	got := must[key.Release](t)(key.OpenRelease(must[[]byte](t)(node.SignRelease(r))))
	wantError(t, got.Allowed(noon), "")
	wantError(t, got.Allowed(noon.Add(time.Hour)), "expired")
	if d, l, is := got.Kept(); !is || d.Term != 2 || l.Seq != 5 {
		t.Errorf("%+v, %+v, %v", d, l, is)
	}
	for name, spoil := range map[string]func(r *key.Release){
		"one version alone": func(r *key.Release) { r.Location = nil },
		"another version":   func(r *key.Release) { r.Version = 4 },
		"its location":      func(r *key.Release) { r.Task = core.TaskID{2} },
	} {
		bad := r
		spoil(&bad)
		if _, err := node.SignRelease(bad); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := signer(3).SignRelease(r); err == nil {
		t.Error("a node releases with the delegation of another")
	}
}

func FuzzOpenLocation(f *testing.F) {
	o := owner(f)
	f.Add(payloadOf(f, must[[]byte](f)(node.SignLocation(location(f, o)))))
	f.Fuzz(func(t *testing.T, payload []byte) {
		envelope, err := node.Envelope(key.LocationType, payload)
		if err != nil {
			t.Skip()
		}
		l, err := key.OpenLocation(envelope)
		if err == nil && (l.Node != node.ID() || l.Version < 1) {
			t.Errorf("%+v", l)
		}
		for _, spans := range l.Segments {
			for _, s := range spans {
				if s.Start < 0 || s.Length < 1 || s.Start >= core.SegmentRuns || s.Length > core.SegmentRuns-s.Start {
					t.Errorf("a span that lies outside its segment: %+v", s)
				}
			}
		}
	})
}

func FuzzOpenHandover(f *testing.F) {
	o := owner(f)
	f.Add(payloadOf(f, must[[]byte](f)(o.SignHandover(key.Handover{Alias: o.Alias("disk.img"), Version: 3,
		Task: core.TaskID{1}, Node: node.ID(), Term: 2, Copies: 2, Time: noon.Unix() - 1, Delegation: keeping(f, o)}))))
	f.Fuzz(func(t *testing.T, payload []byte) {
		envelope, err := o.Signer().Envelope(key.HandoverType, payload)
		if err != nil {
			t.Skip()
		}
		if h, err := key.OpenHandover(envelope); err == nil && (h.Owner != o.ID() || h.Version < 1 || h.Copies < 1) {
			t.Errorf("%+v", h)
		}
	})
}
