// SPDX-License-Identifier: Apache-2.0

package commands_test

import (
	"crypto/rand"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/wire"
)

// keepsVersion has b keep a version of a name of the cluster's owner: one run, and its ref.
func (r *rogue) keepsVersion(b *member, name string, version int, number byte) (offered, key.Ref, key.RefBody) {
	r.t.Helper()
	o := r.another(b, number)
	o.task.Alias, o.task.Version = r.owner.Alias(name), version
	r.say(o.task)
	hear[wire.TaskAgree](r)
	r.give(o, uint64(number), uint64(number))
	r.receipt()
	body := key.RefBody{Name: name, Task: o.task.Task, Root: core.Sealed{Hash: core.Hash{number}, Size: 1, Plain: 1}}
	ref := key.Ref{V: 2, Version: version, Created: time.Now().Unix()}
	envelope, err := r.owner.SealRef(ref, body)
	check(r.t, err)
	r.say(wire.RefPut{Query: 1, Owner: r.owner.ID(), Alias: r.owner.Alias(name), Version: version, Task: o.task.Task,
		Ref: envelope})
	if ok := hear[wire.RefOK](r); ok.Code != core.ReasonNone {
		r.t.Fatalf("ref %s@%d: %+v", name, version, ok)
	}
	ref, err = key.OpenRef(envelope)
	check(r.t, err)
	return o, ref, body
}

// Who has a share of one version reads that one, and neither another version, nor another name, nor a list of either;
// it writes and releases nothing.
func TestShareOpensOneVersion(t *testing.T) {
	virtual(t, func(t *testing.T) {
		cl := newCluster(t)
		b := cl.start("b", "")
		r := cl.rogue("b")
		shared, ref, body := r.keepsVersion(b, "x", 1, 101)
		newer, _, _ := r.keepsVersion(b, "x", 2, 102)
		other, _, _ := r.keepsVersion(b, "y", 1, 103)
		text, node, err := cl.owner.Share(ref, body, time.Now().Add(time.Hour), rand.Reader)
		check(t, err)
		s, err := key.ParseShare(text)
		check(t, err)
		if s.Signer().ID() != node {
			t.Fatal("the share is of another node than was said")
		}
		guest := cl.rogueWith("b", s.Signer(), nil, [][]byte{s.Delegation})
		guest.owner = cl.owner

		list := wire.RefList{Query: 1, Owner: cl.owner.ID()}
		guest.say(list)
		if got := hear[wire.RefReport](guest); len(got.Refs) != 1 || string(got.Refs[0]) == "" {
			t.Errorf("it lists %d refs, code %d", len(got.Refs), got.Code)
		}
		for _, c := range []struct {
			name    string
			version int
			found   bool
		}{{"x", 1, true}, {"x", 2, false}, {"x", 0, true}, {"y", 1, false}} {
			guest.say(wire.RefGet{Query: 2, Owner: cl.owner.ID(), Alias: cl.owner.Alias(c.name), Version: c.version})
			got := hear[wire.RefReport](guest)
			found := got.Code == core.ReasonNone && len(got.Refs) == 1
			if found {
				opened, err := key.OpenRef(got.Refs[0])
				check(t, err)
				found = opened.Version == 1
			}
			if found != c.found {
				t.Errorf("%s@%d: %d refs, code %d", c.name, c.version, len(got.Refs), got.Code)
			}
		}
		gains := func(flow uint64, o offered) bool {
			guest.say(wire.GainApply{Flow: flow, Owner: cl.owner.ID(), Name: o.task.Alias, Rate: 1 << 20,
				Runs: []wire.GainRun{{Hash: o.task.Files[0].Hash}}})
			for {
				switch m := (<-guest.heard).(type) {
				case wire.GainAgree:
					guest.say(wire.TransmissionAbort{Flow: flow, Code: core.ReasonStopped})
					return len(m.Runs) == 1
				case wire.GainRefuse:
					return false
				}
			}
		}
		if !gains(1, shared) || gains(2, newer) || gains(3, other) {
			t.Error("it does not read the version that it was given, or another one")
		}
		guest.say(wire.StateQuery{Query: 3, Owner: cl.owner.ID(), Files: true})
		if got := hear[wire.StateReport](guest); len(got.Files) != 0 {
			t.Errorf("it lists %d runs", len(got.Files))
		}
		thief := &stolen{rogue: guest, word: s.Delegation, next: 150}
		if _, answer := thief.writes(b, unchanged); answer.Type() != "TASK_REFUSE" {
			t.Errorf("it writes: %+v", answer)
		}
		used := b.status().Used
		release := key.Release{Task: shared.task.Task, Alias: ref.Alias, Version: 1, Time: time.Now().Unix()}
		if _, err := s.Reader().SignRelease(release); err == nil {
			t.Error("it releases as the owner")
		}
		release.Owner, release.Delegation = cl.owner.ID(), s.Delegation
		if done := guest.forces(release); done.Code != core.ReasonRights || done.Runs != 0 {
			t.Errorf("it releases as a delegate: %+v", done)
		}
		if got := b.status().Used; got != used {
			t.Errorf("%s are kept after that, %s were before", got, used)
		}
		time.Sleep(2 * time.Hour)
		if gains(4, shared) {
			t.Error("it reads after the share has expired")
		}
	})
}
