// SPDX-License-Identifier: Apache-2.0

// Package saved is plans in files: one is written down, read strictly, compared with another, and carried out as it
// was, or refused with what differs now.
package saved

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Schema is the format of plan files that Read understands.
const Schema = "bkp-plan/1"

// Plan is a plan in a file: what it was made for, the network that it counts on, who keeps what, and what that
// promises. Nodes are named by their index in Nodes, as in a snapshot; rates are wire bytes a second, 0 for no limit.
type Plan struct {
	Schema  string    `json:"schema"`
	Name    string    `json:"name"`
	Version int       `json:"version"`
	Root    core.Hash `json:"root"` // of the version's manifest
	// over the ordered hashes and sizes of all runs, new and reused: the plan is for these and no others
	Runs core.Hash `json:"runs"`

	Strategy  string  `json:"strategy"`
	Objective string  `json:"objective,omitempty"`
	Blend     float64 `json:"blend,omitempty"`
	Deadline  float64 `json:"deadline_s,omitempty"`
	Replicas  int     `json:"replicas"`

	Source  int               `json:"source"`
	Nodes   []Node            `json:"nodes"`
	Links   []Link            `json:"links"` // all of a small network, else those that the plan sends over
	Trunks  []core.TrunkState `json:"trunks,omitempty"`
	Classes []Class           `json:"classes"`
	Flows   []Flow            `json:"flows"`

	PredictedS float64 `json:"predicted_s"`
	FillS      float64 `json:"fill_s"`
	BoundS     float64 `json:"bound_s"`
	Ratio      float64 `json:"ratio"`
	Binding    string  `json:"binding"`
}

// Node is a node as it reported itself, and what the plan gives it.
type Node struct {
	ID      core.ID   `json:"id"`
	Address string    `json:"address"`
	Zone    string    `json:"zone,omitempty"`
	Free    core.Size `json:"free"`
	Total   core.Size `json:"total"`
	Up      core.Rate `json:"up"`
	Down    core.Rate `json:"down"`

	Bytes  core.Size `json:"bytes"`      // to keep
	Held   core.Size `json:"held_bytes"` // of them, there already
	Runs   int       `json:"runs"`
	Cost   float64   `json:"cost"`
	First  float64   `json:"first_s"`
	Finish float64   `json:"finish_s"`
	Why    string    `json:"why"` // it gets this much, or nothing
}

// Link is a directed link. Where a calendar changes its rate, as that of a node, it is the mean over the plan's
// time.
type Link struct {
	From int       `json:"from"`
	To   int       `json:"to"`
	Rate core.Rate `json:"rate"`
}

// Class is a class of runs and who is to keep which.
type Class struct {
	Runs   int       `json:"runs"`
	Bytes  core.Size `json:"bytes"`
	Spans  []Span    `json:"spans"`
	Relays []Span    `json:"relays,omitempty"` // what nodes pass on and do not keep
}

// Span gives consecutive runs to Node. From is the node that sends them, Node itself where it keeps them already.
type Span struct {
	Node   int `json:"node"`
	From   int `json:"from"`
	Start  int `json:"start"`
	Length int `json:"length"`
}

// Flow is what one node sends another.
type Flow struct {
	From  int       `json:"from"`
	To    int       `json:"to"`
	Bytes core.Size `json:"bytes"`
	Rate  core.Rate `json:"rate"`
}

// About is what a plan is for, as far as the planner itself does not know it.
type About struct {
	Name     string
	Version  int
	Root     core.Hash
	Runs     core.Hash
	Strategy string
}

// allLinks is up to how many links are saved though the plan does not use them.
const allLinks = 64 * 63

// Of writes down the plan that Place made of a request. Shards are not saved: no placement of files has them.
func Of(about About, req plan.Request, p *plan.Plan) Plan {
	if req.Snapshot.Changes() {
		req.Snapshot = req.Snapshot.Over(p.PredictedS)
	}
	s := Plan{Schema: Schema, Name: about.Name, Version: about.Version, Root: about.Root, Runs: about.Runs,
		Strategy:  about.Strategy,
		Objective: cmp.Or(req.Objective, req.Scores.Objective), Blend: req.Blend, Deadline: req.Deadline,
		Replicas: p.Replicas, Source: req.Snapshot.Source,
		Trunks: slices.Clone(req.Snapshot.Trunks), PredictedS: p.PredictedS, FillS: p.FillS, BoundS: p.BoundS,
		Ratio: p.Ratio, Binding: p.Binding}
	for _, n := range req.Snapshot.Nodes {
		s.Nodes = append(s.Nodes, Node{ID: n.ID, Address: n.Address, Zone: n.Zone, Free: n.Free, Total: n.Total,
			Up: n.Up, Down: n.Down})
	}
	for _, row := range p.Nodes {
		n := &s.Nodes[row.Node]
		n.Bytes, n.Held, n.Runs, n.Cost, n.First, n.Finish, n.Why = row.Bytes, row.Held, row.Runs, row.Cost, row.First,
			row.Finish, row.Explain
	}
	for _, r := range p.Refused {
		s.Nodes[r.Node].Why = r.Reason
	}
	used := map[[2]int]bool{}
	for _, f := range p.Flows {
		s.Flows = append(s.Flows, Flow(f))
		used[[2]int{f.From, f.To}] = true
	}
	for _, l := range req.Snapshot.Links {
		if len(req.Snapshot.Links) <= allLinks || used[[2]int{l.From, l.To}] {
			s.Links = append(s.Links, Link{l.From, l.To, l.Rate})
		}
	}
	for c, spans := range p.Classes {
		class := Class{Runs: len(req.Classes[c].Runs)}
		for _, size := range req.Classes[c].Runs {
			class.Bytes += size
		}
		for _, span := range spans {
			class.Spans = append(class.Spans, Span{span.Node, span.From, span.Start, span.Length})
		}
		for _, span := range p.Relays {
			if span.Class == c {
				class.Relays = append(class.Relays, Span{span.Node, span.From, span.Start, span.Length})
			}
		}
		s.Classes = append(s.Classes, class)
	}
	return s
}

// Encode is the plan as a file.
func (s Plan) Encode() ([]byte, error) {
	data, err := json.Marshal(s, jsontext.WithIndent("  "))
	if err != nil {
		return nil, fmt.Errorf("encode plan: %w", err)
	}
	return append(data, '\n'), nil
}

// Read reads a plan file, strictly: exact names, nothing unknown or twice, and a plan that can be carried out,
// with every run as many times as Replicas says.
func Read(data []byte) (s Plan, err error) {
	if err = json.Unmarshal(bytes.TrimSpace(data), &s, json.RejectUnknownMembers(true)); err == nil {
		err = s.check()
	}
	if err != nil {
		return Plan{}, core.Fail(core.CodeUsage, "plan: %w", err)
	}
	return s, nil
}

// Limits of what a plan file may say, far beyond what Place makes.
const (
	mostNodes = 1 << 16
	mostRuns  = 1 << 31
)

func (s Plan) check() error {
	switch {
	case s.Schema != Schema:
		return fmt.Errorf("schema %q is not known (want %s)", s.Schema, Schema)
	case len(s.Nodes) > mostNodes:
		return fmt.Errorf("%d nodes, %d are allowed", len(s.Nodes), mostNodes)
	case s.Source < 0 || s.Source >= len(s.Nodes):
		return fmt.Errorf("the source is node %d of %d", s.Source, len(s.Nodes))
	case s.Replicas < 1 || s.Version < 1:
		return fmt.Errorf("%d replicas of version %d", s.Replicas, s.Version)
	}
	seen := map[core.ID]bool{}
	for i, n := range s.Nodes {
		if n.ID.IsZero() || seen[n.ID] {
			return fmt.Errorf("node %d has no ID of its own", i)
		}
		seen[n.ID] = true
		if n.Free < 0 || n.Up < 0 || n.Down < 0 || n.Bytes < 0 || n.Held < 0 || n.Held > n.Bytes {
			return fmt.Errorf("node %s has a size or rate below 0", n.ID.Short())
		}
	}
	for _, l := range s.Links {
		if !s.pair(l.From, l.To) || l.Rate < 0 {
			return fmt.Errorf("a link leads from node %d to node %d at %d", l.From, l.To, l.Rate)
		}
	}
	for _, f := range s.Flows {
		if !s.pair(f.From, f.To) || f.Rate < 0 || f.Bytes < 0 {
			return fmt.Errorf("a flow leads from node %d to node %d", f.From, f.To)
		}
	}
	for c, class := range s.Classes {
		if err := s.checkClass(class); err != nil {
			return fmt.Errorf("class %d: %w", c, err)
		}
	}
	for _, v := range []float64{s.PredictedS, s.FillS, s.BoundS, s.Ratio} {
		if math.IsNaN(v) || v < 0 {
			return fmt.Errorf("a time of %v s", v)
		}
	}
	return nil
}

// pair reports whether two numbers are two nodes.
func (s Plan) pair(from, to int) bool {
	return from >= 0 && to >= 0 && from < len(s.Nodes) && to < len(s.Nodes) && from != to
}

// checkClass makes sure that every run stands on as many nodes as there are replicas, and comes to each from the source
// or, by way of others that keep it, from who kept it before.
func (s Plan) checkClass(class Class) error {
	if class.Runs < 0 || class.Runs > mostRuns || class.Bytes < 0 {
		return fmt.Errorf("%d runs of %d bytes", class.Runs, class.Bytes)
	}
	type change struct{ at, span int } // a span begins, or, −1−span, ends
	var changes []change
	relays := map[int]bool{}
	for k, span := range slices.Concat(class.Spans, class.Relays) {
		if span.Start < 0 || span.Length < 1 || span.Start > class.Runs-span.Length {
			return fmt.Errorf("a span of %d runs from run %d lies outside its %d runs", span.Length, span.Start,
				class.Runs)
		}
		if span.Node != span.From && !s.pair(span.Node, span.From) || span.Node < 0 || span.Node >= len(s.Nodes) ||
			span.Node == s.Source {
			return fmt.Errorf("node %d is to keep runs from node %d", span.Node, span.From)
		}
		if k >= len(class.Spans) {
			relays[span.Node] = true
			continue
		}
		changes = append(changes, change{span.Start, k}, change{span.Start + span.Length, -1 - k})
	}
	slices.SortFunc(changes, func(a, b change) int {
		return cmp.Or(cmp.Compare(a.at, b.at),
			cmp.Compare(a.span, b.span))
	})
	from := map[int]int{} // of the runs here: who gets them from whom
	at := 0
	for _, ch := range changes {
		if ch.at > at {
			if err := s.checkRun(at, from, relays); err != nil {
				return err
			}
			at = ch.at
		}
		if ch.span < 0 {
			delete(from, class.Spans[-1-ch.span].Node)
			continue
		}
		span := class.Spans[ch.span]
		if _, twice := from[span.Node]; twice {
			return fmt.Errorf("node %s is to keep run %d twice", s.Nodes[span.Node].ID.Short(), ch.at)
		}
		from[span.Node] = span.From
	}
	if at < class.Runs {
		return s.checkRun(at, nil, nil)
	}
	return nil
}

// checkRun looks at one run: who gets it from whom.
func (s Plan) checkRun(run int, from map[int]int, relays map[int]bool) error {
	if len(from) != s.Replicas {
		return fmt.Errorf("run %d is kept by %d nodes, not %d", run, len(from), s.Replicas)
	}
	comes := map[int]bool{s.Source: true}
	for node, sender := range from {
		comes[node] = node == sender || relays[sender]
	}
	for range from { // as many hops as there are nodes, at most
		for node, sender := range from {
			comes[node] = comes[node] || comes[sender]
		}
	}
	for node := range from {
		if !comes[node] {
			return fmt.Errorf("run %d is to reach node %s from one that does not have it", run,
				s.Nodes[node].ID.Short())
		}
	}
	return nil
}

// sums is the bytes of all runs before each, and of all.
func sums(runs []core.Size) []core.Size {
	before := make([]core.Size, len(runs)+1)
	for i, size := range runs {
		before[i+1] = before[i] + size
	}
	return before
}
