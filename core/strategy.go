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
	Objective string // "time", "cost" or "blend"
	Seed      uint64
	File      BatchFile
	Replicas  int
	Nodes     NodeColumns
	Links     []BatchLink  // between candidates, by index
	Trunks    []BatchTrunk // between zones
}

// BatchFile is the job: what is to be stored, in classes of runs that share holders and constraints.
type BatchFile struct {
	Size    Size
	RunSize Size
	Classes []BatchClass
}

// BatchClass is a class of runs; Holders index into NodeColumns.
type BatchClass struct {
	Count   int
	Size    Size
	Holders []int
}

// NodeColumns are the candidates, source excluded. All slices have the same length. A Rate of 0 is unlimited.
type NodeColumns struct {
	ID            []string
	Zone          []string
	Labels        []map[string]string
	Free          []Size
	Total         []Size
	Uplink        []Rate
	Downlink      []Rate
	Link          []Rate    // from the source to this node
	Delay         []float64 // seconds, from the source
	PriceStore    []float64 // per stored byte
	PriceSend     []float64 // per sent byte
	AnnualFailure []float64
	Uptime        []float64
	Load          []float64
	// further columns by name: every label that is a number at some candidate, 0 where it is none. Who reads one needs
	// numbers.NAME
	Numbers map[string][]float64
}

// Len is the number of candidates.
func (c NodeColumns) Len() int { return len(c.ID) }

// BatchLink is the capacity from one candidate to another.
type BatchLink struct {
	From, To int
	Rate     Rate
}

// BatchTrunk is a cap shared by all links from one zone to another.
type BatchTrunk struct {
	From, To string
	Rate     Rate
}

// Scores is a strategy's answer. An empty column means "no opinion"; any other has one entry per candidate.
type Scores struct {
	Allow             []bool
	PlaceCost         []float64 // per byte, lower is better, finite, >= 0
	TargetWeight      []float64 // finite, >= 0: how quotas are shared where costs do not decide
	QuotaCap          []Size    // >= 0
	FirstHolderWeight []float64 // finite, >= 0: who is given first copies first
	Spread            Spread
	Redundancy        Redundancy
	// "cost" where its order of nodes is to hold whatever time it takes, "time" or empty where it is to give way; the
	// user has the last word
	Objective string
	Explain   []string // per candidate, shown by --explain
}

// Redundancy raises the number of copies above what was asked for; it never lowers it. Shards have a redundancy of
// their own.
type Redundancy struct {
	Replicas int    // at least so many copies; 0 for as many as were asked for
	Why      string // for a person
}

// Spread limits how many copies one domain may hold.
type Spread struct {
	Level string // "" or "zone"
	Max   int
}
