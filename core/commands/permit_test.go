// SPDX-License-Identifier: Apache-2.0

package commands_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/commands"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/keep"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/license"
	"github.com/bkp-tool/bkp/core/wire"
	"github.com/bkp-tool/bkp/plugins/verifiers/issuers"
)

// serves has a node serve an issuer alone, up to a quota.
func serves(t *testing.T, issuer core.ID, quota core.Size) func(*commands.Config) {
	return func(conf *commands.Config) {
		v := issuers.New()
		check(t, v.(core.Configurer).Configure(t.Context(), fmt.Appendf(nil, `{"issuers":{%q:%d}}`, issuer, quota)))
		conf.Issuers = map[core.ID]core.Size{issuer: quota}
		conf.Verifiers = append(conf.Verifiers, keep.NamedVerifier{Name: "issuers", Verifier: v})
	}
}

// permit is an issuer's word for an owner, of 250 KiB for a day.
func permit(t *testing.T, issuer, owner *key.Owner, change func(*core.Permit)) []byte {
	t.Helper()
	p := core.Permit{ID: core.LicenseID{9}, Owner: owner.ID(), MaxBytes: 250 << 10, NotBefore: time.Now().Unix(),
		Expires: time.Now().Add(24 * time.Hour).Unix()}
	change(&p)
	envelope, err := license.SignPermit(p, issuer.Signer())
	check(t, err)
	return envelope
}

// under offers a run of the rogue's owner with permits in its licence, and returns the answer.
func (r *rogue) under(target *member, number byte, change func(*core.License), permits ...[]byte) (offered, wire.Message) {
	r.t.Helper()
	o := r.another(target, number)
	o.lic.ID[1], o.lic.Permits = number, permits
	o.lic.TaskSource.Owner, o.lic.Key = r.owner.ID(), r.owner.Signer().Public()
	change(&o.lic)
	r.resign(&o)
	r.say(o.task)
	for {
		select {
		case m := <-r.heard:
			switch m.(type) {
			case wire.TaskAgree, wire.TaskRefuse:
				return o, m
			}
		case <-time.After(30 * time.Second):
			r.t.Fatal("no answer")
		}
	}
}

func wantPermitted(t *testing.T, what string, m wire.Message, why string) {
	t.Helper()
	refuse, refused := m.(wire.TaskRefuse)
	switch {
	case why == "" && refused:
		t.Errorf("%s: refused: %s", what, refuse.Reason)
	case why != "" && (!refused || !strings.Contains(refuse.Reason, why)):
		t.Errorf("%s: %+v, want a refusal with %q", what, m, why)
	}
}

// An owner whom a node does not serve stores there under the permit of an issuer whom it does serve, as much, as long and
// where that says, and no other permit helps.
func TestPermit(t *testing.T) {
	virtual(t, func(t *testing.T) {
		cl := newCluster(t)
		b := cl.start("b", "", serves(t, cl.owner.ID(), core.GiB))
		r := cl.rogue("b")
		friend, stranger := r.as(3), r.as(4)
		r.owner = friend
		number := byte(0)
		for _, tc := range []struct {
			what   string
			permit []byte
			why    string
		}{
			{"none", nil, "is not among the 1 that may store here"},
			{"of an issuer that is not served", permit(t, stranger, friend, func(*core.Permit) {}), "is not among the 1"},
			{"for another owner", permit(t, cl.owner, stranger, func(*core.Permit) {}), "is not among the 1"},
			{"for another node", permit(t, cl.owner, friend, func(p *core.Permit) { p.Nodes = []core.ID{{7}} }), "is not among the 1"},
			{"over", permit(t, cl.owner, friend, func(p *core.Permit) { p.NotBefore, p.Expires = 1, 2 }), "is not among the 1"},
			{"of less than that", permit(t, cl.owner, friend, func(p *core.Permit) { p.MaxBytes = 50 << 10 }), "its permit is for 50.0 KiB"},
			{"a licence", b.licence(r), "is not among the 1"},
			{"good", permit(t, cl.owner, friend, func(p *core.Permit) { p.Nodes = []core.ID{b.ID()} }), ""},
		} {
			number++
			var permits [][]byte
			if tc.permit != nil {
				permits = [][]byte{tc.permit}
			}
			o, answer := r.under(b, number, unchanged, permits...)
			wantPermitted(t, tc.what, answer, tc.why)
			if tc.why == "" {
				r.give(o, uint64(number), 50)
				r.receipt()
			}
		}
		short := permit(t, cl.owner, friend, func(p *core.Permit) { p.KeepAtMost = 600 })
		now := time.Now().Unix()
		_, answer := r.under(b, 21, func(l *core.License) { l.LockedUntil = now + 3600 }, short)
		wantPermitted(t, "a lock beyond it", answer, "it locks until")
		o, answer := r.under(b, 22, unchanged, short)
		wantPermitted(t, "for ten minutes", answer, "")
		r.give(o, 22, 51)
		if until := r.receipt().RetainUntil; until > time.Now().Unix()+600 {
			t.Errorf("kept for %d s, want 600 at most", until-now)
		}
		_, answer = r.under(b, 23, unchanged, short)
		wantPermitted(t, "a third run", answer, "its permit is for 250 KiB")
		if got := b.status(); got.Used < 200<<10 || got.Used > 220<<10 {
			t.Errorf("%s are kept, want two runs", got.Used)
		}
	})
}

// licence is a licence of the cluster's owner, for who would show it as a permit.
func (m *member) licence(r *rogue) []byte {
	owner := r.owner
	r.owner = m.cluster.owner
	envelope := r.another(m, 99).task.License
	r.owner = owner
	return envelope
}

// What is stored under an issuer's permits counts against the issuer's quota, over all to whom it gave one, and after a
// restart as well. Once a permit is revoked nothing new is stored under it.
func TestPermitsShareTheQuota(t *testing.T) {
	virtual(t, func(t *testing.T) {
		cl := newCluster(t)
		b := cl.start("b", "", cl.remembers(), serves(t, cl.owner.ID(), 250<<10))
		a := cl.start("a", "b-20MiB", cl.remembers(), cl.owned)
		cl.settle()
		r := cl.rogue("b")
		first, second := r.as(3), r.as(4)
		r.owner = first
		words := permit(t, cl.owner, first, func(p *core.Permit) { p.ID = core.LicenseID{1} })
		o, answer := r.under(b, 1, unchanged, words)
		wantPermitted(t, "the first", answer, "")
		r.give(o, 5, 9)
		r.receipt()
		check(t, r.hub.Close(t.Context()))
		b.stop()
		b.run()
		r = cl.rogue("b")
		r.owner = second
		others := permit(t, cl.owner, second, func(p *core.Permit) { p.ID = core.LicenseID{2} })
		fewer := permit(t, cl.owner, second, func(p *core.Permit) { p.ID, p.MaxBytes = core.LicenseID{3}, 240<<10 })
		full, answer := r.under(b, 2, unchanged, others)
		wantPermitted(t, "the second", answer, "")
		_, answer = r.under(b, 3, unchanged, others)
		wantPermitted(t, "beyond the issuer's quota", answer, "its quota is 250 KiB")

		_, err := a.Revoke(t.Context(), control.RevokeArgs{Revoked: core.Revoked{Licenses: []core.LicenseID{{2}}}}, quiet)
		check(t, err)
		cl.settle()
		r.say(full.apply(7))
		if refuse := hear[wire.StorageRefuse](r); refuse.Code != core.ReasonLicense {
			t.Errorf("runs under a revoked permit: %+v", refuse)
		}
		_, answer = r.under(b, 2, unchanged, others)
		wantPermitted(t, "revoked", answer, "has revoked permit 02")
		_, answer = r.under(b, 2, unchanged, others, fewer)
		wantPermitted(t, "revoked, beside another", answer, "")
	})
}
