// SPDX-License-Identifier: Apache-2.0

package datadir

import (
	"slices"
	"strings"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
)

// maxRemembered is how many peers an identity remembers: a new machine needs one that answers, and reads the list at
// every command.
const maxRemembered = 1000

// Remembered is the peers that an identity remembers, as one list that ParsePeers reads: earlier releases wrote every
// node that they ever met at an address.
func Remembered(o *key.Owner) string {
	var peers []core.Peer
	for _, entry := range o.Peers {
		if one, err := core.ParsePeers(entry); err == nil {
			peers = append(peers, one...)
		}
	}
	var list []string
	for _, p := range mergePeers(peers, nil) {
		list = append(list, p.String())
	}
	return strings.Join(list, ",")
}

// mergePeers is one peer list of those that were listed and of nodes that were met: each address and each node stands
// there once. Where several nodes were at one address, one has taken the place of the others, and who asks there must
// take whoever answers. A node that moved stands at the address where it was met.
func mergePeers(listed, met []core.Peer) (merged []core.Peer) {
	at := map[string][]core.ID{}    // who was at an address
	home := map[core.ID]core.Peer{} // where a node is
	for _, p := range slices.Concat(met, listed) {
		if p.ID.IsZero() {
			continue
		}
		if !slices.Contains(at[p.Address()], p.ID) {
			at[p.Address()] = append(at[p.Address()], p.ID)
		}
		if _, known := home[p.ID]; !known {
			home[p.ID] = p
		}
	}
	done := map[string]bool{}
	for _, p := range slices.Concat(listed, met) {
		address := p.Address()
		if done[address] || len(merged) == maxRemembered {
			continue
		}
		done[address] = true
		p.ID = core.ID{}
		if ids := at[address]; len(ids) == 1 && home[ids[0]].Address() == address && home[ids[0]].Scheme == p.Scheme {
			p.ID = ids[0]
		}
		merged = append(merged, p)
	}
	return merged
}

// RememberPeers notes in the identity whom a new machine can ask: the peers of the configuration, and every node that
// was met, at the address where it was met last.
func (d Dir) RememberPeers(o *key.Owner, listed []core.Peer) error {
	met, err := d.OpenPins(d)
	if err != nil {
		return err
	}
	if len(listed)+len(met.met) == 0 {
		return nil // what it remembered before still stands
	}
	o.Peers = nil
	for _, p := range mergePeers(listed, met.peers()) {
		o.Peers = append(o.Peers, p.String())
	}
	return nil
}
