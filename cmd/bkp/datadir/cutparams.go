// SPDX-License-Identifier: Apache-2.0

package datadir

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/file"
	"github.com/bkp-tool/bkp/core/key"
)

// DATA/refs/ALIAS/cut says how the newest version of a name was cut, for when its manifest is on this machine no more:
// the next version must be cut alike to share chunks with what peers keep.

func (s Refs) cut(alias string) string { return filepath.Join(s.dir, alias, "cut") }

// keepCut writes the parameters down.
func (s Refs) keepCut(alias string, p chunk.Params) error {
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	if err := s.write(s.cut(alias), text); err != nil {
		return fmt.Errorf("keep how it was cut: %w", err)
	}
	return nil
}

// keptSource is DATA/refs/ALIAS/source: what the file was like when the version with that root was split from it, so
// that a later look tells whether it has changed since.
type keptSource struct {
	Root  core.Hash `json:"root"`
	Stamp string    `json:"stamp,omitempty"` // of file.Source; empty where nothing tells
}

func (s Refs) source(alias string) string { return filepath.Join(s.dir, alias, "source") }

func (s Refs) keepSource(alias string, k keptSource) error {
	text, err := json.Marshal(k)
	if err != nil {
		return err
	}
	if err := s.write(s.source(alias), text); err != nil {
		return fmt.Errorf("keep what it was split from: %w", err)
	}
	return nil
}

// IsAsSplit tells whether a source is, by its stamp, what the version was split from.
func (s Refs) IsAsSplit(v Version, in *file.Source) bool {
	var k keptSource
	text, err := os.ReadFile(s.source(v.Ref.Alias))
	if err != nil || json.Unmarshal(text, &k) != nil {
		return false
	}
	return k.Root == v.Body.Root.Hash && k.Stamp != "" && k.Stamp == in.Stamp()
}

// keptCut is what keepCut wrote, or nothing where that is not there or makes no sense.
func (s Refs) keptCut(alias string) (p chunk.Params) {
	text, err := os.ReadFile(s.cut(alias))
	if err != nil || json.Unmarshal(text, &p) != nil || p.Check() != nil {
		return chunk.Params{}
	}
	return p
}

// keepSource remembers what the newest version of a name was split from.
func (d Dir) keepSource(o *key.Owner, body key.RefBody, in *file.Source) error {
	return d.Refs().keepSource(o.Alias(body.Name), keptSource{body.Root.Hash, in.Settled()})
}
