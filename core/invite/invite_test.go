// SPDX-License-Identifier: Apache-2.0

package invite

import (
	"strings"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
)

var (
	secret  = Secret{1, 2, 3}
	someone = core.ID{9}
	another = core.ID{8}
	now     = time.Unix(1_796_000_000, 0)
)

func knows(s Secret) func(Secret) bool { return func(of Secret) bool { return of == s } }

// A code leads to one node; it is read as people copy it, and a character that is wrong is found before anybody is
// asked.
func TestCode(t *testing.T) {
	code := NewCode("backup.example:8001", core.ID{7, 7}, secret)
	text := code.String()
	for _, form := range []string{text, " " + strings.ToUpper(text) + "\n"} {
		got, err := ParseCode(form)
		if err != nil || got != code {
			t.Errorf("%q became %#v, %v", form, got, err)
		}
	}
	if !code.Leads(core.ID{7, 7}) || code.Leads(core.ID{7, 8}) {
		t.Error("the code leads to another node than it was made for")
	}
	for at := range text {
		changed := []byte(text)
		if changed[at]++; changed[at] == 'z'+1 {
			changed[at] = 'a'
		}
		if got, err := ParseCode(string(changed)); err == nil {
			t.Errorf("with another character at %d it is %#v", at, got)
		}
		if _, err := ParseCode(text[:at]); err == nil {
			t.Errorf("cut at %d it is a code still", at)
		}
	}
}

func FuzzParseCode(f *testing.F) {
	f.Add(NewCode("backup.example:8001", core.ID{7}, secret).String())
	f.Add(NewCode("[2001:db8::7]:8001", core.ID{7}, secret).String())
	f.Add("x/")
	f.Fuzz(func(t *testing.T, text string) {
		code, err := ParseCode(text)
		if err != nil {
			return
		}
		if again, err := ParseCode(code.String()); err != nil || again != code {
			t.Errorf("%q is %#v, which reads as %#v, %v", text, code, again, err)
		}
	})
}

// Why somebody does not come in is told to who proved the secret; others are told one thing, whatever is true.
func TestWhoComesIn(t *testing.T) {
	open := Invite{Name: secret.Name(), Secret: secret, Made: now.Unix(), Expires: now.Unix() + 60, Uses: 1}
	with := func(change func(*Invite)) Book {
		i := open
		change(&i)
		return Book{[]Invite{i}}
	}
	const nobody = "no invite here has that secret"
	for name, c := range map[string]struct {
		book  Book
		at    time.Duration
		known Secret
		asked Secret
		words string
	}{
		"OK":                           {with(func(*Invite) {}), 59 * time.Second, secret, secret, ""},
		"OK: again":                    {with(func(i *Invite) { i.Came = []Guest{{Node: someone}} }), 0, secret, secret, ""},
		"expired":                      {with(func(*Invite) {}), time.Minute, secret, secret, "expired"},
		"again, too late":              {with(func(i *Invite) { i.Came = []Guest{{Node: someone}} }), time.Minute, secret, secret, "expired"},
		"used up":                      {with(func(i *Invite) { i.Came = []Guest{{Node: another}} }), 0, secret, secret, "used up"},
		"revoked":                      {with(func(i *Invite) { i.Revoked = 1 }), 0, secret, secret, "revoked"},
		"wrong secret":                 {with(func(*Invite) {}), 0, Secret{4}, secret, nobody},
		"unknown":                      {with(func(*Invite) {}), 0, Secret{4}, Secret{4}, nobody},
		"revoked, and a stranger asks": {with(func(i *Invite) { i.Revoked = 1 }), 0, Secret{4}, secret, nobody},
		"no secret is kept any more":   {with(func(i *Invite) { i.Secret = Secret{} }), 0, Secret{}, secret, nobody},
	} {
		before := len(c.book.Invites[0].Came)
		after, i, err := c.book.Redeem(c.asked.Name(), someone, now.Add(c.at), knows(c.known))
		got := ""
		if err != nil {
			got = err.Error()
		}
		switch {
		case (c.words == "") != (err == nil) || !strings.Contains(got, c.words) || c.words == nobody && got != nobody:
			t.Errorf("%s: %q, want %q", name, got, c.words)
		case err == nil && (!i.has(someone) || len(after.Invites[0].Came) != 1):
			t.Errorf("%s: came in, but stands nowhere: %+v", name, after)
		case err != nil && len(after.Invites[0].Came) != before || len(c.book.Invites[0].Came) != before:
			t.Errorf("%s: something changed all the same: %+v", name, after)
		}
	}
}

// A name that fits one invite ends it. Who came by it stays known.
func TestRevoke(t *testing.T) {
	var b Book
	var err error
	for n := range byte(3) {
		s := Secret{n + 1}
		if b, err = b.Add(Invite{Name: s.Name(), Secret: s, Made: now.Unix(), Expires: now.Unix() + 60, Uses: 2}, now); err != nil {
			t.Fatal(err)
		}
	}
	first := Secret{1}
	if b, _, err = b.Redeem(first.Name(), someone, now, knows(first)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", first.Name().String()[:3], "zzzz", first.Name().String() + "0"} {
		if _, _, err := b.Revoke(name, now); core.CodeOf(err) != core.CodeNoName {
			t.Errorf("%q was revoked: %v", name, err)
		}
	}
	b, i, err := b.Revoke(first.Name().String()[:8], now)
	if err != nil || i.Name != first.Name() {
		t.Fatalf("revoked %v, %v", i.Name, err)
	}
	if _, _, err := b.Redeem(first.Name(), another, now, knows(first)); err == nil {
		t.Error("somebody came by a revoked invite")
	}
	if by, came := b.By(someone); !came || by.Name != first.Name() {
		t.Error("it is forgotten how somebody came")
	}
	if _, _, err := b.Revoke(first.Name().String()[:8], now); core.CodeOf(err) != core.CodeRefused {
		t.Errorf("it was revoked twice: %v", err)
	}
}

// Secrets do not stay for ever, and invites that brought nobody neither.
func TestEndedInvitesAreTidied(t *testing.T) {
	old := Invite{Name: secret.Name(), Secret: secret, Made: 1, Expires: 2, Uses: 1}
	came := old
	came.Came = []Guest{{Node: someone}}
	b, err := Book{[]Invite{old, came}}.Add(Invite{Name: core.Nonce{5}, Made: now.Unix(), Expires: now.Unix() + 1, Uses: 1}, now)
	if err != nil || len(b.Invites) != 2 || b.Invites[0].Secret != (Secret{}) || !b.Invites[0].has(someone) {
		t.Errorf("%+v, %v", b, err)
	}
}
