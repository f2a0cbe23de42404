// SPDX-License-Identifier: Apache-2.0

package datadir

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable"
	"github.com/bkp-tool/bkp/core/key"
)

// Dir is a data directory:
//
//	config.toml   settings                         identity      the owner (0600)
//	node.key      this node's seed in hex (0600)   exported      there once the identity was exported
//	refs/         the owner's refs                 pins.json     nodes met, with their addresses
//	placements/   what versions shall have, and what is known to be at which peer
//	staging/      sealed chunks not yet placed     holdings/     sealed chunks kept for others
//	away/         what was offloaded               leaning       locked by who builds on that
//	backup/       windows of backups under way
//	storage       the bucket that those are in, if they are; then holdings/ is what is known of them, and may go
//	holdings.db   what they are kept for           ledger/       licences and receipts
//	plugins/      plugins of this node             bkp.lock.toml their checksums
//	reserve/      room for what frees space        plugin-sockets/ of plugins that run
//	token         the cluster token, where one was generated or came by an invite
//	revoked/      what owners took back of what they had let nodes do
//	recipients    age keys that open what is sealed, beside the owner's
//	permits/      by which the owner may store where others are issuers
//	rotations.json the keys that other nodes have taken in place of their first
//	heads.json    the newest heads of other nodes' ledgers
//	invites.json  by what codes new nodes may join, and who did
//	node.lock     held by the node that runs here  node.sock     its socket for commands
//	verify.json   how far a verification has come
type Dir string

// Path is the path of what has that name in the data directory.
func (d Dir) Path(names ...string) string {
	return filepath.Join(append([]string{string(d)}, names...)...)
}

// Make creates the directory; only its owner may look inside.
func (d Dir) Make() error {
	if err := durable.MkdirAll(string(d)); err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	return nil
}

// Narrow takes from others the right to look into a directory that is there, and reports whether they had it: not one
// that is another user's, or that holds other things than a data directory does.
func (d Dir) Narrow() (open, narrowed bool) {
	info, err := os.Stat(string(d))
	if err != nil || !info.IsDir() || info.Mode().Perm()&0o077 == 0 || d.IsForeign() {
		return false, false
	}
	entries, err := os.ReadDir(string(d))
	if err != nil || len(entries) > 0 && !d.Has("node.key") && !d.HasIdentity() && !d.Has("config.toml") {
		return true, false
	}
	return true, os.Chmod(string(d), 0o700) == nil
}

// NodeKey reads this node's key, and draws it at first use.
func (d Dir) NodeKey() (*key.Signer, error) {
	text, err := d.createOnce("node.key", func() ([]byte, error) {
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
	seed, public, rotated := strings.Cut(strings.TrimSpace(string(text)), "\n")
	raw, err := hex.DecodeString(seed)
	if err != nil || len(raw) != 32 {
		return nil, fmt.Errorf("node key: %s: want 64 hex digits", d.Path("node.key"))
	}
	if !rotated {
		return key.SignerFromSeed([32]byte(raw)), nil
	}
	shown, err := base64.StdEncoding.DecodeString(public)
	if err != nil {
		return nil, fmt.Errorf("node key: %s: its second line: %w", d.Path("node.key"), err)
	}
	signer, err := key.RotatedSigner([32]byte(raw), shown)
	if err != nil {
		return nil, fmt.Errorf("node key: %s: %w", d.Path("node.key"), err)
	}
	return signer, nil
}

// RotateNodeKey draws the key that takes the place of this node's, which is no more when it returns nil. The node must
// not run.
func (d Dir) RotateNodeKey() (*key.Signer, error) {
	before, err := d.NodeKey()
	if err != nil {
		return nil, err
	}
	next, err := before.Rotate(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("node key: %w", err)
	}
	seed := next.Seed()
	text := fmt.Appendf(nil, "%s\n%s\n", hex.EncodeToString(seed[:]), base64.StdEncoding.EncodeToString(next.Public()))
	if err := durable.Replace(d.Path("node.key"), text, 0o600); err != nil {
		return nil, fmt.Errorf("node key: %w", err)
	}
	return next, nil
}

// PutNodeKey gives a data directory without a node's key one.
func (d Dir) PutNodeKey(signer *key.Signer) error {
	seed := signer.Seed()
	if err := durable.New(d.Path("node.key"), fmt.Appendln(nil, hex.EncodeToString(seed[:])), 0o600); err != nil {
		return fmt.Errorf("node key: %w", err)
	}
	return nil
}

// HasNode tells whether a node seems to run here.
func (d Dir) HasNode() bool {
	_, err := os.Stat(d.Path("node.sock"))
	return err == nil
}

// Tidy removes what killed commands left: windows of backups, files that are half written and, unless a split may be
// under way, checkpoints that are too old to go on from. freed is what the windows took.
func (d Dir) Tidy(splitting bool) (freed core.Size, err error) {
	if freed, err = d.clearWindows(); err != nil {
		return freed, err
	}
	d.Sweep()
	if !splitting {
		err = d.Refs().clearCheckpoints()
	}
	return freed, errors.Join(err, d.Refs().tidyNotes())
}

// Sweep removes what killed commands left half written, and the pipes that those of the first release left.
func (d Dir) Sweep() {
	dirs, _ := filepath.Glob(d.Path("refs", "*"))
	for _, dir := range append(dirs, d.Path("refs"), string(d)) {
		durable.Sweep(dir)
	}
	fetches, _ := filepath.Glob(d.Path("fetch-*"))
	backups, _ := filepath.Glob(d.Path("backup-*"))
	for _, dir := range append(fetches, backups...) {
		if info, err := os.Lstat(dir); err == nil && info.IsDir() && time.Since(info.ModTime()) > time.Hour {
			_ = durable.RemoveAll(dir)
		}
	}
}

// createOnce reads a file that is made at first use. Of two processes that make it at once one wins, and both read the
// same.
func (d Dir) createOnce(name string, content func() ([]byte, error)) ([]byte, error) {
	text, err := os.ReadFile(d.Path(name))
	if !errors.Is(err, fs.ErrNotExist) {
		return text, err
	}
	if err := d.Make(); err != nil {
		return nil, err
	}
	if text, err = content(); err != nil {
		return nil, err
	}
	if err := durable.New(d.Path(name), text, 0o600); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return os.ReadFile(d.Path(name))
}

// LockNode takes node.lock: one node a data directory.
func (d Dir) LockNode() (*durable.Lock, error) {
	lock := durable.NewLock(d.Path("node.lock"))
	got, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock the data directory: %w", err)
	}
	if !got {
		return nil, d.Busy()
	}
	return lock, nil
}

// Busy is the error of who finds the data directory in use.
func (d Dir) Busy() error {
	return core.WithHint(core.Fail(core.CodeBusy, "another node or command uses %s", d),
		"wait for it to end, or take another --data directory")
}

// IsForeign reports whether the data directory is another user's: what root wrote into it that user could not read.
func (d Dir) IsForeign() bool {
	info, err := os.Stat(string(d))
	if err != nil {
		return false
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(s.Uid) != os.Geteuid()
}

// Unwritable reports whether err says that nothing can be written where it was tried, for want of rights or of space.
func Unwritable(err error) bool {
	for _, e := range []error{fs.ErrPermission, syscall.EROFS, syscall.ENOSPC, syscall.EDQUOT} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// Has tells whether the data directory has a file or directory of that name.
func (d Dir) Has(names ...string) bool {
	_, err := os.Lstat(d.Path(names...))
	return err == nil
}
