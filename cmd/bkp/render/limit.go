// SPDX-License-Identifier: Apache-2.0

package render

import (
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
)

// Limit is a limit, and whether the next start of the node has it too.
type Limit struct {
	control.LimitRow
	Lasts bool `json:"lasts"`
}

// Limits shows what the node gives its sides and links, and how to keep what was changed.
func Limits(t *Table, rows []Limit, config string) {
	t.Header("account", "peer", "bandwidth", "now", "measured", "leased", "changes", "then")
	t.Spare("then", "changes", "leased", "measured")
	for _, r := range rows {
		peer, bandwidth := any("-"), r.Bandwidth
		if !r.Peer.IsZero() {
			peer = r.Address
		}
		if r.Followed {
			bandwidth = "what the peer gives"
		}
		then := any("-")
		if !r.Changes.IsZero() {
			then = unlimited(r.Then)
		}
		t.Row(r.Account, peer, bandwidth, unlimited(r.Rate), r.Measured, r.Leased, r.Changes, then)
	}
	for _, r := range rows {
		switch key := r.Account; {
		case r.Changed && r.Lasts:
			t.Line("%s: as in %s, so it lasts", r.what(), config)
		case r.Changed && key == "link":
			t.Line("%s: until the node stops; to keep it, write %q = %q under [links] in %s", r.what(), r.Peer,
				r.Bandwidth, config)
		case r.Changed:
			t.Line("%s: until the node stops; to keep it, write %s = %q in %s", r.what(), key, r.Bandwidth, config)
		}
	}
}

func (r Limit) what() string {
	if r.Account == "link" {
		return "link to " + r.Address
	}
	return r.Account
}

// unlimited writes a rate where 0 is no limit.
func unlimited(r core.Rate) any {
	if r == 0 {
		return "unlimited"
	}
	return r
}
