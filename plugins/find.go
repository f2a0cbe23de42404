// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/plugins/contract"
)

type (
	// Kind is what a plugin offers.
	Kind = contract.Kind
	// Name is a plugin by name.
	Name = contract.Name
)

const (
	KindStrategy = contract.KindStrategy
	KindVerifier = contract.KindVerifier
	KindNotifier = contract.KindNotifier
	KindEngine   = contract.KindEngine
)

// Found is a plugin and where it is.
type Found struct {
	Name
	Path   string `json:"path"`   // the executable; bkp itself for a plugin inside it
	Inside bool   `json:"inside"` // inside bkp
	// as kept in the lock file; empty before first use and for a plugin inside bkp
	SHA256 string `json:"sha256,omitempty"`
	// Ignored is a file of that name that is not used, since nobody said that it shall take the place of the plugin
	// inside bkp.
	Ignored string `json:"ignored,omitempty"`
	// Problem is why it would not be used; set by List only.
	Problem string `json:"problem,omitempty"`
}

// SearchPath is where plugins are looked for, first match first: $BKP_PLUGIN_PATH, data's folder plugins, the folder of
// the running binary.
func SearchPath(data string) []string {
	dirs := ToldPath()
	if data != "" {
		dirs = append(dirs, filepath.Join(data, "plugins"))
	}
	if self, err := os.Executable(); err == nil {
		dirs = append(dirs, filepath.Dir(self))
	}
	return slices.DeleteFunc(dirs, func(dir string) bool { return dir == "" })
}

// ToldPath are the folders that the user named in $BKP_PLUGIN_PATH: what lies there is meant, whatever its name.
func ToldPath() []string {
	return slices.DeleteFunc(filepath.SplitList(os.Getenv("BKP_PLUGIN_PATH")), func(dir string) bool { return dir == "" })
}

// Find looks a plugin up, without starting it. A file takes the place of a plugin inside bkp only where somebody said
// so: by its checksum in the lock file, or by its folder in Told.
func (h *Host) Find(kind Kind, name string) (Found, error) {
	want := Name{Kind: kind, Name: name}
	if !contract.ValidName(name) {
		return Found{}, core.WithHint(core.Fail(core.CodePlugin, "%s %q: not the name of a plugin", kind, contract.Clean(name)),
			"names have lower-case letters, digits and dashes; known: %s", h.known(kind))
	}
	locked, err := readLock(h.Lock)
	if err != nil {
		return Found{}, core.Fail(core.CodePlugin, "%s: %w", want, err)
	}
	inside, ignored := slices.Contains(h.Inside, want), ""
	for _, dir := range h.Path {
		path, err := filepath.Abs(filepath.Join(dir, want.File()))
		if err != nil {
			return Found{}, core.Fail(core.CodePlugin, "%s: %w", want, err)
		}
		told := slices.Contains(h.Told, dir) || locked.get(want).SHA256 != ""
		switch err := executable(path); {
		case inside && !told:
			if err == nil {
				ignored = cmp.Or(ignored, path)
			}
		case err == nil:
			return Found{Name: want, Path: path, SHA256: locked.get(want).SHA256}, nil
		case !errors.Is(err, fs.ErrNotExist):
			return Found{}, core.WithHint(core.Fail(core.CodePlugin, "%s: %w", want, err),
				"make it an executable file that only you can write, or take it away")
		}
	}
	if !inside {
		return Found{}, core.WithHint(core.Fail(core.CodePlugin, "no %s %q", kind, name),
			"known: %s; another is an executable %s in one of %s", h.known(kind), want.File(),
			strings.Join(h.Path, ", "))
	}
	if gone := locked.get(want); gone.SHA256 != "" {
		return Found{}, core.WithHint(core.Fail(core.CodePlugin,
			"%s: the plugin used before, %s with checksum %s, is gone", want, gone.Path, gone.SHA256),
			"put it back, or remove [%s.%s] from %s to use the one inside bkp", kind, name, h.Lock)
	}
	self, err := os.Executable()
	if err != nil {
		return Found{}, core.Fail(core.CodePlugin, "find bkp itself: %w", err)
	}
	return Found{Name: want, Path: self, Inside: true, Ignored: ignored}, nil
}

// List is every plugin there is, by kind and name; where several files have one name, the one that would be used.
func (h *Host) List() ([]Found, error) {
	names := slices.Clone(h.Inside)
	for _, dir := range h.Path {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, core.Fail(core.CodePlugin, "list plugins: %w", err)
		}
		for _, e := range entries {
			for _, kind := range contract.Kinds {
				name, ok := strings.CutPrefix(e.Name(), Name{Kind: kind}.File())
				if ok && contract.ValidName(name) && executable(filepath.Join(dir, e.Name())) == nil {
					names = append(names, Name{Kind: kind, Name: name})
				}
			}
		}
	}
	slices.SortFunc(names, func(a, b Name) int { return strings.Compare(a.String(), b.String()) })
	var found []Found
	for _, n := range slices.Compact(names) {
		f, err := h.Find(n.Kind, n.Name)
		if err != nil {
			f = Found{Name: n, Problem: err.Error()}
		}
		found = append(found, f)
	}
	return found, nil
}

// known names the plugins of a kind, for hints.
func (h *Host) known(kind Kind) string {
	found, _ := h.List()
	var names []string
	for _, f := range found {
		if f.Kind == kind {
			names = append(names, f.Name.Name)
		}
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

func executable(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a file", path)
	case info.Mode().Perm()&0o111 == 0:
		return fmt.Errorf("%s is not executable", path)
	}
	if err := ours(path, info); err != nil {
		return err
	}
	folder := filepath.Dir(path)
	if info, err = os.Stat(folder); err != nil {
		return err
	}
	if info.Mode()&fs.ModeSticky != 0 { // nobody there takes away or renames what is another's
		return nil
	}
	return ours(folder, info)
}
