// SPDX-License-Identifier: Apache-2.0

package file

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/bkp-tool/bkp/core/durable"
)

// partTag is what Restore has Create tell the parts of one path apart by: the beginning of the root's hash, and where
// the range starts.
var partTag = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9]+)?$`)

// partOf is the name of the file that a target is until it is whole.
func partOf(path, tag string) string {
	return filepath.Join(filepath.Dir(path), ".bkp-"+filepath.Base(path)+"-"+tag+".part")
}

// clearParts removes what interrupted fetches of other versions left beside a file that is whole now, and that nobody
// goes on with.
func (t *Target) clearParts() {
	dir := filepath.Dir(t.path)
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		rest, ours := strings.CutPrefix(e.Name(), ".bkp-"+filepath.Base(t.path)+"-")
		tag, part := strings.CutSuffix(rest, ".part")
		if !ours || !part || !partTag.MatchString(tag) || !e.Type().IsRegular() {
			continue
		}
		lock := durable.LockOf(filepath.Join(dir, e.Name()))
		if got, err := lock.TryLock(); err == nil && got {
			_ = durable.Remove(filepath.Join(dir, e.Name()))
		}
		_ = lock.Close()
	}
}
