// SPDX-License-Identifier: Apache-2.0

package datadir

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable"
)

// Pins is pins.json: the nodes that proved a cluster token once, by ID, and those that were trusted at first use, where
// there was no token. Under another token they are strangers again.
type Pins struct {
	path string
	mu   sync.Mutex
	met  map[core.ID]pin
	by   string // the mark of the cluster token that counts, "" without one; see Under

	*rotations // also of nodes that are not pinned

	damaged error // why the file cannot be read: until it is repaired nothing is written over what is left of it
}

// pin is how a node became known.
type pin struct {
	Address string `json:"address"` // where it was met last; empty of one that only dials
	By      string `json:"by"`      // the mark of the token that it proved
}

// maxPins bounds the nodes that are remembered because they proved the token, since one who has it may come as any number
// of nodes, and the file is written whole: about 400 KiB. Who came later proves the token each time.
const maxPins = 4096

// unmarked is the mark of a pin from a release that kept none.
const unmarked = "?"

// firstUse is the mark of a pin of a node that was met where this one had no token.
const firstUse = "first use"

// UnmarshalJSON reads what earlier releases wrote, an address alone, too.
func (p *pin) UnmarshalJSON(text []byte) error {
	if json.Unmarshal(text, &p.Address) == nil {
		p.By = unmarked
		return nil
	}
	type plain pin
	return json.Unmarshal(text, (*plain)(p))
}

// tokenMark names a token without telling it.
func tokenMark(token []byte) string {
	mac := hmac.New(sha256.New, token)
	_, _ = mac.Write([]byte("bkp pin v1"))
	return hex.EncodeToString(mac.Sum(nil)[:8])
}

// OpenPins reads pins.json and rotations.json; what is pinned from now on is written into own, which may be another directory.
func (d Dir) OpenPins(own Dir) (*Pins, error) {
	keys, err := d.openRotations(own)
	if err != nil {
		return nil, err
	}
	p := &Pins{path: own.Path("pins.json"), met: map[core.ID]pin{}, rotations: keys}
	text, err := os.ReadFile(d.Path("pins.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read pinned nodes: %w", err)
	}
	if err := json.Unmarshal(text, &p.met); err != nil {
		p.met, p.damaged = salvagePins(text), fmt.Errorf("pins.json, the nodes that are known here, is damaged: %w",
			err)
	}
	return p, nil
}

// Under makes those alone known who proved this token, and of earlier releases' pins all: nobody knows by which token
// they came, and from then on it is this one. That is durable when Under returns. Without a token all stay known.
func (p *Pins) Under(token []byte) error {
	if len(token) == 0 {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.by = tokenMark(token)
	marked := false
	for id, at := range p.met {
		if at.By == unmarked {
			at.By, marked = p.by, true
			p.met[id] = at
		}
	}
	if !marked || p.damaged != nil {
		return nil
	}
	return p.write()
}

// Damage is what is wrong with the files; nil where nothing is.
func (p *Pins) Damage() (found []core.Damage) {
	if p.damaged != nil {
		found = append(found, core.Damage{Key: "pins.json", Text: p.damaged.Error()})
	}
	if p.rotations.damaged != nil {
		found = append(found, core.Damage{Key: "rotations.json", Text: p.rotations.damaged.Error()})
	}
	return found
}

// Len is how many nodes are known.
func (p *Pins) Len() int { return len(p.met) }

// Rewrite replaces damaged files by what could be read of them.
func (p *Pins) Rewrite() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return errors.Join(p.write(), p.rotations.write())
}

var pinLine = regexp.MustCompile(`"([a-z2-7]{52})"\s*:\s*("(?:[^"\\]|\\.)*"|\{[^{}]*\})`)

// salvagePins is the pins that can still be read in a file that was cut or damaged.
func salvagePins(text []byte) map[core.ID]pin {
	met := map[core.ID]pin{}
	for _, m := range pinLine.FindAllSubmatch(text, -1) {
		id, err := core.ParseID(string(m[1]))
		var at pin
		if err == nil && json.Unmarshal(m[2], &at) == nil {
			met[id] = at
		}
	}
	return met
}

// Known reports whether the node was pinned under the token that counts.
func (p *Pins) Known(id core.ID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	at, ok := p.met[id]
	return ok && (p.by == "" || at.By == p.by)
}

// Pin remembers a node, the token that counts, and where it was met last; it is durable when Pin returns. A node that
// cannot be dialled has no address, and one that could be before keeps it.
func (p *Pins) Pin(id core.ID, address string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pin(id, address, p.by)
}

// pin remembers a node and by what it is known. mu is held.
func (p *Pins) pin(id core.ID, address, by string) error {
	before := p.met[id]
	now := pin{Address: cmp.Or(address, before.Address), By: cmp.Or(by, before.By)}
	_, met := p.met[id]
	if met && now == before || !met && len(p.met) >= maxPins && by != firstUse {
		return nil
	}
	p.met[id] = now
	if p.damaged != nil {
		return nil
	}
	return p.write()
}

// Meet pins a node that answers at an address which was dialled without a token, unless another was trusted there
// first: that one it returns. The pin is durable then.
func (p *Pins) Meet(id core.ID, address string) (other core.ID, err error) {
	p.mu.Lock()
	for met, at := range p.met {
		if met != id && at.By == firstUse && at.Address == address {
			p.mu.Unlock()
			return met, nil
		}
	}
	defer p.mu.Unlock()
	return core.ID{}, p.pin(id, address, firstUse)
}

// Forget forgets the nodes of an ID, or of an address; what is left of the file is durable when it returns.
func (p *Pins) Forget(name string) (forgotten []core.ID, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, at := range p.met {
		if at.Address == name {
			forgotten = append(forgotten, id)
		}
	}
	if id, err := core.ParseID(name); err == nil && (p.met[id] != pin{} || p.rotations.knows(id)) {
		forgotten = append(forgotten, id)
	}
	for _, id := range forgotten {
		delete(p.met, id)
		if err := p.rotations.forget(id); err != nil {
			return nil, err
		}
	}
	if len(forgotten) == 0 || p.damaged != nil {
		return nil, p.damaged
	}
	slices.SortFunc(forgotten, core.ID.Compare)
	return forgotten, p.write()
}

// write replaces the file. mu is held.
func (p *Pins) write() error {
	text, err := json.MarshalIndent(p.met, "", "  ")
	if err != nil {
		return fmt.Errorf("pin nodes: %w", err)
	}
	if err := durable.Replace(p.path, append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("pin nodes: %w", err)
	}
	return nil
}

// peers lists the pinned nodes that were met at an address where they can be asked again, by address.
func (p *Pins) peers() (list []core.Peer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, at := range p.met {
		// A list, since the zone of an IPv6 address may have a comma in it.
		if one, err := core.ParsePeers("wss://" + id.String() + "@" + at.Address); err == nil && len(one) == 1 {
			list = append(list, one[0])
		}
	}
	slices.SortFunc(list, func(a, b core.Peer) int { return strings.Compare(a.Address(), b.Address()) })
	return list
}
