// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable"
	"github.com/bkp-tool/bkp/plugins/contract"
)

// NameOf is the plugin that a file or folder has the name of: bkp-KIND-NAME.
func NameOf(path string) (Name, error) {
	base := filepath.Base(filepath.Clean(path))
	for _, kind := range contract.Kinds {
		if name, ok := strings.CutPrefix(base, Name{Kind: kind}.File()); ok && contract.ValidName(name) {
			return Name{Kind: kind, Name: name}, nil
		}
	}
	return Name{}, core.WithHint(core.Fail(core.CodeUsage, "%s: not the name of a plugin", base),
		"a plugin is a file bkp-KIND-NAME, KIND being "+contract.KindWords+", or such a folder with a __main__.py or main.rb")
}

// Install puts a program into the folder dir, where one of that name must not be yet unless it is to be replaced, and
// keeps its checksum.
func (h *Host) Install(dir string, n Name, program []byte, replace bool) (Found, error) {
	path := filepath.Join(dir, n.File())
	was, err := os.ReadFile(path)
	switch {
	case err == nil && !replace && !bytes.Equal(was, program):
		return Found{}, core.WithHint(core.Fail(core.CodeUsage, "%s is installed already: %s", n, path),
			"bkp plugin upgrade takes the new one in its place")
	case errors.Is(err, fs.ErrNotExist) && replace:
		return Found{}, core.WithHint(core.Fail(core.CodeUsage, "%s is not installed", n), "bkp plugin install installs it")
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return Found{}, core.Fail(core.CodePlugin, "%s: %w", n, err)
	}
	if err := durable.MkdirAll(dir); err != nil {
		return Found{}, core.Fail(core.CodePlugin, "%s: %w", n, err)
	}
	if err := durable.Replace(path, program, 0o700); err != nil {
		return Found{}, core.Fail(core.CodePlugin, "%s: %w", n, err)
	}
	sum, err := fileSum(path)
	if err != nil {
		return Found{}, core.Fail(core.CodePlugin, "%s: take its checksum: %w", n, err)
	}
	found := Found{Name: n, Path: path, SHA256: hex.EncodeToString(sum)}
	err = editLock(h.Lock, func(l *lockFile) { l.set(n, lockEntry{SHA256: found.SHA256, Path: path}) })
	if err != nil {
		return found, core.Fail(core.CodePlugin, "%s: %w", n, err)
	}
	return found, nil
}

// Uninstall takes a plugin out of the folder dir and forgets its checksum.
func (h *Host) Uninstall(dir string, n Name) (Found, error) {
	path := filepath.Join(dir, n.File())
	locked, err := readLock(h.Lock)
	if err != nil {
		return Found{}, core.Fail(core.CodePlugin, "%s: %w", n, err)
	}
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) && locked.get(n).SHA256 == "" {
		return Found{}, core.WithHint(core.Fail(core.CodeUsage, "%s is not installed", n), "bkp plugin list shows what there is")
	}
	if err := durable.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Found{}, core.Fail(core.CodePlugin, "%s: %w", n, err)
	}
	if err := editLock(h.Lock, func(l *lockFile) { delete(*l.entries(n.Kind), n.Name) }); err != nil {
		return Found{}, core.Fail(core.CodePlugin, "%s: %w", n, err)
	}
	return Found{Name: n, Path: path, SHA256: locked.get(n).SHA256}, nil
}

// Verify holds the files of all plugins whose checksum is kept against it.
func (h *Host) Verify() ([]Found, error) {
	locked, err := readLock(h.Lock)
	if err != nil {
		return nil, core.Fail(core.CodePlugin, "verify plugins: %w", err)
	}
	var all []Found
	for _, kind := range contract.Kinds {
		for name, entry := range *locked.entries(kind) {
			f := Found{Name: Name{Kind: kind, Name: name}, Path: entry.Path, SHA256: entry.SHA256}
			if found, err := h.Find(kind, name); err != nil {
				f.Problem = err.Error()
			} else if f.Path = found.Path; true {
				f.Problem = differs(found)
			}
			all = append(all, f)
		}
	}
	slices.SortFunc(all, func(a, b Found) int { return cmp.Compare(a.Name.String(), b.Name.String()) })
	return all, nil
}

// differs is what is wrong with a file whose checksum is kept.
func differs(f Found) string {
	sum, err := fileSum(f.Path)
	switch {
	case err != nil:
		return err.Error()
	case hex.EncodeToString(sum) != f.SHA256:
		return "has changed: sha256 " + hex.EncodeToString(sum)
	default:
		return ""
	}
}
