// SPDX-License-Identifier: Apache-2.0

package license_test

import (
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/license"
)

// claim is one that valid covers: the source shows it to a target.
func claim() license.Claim {
	return license.Claim{
		Peer: source.ID(), Node: target.ID(), Role: license.RoleTarget,
		Root: core.Hash{4}, Bytes: 1000, Runs: 10, Now: noon,
		OpenDelegation: key.DelegationFields,
	}
}

// The numbers are those of the list of bad inputs. Each row differs from a covered claim in what its name says.
func TestCheck(t *testing.T) {
	begins, ends := noon, noon.AddDate(0, 0, 1)
	for _, tc := range []struct {
		name   string
		change func(l *core.License, c *license.Claim)
		rule   string
	}{
		{"covered", func(l *core.License, c *license.Claim) {}, ""},
		{"5 on its last second", func(l *core.License, c *license.Claim) { c.Now = ends }, ""},
		{"5 expired, at the end of the allowed skew", func(l *core.License,
			c *license.Claim) {
			c.Now = ends.Add(300 * time.Second)
		}, ""},
		{"5 expired, 1 s beyond the allowed skew", func(l *core.License,
			c *license.Claim) {
			c.Now = ends.Add(301 * time.Second)
		}, license.RuleExpired},
		{"6 not yet valid, at the end of the allowed skew", func(l *core.License,
			c *license.Claim) {
			c.Now = begins.Add(-300 * time.Second)
		}, ""},
		{"6 not yet valid, 1 s beyond the allowed skew", func(l *core.License,
			c *license.Claim) {
			c.Now = begins.Add(-301 * time.Second)
		}, license.RuleEarly},
		{"7 wrong target", func(l *core.License, c *license.Claim) { c.Node = stranger.ID() }, license.RuleTarget},
		{"7 a carrier is no target", func(l *core.License, c *license.Claim) { c.Node = carrier.ID() },
			license.RuleTarget},
		{"7 the source is no target", func(l *core.License, c *license.Claim) { c.Node = source.ID() },
			license.RuleTarget},
		{"a spare may be a target", func(l *core.License, c *license.Claim) { c.Node = spare.ID() }, ""},
		{"a carrier passes on", func(l *core.License, c *license.Claim) {
			c.Node, c.Role = carrier.ID(),
				license.RoleCarrier
		}, ""},
		{"7 a target that is no carrier passes on", func(l *core.License, c *license.Claim) {
			c.Node,
				c.Role = other.ID(), license.RoleCarrier
		}, license.RuleTarget},
		{"without carriers every target passes on", func(l *core.License, c *license.Claim) {
			l.Carriers, c.Node, c.Role = nil, other.ID(), license.RoleCarrier
		}, ""},
		{"7 an unknown role", func(l *core.License, c *license.Claim) { c.Role = 2 }, license.RuleTarget},
		{"11 shown by a stranger", func(l *core.License, c *license.Claim) { c.Peer = stranger.ID() },
			license.RulePresenter},
		{"11 shown by the owner's own ID", func(l *core.License, c *license.Claim) { c.Peer = owner.ID() },
			license.RulePresenter},
		{"11 shown by a target that is no carrier", func(l *core.License, c *license.Claim) { c.Peer = other.ID() },
			license.RulePresenter},
		{"shown by a carrier", func(l *core.License, c *license.Claim) { c.Peer = carrier.ID() }, ""},
		{"without carriers shown by a target", func(l *core.License, c *license.Claim) {
			l.Carriers, c.Peer = nil,
				other.ID()
		}, ""},
		{"other runs", func(l *core.License, c *license.Claim) { c.Root = core.Hash{5} }, license.RuleRoot},
		{"runs not told", func(l *core.License, c *license.Claim) { c.Root = core.Hash{} }, license.RuleRoot},
		{"19 exactly the bytes it allows", func(l *core.License, c *license.Claim) { c.Bytes = 1000 }, ""},
		{"19 one byte over the limit", func(l *core.License, c *license.Claim) { c.Bytes = 1001 }, license.RuleLimit},
		{"19 one run over the limit", func(l *core.License, c *license.Claim) { c.Runs = 11 }, license.RuleLimit},
		{"19 negative bytes", func(l *core.License, c *license.Claim) { c.Bytes = -1 }, license.RuleLimit},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l, c := valid(), claim()
			tc.change(&l, &c)
			wantRule(t, license.Check(l, owner.ID(), c), tc.rule)
		})
	}
}

// parsedOwner is the owner with all its secrets.
func parsedOwner(t *testing.T) *key.Owner {
	t.Helper()
	mine, err := key.ParseOwner([]byte(`{"v":1,"owner_seed":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=",
		"age_identity":"AGE-SECRET-KEY-1E4ERZYSUYR2N4D90RRZVH05REN9UV79K9KP6MHYWAHWZQ6HA9SJST8YN25",
		"dedup_secret":"CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=","peers":[]}`), "")
	if err != nil || mine.ID() != owner.ID() {
		t.Fatal(mine, err)
	}
	return mine
}

// 3: who may sign for an owner.
func TestCheckIssuer(t *testing.T) {
	mine := parsedOwner(t)
	delegate := func(to *key.Signer, expires time.Time, rights ...key.Right) []byte {
		envelope, err := mine.Delegate(to.ID(), rights, expires)
		if err != nil {
			t.Fatal(err)
		}
		return envelope
	}
	for _, tc := range []struct {
		name       string
		signer     *key.Signer
		delegation []byte
		change     func(l *core.License, c *license.Claim)
		rule       string
	}{
		{"the owner", owner, nil, nil, ""},
		{"the owner, who needs no delegation", owner, []byte("x"), nil, ""},
		{"3 a stranger", stranger, nil, nil, license.RuleIssuer},
		{"3 the source without a delegation", source, nil, nil, license.RuleIssuer},
		{"the source as a delegate", source, delegate(source, noon, key.RightWrite), nil, ""},
		{"3 with the right to read only", source, delegate(source, noon, key.RightRead, key.RightRelease), nil, license.RuleIssuer},
		{"3 with another node's delegation", stranger, delegate(source, noon, key.RightWrite), nil, license.RuleIssuer},
		{"3 the source with another node's delegation", source, delegate(stranger, noon, key.RightWrite), nil, license.RuleIssuer},
		{"3 a delegate that is not the source", stranger, delegate(stranger, noon, key.RightWrite), nil, license.RuleIssuer},
		{"3 with a delegation of another owner", source, delegate(source, noon, key.RightWrite),
			func(l *core.License, c *license.Claim) { l.TaskSource.Owner = other.ID() }, license.RuleIssuer},
		{"3 with a broken delegation", source, []byte("x"), nil, license.RuleIssuer},
		{"3 where nobody can open delegations", source, delegate(source, noon, key.RightWrite),
			func(l *core.License, c *license.Claim) { c.OpenDelegation = nil }, license.RuleIssuer},
		{"5 delegation expired, at the end of the allowed skew", source, delegate(source, noon.Add(-300*time.Second), key.RightWrite), nil, ""},
		{"5 delegation expired, 1 s beyond the allowed skew", source, delegate(source, noon.Add(-301*time.Second), key.RightWrite), nil, license.RuleIssuer},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l, c := valid(), claim()
			l.Delegation = tc.delegation
			if tc.change != nil {
				tc.change(&l, &c)
			}
			opened, _, signer, err := license.Open(sign(t, l, tc.signer))
			if err != nil {
				t.Fatal(err)
			}
			wantRule(t, license.Check(opened, signer, c), tc.rule)
		})
	}
}

func TestCheckBound(t *testing.T) {
	l := valid()
	for _, tc := range []struct {
		name  string
		bound core.Hash
		rule  string
	}{
		{"a new id", core.Hash{}, ""},
		{"10 the same id and root again", l.Root, ""},
		{"10 the same id with another root", core.Hash{9}, license.RuleReplay},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := license.CheckBound(l, tc.bound)
			wantRule(t, err, tc.rule)
			if err != nil && err.(*license.Refusal).Code != core.ReasonReplay {
				t.Errorf("code %d, want %d", err.(*license.Refusal).Code, core.ReasonReplay)
			}
		})
	}
}
