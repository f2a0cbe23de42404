// SPDX-License-Identifier: Apache-2.0

package commands_test

import (
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/bkp-tool/bkp/cmd/bkp/datadir"
	"github.com/bkp-tool/bkp/cmd/bkp/datadir/heard"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/commands"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/license"
	"github.com/bkp-tool/bkp/core/wire"
)

// remembers has a node keep revocations in a directory, whenever it starts.
func (c *cluster) remembers() func(*commands.Config) {
	dir := datadir.Dir(c.t.TempDir())
	return func(conf *commands.Config) {
		lists, err := heard.OpenRevoked(dir, dir)
		check(c.t, err)
		conf.Revoked = lists
	}
}

// stolen is a laptop with an owner's delegation, in other hands.
type stolen struct {
	*rogue
	word []byte // the delegation
	next byte
}

func (c *cluster) stolen(to string) *stolen {
	c.t.Helper()
	s := &stolen{rogue: c.rogue(to), next: 100}
	word, err := c.owner.Delegate(s.signer.ID(), key.AllRights, time.Now().Add(1000*time.Hour))
	check(c.t, err)
	s.word = word
	s.say(wire.Delegation{Delegations: [][]byte{word}})
	return s
}

// writes offers a run of its own, signed by the laptop for the owner, and returns it with what the target answers.
func (s *stolen) writes(target *member, change func(*core.License)) (offered, wire.Message) {
	s.t.Helper()
	s.next++
	o := s.another(target, s.next)
	o.lic.Key, o.lic.Delegation = s.signer.Public(), s.word
	change(&o.lic)
	envelope, err := license.Sign(o.lic, s.signer)
	check(s.t, err)
	o.task.License = envelope
	s.say(o.task)
	for {
		select {
		case m := <-s.heard:
			switch m.(type) {
			case wire.TaskAgree, wire.TaskRefuse:
				return o, m
			}
		case <-time.After(30 * time.Second):
			s.t.Fatal("no answer")
		}
	}
}

// forces asks for a release that the rogue signed itself, though bkp signs none without the right to.
func (r *rogue) forces(release key.Release) wire.ReleaseDone {
	r.t.Helper()
	release.V, release.Key = 1, r.signer.Public()
	payload, err := json.Marshal(release)
	check(r.t, err)
	envelope, err := r.signer.Envelope(key.ReleaseType, payload)
	check(r.t, err)
	r.say(wire.Release{Query: 1, Envelope: envelope})
	return hear[wire.ReleaseDone](r)
}

func wantRefused(t *testing.T, where string, m wire.Message) {
	t.Helper()
	if refuse, ok := m.(wire.TaskRefuse); !ok || refuse.Code != core.ReasonRights || !strings.Contains(refuse.Reason,
		"has revoked") {
		t.Errorf("%s answered %+v, want that the owner has revoked it", where, m)
	}
}

// A laptop is stolen with its delegation: once it is revoked, every node that heard of it refuses what it writes, reads
// and releases, also after a restart; what it wrote before stays, and nothing that is locked is lost.
func TestStolenLaptop(t *testing.T) {
	virtual(t, func(t *testing.T) {
		cl := newCluster(t)
		b := cl.start("b", "", cl.remembers())
		c := cl.start("c", "b-20MiB", cl.remembers())
		a := cl.start("a", "b-20MiB", cl.remembers(), cl.owned)
		cl.settle()
		s := cl.stolen("b")
		until := time.Now().Add(30 * 24 * time.Hour).Unix()
		locked, answer := s.writes(b, func(l *core.License) { l.RetainUntil, l.LockedUntil = until, until })
		if _, ok := answer.(wire.TaskAgree); !ok {
			t.Fatalf("before it is revoked: %+v", answer)
		}
		s.give(locked, 5, 9)
		under, _ := s.writes(b, unchanged) // accepted, and nothing brought yet
		used := b.status().Used

		r, err := a.Revoke(t.Context(), control.RevokeArgs{Revoked: core.Revoked{Nodes: []core.ID{s.signer.ID()}}}, quiet)
		check(t, err)
		if r.Sequence != 1 || len(r.Told) != 1 {
			t.Errorf("revoked: %+v", r)
		}
		cl.settle()
		_, answer = s.writes(b, unchanged)
		wantRefused(t, "b", answer)
		s.say(under.apply(7))
		if refuse := hear[wire.StorageRefuse](s.rogue); refuse.Code != core.ReasonRights {
			t.Errorf("runs of a segment that was accepted before: %+v", refuse)
		}
		s.say(wire.RefList{Query: 1, Owner: cl.owner.ID()})
		if report := hear[wire.RefReport](s.rogue); report.Code != core.ReasonRights {
			t.Errorf("it lists refs: %+v", report)
		}
		s.say(wire.GainApply{Flow: 8, Owner: cl.owner.ID(), Name: "abc", Rate: 1 << 20,
			Runs: []wire.GainRun{{Hash: locked.task.Files[0].Hash}}})
		if refuse := hear[wire.GainRefuse](s.rogue); refuse.Code != core.ReasonRights {
			t.Errorf("it reads: %+v", refuse)
		}
		envelope, err := s.signer.SignRelease(key.Release{Owner: cl.owner.ID(), Task: under.task.Task,
			Alias: cl.owner.Alias("x"), Version: 1, Time: time.Now().Unix(), Delegation: s.word})
		check(t, err)
		s.say(wire.Release{Query: 1, Envelope: envelope})
		if done := hear[wire.ReleaseDone](s.rogue); done.Code != core.ReasonRights || done.Runs != 0 {
			t.Errorf("it releases: %+v", done)
		}

		// c heard of it from b; both know it when they start again without a.
		check(t, s.hub.Close(t.Context()))
		a.stop()
		b.stop()
		c.stop()
		c.run()
		b.run()
		for name, m := range map[string]*member{"b": b, "c": c} {
			thief := &stolen{rogue: cl.rogueAs(name, s.signer), word: s.word, next: 150}
			_, answer := thief.writes(m, unchanged)
			wantRefused(t, name, answer)
			check(t, thief.hub.Close(t.Context()))
		}
		if got := b.status(); got.Used != used {
			t.Errorf("%s are kept, %s were before it was revoked", got.Used, used)
		}
	})
}

// An older list takes no newer one's place, whoever brings it.
func TestOlderRevocationsAreNoNews(t *testing.T) {
	virtual(t, func(t *testing.T) {
		cl := newCluster(t)
		b := cl.start("b", "", cl.remembers())
		s := cl.stolen("b")
		sign := func(before key.Revocations, nodes ...core.ID) ([]byte, key.Revocations) {
			envelope, err := cl.owner.Revoke(before, core.Revoked{Nodes: nodes}, time.Now().Unix())
			check(t, err)
			list, err := key.OpenRevocations(envelope)
			check(t, err)
			return envelope, list
		}
		older, first := sign(key.Revocations{}, core.ID{1})
		newer, _ := sign(first, s.signer.ID())
		forged := []byte(strings.Replace(string(newer), `"payload":"`, `"payload":"A`, 1))
		s.say(wire.Revoked{Lists: [][]byte{newer, older, forged}})
		time.Sleep(time.Second)
		s.say(wire.Revoked{Lists: [][]byte{older}})
		time.Sleep(time.Second)
		_, answer := s.writes(b, unchanged)
		wantRefused(t, "b", answer)
		if list := b.Revoked.Of(cl.owner.ID()); list.Sequence != 2 {
			t.Errorf("b has list %d", list.Sequence)
		}
	})
}

// Under a licence that its owner has revoked nothing new is kept, whoever signed it; what the same machine writes under
// others is.
func TestRevokedLicense(t *testing.T) {
	virtual(t, func(t *testing.T) {
		cl := newCluster(t)
		b := cl.start("b", "", cl.remembers())
		a := cl.start("a", "b-20MiB", cl.remembers(), cl.owned)
		cl.settle()
		s := cl.stolen("b")
		full, _ := s.writes(b, unchanged)
		s.give(full, 5, 9)
		under, answer := s.writes(b, unchanged) // nothing is brought yet
		if _, ok := answer.(wire.TaskAgree); !ok {
			t.Fatalf("before it is revoked: %+v", answer)
		}
		used := b.status().Used
		_, err := a.Revoke(t.Context(), control.RevokeArgs{Revoked: core.Revoked{
			Licenses: []core.LicenseID{full.lic.ID, under.lic.ID}}}, quiet)
		check(t, err)
		cl.settle()
		s.say(under.apply(7))
		if refuse := hear[wire.StorageRefuse](s.rogue); refuse.Code != core.ReasonLicense {
			t.Errorf("runs under it: %+v", refuse)
		}
		s.say(under.task)
		if refuse := hear[wire.TaskRefuse](s.rogue); refuse.Code != core.ReasonLicense || !strings.Contains(refuse.Reason,
			"has revoked licence "+under.lic.ID.String()) {
			t.Errorf("it is shown again: %+v", refuse)
		}
		if got := b.status().Used; got != used {
			t.Errorf("%s are kept, %s were before it was revoked", got, used)
		}
		another, answer := s.writes(b, unchanged)
		if _, ok := answer.(wire.TaskAgree); !ok {
			t.Fatalf("another licence of the same machine: %+v", answer)
		}
		s.give(another, 8, 10)
	})
}

// A machine that may only write places for its owner, lists nothing of it, and reads and releases nothing that others
// placed.
func TestWriteOnlyMachine(t *testing.T) {
	virtual(t, func(t *testing.T) {
		cl := newCluster(t)
		b := cl.start("b", "", cl.remembers())
		cl.settle()
		laptop := cl.stolen("b") // with all rights
		others, _ := laptop.writes(b, unchanged)
		laptop.give(others, 5, 9)
		check(t, laptop.hub.Close(t.Context()))

		s := &stolen{rogue: cl.rogue("b"), next: 150}
		word, err := cl.owner.Delegate(s.signer.ID(), []key.Right{key.RightWrite}, time.Now().Add(time.Hour))
		check(t, err)
		s.word = word
		s.say(wire.Delegation{Delegations: [][]byte{word}})
		s.say(wire.RefList{Query: 1, Owner: cl.owner.ID()})
		if report := hear[wire.RefReport](s.rogue); report.Code != core.ReasonRights {
			t.Errorf("it lists refs: %+v", report)
		}
		own, answer := s.writes(b, unchanged)
		if _, ok := answer.(wire.TaskAgree); !ok {
			t.Fatalf("it may not write: %+v", answer)
		}
		s.give(own, 6, 10)
		s.say(wire.GainApply{Flow: 8, Owner: cl.owner.ID(), Name: "abc", Rate: 1 << 20,
			Runs: []wire.GainRun{{Hash: others.task.Files[0].Hash}}})
		if refuse := hear[wire.GainRefuse](s.rogue); refuse.Code != core.ReasonRights && refuse.Code != core.ReasonUnknown {
			t.Errorf("it reads: %+v", refuse)
		}
		used := b.status().Used
		done := s.forces(key.Release{Owner: cl.owner.ID(), Task: others.task.Task, Alias: cl.owner.Alias("x"), Version: 1,
			Time: time.Now().Unix(), Delegation: word})
		if done.Code != core.ReasonRights || done.Runs != 0 {
			t.Errorf("it releases: %+v", done)
		}
		if got := b.status().Used; got != used {
			t.Errorf("%s are kept after that, %s were before", got, used)
		}
	})
}

// A machine that may only read is served, and whatever it signs itself, nothing is kept or let go of for it.
func TestReadOnlyMachine(t *testing.T) {
	virtual(t, func(t *testing.T) {
		cl := newCluster(t)
		b := cl.start("b", "", cl.remembers())
		cl.settle()
		laptop := cl.stolen("b") // with all rights
		kept, _ := laptop.writes(b, unchanged)
		laptop.give(kept, 5, 9)
		check(t, laptop.hub.Close(t.Context()))
		used := b.status().Used

		s := &stolen{rogue: cl.rogue("b"), next: 150}
		word, err := cl.owner.Delegate(s.signer.ID(), []key.Right{key.RightRead}, time.Now().Add(time.Hour))
		check(t, err)
		s.word = word
		s.say(wire.Delegation{Delegations: [][]byte{word}})
		s.say(wire.GainApply{Flow: 8, Owner: cl.owner.ID(), Name: "abc", Rate: 1 << 20,
			Runs: []wire.GainRun{{Hash: kept.task.Files[0].Hash}}})
		if agree := hear[wire.GainAgree](s.rogue); len(agree.Runs) != 1 {
			t.Errorf("it reads: %+v", agree)
		}
		if _, answer := s.writes(b, unchanged); answer.Type() != "TASK_REFUSE" {
			t.Errorf("it writes: %+v", answer)
		}
		done := s.forces(key.Release{Owner: cl.owner.ID(), Task: kept.task.Task, Alias: cl.owner.Alias("x"), Version: 1,
			Time: time.Now().Unix(), Delegation: word})
		if done.Code != core.ReasonRights || done.Runs != 0 {
			t.Errorf("it releases: %+v", done)
		}
		if got := b.status(); got.Used != used || got.Reserved != 0 {
			t.Errorf("%s are kept and %s promised after that, %s were kept before", got.Used, got.Reserved, used)
		}
	})
}

// Two machines of an owner that revoke at once, out of each other's sight, end with a list of both.
func TestRevocationsOfTwoMachinesMeet(t *testing.T) {
	virtual(t, func(t *testing.T) {
		cl := newCluster(t)
		a := cl.start("a", "", cl.remembers(), cl.owned)
		b := cl.start("b", "", cl.remembers(), cl.owned)
		for m, more := range map[*member]core.Revoked{
			a: {Nodes: []core.ID{{1}}}, b: {Nodes: []core.ID{{2}}, Licenses: []core.LicenseID{{3}}}} {
			_, err := m.Revoke(t.Context(), control.RevokeArgs{Revoked: more}, quiet)
			check(t, err)
		}
		c := cl.start("c", "a-20MiB,b-20MiB", cl.remembers())
		cl.settle()
		for name, m := range map[string]*member{"a": a, "b": b, "c": c} {
			if list := m.Revoked.Of(cl.owner.ID()); len(list.Nodes) != 2 || len(list.Licenses) != 1 {
				t.Errorf("%s has %+v", name, list)
			}
		}
	})
}
