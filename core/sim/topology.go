package sim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"slices"

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
}

// file is a topology as it is written. Whatever is null or absent is unlimited. Rates are payload bytes a second.
type file struct {
	Schema, Name string
	File         struct {
		Bytes core.Size
		Chunk core.Size `json:"chunk_bytes"`
	}
	Nodes []struct {
		ID       string
		Up, Down *float64
		Space    *core.Size
		Zone     string
		Price    float64
		AFR      float64
	}
	Mesh  *struct{ BW *float64 }
	Links []struct {
		From, To string
		BW       *float64
	}
	Trunks []struct {
		From string `json:"from_zone"`
		To   string `json:"to_zone"`
		BW   *float64
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

// Read parses a topology file of Schema.
func Read(data []byte) (Topology, error) {
	var f file
	if err := json.NewDecoder(bytes.NewReader(data)).Decode(&f); err != nil {
		return Topology{}, fmt.Errorf("topology: %w", err)
	}
	if f.Schema != Schema {
		return Topology{}, fmt.Errorf("topology: schema %q is not known (want %s)", f.Schema, Schema)
	}
	r := &reader{file: f, index: map[string]int{}}
	t := Topology{Name: f.Name, RunSize: f.File.Chunk, Bound: f.Bound.Seconds}
	t.Network = r.network()
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
	err   error
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

// rate is wire bytes a second. A rate of 0 in the file carries next to nothing; it must not become unlimited.
func (r *reader) rate(payload *float64) core.Rate {
	switch {
	case payload == nil:
		return 0
	case *payload < 0 || *payload > 1e15 || math.IsNaN(*payload):
		r.fail("a bandwidth of %v makes no sense", *payload)
		return 1
	}
	return max(1, core.Rate(math.Round(*payload*core.WireOverhead)))
}

func (r *reader) network() (s core.Snapshot) {
	if r.File.Bytes <= 0 {
		r.fail("the file has %d bytes", r.File.Bytes)
	}
	for i, n := range r.Nodes {
		if _, twice := r.index[n.ID]; twice || n.ID == "" {
			r.fail("node %d has no name of its own: %q", i, n.ID)
		}
		r.index[n.ID] = i
		state := core.NodeState{Labels: map[string]string{"name": n.ID, "price_store": fmt.Sprint(n.Price), "afr": fmt.Sprint(n.AFR)},
			Zone: n.Zone, Up: r.rate(n.Up), Down: r.rate(n.Down), Free: core.TiB << 10}
		if n.Space != nil {
			state.Free = *n.Space
		}
		if state.Free < 0 {
			r.fail("node %s has %d bytes of space", n.ID, state.Free)
		}
		state.Total = state.Free
		copy(state.ID[:], n.ID)
		s.Nodes = append(s.Nodes, state)
	}
	if r.Mesh != nil && (r.Mesh.BW != nil || len(r.Links) > 0) {
		for from := range r.Nodes {
			for to := range r.Nodes {
				if from != to {
					s.Links = append(s.Links, core.LinkState{From: from, To: to, Rate: r.rate(r.Mesh.BW)})
				}
			}
		}
	}
	for _, l := range r.Links {
		link := core.LinkState{From: r.node(l.From), To: r.node(l.To), Rate: r.rate(l.BW)}
		if link.From == link.To {
			r.fail("a link leads from %s to itself", l.From)
		}
		s.Links = append(s.Links, link)
	}
	if r.Mesh == nil && len(s.Links) == 0 {
		r.fail("there is neither a mesh nor a link")
	}
	for _, t := range r.Trunks {
		s.Trunks = append(s.Trunks, core.TrunkState{From: t.From, To: t.To, Rate: r.rate(t.BW)})
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
		for _, c := range d.Classes {
			part, ok := new(big.Rat).SetString(c.Fraction)
			if !ok || part.Sign() <= 0 {
				r.fail("a class has the fraction %q of the file", c.Fraction)
				continue
			}
			size, _ := part.Mul(part, new(big.Rat).SetInt64(int64(r.File.Bytes))).Float64()
			g.Parts = append(g.Parts, plan.Part{Size: core.Size(math.Round(size)), Holders: r.nodes(c.Holders)})
		}
		g.K = max(1, g.K)
		return g
	case plan.Broadcast, plan.Replicas, plan.Shards:
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
