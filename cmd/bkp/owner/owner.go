// SPDX-License-Identifier: Apache-2.0

package owner

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"github.com/bkp-tool/bkp/cmd/bkp/datadir"
	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
	"golang.org/x/term"
)

// Identity opens the identity of a data directory, with the passphrase that a command was given for it.
type Identity struct {
	flags   *line.Flags
	console *render.Console
	dir     datadir.Dir
	Phrase  string // once it was opened
}

// New is the identity of a data directory for a command.
func New(flags *line.Flags, con *render.Console, dir datadir.Dir) *Identity {
	return &Identity{flags: flags, console: con, dir: dir}
}

// Owner opens the identity, and draws one at first use; a passphrase given then protects it.
func (i *Identity) Owner() (*key.Owner, error) {
	phrase, err := i.Passphrase()
	if err != nil {
		return nil, err
	}
	text, drawn, err := i.dir.Identity(phrase)
	if err != nil {
		return nil, err
	}
	o, err := i.OpenIdentity(text, phrase, i.dir.Path("identity"))
	if err == nil && drawn {
		i.console.Say("made the identity %s", o.ID())
	}
	return o, err
}

// OwnerIfAny opens the identity where there is one; nil without.
func (i *Identity) OwnerIfAny() (*key.Owner, error) {
	if !i.dir.HasIdentity() {
		return nil, nil
	}
	return i.Owner()
}

// Reader is Owner for what an identity that may only write cannot do; nil where there is no identity.
func (i *Identity) Reader() (*key.Owner, error) {
	o, err := i.OwnerIfAny()
	if err == nil && o != nil {
		err = o.MayRead()
	}
	return o, err
}

// Current opens the identity whenever it is asked for it, also one that came after it was made. Any goroutine may ask.
func (i *Identity) Current() func() (*key.Owner, error) {
	var mu sync.Mutex
	var read []byte // what owner was made of
	var owner *key.Owner
	return func() (*key.Owner, error) {
		mu.Lock()
		defer mu.Unlock()
		text, err := os.ReadFile(i.dir.Path("identity"))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("identity: %w", err)
		}
		if owner != nil && bytes.Equal(text, read) {
			return owner, nil
		}
		phrase, err := i.Passphrase()
		if err != nil {
			return nil, err
		}
		if owner, err = i.OpenIdentity(text, phrase, i.dir.Path("identity")); err == nil {
			read = text
		}
		return owner, err
	}
}

// OpenIdentity parses an identity, and asks for its passphrase where one is needed and a person is there.
func (i *Identity) OpenIdentity(text []byte, phrase, where string) (*key.Owner, error) {
	o, err := key.ParseOwner(text, phrase)
	if errors.Is(err, key.ErrPassphrase) && phrase == "" && render.IsTerminal(i.console.Stdin) {
		fmt.Fprintf(i.console.Stderr, "passphrase of %s: ", where)
		typed, readErr := term.ReadPassword(int(i.console.Stdin.(*os.File).Fd()))
		fmt.Fprintln(i.console.Stderr)
		if readErr != nil {
			return nil, fmt.Errorf("read passphrase: %w", readErr)
		}
		phrase = string(typed)
		o, err = key.ParseOwner(text, phrase)
	}
	if errors.Is(err, key.ErrPassphrase) {
		return nil, core.WithHint(core.Fail(core.CodeRefused, "%s: %w", where, err),
			"give it with --passphrase-file FILE, --passphrase-command COMMAND or BKP_PASSPHRASE")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", where, err)
	}
	i.Phrase, o.Notes, o.Permits, o.Recipients = phrase, i.dir.Refs(), i.dir.Permits, i.dir.Recipients
	return o, nil
}
