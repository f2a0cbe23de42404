// SPDX-License-Identifier: Apache-2.0

package control

import "github.com/bkp-tool/bkp/core"

// StandingArgs asks how placements stand: of a version of a name, of all its versions where Version is 0, or of all
// names where Name is empty.
type StandingArgs struct {
	Name    string `json:"name"`
	Version int    `json:"version"`
}

// Standing is how one placement stands. Times are in Unix seconds, 0 where there is none.
type Standing struct {
	Name    string    `json:"name"`
	Version int       `json:"version"`
	Wanted  int       `json:"wanted"`  // copies
	Copies  int       `json:"copies"`  // that count, of the run that has the fewest
	Reached int       `json:"reached"` // of those, at nodes that can be reached now
	State   string    `json:"state"`   // well, waiting, placing, mending, lacking, handed or shipment
	Code    core.Code `json:"code"`    // 0: as many count as are wanted; 3: it is being mended; 13: it cannot be
	Audited int64     `json:"audited"` // when each of its copies had been proved last
	Until   int64     `json:"until"`   // when what State says ends, as far as that can be told
	Done    core.Size `json:"done"`    // of what is under way
	Total   core.Size `json:"total"`   // of what is under way; 0 while that is not known
	Problem string    `json:"problem,omitempty"`
	Holders []Holder  `json:"holders"`

	Coordinator *Coordinator `json:"coordinator,omitempty"` // that it is handed over to
}

// What a placement is doing.
const (
	StateWell     = "well"     // as many copies count as are wanted
	StateWaiting  = "waiting"  // likewise, but nodes are away that will be given up
	StatePlacing  = "placing"  // somebody is placing it
	StateMending  = "mending"  // it is being mended, or will be
	StateLacking  = "lacking"  // it cannot be mended, or nobody does
	StateHanded   = "handed"   // another node sees to it
	StateShipment = "shipment" // a disk with it is under way: nothing is sent until somebody places it
)

// Coordinator is a node that a version is handed over to.
type Coordinator struct {
	Node    core.ID `json:"node"`
	Address string  `json:"address"`
	Copies  int     `json:"copies"` // that count beside its own, as it said last
}

// Holder is a node that keeps something of a placement. Times are in Unix seconds, 0 where there is none.
type Holder struct {
	Node     core.ID `json:"node"`
	Address  string  `json:"address"`
	Runs     int     `json:"runs"`     // that it is to keep
	Counting int     `json:"counting"` // of them, that count
	Ref      bool    `json:"ref"`      // it has the ref and its records
	Audited  int64   `json:"audited"`  // when it proved last to have all of them
	Away     int64   `json:"away"`     // since when it cannot be reached, or does not answer audits
}

// StandingResult is how placements stand, those at risk first.
type StandingResult struct {
	Placements []Standing `json:"placements"`
	Watched    bool       `json:"watched"` // the node keeps them by itself
}

// DrainArgs asks for a node to keep nothing any more, by its ID, the first letters of it, its address or a label.
type DrainArgs struct {
	Node string `json:"node"`
}

// DrainResult is the nodes that were drained, and what was moved.
type DrainResult struct {
	Nodes []core.ID  `json:"nodes"`
	Moved []Standing `json:"moved"` // the placements that they kept something of
}

// RebalanceArgs asks for nodes that are dear or nearly full to be relieved: of a version of a name, of all its versions
// where Version is 0, or of all names where Name is empty.
type RebalanceArgs struct {
	Name    string `json:"name"`
	Version int    `json:"version"`
	DryRun  bool   `json:"dry_run"`
}

// RebalanceResult is what moved, or would.
type RebalanceResult struct {
	Moved  []Rebalanced `json:"moved"`
	DryRun bool         `json:"dry_run"`
}

// Rebalanced is a placement of which something moved, or would.
type Rebalanced struct {
	Name    string  `json:"name"`
	Version int     `json:"version"`
	From    []Moved `json:"from"` // they let go of all that they keep of it
	To      []Moved `json:"to"`
}

// Moved is what a node lets go of, or takes over.
type Moved struct {
	Node    core.ID   `json:"node"`
	Address string    `json:"address"`
	Bytes   core.Size `json:"bytes"`
	Why     string    `json:"why,omitempty"`
}
