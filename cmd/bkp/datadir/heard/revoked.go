// SPDX-License-Identifier: Apache-2.0

package heard

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/bkp-tool/bkp/cmd/bkp/datadir"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable"
	"github.com/bkp-tool/bkp/core/key"
)

// maxLists is of how many owners lists are kept.
const maxLists = 4096

// Revoked is revoked/: the newest list of revocations of each owner that has one, by its ID. A list that cannot be read
// is none: peers tell it again.
type Revoked struct {
	dir     datadir.Dir
	writing sync.Mutex
	mu      sync.RWMutex
	lists   map[core.ID]revoked
}

type revoked struct {
	key.Revocations
	envelope []byte
}

// OpenRevoked reads the lists that are kept; what comes is written into own, which may be another directory.
func OpenRevoked(d, own datadir.Dir) (*Revoked, error) {
	r := &Revoked{dir: own, lists: map[core.ID]revoked{}}
	entries, err := os.ReadDir(d.Path("revoked"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read revocations: %w", err)
	}
	for _, e := range entries {
		id, err := core.ParseID(strings.TrimSuffix(e.Name(), ".json"))
		if err != nil {
			continue
		}
		envelope, err := os.ReadFile(d.Path("revoked", e.Name()))
		if err != nil {
			return nil, fmt.Errorf("read revocations: %w", err)
		}
		if list, err := key.OpenRevocations(envelope); err == nil && list.Owner == id {
			r.lists[id] = revoked{list, envelope}
		}
	}
	return r, nil
}

// Of is the list of an owner, zero without one.
func (r *Revoked) Of(owner core.ID) key.Revocations {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.lists[owner].Revocations
}

// All is the lists of all owners.
func (r *Revoked) All() (envelopes [][]byte) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, id := range slices.SortedFunc(maps.Keys(r.lists), core.ID.Compare) {
		envelopes = append(envelopes, r.lists[id].envelope)
	}
	return envelopes
}

// Keep keeps a list that follows on the one that is there, and reports whether it does; it is durable then.
func (r *Revoked) Keep(list key.Revocations, envelope []byte) (news bool, err error) {
	r.writing.Lock()
	defer r.writing.Unlock()
	r.mu.RLock()
	before, known := r.lists[list.Owner]
	full := !known && len(r.lists) >= maxLists
	r.mu.RUnlock()
	switch {
	case known && !list.Follows(before.Revocations):
		return false, nil
	case full:
		return false, fmt.Errorf("lists of %d owners are kept already", maxLists)
	}
	if err := durable.MkdirAll(r.dir.Path("revoked")); err != nil {
		return false, fmt.Errorf("keep revocations: %w", err)
	}
	if err := durable.Replace(r.dir.Path("revoked", list.Owner.String()+".json"), envelope, 0o600); err != nil {
		return false, fmt.Errorf("keep revocations: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lists[list.Owner] = revoked{list, slices.Clone(envelope)}
	return true, nil
}
