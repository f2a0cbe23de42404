package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/keep"
	"github.com/bkp-tool/bkp/core/key"
	"golang.org/x/term"
)

// owner opens the identity, and draws one at first use; a passphrase given then protects it.
func (c *call) owner() (*key.Owner, error) {
	phrase, err := c.passphrase()
	if err != nil {
		return nil, err
	}
	text, drawn, err := c.dir.Identity(phrase)
	if err != nil {
		return nil, err
	}
	o, err := c.openIdentity(text, phrase, c.dir.Path("identity"))
	if err == nil && drawn {
		c.Say("made the identity %s", o.ID())
	}
	return o, err
}

// ownerIfAny opens the identity where there is one; nil without.
func (c *call) ownerIfAny() (*key.Owner, error) {
	if !c.dir.HasIdentity() {
		return nil, nil
	}
	return c.owner()
}

// ownerDoor opens the identity whenever a node asks for it, also one that came after the node's start. Any goroutine
// may ask.
func (c *call) ownerDoor() func() (*key.Owner, error) {
	var mu sync.Mutex
	var read []byte // what owner was made of
	var owner *key.Owner
	return func() (*key.Owner, error) {
		mu.Lock()
		defer mu.Unlock()
		text, err := os.ReadFile(c.dir.Path("identity"))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("identity: %w", err)
		}
		if owner != nil && bytes.Equal(text, read) {
			return owner, nil
		}
		phrase, err := c.passphrase()
		if err != nil {
			return nil, err
		}
		if owner, err = c.openIdentity(text, phrase, c.dir.Path("identity")); err == nil {
			read = text
		}
		return owner, err
	}
}

// openIdentity parses an identity, and asks for its passphrase where one is needed and a person is there.
func (c *call) openIdentity(text []byte, phrase, where string) (*key.Owner, error) {
	o, err := key.ParseOwner(text, phrase)
	if errors.Is(err, key.ErrPassphrase) && phrase == "" && render.IsTerminal(c.Stdin) {
		fmt.Fprintf(c.Stderr, "passphrase of %s: ", where)
		typed, readErr := term.ReadPassword(int(c.Stdin.(*os.File).Fd()))
		fmt.Fprintln(c.Stderr)
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
	c.phrase = phrase
	return o, nil
}

// token is the cluster token: --token-file, else BKP_CLUSTER_TOKEN, else what the data directory holds; nil without.
func (c *call) token() ([]byte, error) {
	where, text := "BKP_CLUSTER_TOKEN", []byte(os.Getenv("BKP_CLUSTER_TOKEN"))
	if path := c.String("token-file"); path != "" {
		var err error
		if text, err = os.ReadFile(path); err != nil {
			return nil, line.UsageError("--token-file: %w", err)
		}
		where = path
	} else if len(text) == 0 {
		where = c.dir.Path("token")
		var err error
		if text, err = os.ReadFile(where); errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		} else if err != nil {
			return nil, fmt.Errorf("cluster token: %w", err)
		}
	}
	token := bytes.TrimSpace(text)
	if len(token) < 22 { // 128 bits in base64
		return nil, core.WithHint(line.UsageError("the cluster token in %s has %d characters, at least 22 are needed",
			where,
			len(token)),
			"draw one: head -c 32 /dev/urandom | base64 > token")
	}
	return token, nil
}

// checkRecords has the running node hold the records of what is kept here against each other, or does it, where there
// are any.
func (c *call) checkRecords(ctx context.Context) (found keep.Records, err error) {
	if caller, err := c.runningNode(); err == nil {
		err := caller.Call(ctx, control.CommandRecords, control.None{}, &found, c.Status)
		return found, err
	}
	return c.dir.CheckRecords(ctx)
}
