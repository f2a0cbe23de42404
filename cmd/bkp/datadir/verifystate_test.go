// SPDX-License-Identifier: Apache-2.0

package datadir

import (
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable"
	"github.com/bkp-tool/bkp/core/file"
	"github.com/bkp-tool/bkp/core/storage/disk/check"
)

func TestVerificationGoesOnOnlyWithTheSame(t *testing.T) {
	h := Dir(t.TempDir())
	root := core.Hash{1}
	s := h.verifyState("disk", 1, false)
	if s.resumed {
		t.Fatal("resumed out of nothing")
	}
	s.saved = s.saved.Add(-verifyStatePause)
	damaged := []core.Damaged{{Start: 5, Length: 2, Chunk: core.Hash{2}, Wrong: true, Reason: "why"}}
	if err := s.keep(root, versionProgress{Verified: file.Verified{At: 7, Damaged: damaged}}); err != nil {
		t.Fatal(err)
	}
	if err := s.keepPacks("staging", packProgress{After: "p",
		Damage: []check.Damage{{File: "p", Offset: 3}}}); err != nil {
		t.Fatal(err)
	}
	if err := s.save(); err != nil {
		t.Fatal(err)
	}
	for _, other := range []*verifyState{h.verifyState("other", 1, false), h.verifyState("disk", 0.5, false),
		h.verifyState("disk", 1, true)} {
		if other.resumed || len(other.Versions) > 0 {
			t.Errorf("%q of %g went on with another verification", other.What, other.Share)
		}
	}
	again := h.verifyState("disk", 1, false)
	got := again.Versions[root]
	if !again.resumed || got.At != 7 || len(got.Damaged) != 1 || got.Damaged[0] != damaged[0] || got.Done {
		t.Errorf("kept %+v", got)
	}
	if p := again.Packs["staging"]; p.After != "p" || len(p.Damage) != 1 {
		t.Errorf("kept %+v", p)
	}
	old := s
	old.Began = old.Began.Add(-2 * verifyStateLife)
	if err := old.save(); err != nil {
		t.Fatal(err)
	}
	if h.verifyState("disk", 1, false).resumed {
		t.Error("went on with one that is too old")
	}
	s.remove()
	if h.verifyState("disk", 1, false).resumed {
		t.Error("went on with one that had ended")
	}
}

// Bad input 85: a verification of a data directory that can only be read goes on to its end.
func TestVerificationGoesOnWhereNothingCanBeWritten(t *testing.T) {
	const sys = "/sys" // where root cannot make files either
	if err := durable.Replace(sys+"/verify.json", nil, 0o600); !Unwritable(err) {
		t.Skipf("%s takes files, or is not there: %v", sys, err)
	}
	s := Dir(sys).verifyState("disk", 1, true)
	s.path = sys + "/verify.json" // also where it is another user's
	for range 2 {
		s.saved = s.saved.Add(-verifyStatePause)
		if err := s.keep(core.Hash{1}, versionProgress{Done: true}); err != nil {
			t.Errorf("%v", err)
		}
	}
}
