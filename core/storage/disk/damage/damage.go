// SPDX-License-Identifier: Apache-2.0

// Package damage remembers which records of a store are not what they were.
package damage

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/bkp-tool/bkp/core/durable"
)

// Notes is the directory damaged of a store: NAME.OFFSET, an empty file, for each record that somebody found damaged.
type Notes string

func (n Notes) path(pack string, offset uint32) string {
	return filepath.Join(string(n), fmt.Sprintf("%s.%d", pack, offset))
}

// Add makes it known to whoever has the store open, or opens it from now on, that a record is damaged. Where nothing
// can be written, or it is lost with the power, it stays unknown until somebody finds it again.
func (n Notes) Add(pack string, offset uint32) {
	_ = durable.Mkdir(string(n)) // it may be there
	if f, err := durable.OpenOrCreate(n.path(pack, offset), 0o600); err == nil {
		f.Close()
	}
}

// Changed is when a note was made or removed last, as exactly as the file system tells; zero where there is none.
func (n Notes) Changed() time.Time {
	info, err := os.Stat(string(n))
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

// All is the offsets of the damaged records that were noted, by pack.
func (n Notes) All() map[string]map[uint32]bool {
	bad := map[string]map[uint32]bool{}
	files, _ := os.ReadDir(string(n)) // none, or not for us
	for _, f := range files {
		pack, text, _ := strings.Cut(f.Name(), ".")
		offset, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			continue
		}
		if bad[pack] == nil {
			bad[pack] = map[uint32]bool{}
		}
		bad[pack][uint32(offset)] = true
	}
	return bad
}

// Tidy removes notes about packs that are gone.
func (n Notes) Tidy(gone func(pack string) bool) {
	for pack, records := range n.All() {
		if !gone(pack) {
			continue
		}
		for offset := range records {
			_ = durable.Remove(n.path(pack, offset))
		}
	}
	_ = durable.Remove(string(n)) // where it is empty
}
