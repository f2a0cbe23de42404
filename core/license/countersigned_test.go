// SPDX-License-Identifier: Apache-2.0

package license_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/license"
)

func aReceipt(t testing.TB) []byte {
	t.Helper()
	envelope, err := license.SignReceipt(word(), target)
	if err != nil {
		t.Fatal(err)
	}
	return envelope
}

func countersigned(t testing.TB, change func(*core.Countersigned), by license.Signer) []byte {
	t.Helper()
	c := core.Countersigned{Owner: owner.ID(), Time: noon.Unix()}
	change(&c)
	envelope, err := license.SignCountersigned(c, aReceipt(t), by)
	if err != nil {
		t.Fatal(err)
	}
	return envelope
}

func TestCountersigned(t *testing.T) {
	receipt := aReceipt(t)
	envelope := countersigned(t, func(*core.Countersigned) {}, owner)
	c, signer, r, err := license.OpenCountersignedReceipt(envelope, receipt, noon)
	if err != nil || signer != owner.ID() || c.License != r.License || c.Receipt != license.ReceiptHash(receipt) {
		t.Errorf("%+v by %s, %v", c, signer, err)
	}
	for at := range envelope {
		bad := bytes.Clone(envelope)
		bad[at] ^= 1
		if got, signer, err := license.OpenCountersigned(bad); err == nil && (signer != owner.ID() || got.Receipt != c.Receipt) {
			t.Fatalf("with byte %d flipped it is the word of %s for %s", at, signer, got.Receipt)
		}
	}
	later := word()
	later.Time++
	other, err := license.SignReceipt(later, target)
	if err != nil {
		t.Fatal(err)
	}
	_, _, _, err = license.OpenCountersignedReceipt(envelope, other, noon)
	wantRule(t, err, license.RuleField)
	for _, off := range []time.Duration{-6 * time.Minute, 6 * time.Minute} {
		_, _, _, err = license.OpenCountersignedReceipt(envelope, receipt, noon.Add(off))
		wantRule(t, err, license.RuleExpired)
	}
	_, _, err = license.OpenCountersigned(receipt)
	wantRule(t, err, license.RuleType)
	_, _, err = license.OpenCountersigned(append(envelope, make([]byte, license.MaxCountersigned)...))
	wantRule(t, err, license.RuleEnvelope)
	for rule, change := range map[string]func(*core.Countersigned){
		license.RuleField:  func(c *core.Countersigned) { c.Owner = core.ID{} },
		license.RuleBounds: func(c *core.Countersigned) { c.Time = 0 },
	} {
		var c core.Countersigned
		c.Owner, c.Time = owner.ID(), 1
		change(&c)
		_, err := license.SignCountersigned(c, receipt, owner)
		wantRule(t, err, rule)
	}
}

// Who may countersign: the owner, or the source with a right to write, or to keep that version.
func TestWhoCountersigns(t *testing.T) {
	o, err := key.NewOwner(bytes.NewReader(bytes.Repeat([]byte{7}, 1000)))
	if err != nil {
		t.Fatal(err)
	}
	node, day := signer(8), noon.Add(24*time.Hour)
	party := license.Party{TaskSource: core.TaskSource{Owner: o.ID(), Node: node.ID()}, Alias: o.Alias("x"), Version: 3}
	give := func(to *key.Signer, expires time.Time, rights ...key.Right) []byte {
		word, err := o.Delegate(to.ID(), rights, expires)
		if err != nil {
			t.Fatal(err)
		}
		return word
	}
	keep := func(name string, version int) []byte {
		word, err := o.DelegateKeep(node.ID(), o.Alias(name), version, 1, 1, day)
		if err != nil {
			t.Fatal(err)
		}
		return word
	}
	stranger, err := key.NewOwner(bytes.NewReader(bytes.Repeat([]byte{9}, 1000)))
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := stranger.Delegate(node.ID(), key.AllRights, day)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		by   *key.Signer
		word []byte
		rule string
	}{
		{"the owner", o.Signer(), nil, ""},
		{"its source, to write", node, give(node, day, key.RightWrite), ""},
		{"its source, to keep the version", node, keep("x", 3), ""},
		{"its source, to keep all of the name", node, keep("x", 0), ""},
		{"a source that shows nothing", node, nil, license.RuleIssuer},
		{"the target itself", target, nil, license.RuleIssuer},
		{"a right to read and release", node, give(node, day, key.RightRead, key.RightRelease), license.RuleIssuer},
		{"another's delegation", node, give(target, day, key.RightWrite), license.RuleIssuer},
		{"a delegate that is not the source", target, give(target, day, key.RightWrite), license.RuleIssuer},
		{"to keep another version", node, keep("x", 2), license.RuleIssuer},
		{"to keep another name", node, keep("y", 3), license.RuleIssuer},
		{"a delegation that ran out", node, give(node, noon.Add(-time.Hour), key.RightWrite), license.RuleIssuer},
		{"a delegation of another owner", node, foreign, license.RuleIssuer},
		{"no delegation", node, []byte("{}"), license.RuleIssuer},
	} {
		t.Run(c.name, func(t *testing.T) {
			envelope := countersigned(t, func(w *core.Countersigned) { w.Owner, w.Delegation = o.ID(), c.word }, c.by)
			w, signer, err := license.OpenCountersigned(envelope)
			if err != nil {
				t.Fatal(err)
			}
			wantRule(t, license.CheckCountersigned(w, signer, party, key.DelegationFields), c.rule)
		})
	}
	c, signer, err := license.OpenCountersigned(countersigned(t, func(w *core.Countersigned) {
		w.Owner = stranger.ID()
	}, stranger.Signer()))
	if err != nil {
		t.Fatal(err)
	}
	wantRule(t, license.CheckCountersigned(c, signer, party, key.DelegationFields), license.RuleIssuer)
}

func FuzzOpenCountersigned(f *testing.F) {
	f.Add(countersigned(f, func(*core.Countersigned) {}, owner))
	f.Add(countersigned(f, func(c *core.Countersigned) { c.Delegation = []byte("{}") }, target))
	f.Fuzz(func(t *testing.T, envelope []byte) {
		c, signer, err := license.OpenCountersigned(envelope)
		if err == nil && (c.Receipt.IsZero() || signer.IsZero() || c.Owner.IsZero()) {
			t.Errorf("it passes for %+v, by %s", c, signer)
		}
	})
}
