// SPDX-License-Identifier: Apache-2.0

package core

import "context"

// Strategy prices nodes; the planner decides. It runs in a process of its own; see plugins.
type Strategy interface {
	Describe(ctx context.Context) (StrategyInfo, error)
	// Score is asked once per plan. Every column of the answer is checked by the caller.
	Score(ctx context.Context, batch Batch) (Scores, error)
}

// StrategyInfo says what a strategy is.
type StrategyInfo struct {
	Name    string
	Version string
	Summary string
	// columns of Batch.Nodes that it reads, and "links" where it reads those: it is told no others. One that names none
	// is told all columns and no links.
	Needs           []string
	Deterministic   bool
	OwnsFirstHolder bool // its FirstHolderWeight replaces the planner's own
	Settings        []Setting
}

// Batch is what a strategy is asked: columns, one entry per candidate node. Bytes, bytes per second, seconds.
type Batch struct {
	Objective string       `json:"objective"` // "time", "cost" or "blend"
	Seed      uint64       `json:"seed"`
	File      BatchFile    `json:"file"`
	Replicas  int          `json:"replicas"`
	Nodes     NodeColumns  `json:"nodes"`
	Links     []BatchLink  `json:"links,omitempty"`  // between candidates, by index
	Trunks    []BatchTrunk `json:"trunks,omitempty"` // between zones
}

// BatchFile is the job: what is to be stored, in classes of runs that share holders and constraints.
type BatchFile struct {
	Size    Size         `json:"size"`
	RunSize Size         `json:"run_size"`
	Classes []BatchClass `json:"classes,omitempty"`
}

// BatchClass is a class of runs; Holders index into NodeColumns.
type BatchClass struct {
	Count   int   `json:"count"`
	Size    Size  `json:"size"`
	Holders []int `json:"holders,omitempty"`
}

// NodeColumns are the candidates, source excluded. All slices have the same length. A Rate of 0 is unlimited.
type NodeColumns struct {
	ID            []string            `json:"id"`
	Zone          []string            `json:"zone,omitempty"`
	Labels        []map[string]string `json:"labels,omitempty"`
	Free          []Size              `json:"free,omitempty"`
	Total         []Size              `json:"total,omitempty"`
	Uplink        []Rate              `json:"uplink,omitempty"`
	Downlink      []Rate              `json:"downlink,omitempty"`
	Link          []Rate              `json:"link,omitempty"`        // from the source to this node
	Delay         []float64           `json:"delay,omitempty"`       // seconds, from the source
	PriceStore    []float64           `json:"price_store,omitempty"` // per stored byte
	PriceSend     []float64           `json:"price_send,omitempty"`  // per sent byte
	AnnualFailure []float64           `json:"annual_failure,omitempty"`
	Uptime        []float64           `json:"uptime,omitempty"`
	Load          []float64           `json:"load,omitempty"`
	// further columns by name: every label that is a number at some candidate, 0 where it is none. Who reads one needs
	// numbers.NAME
	Numbers map[string][]float64 `json:"numbers,omitempty"`
}

// Len is the number of candidates.
func (c NodeColumns) Len() int { return len(c.ID) }

// BatchLink is the capacity from one candidate to another.
type BatchLink struct {
	From int  `json:"from"`
	To   int  `json:"to"`
	Rate Rate `json:"rate"`
}

// BatchTrunk is a cap shared by all links from one zone to another.
type BatchTrunk struct {
	From string `json:"from"`
	To   string `json:"to"`
	Rate Rate   `json:"rate"`
}

// Scores is a strategy's answer. An empty column means "no opinion"; any other has one entry per candidate.
type Scores struct {
	Allow             []bool     `json:"allow,omitempty"`
	PlaceCost         []float64  `json:"place_cost,omitempty"`          // per byte, lower is better, finite, >= 0
	TargetWeight      []float64  `json:"target_weight,omitempty"`       // finite, >= 0: how quotas are shared where costs do not decide
	QuotaCap          []Size     `json:"quota_cap,omitempty"`           // >= 0
	FirstHolderWeight []float64  `json:"first_holder_weight,omitempty"` // finite, >= 0: who is given first copies first
	Spread            Spread     `json:"spread,omitzero"`
	Redundancy        Redundancy `json:"redundancy,omitzero"`
	// "cost" where its order of nodes is to hold whatever time it takes, "time" or empty where it is to give way; the
	// user has the last word
	Objective string   `json:"objective,omitzero"`
	Explain   []string `json:"explain,omitempty"` // per candidate, shown by --explain
}

// Redundancy raises the number of copies above what was asked for; it never lowers it. Shards have a redundancy of
// their own.
type Redundancy struct {
	Replicas int    `json:"replicas,omitzero"` // at least so many copies; 0 for as many as were asked for
	Why      string `json:"why,omitzero"`      // for a person
}

// Spread limits how many copies one domain may hold.
type Spread struct {
	Level string `json:"level,omitzero"` // "" or "zone"
	Max   int    `json:"max,omitzero"`
}

// Asked is a question that a strategy was asked, and its answer.
type Asked struct {
	Strategy string `json:"strategy"` // as it was asked for; a list of several answers as one
	Batch    Batch  `json:"batch"`
	Scores   Scores `json:"scores"`
}
