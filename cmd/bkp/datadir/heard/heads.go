// SPDX-License-Identifier: Apache-2.0

// Package heard is what nodes sign and tell each other, as a data directory keeps it: heads of their ledgers, and what
// owners revoked.
package heard

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"github.com/bkp-tool/bkp/cmd/bkp/datadir"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/ledger"
	"github.com/go-json-experiment/json"
)

// maxKeptHeads is of how many nodes heads are kept.
const maxKeptHeads = 4096

// Heads is this node's ledger, and heads.json: the newest head of each other node's that was heard of. A file that
// cannot be read is none: what is heard from now on is kept.
type Heads struct {
	log  *datadir.Logbook
	path string
	mu   sync.Mutex
	kept map[core.ID]key.SignedHead
}

// OpenHeads reads the heads that are kept; what comes is written into own, which may be another directory.
func OpenHeads(d, own datadir.Dir, log *datadir.Logbook) (*Heads, error) {
	h := &Heads{log: log, path: own.Path("heads.json"), kept: map[core.ID]key.SignedHead{}}
	text, err := os.ReadFile(d.Path("heads.json"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read heads of ledgers: %w", err)
	}
	var kept []key.SignedHead
	if json.Unmarshal(text, &kept) != nil {
		return h, nil
	}
	for _, head := range kept {
		if head.Check() == nil {
			h.kept[head.Node()] = head
		}
	}
	return h, nil
}

// Own is this node's newest head.
func (h *Heads) Own() (key.SignedHead, error) { return h.log.Head() }

// Holds is an error where this node's ledger does not hold what one of its heads was signed for.
func (h *Heads) Holds(head core.LedgerHead) error { return h.log.Holds(head) }

// Prove is the proof that the ledger of to entries goes on from that of the first from.
func (h *Heads) Prove(from, to int64) ([]core.Hash, error) { return h.log.Prove(from, to) }

// Follows is an error where a head does not go on from another, as by a proof.
func (h *Heads) Follows(before, after key.SignedHead, proof []core.Hash) error {
	return ledger.Follows(before, after, proof)
}

// Kept is the heads of other nodes.
func (h *Heads) Kept() map[core.ID]key.SignedHead {
	h.mu.Lock()
	defer h.mu.Unlock()
	kept := make(map[core.ID]key.SignedHead, len(h.kept))
	for id, head := range h.kept {
		kept[id] = head
	}
	return kept
}

// Keep keeps heads that are further than those that are there, durably.
func (h *Heads) Keep(heads []key.SignedHead) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	changed := false
	for _, head := range heads {
		before, known := h.kept[head.Node()]
		if known && head.Size <= before.Size || !known && len(h.kept) >= maxKeptHeads {
			continue
		}
		h.kept[head.Node()], changed = head, true
	}
	if !changed {
		return nil
	}
	return h.write()
}

// ForgetHeads forgets the heads of nodes; a node that runs here has them in memory.
func ForgetHeads(d datadir.Dir, ids []core.ID) error {
	h, err := OpenHeads(d, d, nil)
	if err != nil || len(h.kept) == 0 {
		return err
	}
	for _, id := range ids {
		delete(h.kept, id)
	}
	return h.write()
}

// write replaces the file. mu is held.
func (h *Heads) write() error {
	kept := []key.SignedHead{}
	for _, id := range core.Sorted(h.kept) {
		kept = append(kept, h.kept[id])
	}
	text, err := json.Marshal(kept)
	if err == nil {
		err = durable.Replace(h.path, append(text, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("keep heads of ledgers: %w", err)
	}
	return nil
}
