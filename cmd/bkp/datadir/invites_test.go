// SPDX-License-Identifier: Apache-2.0

package datadir

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/invite"
)

// Who came by an invite, and by which one, is remembered over a restart; a change that fails leaves all as it was.
func TestInvitesAreRemembered(t *testing.T) {
	dir := Dir(t.TempDir())
	open := func() *Invites {
		t.Helper()
		pins, err := dir.OpenPins(dir)
		if err != nil {
			t.Fatal(err)
		}
		i, err := dir.OpenInvites(pins)
		if err != nil {
			t.Fatal(err)
		}
		return i
	}
	now, secret, guest := time.Now(), invite.Secret{1, 2}, core.ID{7}
	change := func(i *Invites, do func(invite.Book) (invite.Book, error)) {
		t.Helper()
		if err := i.Change(do); err != nil {
			t.Fatal(err)
		}
	}
	change(open(), func(b invite.Book) (invite.Book, error) {
		return b.Add(invite.Invite{Name: secret.Name(), Secret: secret, Made: now.Unix(), Expires: now.Unix() + 60, Uses: 1,
			Labels: map[string]string{"zone": "attic"}, Quota: core.GiB}, now)
	})
	change(open(), func(b invite.Book) (invite.Book, error) {
		b, _, err := b.Redeem(secret.Name(), guest, now, func(s invite.Secret) bool { return s == secret })
		return b, err
	})
	i := open()
	if by, came := i.Book().By(guest); !came || by.Quota != core.GiB || by.Labels["zone"] != "attic" || by.Secret != secret {
		t.Errorf("%+v came by %+v", guest, by)
	}
	failed := errors.New("no")
	if err := i.Change(func(invite.Book) (invite.Book, error) { return invite.Book{}, failed }); !errors.Is(err, failed) ||
		len(i.Book().Invites) != 1 || len(open().Book().Invites) != 1 {
		t.Errorf("a change that failed: %v, %+v", err, i.Book())
	}

	if err := os.WriteFile(dir.Path("invites.json"), []byte(`{"invites": [{`), 0o600); err != nil {
		t.Fatal(err)
	}
	i = open()
	err := i.Change(func(b invite.Book) (invite.Book, error) { return b, nil })
	if len(i.Damage()) != 1 || core.CodeOf(err) != core.CodeWrong || core.HintOf(err) == "" {
		t.Errorf("damaged: %+v; %v (%s)", i.Damage(), err, core.HintOf(err))
	}
	if text, err := os.ReadFile(dir.Path("invites.json")); err != nil || string(text) != `{"invites": [{` {
		t.Errorf("what was left of it is %q, %v", text, err)
	}
}

// A token is drawn once: who asks again, at whatever time, gets the same.
func TestTokenIsDrawnOnce(t *testing.T) {
	path := t.TempDir() + "/shared/token"
	tokens := make(chan string)
	for range 8 {
		go func() {
			token, err := DrawToken(path)
			if err != nil {
				t.Error(err)
			}
			tokens <- string(token)
		}()
	}
	first := <-tokens
	for range 7 {
		if token := <-tokens; token != first || len(token) < 44 {
			t.Errorf("drawn %q and %q", first, token)
		}
	}
}
