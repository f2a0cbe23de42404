// SPDX-License-Identifier: Apache-2.0

package key

import (
	"strings"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/go-json-experiment/json"
)

// Lists follow on one another, name each node once, and only their owner signs them.
func TestRevocations(t *testing.T) {
	o, a, b := testOwner(t), core.ID{9}, core.ID{3}
	open := func(envelope []byte, err error) Revocations {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		r, err := OpenRevocations(envelope)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	first := open(o.Revoke(Revocations{}, core.Revoked{Nodes: []core.ID{a}}, 1_796_000_000))
	second := open(o.Revoke(first, core.Revoked{Nodes: []core.ID{b, a}}, 1_796_000_001))
	if first.Sequence != 1 || second.Sequence != 2 || len(second.Nodes) != 2 {
		t.Errorf("%+v follows on %+v", second, first)
	}
	if !second.Names(a) || !second.Names(b) || first.Names(b) {
		t.Error("a list names others than were revoked")
	}
	if !second.Follows(first) || first.Follows(second) || first.Follows(first) || !first.Follows(Revocations{}) {
		t.Error("which list counts is not told by its sequence")
	}
	twin := open(o.Revoke(Revocations{}, core.Revoked{Nodes: []core.ID{b}}, 1_796_000_000))
	if first.Follows(twin) == twin.Follows(first) {
		t.Error("of two lists of one sequence both count, or none")
	}
	licence := core.Revoked{Licenses: []core.LicenseID{{7}}}
	third := open(o.Revoke(second, licence, 1_796_000_002))
	if !third.Names(a) || !third.NamesLicense(core.LicenseID{7}) || third.NamesLicense(core.LicenseID{8}) {
		t.Errorf("%+v", third)
	}
	if second.Lacks(first.Revoked) || !second.Lacks(licence) || !licence.Lacks(first.Revoked) || third.Lacks(licence) {
		t.Error("what a list lacks of another is not told")
	}
	alone := open(o.Revoke(Revocations{}, licence, 1_796_000_000))
	if alone.Follows(open(o.Revoke(Revocations{}, core.Revoked{Licenses: []core.LicenseID{{8}}}, 1))) == open(o.Revoke(
		Revocations{}, core.Revoked{Licenses: []core.LicenseID{{8}}}, 1)).Follows(alone) {
		t.Error("of two lists of licences both count, or none")
	}
}

// The longest list fits its bounds, and messages.
func TestLongestRevocations(t *testing.T) {
	o, all := testOwner(t), core.Revoked{}
	for i := range MaxRevoked {
		all.Nodes = append(all.Nodes, core.ID{255, byte(i >> 8), byte(i)})
	}
	for i := range MaxRevokedLicenses {
		all.Licenses = append(all.Licenses, core.LicenseID{255, byte(i >> 8), byte(i)})
	}
	envelope, err := o.Revoke(Revocations{Sequence: 1<<53 - 1}, all, lastSecond)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := OpenRevocations(envelope); err != nil || len(r.Licenses) != MaxRevokedLicenses {
		t.Errorf("%d bytes: %v", len(envelope), err)
	}
}

func TestBadRevocations(t *testing.T) {
	o, other := testOwner(t), SignerFromSeed([32]byte{7})
	good := Revocations{V: 1, Owner: o.ID(), Sequence: 1, Time: 1_796_000_000, Key: o.signer.Public(),
		Revoked: core.Revoked{Nodes: []core.ID{{3}, {9}}, Licenses: []core.LicenseID{{3}, {9}}}}
	for words, change := range map[string]func(*Revocations){
		"version 2":        func(r *Revocations) { r.V = 2 },
		"sequence 0":       func(r *Revocations) { r.Sequence = 0 },
		"not a date":       func(r *Revocations) { r.Time = 0 },
		"not in order":     func(r *Revocations) { r.Nodes = []core.ID{{9}, {3}} },
		"each once":        func(r *Revocations) { r.Nodes = []core.ID{{9}, {9}} },
		"licences are":     func(r *Revocations) { r.Licenses = []core.LicenseID{{9}, {3}} },
		"2049 licences":    func(r *Revocations) { r.Licenses = make([]core.LicenseID, MaxRevokedLicenses+1) },
		"1025 nodes":       func(r *Revocations) { r.Nodes = make([]core.ID, MaxRevoked+1) },
		"not of the owner": func(r *Revocations) { r.Owner = other.ID() },
		"does not fit":     func(r *Revocations) { r.Owner, r.Key = other.ID(), other.Public() },
	} {
		r := good
		change(&r)
		payload, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		envelope, err := o.signer.Envelope(RevocationType, payload)
		if err != nil {
			t.Fatal(err)
		}
		if words == "does not fit" {
			id := []byte(other.ID().String())
			envelope = []byte(strings.Replace(string(envelope), o.ID().String(), string(id), 1))
		}
		if _, err := OpenRevocations(envelope); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v", words, err)
		}
	}
}

func FuzzOpenRevocations(f *testing.F) {
	o := testOwner(f)
	envelope, err := o.Revoke(Revocations{}, core.Revoked{Nodes: []core.ID{{9}}, Licenses: []core.LicenseID{{4}}}, 1_796_000_000)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(envelope)
	f.Fuzz(func(t *testing.T, envelope []byte) {
		if r, err := OpenRevocations(envelope); err == nil && r.check() != nil {
			t.Errorf("%+v was opened", r)
		}
	})
}
