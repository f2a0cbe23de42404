package main

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable"
	"github.com/bkp-tool/bkp/core/key"
	"golang.org/x/term"
)

// house is a data directory:
//
//	config.toml   settings                         identity      the owner (0600)
//	node.key      this node's seed in hex (0600)   exported      there once the identity was exported
//	refs/         the owner's refs                 pins.json     nodes met, with their addresses
//	staging/      sealed chunks not yet placed     holdings/     sealed chunks kept for others
//	away/         what staging let go of           leaning       locked by who builds on that
//	backup/       windows of backups under way
//	holdings.db   what they are kept for           ledger/       licences and receipts
//	plugins/      plugins of this node             bkp.lock.toml their checksums
//	reserve/      room for what frees space
//	token         the cluster token, where one was generated
//	node.lock     held by the node that runs here  node.sock     its door for commands
//	verify.json   how far a verification has come
type house struct{ dir string }

func (h house) path(names ...string) string {
	return filepath.Join(append([]string{h.dir}, names...)...)
}

// make creates the directory; only its owner may look inside.
func (h house) make() error {
	if err := durable.MkdirAll(h.dir); err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	return nil
}

// nodeKey reads this node's key, and draws it at first use.
func (h house) nodeKey() (*key.Signer, error) {
	text, err := h.createOnce("node.key", func() ([]byte, error) {
		signer, err := key.NewSigner(rand.Reader)
		if err != nil {
			return nil, err
		}
		seed := signer.Seed()
		return fmt.Appendln(nil, hex.EncodeToString(seed[:])), nil
	})
	if err != nil {
		return nil, fmt.Errorf("node key: %w", err)
	}
	seed, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(seed) != 32 {
		return nil, fmt.Errorf("node key: %s: want 64 hex digits", h.path("node.key"))
	}
	return key.SignerFromSeed([32]byte(seed)), nil
}

// hasIdentity tells whether an owner is at home here.
func (h house) hasIdentity() bool {
	_, err := os.Stat(h.path("identity"))
	return err == nil
}

// hasNode tells whether a node seems to run here.
func (h house) hasNode() bool {
	_, err := os.Stat(h.path("node.sock"))
	return err == nil
}

// owner opens the identity, and draws one at first use; a passphrase given then protects it.
func (c *call) owner() (*key.Owner, error) {
	phrase, err := c.passphrase()
	if err != nil {
		return nil, err
	}
	made := false
	text, err := c.house.createOnce("identity", func() ([]byte, error) {
		made = true
		o, err := key.NewOwner(rand.Reader)
		if err != nil {
			return nil, err
		}
		return o.Marshal(phrase)
	})
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	o, err := c.openIdentity(text, phrase, c.house.path("identity"))
	if err == nil && made {
		c.Say("made the identity %s", o.ID())
	}
	return o, err
}

// ownerIfAny opens the identity where there is one; nil without.
func (c *call) ownerIfAny() (*key.Owner, error) {
	if !c.house.hasIdentity() {
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
		text, err := os.ReadFile(c.house.path("identity"))
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
		if owner, err = c.openIdentity(text, phrase, c.house.path("identity")); err == nil {
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

// sweep removes what killed commands left half written, and the pipes that those of the first release left.
func (h house) sweep() {
	dirs, _ := filepath.Glob(h.path("refs", "*"))
	for _, dir := range append(dirs, h.path("refs"), h.dir) {
		durable.Sweep(dir)
	}
	fetches, _ := filepath.Glob(h.path("fetch-*"))
	backups, _ := filepath.Glob(h.path("backup-*"))
	for _, dir := range append(fetches, backups...) {
		if info, err := os.Lstat(dir); err == nil && info.IsDir() && time.Since(info.ModTime()) > time.Hour {
			_ = durable.RemoveAll(dir)
		}
	}
}

// isExported tells whether a copy of the identity was ever taken elsewhere.
func (h house) isExported() bool {
	_, err := os.Stat(h.path("exported"))
	return err == nil
}

// createOnce reads a file that is made at first use. Of two processes that make it at once one wins, and both read the
// same.
func (h house) createOnce(name string, content func() ([]byte, error)) ([]byte, error) {
	text, err := os.ReadFile(h.path(name))
	if !errors.Is(err, fs.ErrNotExist) {
		return text, err
	}
	if err := h.make(); err != nil {
		return nil, err
	}
	if text, err = content(); err != nil {
		return nil, err
	}
	if err := durable.New(h.path(name), text, 0o600); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return os.ReadFile(h.path(name))
}

// token is the cluster token: --token-file, else BKP_CLUSTER_TOKEN, else what the data directory holds; nil without.
func (c *call) token() ([]byte, error) {
	where, text := "BKP_CLUSTER_TOKEN", []byte(os.Getenv("BKP_CLUSTER_TOKEN"))
	if path := c.String("token-file"); path != "" {
		var err error
		if text, err = os.ReadFile(path); err != nil {
			return nil, usageError("--token-file: %w", err)
		}
		where = path
	} else if len(text) == 0 {
		where = c.house.path("token")
		var err error
		if text, err = os.ReadFile(where); errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		} else if err != nil {
			return nil, fmt.Errorf("cluster token: %w", err)
		}
	}
	token := bytes.TrimSpace(text)
	if len(token) < 22 { // 128 bits in base64
		return nil, core.WithHint(usageError("the cluster token in %s has %d characters, at least 22 are needed", where,
			len(token)),
			"draw one: head -c 32 /dev/urandom | base64 > token")
	}
	return token, nil
}
