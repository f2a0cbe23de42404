// SPDX-License-Identifier: Apache-2.0

package license_test

import (
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/license"
)

// TestCheckCoordinator: a delegate to keep signs for the version that was handed over to it, in its term, and for runs
// that the owner licensed. In each row what its name says is what is wrong.
func TestCheckCoordinator(t *testing.T) {
	mine := parsedOwner(t)
	alias, otherAlias := mine.Alias("disk.img"), mine.Alias("other.img")
	keeps := func(alias string, number, term int, by *key.Owner) []byte {
		envelope, err := by.DelegateKeep(source.ID(), alias, number, term, 2, noon)
		if err != nil {
			t.Fatal(err)
		}
		return envelope
	}
	of := func(change func(l *core.License), by license.Signer) []byte {
		l := valid()
		l.ID, l.Alias, l.Version = core.LicenseID{7}, alias, 3
		if change != nil {
			change(&l)
		}
		return sign(t, l, by)
	}
	for _, tc := range []struct {
		name   string
		change func(l *core.License)
		rule   string
	}{
		{"as it should be", nil, ""},
		{"of all versions", func(l *core.License) { l.Delegation = keeps(alias, 0, 2, mine) }, ""},
		{"for another task of the owner's runs", func(l *core.License) { l.Task = core.TaskID{9} }, ""},
		{"3 another name", func(l *core.License) { l.Delegation = keeps(otherAlias, 3, 2, mine) }, license.RuleIssuer},
		{"3 another name, and the licence says so", func(l *core.License) {
			l.Delegation, l.Alias = keeps(otherAlias, 3, 2, mine), otherAlias
		}, license.RuleIssuer},
		{"3 another version", func(l *core.License) { l.Delegation = keeps(alias, 4, 2, mine) }, license.RuleIssuer},
		{"3 another term", func(l *core.License) { l.Delegation = keeps(alias, 3, 1, mine) }, license.RuleIssuer},
		{"3 of no name", func(l *core.License) { l.Alias, l.Version, l.Term, l.Of = "", 0, 0, nil }, license.RuleIssuer},
		{"3 without the owner's licence", func(l *core.License) { l.Of = nil }, license.RuleIssuer},
		{"3 over its own licence", func(l *core.License) { l.Of = of(nil, source) }, license.RuleIssuer},
		{"3 over other runs", func(l *core.License) {
			l.Of = of(func(l *core.License) { l.Root = core.Hash{5} }, owner)
		}, license.RuleIssuer},
		{"3 over runs of another name", func(l *core.License) {
			l.Of = of(func(l *core.License) { l.Alias = otherAlias }, owner)
		}, license.RuleIssuer},
		{"3 over runs of no name", func(l *core.License) {
			l.Of = of(func(l *core.License) { l.Alias, l.Version = "", 0 }, owner)
		}, license.RuleIssuer},
		{"3 over another segment", func(l *core.License) {
			l.Of = of(func(l *core.License) { l.Segment++ }, owner)
		}, license.RuleIssuer},
		{"3 with a lock", func(l *core.License) { l.LockedUntil = l.RetainUntil }, license.RuleIssuer},
		{"with the owner's lock", func(l *core.License) {
			l.LockedUntil = l.RetainUntil
			l.Of = of(func(l *core.License) { l.LockedUntil = l.RetainUntil }, owner)
		}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := valid()
			l.Alias, l.Version, l.Term, l.Delegation, l.Of = alias, 3, 2, keeps(alias, 3, 2, mine), of(nil, owner)
			if tc.change != nil {
				tc.change(&l)
			}
			opened, _, signer, err := license.Open(sign(t, l, source))
			if err != nil {
				t.Fatal(err)
			}
			wantRule(t, license.Check(opened, signer, claim()), tc.rule)
		})
	}
}

// TestLicenseOfAVersion: what is said of a coordinator stands with the version that it is about.
func TestLicenseOfAVersion(t *testing.T) {
	for name, change := range map[string]func(l *core.License){
		"an alias without a version": func(l *core.License) { l.Alias = "x" },
		"a term without an alias":    func(l *core.License) { l.Term = 1 },
		"a licence without an alias": func(l *core.License) { l.Of = []byte("x") },
		"a negative term":            func(l *core.License) { l.Alias, l.Version, l.Term = "x", 1, -1 },
	} {
		l := valid()
		change(&l)
		if _, err := license.Sign(l, owner); err == nil {
			t.Errorf("%s is signed", name)
		}
	}
}
