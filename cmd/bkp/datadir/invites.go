// SPDX-License-Identifier: Apache-2.0

package datadir

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable"
	"github.com/bkp-tool/bkp/core/invite"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Invites is invites.json: by what codes nodes may join, and who did.
type Invites struct {
	dir     Dir
	pins    *Pins // of the token that is drawn
	damaged error // why the file cannot be read: nobody is invited until it is whole
	book    atomic.Pointer[invite.Book]
	writing sync.Mutex
}

// OpenInvites reads invites.json.
func (d Dir) OpenInvites(pins *Pins) (*Invites, error) {
	i := &Invites{dir: d, pins: pins}
	var book invite.Book
	text, err := os.ReadFile(d.Path("invites.json"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("read invites: %w", err)
	default:
		if err := json.Unmarshal(text, &book); err != nil {
			book, i.damaged = invite.Book{}, fmt.Errorf("invites.json is damaged: %w", err)
		}
	}
	i.book.Store(&book)
	return i, nil
}

// Damage is what is wrong with the file; nil where nothing is.
func (i *Invites) Damage() []core.Damage {
	if i.damaged == nil {
		return nil
	}
	return []core.Damage{{Key: "invites.json", Text: i.damaged.Error()}}
}

// Book is the invites as they stand. It does not wait.
func (i *Invites) Book() invite.Book { return *i.book.Load() }

// Change replaces the book by what change makes of it, durably.
func (i *Invites) Change(change func(invite.Book) (invite.Book, error)) error {
	i.writing.Lock()
	defer i.writing.Unlock()
	if i.damaged != nil {
		return core.WithHint(core.Fail(core.CodeWrong, "%w", i.damaged),
			"bring it back from a backup, or remove it: invites end then, and quotas of who came by them")
	}
	book, err := change(i.Book())
	if err != nil {
		return err
	}
	text, err := json.Marshal(book, jsontext.WithIndent("  "))
	if err != nil {
		return fmt.Errorf("write invites: %w", err)
	}
	if err := durable.Replace(i.dir.Path("invites.json"), append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("write invites: %w", err)
	}
	i.book.Store(&book)
	return nil
}

// DrawToken makes the cluster token of a data directory that has none, and makes those alone known who prove it.
func (i *Invites) DrawToken() ([]byte, error) {
	token, err := DrawToken(i.dir.Path("token"))
	if err != nil {
		return nil, err
	}
	token = bytes.TrimSpace(token)
	return token, i.pins.Under(token)
}

// DrawToken reads a file with a cluster token, which is drawn where there is none: of nodes that do so at once one
// wins.
func DrawToken(path string) ([]byte, error) {
	token, err := Dir(filepath.Dir(path)).createOnce(filepath.Base(path), func() ([]byte, error) {
		var random [32]byte
		rand.Read(random[:]) // never fails
		return fmt.Appendln(nil, base64.StdEncoding.EncodeToString(random[:])), nil
	})
	if err != nil {
		return nil, fmt.Errorf("draw a cluster token: %w", err)
	}
	return token, nil
}

// KeepToken keeps the token of the cluster that this machine became a member of.
func (d Dir) KeepToken(token []byte) error {
	if err := durable.Replace(d.Path("token"), fmt.Appendln(nil, string(token)), 0o600); err != nil {
		return fmt.Errorf("keep the cluster token: %w", err)
	}
	return nil
}

// EditSettings changes a file of settings, which need not be there.
func (d Dir) EditSettings(path string, edit func(text []byte) ([]byte, error)) error {
	before, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read settings: %w", err)
	}
	after, err := edit(before)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := durable.Replace(path, after, 0o600); err != nil {
		return fmt.Errorf("write settings: %w", err)
	}
	return nil
}

// WriteSettings writes lines in front of what stands in a file of settings, which need not be there.
func (d Dir) WriteSettings(path, lines string) error {
	return d.EditSettings(path, func(before []byte) ([]byte, error) {
		if len(before) > 0 {
			lines += "\n"
		}
		return append([]byte(lines), before...), nil
	})
}
