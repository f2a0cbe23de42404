package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/file"
)

// DATA/refs/ALIAS/cut says how the newest version of a name was cut, for when its manifest is on this machine no more:
// the next version must be cut alike to share chunks with what peers keep.

func (s refStore) cut(alias string) string { return filepath.Join(s.dir, alias, "cut") }

// keepCut writes the parameters down.
func (s refStore) keepCut(alias string, p chunk.Params) error {
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

func (s refStore) source(alias string) string { return filepath.Join(s.dir, alias, "source") }

func (s refStore) keepSource(alias string, k keptSource) error {
	text, err := json.Marshal(k)
	if err != nil {
		return err
	}
	if err := s.write(s.source(alias), text); err != nil {
		return fmt.Errorf("keep what it was split from: %w", err)
	}
	return nil
}

// isAsSplit tells whether a source is, by its stamp, what the version was split from.
func (s refStore) isAsSplit(v versionRef, in *file.Source) bool {
	var k keptSource
	text, err := os.ReadFile(s.source(v.ref.Alias))
	if err != nil || json.Unmarshal(text, &k) != nil {
		return false
	}
	return k.Root == v.body.Root.Hash && k.Stamp != "" && k.Stamp == in.Stamp()
}

// keptCut is what keepCut wrote, or nothing where that is not there or makes no sense.
func (s refStore) keptCut(alias string) (p chunk.Params) {
	text, err := os.ReadFile(s.cut(alias))
	if err != nil || json.Unmarshal(text, &p) != nil || p.Check() != nil {
		return chunk.Params{}
	}
	return p
}
