// SPDX-License-Identifier: Apache-2.0

package datadir

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable"
	"github.com/bkp-tool/bkp/core/file"
	"github.com/bkp-tool/bkp/core/storage/disk/check"
)

const (
	verifyStateLife  = 7 * 24 * time.Hour // an older one says nothing about today
	verifyStatePause = 2 * time.Second    // between two writes
)

// verifyState is DATA/verify.json: how far a verification has come, there only until it ends.
type verifyState struct {
	V        int                           `json:"v"`
	What     string                        `json:"what"` // the name that was given
	Share    float64                       `json:"share"`
	Began    time.Time                     `json:"began"`
	Versions map[core.Hash]versionProgress `json:"versions"` // by the hash of their root
	Packs    map[string]packProgress       `json:"packs"`    // by store

	path    string
	resumed bool
	saved   time.Time
}

type versionProgress struct {
	file.Verified
	Done bool `json:"done"`
}

type packProgress struct {
	After  string         `json:"after"` // the last pack looked at
	Packs  int            `json:"packs"`
	Read   core.Size      `json:"read_bytes"`
	Damage []check.Damage `json:"damage,omitempty"`
}

// verifyState reads where the same verification was interrupted, or begins a new one.
func (d Dir) verifyState(what string, share float64, restart bool) *verifyState {
	path := d.Path("verify.json")
	if d.IsForeign() {
		path = ""
	}
	fresh := &verifyState{V: 1, What: what, Share: share, Began: time.Now(), path: path, saved: time.Now(),
		Versions: map[core.Hash]versionProgress{}, Packs: map[string]packProgress{}}
	var old verifyState
	text, err := os.ReadFile(fresh.path)
	if err != nil || restart || json.Unmarshal(text, &old) != nil {
		return fresh
	}
	if old.V != 1 || old.What != what || old.Share != share || time.Since(old.Began) > verifyStateLife ||
		old.Versions == nil || old.Packs == nil {
		return fresh
	}
	old.path, old.resumed, old.saved = fresh.path, true, fresh.saved
	return &old
}

func (s *verifyState) keep(root core.Hash, p versionProgress) error {
	s.Versions[root] = p
	return s.saveNow()
}

func (s *verifyState) keepPacks(name string, p packProgress) error {
	s.Packs[name] = p
	return s.saveNow()
}

// saveNow saves unless that was done a moment ago.
func (s *verifyState) saveNow() error {
	if time.Since(s.saved) < verifyStatePause {
		return nil
	}
	return s.save()
}

func (s *verifyState) save() error {
	s.saved = time.Now()
	text, err := json.Marshal(s)
	if err == nil && s.path != "" {
		if err = durable.Replace(s.path, text, 0o600); Unwritable(err) {
			s.path, err = "", nil // it goes on, but an interrupted one begins anew
		}
	}
	if err != nil {
		return fmt.Errorf("keep how far the verification has come: %w", err)
	}
	return nil
}

func (s *verifyState) remove() { _ = durable.Remove(s.path) }

// draw is true for a share of its calls.
func draw(share float64) bool { return rand.Float64() < share }
