// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/pelletier/go-toml/v2"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable"
)

// lockFile is bkp.lock.toml: the checksum of every plugin file as it was when first used.
//
//	version = 1
//
//	[strategy.nearest]
//	sha256 = '5c1f…'
//	path = '/usr/local/bin/bkp-strategy-nearest'
//
// It is replaced by rename, so it is read without a lock; a writer holds a lock on FILE.lock from reading to renaming.
type lockFile struct {
	Version  int                  `toml:"version"`
	Strategy map[string]lockEntry `toml:"strategy,omitempty"`
	Verifier map[string]lockEntry `toml:"verifier,omitempty"`
	Notifier map[string]lockEntry `toml:"notifier,omitempty"`
	Engine   map[string]lockEntry `toml:"engine,omitempty"`
}

type lockEntry struct {
	SHA256 string `toml:"sha256"`
	Path   string `toml:"path"` // where it was, for people
}

const lockHead = `# SHA-256 checksums of the plugins that were used with this data directory, taken when each was first used.
# A plugin whose file has changed is refused. To accept a change: bkp plugin lock, or remove its lines.
`

func readLock(path string) (lockFile, error) {
	lock := lockFile{Version: 1}
	if path == "" {
		return lock, nil
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return lock, nil
	}
	if err != nil {
		return lock, fmt.Errorf("read the checksums of plugins: %w", err)
	}
	if err := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields().Decode(&lock); err != nil {
		return lock, fmt.Errorf("read the checksums of plugins: %s: %w", path, err)
	}
	if lock.Version != 1 {
		return lock, fmt.Errorf("read the checksums of plugins: %s has version %d; this bkp reads 1", path, lock.Version)
	}
	return lock, nil
}

func (l *lockFile) entries(kind Kind) *map[string]lockEntry {
	switch kind {
	case KindVerifier:
		return &l.Verifier
	case KindNotifier:
		return &l.Notifier
	case KindEngine:
		return &l.Engine
	default:
		return &l.Strategy
	}
}

func (l *lockFile) get(n Name) lockEntry { return (*l.entries(n.Kind))[n.Name] }

// editLock changes the lock file under its lock.
func editLock(path string, edit func(*lockFile)) error {
	if err := durable.MkdirAll(filepath.Dir(path)); err != nil {
		return fmt.Errorf("keep the checksum of a plugin: %w", err)
	}
	guard := durable.NewLock(path + ".lock")
	if err := guard.Lock(); err != nil {
		return fmt.Errorf("lock %s: %w", path, err)
	}
	defer func() { _ = guard.Close() }()
	lock, err := readLock(path)
	if err != nil {
		return err
	}
	edit(&lock)
	text, err := toml.Marshal(lock)
	if err != nil {
		return err
	}
	if err := durable.Replace(path, append([]byte(lockHead), text...), 0o600); err != nil {
		return fmt.Errorf("keep the checksum of a plugin: %w", err)
	}
	return nil
}

// checksum is the SHA-256 that f must have to be started: the one kept since first use, which this is if there is none.
// It refuses a file that has another. A plugin inside bkp has none: it is the program that runs, whose file nobody can
// write to, and which is too large to be read whenever a plugin starts.
func (h *Host) checksum(f Found) ([]byte, error) {
	if f.Inside {
		return nil, nil
	}
	sum, err := fileSum(f.Path)
	if err != nil {
		return nil, core.Fail(core.CodePlugin, "%s: take its checksum: %w", f.Name, err)
	}
	if h.Lock == "" {
		return sum, nil
	}
	have, want := hex.EncodeToString(sum), f.SHA256
	if want == "" {
		if want, err = h.keep(f, have); err != nil {
			return nil, core.WithHint(core.Fail(core.CodePlugin, "%s: %w", f.Name, err), "a plugin is used only when its checksum can be kept")
		}
	}
	if have != want {
		return nil, core.WithHint(core.Fail(core.CodePlugin, "%s: %s has changed: expected sha256 %s, found %s", f.Name, f.Path, want, have),
			"if this is meant: bkp plugin lock %s, or remove [%s.%s] from %s", f.Name.Name, f.Kind, f.Name.Name, h.Lock)
	}
	return sum, nil
}

// keep writes a checksum at first use; where another process was first, that one's counts and is returned.
func (h *Host) keep(f Found, sum string) (kept string, err error) {
	err = editLock(h.Lock, func(l *lockFile) {
		if kept = l.get(f.Name).SHA256; kept == "" {
			l.set(f.Name, lockEntry{SHA256: sum, Path: f.Path})
			kept = sum
		}
	})
	return kept, err
}

func (l *lockFile) set(n Name, e lockEntry) {
	entries := l.entries(n.Kind)
	if *entries == nil {
		*entries = map[string]lockEntry{}
	}
	(*entries)[n.Name] = e
}

// Relock keeps the checksum that a plugin's file has now, whatever was kept before.
// For a plugin inside bkp it forgets the one that a file of that name left behind.
func (h *Host) Relock(kind Kind, name string) (Found, error) {
	n := Name{Kind: kind, Name: name}
	unlocked := *h
	unlocked.Lock, unlocked.Told = "", h.Path // look past what is kept: this is to say what is meant
	f, err := unlocked.Find(kind, name)
	if err != nil {
		return f, err
	}
	if !f.Inside {
		sum, err := fileSum(f.Path)
		if err != nil {
			return f, core.Fail(core.CodePlugin, "%s: take its checksum: %w", n, err)
		}
		f.SHA256 = hex.EncodeToString(sum)
	}
	err = editLock(h.Lock, func(l *lockFile) {
		if f.Inside {
			delete(*l.entries(kind), name)
			return
		}
		l.set(n, lockEntry{SHA256: f.SHA256, Path: f.Path})
	})
	if err != nil {
		return f, core.Fail(core.CodePlugin, "%s: %w", n, err)
	}
	return f, nil
}

func fileSum(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return nil, err
	}
	return sum.Sum(nil), nil
}
