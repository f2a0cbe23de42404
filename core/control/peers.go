// SPDX-License-Identifier: Apache-2.0

package control

import (
	"time"

	"github.com/bkp-tool/bkp/core"
)

// PeersArgs asks for the peers; a node just started for the command waits a moment for them.
type PeersArgs struct {
	WaitS float64 `json:"wait_s"`
	Links bool    `json:"links"` // also those from peer to peer, as the peers report them
}

// PeersResult is the peer table.
type PeersResult struct {
	Node   core.ID   `json:"node"` // this one
	Listen string    `json:"listen"`
	Peers  []PeerRow `json:"peers"`
	Links  []LinkRow `json:"links,omitempty"`
}

// PeerRow is one line of `bkp peers`. Rates are wire bytes per second; 0 is unknown.
type PeerRow struct {
	ID        core.ID           `json:"id"`
	Address   string            `json:"address"`
	Labels    map[string]string `json:"labels,omitempty"`
	Connected bool              `json:"connected"`
	Declared  core.Rate         `json:"declared"` // the smaller word of both sides, for each direction
	// to the peer: the lower quartile, or the mean while there are few samples
	Measured core.Rate `json:"measured"`
	Leased   core.Rate `json:"leased"` // both directions together

	MeasuredMean core.Rate `json:"measured_mean"` // to the peer, newer samples counting more
	Samples      int       `json:"samples"`       // that Measured comes of; plans count on it from 8 on
	MeasuredIn   core.Rate `json:"measured_in"`   // from the peer, as it measured
	LeasedOut    core.Rate `json:"leased_out"`
	LeasedIn     core.Rate `json:"leased_in"`

	Remaining core.Size `json:"remaining"`
	Files     int       `json:"files"`
	DelayMS   float64   `json:"delay_ms"`
	LastSeen  time.Time `json:"last_seen,omitzero"`
	Problem   string    `json:"problem,omitempty"`  // why it is not connected
	Degraded  []string  `json:"degraded,omitempty"` // what is wrong with it, as it says
}

// LinkRow is a link from one peer to another. Rates are wire bytes per second; 0 is unknown.
type LinkRow struct {
	From     core.ID   `json:"from"`
	To       core.ID   `json:"to"`
	Address  string    `json:"address"` // of To
	Declared core.Rate `json:"declared"`
	Measured core.Rate `json:"measured"`
	Leased   core.Rate `json:"leased"`
	DelayMS  float64   `json:"delay_ms"`
}

// SurveyResult is the network as a placement would see it now; this node is the source.
type SurveyResult struct {
	Snapshot core.Snapshot `json:"snapshot"`
}

// LimitArgs changes what the node gives; what is empty stays. A bandwidth is a rate or a calendar as core.ParseCalendar
// reads it.
type LimitArgs struct {
	Uplink   string `json:"uplink"`
	Downlink string `json:"downlink"`
	Peer     string `json:"peer"` // ID, the start of one, or HOST:PORT
	Link     string `json:"link"` // what this side gives that peer
}

// LimitResult is what the node gives now.
type LimitResult struct {
	Limits []LimitRow `json:"limits"`
}

// LimitRow is one side or link. A rate of 0 is unlimited.
type LimitRow struct {
	Account   string    `json:"account"` // "uplink", "downlink" or "link"
	Peer      core.ID   `json:"peer,omitzero"`
	Address   string    `json:"address,omitempty"`
	Bandwidth string    `json:"bandwidth"` // as it may be given again
	Rate      core.Rate `json:"rate"`      // now
	Capacity  core.Rate `json:"capacity"`  // of a link: the smaller word of both sides
	Measured  core.Rate `json:"measured"`
	Leased    core.Rate `json:"leased"`             // of a link: in both directions
	Changes   time.Time `json:"changes,omitzero"`   // when the calendar has another rate
	Then      core.Rate `json:"then,omitempty"`     // which
	Changed   bool      `json:"changed,omitempty"`  // since the node started
	Followed  bool      `json:"followed,omitempty"` // this side has no figure, and takes the other's
}

// ProbeArgs names the peer to be probed, as LimitArgs does; empty for all that are connected.
type ProbeArgs struct {
	Peer string `json:"peer"`
}

// ProbeResult is one row a peer, by address.
type ProbeResult struct {
	Probes []ProbeRow `json:"probes"`
}

// ProbeRow is what came of probing the link to a peer. Rates are wire bytes per second.
type ProbeRow struct {
	ID       core.ID   `json:"id"`
	Address  string    `json:"address"`
	Declared core.Rate `json:"declared"`
	Lease    core.Rate `json:"lease"`    // what was free, and granted
	Carried  core.Rate `json:"carried"`  // what the link carried of it
	Bytes    core.Size `json:"bytes"`    // payload that arrived
	Seconds  float64   `json:"seconds"`  // from the first to the last of it
	AtLeast  bool      `json:"at_least"` // something else than the link held it back: it may carry more
	Problem  string    `json:"problem,omitempty"`
}

// ReloadResult is whom the node meets by its settings as they are now.
type ReloadResult struct {
	Peers []string `json:"peers"` // as a peer list has them
}
