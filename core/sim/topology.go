// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan"
)

// Schema is the format of topology files that Read understands.
const Schema = "bkp-topology/1"

// Topology is a network and a job on it.
type Topology struct {
	Name    string
	Network core.Snapshot // rates count wire bytes: the file's times core.WireOverhead
	Goal    plan.Goal
	RunSize core.Size // as the file suggests it
	Bound   float64   // the file's own figure in seconds, 0 where it has none
	Start   time.Time // the moment from which Network's forecasts count; zero where no rate ever changes
}

// Monday is when virtual time begins where nothing else is said: at the beginning of a week.
var Monday = time.Date(2026, time.January, 5, 0, 0, 0, 0, time.UTC)

// file is a topology as it is written. Whatever is null or absent is unlimited. Rates are payload bytes a second, or a
// calendar of them as core.ParseCalendar reads it; a calendar without a time zone goes by that of the moment at which
// time begins.
type file struct {
	Schema, Name string
	At           string // when virtual time begins, in RFC 3339
	File         struct {
		Bytes core.Size
		Chunk core.Size `json:"chunk_bytes"`
	}
	Nodes []struct {
		ID       string
		Up, Down *allowance
		Delay    float64 // seconds that a message takes between it and the source
		Space    *core.Size
		Zone     string
		Price    float64
		AFR      float64
	}
	Mesh  *struct{ BW *allowance }
	Links []struct {
		From, To string
		BW       *allowance
	}
	Trunks []struct {
		From string `json:"from_zone"`
		To   string `json:"to_zone"`
		BW   *allowance
	}
	Source     string
	Redundancy struct {
		Mode    string
		Targets []string
		R       int
		PerZone int `json:"max_per_zone"`
		K, M    int
		Sink    string
		Classes []struct {
			Fraction string
			Holders  []string
		}
	}
	Bound struct{ Seconds float64 }
}

// allowance is a bandwidth in a file: a number, or a text that core.ParseCalendar reads.
type allowance struct {
	rate     float64
	calendar *core.Calendar // nil for a number
}

func (a *allowance) UnmarshalJSON(data []byte) error {
	if data[0] == '"' {
		return json.Unmarshal(data, &a.calendar)
	}
	return json.Unmarshal(data, &a.rate)
}

// maxShards is how many shards a run may become: erasure codes over bytes know no more.
const maxShards = 256

// Read parses a topology file of Schema. Virtual time begins at the given moment, or, where that is zero, when the file
// says, or on Monday.
func Read(data []byte, at time.Time) (Topology, error) {
	var f file
	if err := json.NewDecoder(bytes.NewReader(data)).Decode(&f); err != nil {
		return Topology{}, fmt.Errorf("topology: %w", err)
	}
	if f.Schema != Schema {
		return Topology{}, fmt.Errorf("topology: schema %q is not known (want %s)", f.Schema, Schema)
	}
	r := &reader{file: f, index: map[string]int{}, start: at}
	r.begin()
	t := Topology{Name: f.Name, RunSize: f.File.Chunk, Bound: f.Bound.Seconds}
	if t.Network = r.network(); t.Network.Changes() {
		t.Start = r.start
	}
	t.Goal = r.goal(&t.Network)
	if r.err != nil {
		return Topology{}, fmt.Errorf("topology %s: %w", f.Name, r.err)
	}
	return t, nil
}

// reader turns names into indexes. The first mistake stays in err.
type reader struct {
	file
	index map[string]int
	start time.Time
	err   error
}

// begin says when time begins.
func (r *reader) begin() {
	if !r.start.IsZero() {
		return
	}
	r.start = Monday
	if r.At != "" {
		at, err := time.Parse(time.RFC3339, r.At)
		if r.start = at; err != nil {
			r.fail("time begins at %q: write it as %s", r.At, time.RFC3339)
		}
	}
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
}

func (r *reader) node(name string) int {
	i, ok := r.index[name]
	if !ok {
		r.fail("there is no node %q", name)
	}
	return i
}

func (r *reader) nodes(names []string) (out []int) {
	for _, name := range names {
		if i := r.node(name); !slices.Contains(out, i) {
			out = append(out, i)
		}
	}
	return out
}

// rate is wire bytes a second, 0 for no limit, and how that will change.
func (r *reader) rate(a *allowance) (core.Rate, core.Forecast) {
	switch {
	case a == nil:
		return 0, nil
	case a.calendar != nil:
		ahead := a.calendar.Forecast(r.start)
		for i := range ahead {
			ahead[i].Rate = onWire(float64(ahead[i].Rate))
		}
		return onWire(float64(a.calendar.At(r.start))), ahead
	case a.rate < 0 || a.rate > 1e15 || math.IsNaN(a.rate):
		r.fail("a bandwidth of %v makes no sense", a.rate)
	}
	return max(1, onWire(a.rate)), nil // the number 0 carries next to nothing; it must not become unlimited
}

// onWire is what a payload rate comes to on the wire.
func onWire(payload float64) core.Rate { return core.Rate(math.Round(payload * core.WireOverhead)) }

func (r *reader) network() (s core.Snapshot) {
	if r.File.Bytes <= 0 || r.File.Chunk < 0 {
		r.fail("the file has %d bytes in chunks of %d", r.File.Bytes, r.File.Chunk)
	}
	for i, n := range r.Nodes {
		if _, twice := r.index[n.ID]; twice || n.ID == "" {
			r.fail("node %d has no name of its own: %q", i, n.ID)
		}
		if len(n.ID) > len(core.ID{}) {
			r.fail("the name of node %d is longer than %d bytes: %q", i, len(core.ID{}), n.ID)
		}
		r.index[n.ID] = i
		state := core.NodeState{Labels: map[string]string{"name": n.ID, "price_store": fmt.Sprint(n.Price),
			"afr": fmt.Sprint(n.AFR)},
			Zone: n.Zone, Free: core.TiB << 10}
		state.Up, state.UpAhead = r.rate(n.Up)
		state.Down, state.DownAhead = r.rate(n.Down)
		if n.Space != nil {
			state.Free = *n.Space
		}
		if state.Delay = n.Delay; !(n.Delay >= 0 && n.Delay <= 60) {
			r.fail("the delay of node %s is %v: want seconds, 60 at most", n.ID, n.Delay)
		}
		if state.Free < 0 {
			r.fail("node %s has %d bytes of space", n.ID, state.Free)
		}
		state.Total = state.Free
		copy(state.ID[:], n.ID)
		s.Nodes = append(s.Nodes, state)
	}
	if r.Mesh != nil && (r.Mesh.BW != nil || len(r.Links) > 0) {
		rate, ahead := r.rate(r.Mesh.BW)
		for from := range r.Nodes {
			for to := range r.Nodes {
				if from != to {
					s.Links = append(s.Links, core.LinkState{From: from, To: to, Rate: rate, Ahead: ahead})
				}
			}
		}
	}
	for _, l := range r.Links {
		link := core.LinkState{From: r.node(l.From), To: r.node(l.To)}
		link.Rate, link.Ahead = r.rate(l.BW)
		if link.From == link.To {
			r.fail("a link leads from %s to itself", l.From)
		}
		s.Links = append(s.Links, link)
	}
	if r.Mesh == nil && len(s.Links) == 0 {
		r.fail("there is neither a mesh nor a link")
	}
	for _, t := range r.Trunks {
		trunk := core.TrunkState{From: t.From, To: t.To}
		trunk.Rate, trunk.Ahead = r.rate(t.BW)
		s.Trunks = append(s.Trunks, trunk)
	}
	return s
}

func (r *reader) goal(s *core.Snapshot) plan.Goal {
	d := r.Redundancy
	g := plan.Goal{Mode: plan.Mode(d.Mode), Size: r.File.Bytes, Replicas: d.R, PerZone: d.PerZone, K: d.K, M: d.M}
	switch g.Mode {
	case plan.Fetch:
		g.Sink = r.node(d.Sink)
		s.Source = g.Sink
		if len(d.Classes) == 0 {
			r.fail("no class says who holds the file")
		}
		for _, c := range d.Classes {
			part, ok := new(big.Rat), false
			// 1e9 would be a number of a billion digits
			if len(c.Fraction) < 50 && !strings.ContainsAny(c.Fraction, "eEpP") {
				part, ok = part.SetString(c.Fraction)
			}
			if !ok || part.Sign() <= 0 || part.Cmp(big.NewRat(1, 1)) > 0 || len(c.Holders) == 0 {
				r.fail("a class has the fraction %q of the file at %d holders", c.Fraction, len(c.Holders))
				continue
			}
			size, _ := part.Mul(part, new(big.Rat).SetInt64(int64(r.File.Bytes))).Float64()
			g.Parts = append(g.Parts, plan.Part{Size: core.Size(math.Round(size)), Holders: r.nodes(c.Holders)})
		}
		g.K = max(1, g.K)
		return g
	case plan.Shards:
		if g.K < 1 || g.M < 0 || g.K > maxShards-g.M {
			r.fail("a code of %d and %d shards: want 1 at least, and %d at most in all", g.K, g.M, maxShards)
		}
		s.Source = r.node(r.Source)
	case plan.Broadcast, plan.Replicas:
		s.Source = r.node(r.Source)
	default:
		r.fail("redundancy mode %q is not known", d.Mode)
		return g
	}
	if g.Mode == plan.Broadcast {
		g.Targets = r.nodes(d.Targets)
		for i := range r.Nodes {
			if len(d.Targets) == 0 && i != s.Source {
				g.Targets = append(g.Targets, i)
			}
		}
	}
	return g
}

// Node is the index of the node of that name, −1 where there is none.
func (t Topology) Node(name string) int {
	return slices.IndexFunc(t.Network.Nodes, func(n core.NodeState) bool { return nameOf(n) == name })
}
