// SPDX-License-Identifier: Apache-2.0

package license_test

import (
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/license"
)

func validPermit() core.Permit {
	return core.Permit{ID: core.LicenseID{1}, Owner: other.ID(), MaxBytes: 1, NotBefore: 1, Expires: 2}
}

func TestPermitRefuses(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*core.Permit)
		rule   string
	}{
		{"as it is", func(*core.Permit) {}, ""},
		{"no id", func(p *core.Permit) { p.ID = core.LicenseID{} }, license.RuleField},
		{"no owner", func(p *core.Permit) { p.Owner = core.ID{} }, license.RuleField},
		{"for itself", func(p *core.Permit) { p.Owner = owner.ID() }, license.RuleField},
		{"no bytes", func(p *core.Permit) { p.MaxBytes = 0 }, license.RuleBounds},
		{"18 negative bytes", func(p *core.Permit) { p.MaxBytes = -1 }, license.RuleBounds},
		{"too many bytes", func(p *core.Permit) { p.MaxBytes = license.MaxBytes + 1 }, license.RuleBounds},
		{"negative term", func(p *core.Permit) { p.KeepAtMost = -1 }, license.RuleBounds},
		{"over before it begins", func(p *core.Permit) { p.NotBefore = 3 }, license.RuleBounds},
		{"no date", func(p *core.Permit) { p.NotBefore = 0 }, license.RuleBounds},
		{"5 a node that is none", func(p *core.Permit) { p.Nodes = []core.ID{{}} }, license.RuleWildcard},
		{"a node twice", func(p *core.Permit) { p.Nodes = []core.ID{{1}, {1}} }, license.RuleField},
		{"too many nodes", func(p *core.Permit) { p.Nodes = make([]core.ID, license.MaxPermitNodes+1) }, license.RuleBounds},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := validPermit()
			tc.change(&p)
			_, err := license.SignPermit(p, owner)
			wantRule(t, err, tc.rule)
		})
	}
}

func TestOpenPermitRefuses(t *testing.T) {
	good, err := license.SignPermit(validPermit(), owner)
	if err != nil {
		t.Fatal(err)
	}
	if p, err := license.OpenPermit(good); err != nil || p.Issuer != owner.ID() {
		t.Errorf("%+v, %v", p, err)
	}
	_, err = license.OpenPermit([]byte(flipSignature(string(good))))
	wantRule(t, err, license.RuleSignature)
	_, err = license.OpenPermit(sign(t, valid(), owner))
	wantRule(t, err, license.RuleType)
	_, _, _, err = license.Open(good)
	wantRule(t, err, license.RuleType)
	l := valid()
	l.Permits = make([][]byte, license.MaxPermits+1)
	_, err = license.Sign(l, owner)
	wantRule(t, err, license.RuleBounds)
}

func FuzzOpenPermit(f *testing.F) {
	f.Add([]byte(`{"v":1,"id":"01000000000000000000000000000000","max_bytes":1,"not_before":1,"expires":2}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		envelope, err := owner.Envelope(license.PermitType, payload)
		if err != nil {
			t.Skip()
		}
		p, err := license.OpenPermit(envelope)
		if err != nil {
			return
		}
		if _, err := license.SignPermit(p, owner); err != nil || p.Issuer != owner.ID() {
			t.Errorf("opened, but cannot be signed: %v", err)
		}
	})
}
