// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/landlock-lsm/go-landlock/landlock"

	"github.com/bkp-tool/bkp/core"
)

// canRunApart: this system may have a way to keep a program out of a folder.
const canRunApart = true

// RunApart becomes the program of a plugin, which cannot open anything below the folder data but the folder of its
// sockets and itself, where the kernel has Landlock. It returns only when that fails.
func RunApart(data, sockets, program string) error {
	rules := []landlock.Rule{landlock.RWDirs(sockets), landlock.ROFiles(program)}
	for _, path := range beside(data) {
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			rules = append(rules, landlock.RWDirs(path).WithRefer().IgnoreIfMissing())
		} else if err == nil {
			rules = append(rules, landlock.RWFiles(path).IgnoreIfMissing())
		}
	}
	if err := landlock.V4.BestEffort().RestrictPaths(rules...); err != nil {
		return core.Fail(core.CodePlugin, "keep a plugin out of %s: %w", data, err)
	}
	err := syscall.Exec(program, []string{program}, os.Environ())
	return core.Fail(core.CodePlugin, "run %s: %w", program, err)
}

// beside is everything that there is but a folder: what lies beside it, beside the folder that holds it, and so on. A
// link that leads into it is left out.
func beside(folder string) (paths []string) {
	if real, err := filepath.EvalSymlinks(folder); err == nil {
		folder = real
	}
	for at := folder; at != filepath.Dir(at); at = filepath.Dir(at) {
		entries, _ := os.ReadDir(filepath.Dir(at))
		for _, e := range entries {
			path := filepath.Join(filepath.Dir(at), e.Name())
			real, err := filepath.EvalSymlinks(path)
			if err != nil || within(folder, real) || within(real, folder) {
				continue
			}
			paths = append(paths, path)
		}
	}
	return paths
}

// within reports whether a path lies below a folder, or is it.
func within(folder, path string) bool {
	rel, err := filepath.Rel(folder, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}
