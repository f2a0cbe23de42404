package main

import (
	"fmt"

	"github.com/bkp-tool/bkp/core/plan"
	"github.com/bkp-tool/bkp/core/sim"
	"github.com/urfave/cli/v2"
)

func plotFlag() cli.Flag {
	return textFlag("plot", "", "draw nodes, links, flows and finish times to `FILE.svg`")
}

// plot writes a picture where --plot asks for one.
func (c *call) plot(p picture) error {
	path := c.String("plot")
	if path == "" {
		return nil
	}
	if err := c.writeOutput(path, p.svg()); err != nil {
		return fmt.Errorf("--plot: %w", err)
	}
	return nil
}

// pictureOfPlan shows a plan before anything was sent.
func pictureOfPlan(s plan.Saved) (p picture) {
	p.title = fmt.Sprintf("%s: %s, %s by %s", versioned(s.Name, s.Version), counted(s.Replicas, "replica"),
		seconds(s.PredictedS), s.Strategy)
	for i, n := range s.Nodes {
		d := drawnNode{name: n.Address, zone: n.Zone, source: i == s.Source, start: n.First, end: n.Finish}
		if d.name == "" {
			d.name = n.ID.Short()
		}
		switch {
		case d.source:
			d.name = "this machine"
		case n.Runs > 0:
			d.note = n.Bytes.String()
		}
		p.nodes = append(p.nodes, d)
	}
	for _, l := range s.Links {
		p.links = append(p.links, drawnLink{l.From, l.To, l.Rate})
	}
	for _, f := range s.Flows {
		p.flows = append(p.flows, drawnFlow{f.From, f.To, f.Bytes})
	}
	p.marks = []mark{{"least possible", s.BoundS}, {"predicted", s.PredictedS}}
	return p
}

// pictureOfSim shows what became of a simulation.
func pictureOfSim(t sim.Topology, r sim.Result) (p picture) {
	p.title = fmt.Sprintf("%s: done after %s, %.3f of the least possible", r.Name, seconds(r.MakespanS), r.Ratio)
	for i, n := range r.Nodes {
		d := drawnNode{name: n.Node, zone: n.Zone, source: i == t.Network.Source, lost: n.Lost, end: n.Finish}
		if n.Bytes > 0 {
			d.note = n.Bytes.String()
		}
		p.nodes = append(p.nodes, d)
	}
	for _, l := range t.Network.Links {
		p.links = append(p.links, drawnLink{l.From, l.To, l.Rate})
	}
	for _, u := range r.Links {
		p.flows = append(p.flows, drawnFlow{t.Node(u.From), t.Node(u.To), u.Bytes})
	}
	p.marks = []mark{{"least possible", r.BoundS}, {"predicted", r.PredictedS}}
	return p
}
