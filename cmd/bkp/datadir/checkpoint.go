// SPDX-License-Identifier: Apache-2.0

package datadir

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable"
	"github.com/bkp-tool/bkp/core/file"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/staging"
)

const checkpointLife = 7 * 24 * time.Hour

// savedSplit is where an interrupted split of a name had come to: DATA/refs/ALIAS/checkpoint. What it stands for is
// sealed like a ref, and a root for gc while it is recent.
type savedSplit struct {
	refs    Refs
	owner   *key.Owner
	name    string
	task    core.TaskID // of a backup: its last window's
	records []core.Sealed
}

// checkpointFile is the file's JSON form.
type checkpointFile struct {
	V        int       `json:"v"` // 1
	Stamp    string    `json:"stamp"`
	Bytes    core.Size `json:"bytes"`
	Created  time.Time `json:"created"`
	Envelope []byte    `json:"envelope"` // a ref of version 1, whatever the version will be
}

func (d Dir) savedSplit(o *key.Owner, name string) savedSplit {
	return savedSplit{refs: d.Refs(), owner: o, name: name}
}

func (s Refs) checkpoint(alias string) string { return filepath.Join(s.dir, alias, "checkpoint") }

// readCheckpoint is the checkpoint of an alias where there is a recent one.
func (s Refs) readCheckpoint(alias string) (c checkpointFile, ok bool) {
	text, err := os.ReadFile(s.checkpoint(alias))
	if err != nil || json.Unmarshal(text, &c) != nil || c.V != 1 || time.Since(c.Created) > checkpointLife {
		return checkpointFile{}, false
	}
	return c, true
}

// load is nil where there is nothing to resume.
func (s savedSplit) load() *file.Checkpoint {
	reached, _ := s.read()
	return reached
}

// read is load, with what else the checkpoint holds.
func (s savedSplit) read() (*file.Checkpoint, key.RefBody) {
	alias := s.owner.Alias(s.name)
	c, ok := s.refs.readCheckpoint(alias)
	if !ok {
		return nil, key.RefBody{}
	}
	v, err := OpenRef(s.owner, staging.StoredRef{Alias: alias, Version: 1, Envelope: c.Envelope})
	if err != nil || v.Body.Forgotten() {
		return nil, key.RefBody{} // damaged: the split begins at the start
	}
	return &file.Checkpoint{Root: v.Body.Root, Bytes: c.Bytes, Stamp: c.Stamp}, v.Body
}

// save takes the place of the checkpoint before.
func (s savedSplit) save(reached file.Checkpoint) error {
	envelope, err := s.owner.SealRef(key.Ref{Version: 1, Created: time.Now().Unix()}, key.RefBody{
		Name: s.name, Root: reached.Root, Size: reached.Bytes, Task: s.task, Records: s.records,
	})
	if err != nil {
		return err
	}
	text, err := json.Marshal(checkpointFile{V: 1, Stamp: reached.Stamp, Bytes: reached.Bytes,
		Created: time.Now().UTC(), Envelope: envelope})
	if err != nil {
		return err
	}
	if err := s.refs.write(s.refs.checkpoint(s.owner.Alias(s.name)), text); err != nil {
		return fmt.Errorf("write checkpoint: %w", err)
	}
	return nil
}

// remove forgets the checkpoint: its split has become a version.
func (s savedSplit) remove() { _ = durable.Remove(s.refs.checkpoint(s.owner.Alias(s.name))) }

// Unfinished is the checkpoints of splits that may be resumed: what they stand for must stay.
func (s Refs) Unfinished() ([]staging.StoredRef, error) {
	aliases, err := os.ReadDir(s.dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("list checkpoints: %w", err)
	}
	var out []staging.StoredRef
	for _, a := range aliases {
		if c, ok := s.readCheckpoint(a.Name()); ok {
			out = append(out, staging.StoredRef{Alias: a.Name(), Version: 1, Envelope: c.Envelope})
		}
	}
	return out, nil
}

// clearCheckpoints removes the checkpoints that are too old to go on from. No split may be under way.
func (s Refs) clearCheckpoints() error {
	paths, err := filepath.Glob(s.checkpoint("*"))
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil || time.Since(info.ModTime()) < checkpointLife {
			continue
		}
		if err := durable.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove an old checkpoint: %w", err)
		}
	}
	return err
}
