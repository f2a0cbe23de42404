// SPDX-License-Identifier: Apache-2.0

package render

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"slices"

	svg "github.com/ajstarks/svgo"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan/saved"
	"github.com/bkp-tool/bkp/core/sim"
)

// Picture is a network and what moves over it, as --plot draws it: nodes on a circle, links between them, and beside
// them when each node is done.
type Picture struct {
	title string
	nodes []drawnNode
	links []drawnLink // of a capacity
	flows []drawnFlow
	marks []mark // moments that bars are held against
}

type drawnNode struct {
	name, zone, note string
	source, lost     bool
	start, end       float64 // seconds between its first and its last run; end 0: it gets nothing
}

type drawnLink struct {
	from, to int
	rate     core.Rate // 0: nothing limits it
}

type drawnFlow struct {
	from, to int
	bytes    core.Size
}

type mark struct {
	name string
	at   float64
}

const (
	pictureWidth = 1280
	circleAt     = 400 // both coordinates of the circle's middle
	circleRadius = 250
	barsFrom     = 960 // where the bars of the right half begin
	barsWidth    = 280
	fewLinks     = 400 // up to so many links are drawn without a flow
)

// SVG draws it.
func (p Picture) SVG() []byte {
	var b bytes.Buffer
	d := &drawing{SVG: svg.New(&b), Picture: p}
	d.order()
	row := max(12, min(24, 640/max(1, len(p.nodes))))
	height := max(2*circleAt, 120+row*len(p.nodes)) + 60
	d.Start(pictureWidth, height, `font-family="sans-serif" font-size="12"`)
	d.Rect(0, 0, pictureWidth, height, "fill:white")
	d.Text(30, 36, p.title, "font-size:18px")
	d.drawLinks()
	d.drawFlows()
	d.drawNodes()
	d.drawBars(row)
	d.legend(height - 30)
	d.End()
	return b.Bytes()
}

// drawing is a picture on its way to SVG.
type drawing struct {
	*svg.SVG
	Picture
	sorted []int // nodes around the circle and down the bars: the source, then zone by zone
	seat   []int // by node
	colour map[string]string
}

func (d *drawing) order() {
	for i := range d.nodes {
		d.sorted = append(d.sorted, i)
	}
	slices.SortStableFunc(d.sorted, func(a, b int) int {
		x, y := d.nodes[a], d.nodes[b]
		if x.source != y.source {
			return map[bool]int{true: -1, false: 1}[x.source]
		}
		return cmp.Compare(x.zone, y.zone)
	})
	d.seat, d.colour = make([]int, len(d.nodes)), map[string]string{}
	for k, i := range d.sorted {
		d.seat[i] = k
		if z := d.nodes[i].zone; d.colour[z] == "" {
			d.colour[z] = fmt.Sprintf("hsl(%d,55%%,55%%)", (210+137*len(d.colour))%360)
		}
	}
}

// at is where a node stands, times as far from the middle as the circle.
func (d *drawing) at(i int, times float64) (x, y int) {
	angle := 2*math.Pi*float64(d.seat[i])/float64(len(d.nodes)) - math.Pi/2
	return circleAt + int(times*circleRadius*math.Cos(angle)), circleAt + int(times*circleRadius*math.Sin(angle))
}

func (d *drawing) drawLinks() {
	widest := core.Rate(1)
	for _, l := range d.links {
		widest = max(widest, l.rate)
	}
	sent := map[[2]int]bool{}
	for _, f := range d.flows {
		sent[[2]int{f.from, f.to}] = true
	}
	for _, l := range d.links {
		if len(d.links) > fewLinks && !sent[[2]int{l.from, l.to}] {
			continue
		}
		width := 8.0
		if l.rate > 0 {
			width = max(0.6, 8*math.Sqrt(float64(l.rate)/float64(widest)))
		}
		d.curve(l.from, l.to, fmt.Sprintf("stroke:#ccc;stroke-width:%.1f;fill:none;stroke-opacity:0.7", width))
	}
}

func (d *drawing) drawFlows() {
	most := core.Size(1)
	for _, f := range d.flows {
		most = max(most, f.bytes)
	}
	flows := slices.Clone(d.flows)
	slices.SortStableFunc(flows, func(a, b drawnFlow) int { return cmp.Compare(a.bytes, b.bytes) }) // thick ones on top
	for _, f := range flows {
		part := float64(f.bytes) / float64(most)
		colour := "#333"
		if !d.nodes[f.from].source {
			colour = d.colour[d.nodes[f.from].zone]
		}
		d.curve(f.from, f.to, fmt.Sprintf("stroke:%s;stroke-width:%.1f;fill:none;stroke-opacity:%.2f", colour,
			0.5+4*part, 0.35+0.6*part))
		d.arrow(f.from, f.to, colour, 4+5*part)
	}
}

// bend is the middle point of the curve from one node to another: to the right of the way, so that two ways do not
// meet.
func (d *drawing) bend(from, to int) (x, y float64) {
	x1, y1 := d.at(from, 1)
	x2, y2 := d.at(to, 1)
	dx, dy := float64(x2-x1), float64(y2-y1)
	return float64(x1+x2)/2 - 0.12*dy, float64(y1+y2)/2 + 0.12*dx
}

func (d *drawing) curve(from, to int, style string) {
	x1, y1 := d.at(from, 1)
	x2, y2 := d.at(to, 1)
	x, y := d.bend(from, to)
	d.Qbez(x1, y1, int(x), int(y), x2, y2, style)
}

// arrow is the head of a flow, a little before its end.
func (d *drawing) arrow(from, to int, colour string, size float64) {
	x1, y1 := d.at(from, 1)
	x2, y2 := d.at(to, 1)
	cx, cy := d.bend(from, to)
	const t = 0.9
	x := (1-t)*(1-t)*float64(x1) + 2*t*(1-t)*cx + t*t*float64(x2)
	y := (1-t)*(1-t)*float64(y1) + 2*t*(1-t)*cy + t*t*float64(y2)
	dx, dy := (1-t)*(cx-float64(x1))+t*(float64(x2)-cx), (1-t)*(cy-float64(y1))+t*(float64(y2)-cy)
	length := math.Hypot(dx, dy)
	if length == 0 {
		return
	}
	dx, dy = size*dx/length, size*dy/length
	d.Polygon([]int{int(x + dx), int(x - dx - 0.7*dy), int(x - dx + 0.7*dy)},
		[]int{int(y + dy), int(y - dy + 0.7*dx), int(y - dy - 0.7*dx)}, "fill:"+colour)
}

func (d *drawing) drawNodes() {
	for i, n := range d.nodes {
		x, y := d.at(i, 1)
		style := "fill:" + d.colour[n.zone] + ";stroke:white;stroke-width:2"
		switch {
		case n.lost:
			style = "fill:white;stroke:#c00;stroke-width:2;stroke-dasharray:3,2"
		case n.source:
			style = "fill:#333;stroke:white;stroke-width:2"
		}
		radius := 11
		if len(d.nodes) > 24 {
			radius = 7
		}
		d.Circle(x, y, radius, style)
		tx, ty := d.at(i, 1+float64(radius+7)/circleRadius)
		anchor := "middle"
		switch {
		case tx > circleAt+20:
			anchor = "start"
		case tx < circleAt-20:
			anchor = "end"
		case ty < circleAt:
			ty -= 6
		default:
			ty += 10
		}
		d.Text(tx, ty+4, n.name, "text-anchor:"+anchor)
	}
}

// drawBars shows from when to when each node receives.
func (d *drawing) drawBars(row int) {
	longest := 0.0
	for _, n := range d.nodes {
		longest = max(longest, n.end)
	}
	for _, m := range d.marks {
		longest = max(longest, m.at)
	}
	if longest == 0 {
		longest = 1
	}
	at := func(s float64) int { return barsFrom + int(barsWidth*min(s, longest)/longest) }
	top, bottom := 90, 90+row*len(d.nodes)
	for k, m := range d.marks {
		d.Line(at(m.at), top-18+14*(k%2), at(m.at), bottom+6, "stroke:#888;stroke-dasharray:4,3")
		d.Text(at(m.at)-4, top-8-18*(k%2), fmt.Sprintf("%s %s", m.name, Seconds(m.at)), "text-anchor:end;fill:#555")
	}
	for k, i := range d.sorted {
		n, y := d.nodes[i], top+row*k
		d.Text(barsFrom-8, y+row/2+4, n.name, "text-anchor:end")
		if n.end > 0 {
			d.Rect(at(n.start), y+2, max(1, at(n.end)-at(n.start)), row-4, "fill:"+d.colour[n.zone])
		}
		note := n.note
		if n.source {
			note = "source"
		}
		d.Text(barsFrom+4, y+row/2+4, note, "fill:#222;font-size:11px")
	}
	d.Line(barsFrom, top-4, barsFrom, bottom+6, "stroke:#333")
	d.Text(barsFrom, bottom+20, "0 s", "text-anchor:middle")
	d.Text(barsFrom+barsWidth, bottom+20, Seconds(longest).String(), "text-anchor:middle")
}

// legend says what widths and colours mean.
func (d *drawing) legend(y int) {
	x := 30
	var most core.Size
	for _, f := range d.flows {
		most = max(most, f.bytes)
	}
	var widest core.Rate
	for _, l := range d.links {
		widest = max(widest, l.rate)
	}
	text := fmt.Sprintf("arrows: what is sent, the thickest %s", most)
	if widest > 0 {
		text += fmt.Sprintf(" · grey: links by their bandwidth, the widest %s", widest)
	}
	d.Text(x, y, text, "fill:#555")
	zones := []string{}
	for _, i := range d.sorted {
		if z := d.nodes[i].zone; z != "" && !slices.Contains(zones, z) && len(zones) < 8 {
			zones = append(zones, z)
		}
	}
	for k, z := range zones {
		d.Circle(x+6+110*k, y+17, 6, "fill:"+d.colour[z])
		d.Text(x+18+110*k, y+21, "zone "+z, "fill:#555")
	}
}

// PlanPicture shows a plan before anything was sent.
func PlanPicture(s saved.Plan) (p Picture) {
	p.title = fmt.Sprintf("%s: %s, %s by %s", Versioned(s.Name, s.Version), Counted(s.Replicas, "replica"),
		Seconds(s.PredictedS), s.Strategy)
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

// SimPicture shows what became of a simulation.
func SimPicture(t sim.Topology, r sim.Result) (p Picture) {
	p.title = fmt.Sprintf("%s: done after %s, %.3f of the least possible", r.Name, Seconds(r.MakespanS), r.Ratio)
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
