// SPDX-License-Identifier: Apache-2.0

package datadir

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable"
	"github.com/bkp-tool/bkp/core/key"
)

// rotations is rotations.json: the public keys of other nodes whose key was rotated, by ID, as they were shown last. Who
// has a key from before is refused from then on.
type rotations struct {
	path    string
	mu      sync.Mutex
	met     map[core.ID]core.PublicKey
	damaged error // why the file cannot be read: nothing is written over it until it is repaired
}

// maxRotations bounds the nodes that are remembered, since the file is written whole: about 8 MiB at most.
const maxRotations = 4096

// openRotations reads rotations.json; what is met from now on is written into own.
func (d Dir) openRotations(own Dir) (*rotations, error) {
	r := &rotations{path: own.Path("rotations.json"), met: map[core.ID]core.PublicKey{}}
	text, err := os.ReadFile(d.Path("rotations.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read rotated keys: %w", err)
	}
	err = json.Unmarshal(text, &r.met)
	for id, raw := range r.met {
		if k, wrong := core.ParsePublicKey(raw); wrong != nil || key.IDOf(k) != id {
			delete(r.met, id)
			err = errors.Join(err, fmt.Errorf("the key of %s does not fit", id))
		}
	}
	if err != nil {
		r.damaged = fmt.Errorf("rotations.json, the keys that other nodes have taken, is damaged: %w", err)
	}
	return r, nil
}

// Follow refuses a node's public key where one is known that took its place, and remembers one that took the place of
// the one that was known. It is durable when Follow returns nil.
func (r *rotations) Follow(k core.PublicKey) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.met[key.IDOf(k)]
	switch {
	case bytes.Equal(before, k) || len(before) == 0 && k.Rotations() == 0:
		return nil
	case before.Extends(k):
		return core.Fail(core.CodeRefused, "node %s has rotated its key since: this is key %d, key %d is in use",
			key.IDOf(k).Short(), k.Rotations()+1, before.Rotations()+1)
	case !k.Extends(before):
		return core.WithHint(core.Fail(core.CodeRefused, "two different keys claim the place of an earlier key of node %s",
			key.IDOf(k).Short()), "one of them was stolen. Ask who runs that node; bkp peers remove --forget %s forgets the "+
			"key that is known here", key.IDOf(k))
	case len(before) == 0 && len(r.met) >= maxRotations:
		return nil
	}
	r.met[key.IDOf(k)] = k
	if r.damaged != nil {
		return nil
	}
	return r.write()
}

// knows reports whether a node's key was rotated.
func (r *rotations) knows(id core.ID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.met[id]) > 0
}

// forget forgets what is known of a node's keys.
func (r *rotations) forget(id core.ID) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.met[id]; !known || r.damaged != nil {
		return r.damaged
	}
	delete(r.met, id)
	return r.write()
}

// write replaces the file. mu is held.
func (r *rotations) write() error {
	text, err := json.MarshalIndent(r.met, "", "  ")
	if err == nil {
		err = durable.Replace(r.path, append(text, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("remember rotated keys: %w", err)
	}
	return nil
}
