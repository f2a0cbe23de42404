// SPDX-License-Identifier: Apache-2.0

package core

import "strings"

// Snapshot is what the planner knows of the network at one moment. Rates are wire bytes per second, 0 is unlimited.
type Snapshot struct {
	Source int // index of the source in Nodes
	Nodes  []NodeState
	Links  []LinkState
	Trunks []TrunkState
}

// NodeState is one node as it reported itself.
type NodeState struct {
	ID      ID                `json:"id"`
	Address string            `json:"address"`
	Labels  map[string]string `json:"labels,omitempty"` // zone, price_store, price_send, afr, uptime are read from here
	Zone    string            `json:"zone,omitempty"`
	Free    Size              `json:"free"`  // room for this file
	Total   Size              `json:"total"` // capacity
	Up      Rate              `json:"up"`
	Down    Rate              `json:"down"`
	Delay   float64           `json:"delay"` // seconds from the source
	Load    float64           `json:"load"`

	UpAhead   Forecast `json:"up_ahead,omitempty"` // how Up and Down will change, where calendars say so
	DownAhead Forecast `json:"down_ahead,omitempty"`
}

// Named reports whether a name is the node's ID, grouped or not, the first eight letters of it or more, or its address.
func (n NodeState) Named(name string) bool {
	id := strings.ToLower(strings.ReplaceAll(name, "-", ""))
	return name == n.Address || len(id) >= len(n.ID.Short()) && strings.HasPrefix(n.ID.String(), id)
}

// LinkState is the directed link between two nodes of the snapshot.
type LinkState struct {
	From, To int
	Rate     Rate     // capacity as coordinated
	Ahead    Forecast `json:",omitempty"` // how it will change
}

// TrunkState is a cap shared by all links from one zone to another.
type TrunkState struct {
	From string `json:"from" toml:"from"`
	To   string `json:"to" toml:"to"`
	Rate Rate   `json:"rate" toml:"rate"`

	Ahead Forecast `json:"-" toml:"-"` // how it will change: in a simulation; config has no calendar for a trunk
}

// Account is the bandwidth of a link, or of a node's up or down side, and what is leased of it now.
// Names: "up", "down", "out:ID" (to that peer), "in:ID" (from it), "trunk:FROM>TO".
type Account struct {
	Name     string `json:"name"`
	Capacity Rate   `json:"capacity"` // 0 is unlimited
	Leased   Rate   `json:"leased"`
}
