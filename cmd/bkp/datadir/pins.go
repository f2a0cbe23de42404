// SPDX-License-Identifier: Apache-2.0

package datadir

import (
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

// Pins is pins.json: the nodes that proved the cluster token once, by ID, with the address they were met at.
type Pins struct {
	path string
	mu   sync.Mutex
	met  map[core.ID]string

	damaged error // why the file cannot be read: until it is repaired nothing is written over what is left of it
}

// OpenPins reads pins.json; what is pinned from now on is written into own, which may be another directory.
func (d Dir) OpenPins(own Dir) (*Pins, error) {
	p := &Pins{path: own.Path("pins.json"), met: map[core.ID]string{}}
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

// Damage is what is wrong with the file; nil where nothing is.
func (p *Pins) Damage() []core.Damage {
	if p.damaged == nil {
		return nil
	}
	return []core.Damage{{Key: "pins.json", Text: p.damaged.Error()}}
}

// Len is how many nodes are known.
func (p *Pins) Len() int { return len(p.met) }

// Rewrite replaces a damaged file by what could be read of it.
func (p *Pins) Rewrite() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.write()
}

var pinLine = regexp.MustCompile(`"([a-z2-7]{52})"\s*:\s*("(?:[^"\\]|\\.)*")`)

// salvagePins is the pins that can still be read in a file that was cut or damaged.
func salvagePins(text []byte) map[core.ID]string {
	met := map[core.ID]string{}
	for _, m := range pinLine.FindAllSubmatch(text, -1) {
		id, err := core.ParseID(string(m[1]))
		var address string
		if err == nil && json.Unmarshal(m[2], &address) == nil {
			met[id] = address
		}
	}
	return met
}

// Known reports whether the node was pinned.
func (p *Pins) Known(id core.ID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.met[id]
	return ok
}

// Pin remembers a node and where it was met last; it is durable when Pin returns. A node that cannot be dialled has no
// address, and one that could be before keeps it.
func (p *Pins) Pin(id core.ID, address string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if at, ok := p.met[id]; ok && (at == address || address == "") {
		return nil
	}
	p.met[id] = address
	if p.damaged != nil {
		return nil
	}
	return p.write()
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
	for id, address := range p.met {
		// A list, since the zone of an IPv6 address may have a comma in it.
		if one, err := core.ParsePeers("wss://" + id.String() + "@" + address); err == nil && len(one) == 1 {
			list = append(list, one[0])
		}
	}
	slices.SortFunc(list, func(a, b core.Peer) int { return strings.Compare(a.Address(), b.Address()) })
	return list
}
