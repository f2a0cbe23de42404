package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/bkp-tool/bkp/core/chunk"
)

// DATA/refs/ALIAS/cut says how the newest version of a name was cut, for when its manifest is on this machine no more: the next
// version must be cut alike to share chunks with what peers keep.

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

// keptCut is what keepCut wrote, or nothing where that is not there or makes no sense.
func (s refStore) keptCut(alias string) (p chunk.Params) {
	text, err := os.ReadFile(s.cut(alias))
	if err != nil || json.Unmarshal(text, &p) != nil || p.Check() != nil {
		return chunk.Params{}
	}
	return p
}
