// SPDX-License-Identifier: Apache-2.0

package render

import (
	"fmt"
	"math"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/plan/saved"
)

// drawPlan shows who keeps what at which cost, who is left out, and how good the plan is.
func drawPlan(t *Table, r control.PlaceResult, explain bool) {
	header := []string{"node", "address", "keeps", "runs", "had", perGiB}
	if explain {
		header = append(header, "done by", "why")
	}
	if !r.DryRun {
		header = append(header, "took")
	}
	t.Header(header...)
	t.Below("why")
	t.Spare("runs", "had", perGiB)
	for _, p := range r.Placements {
		cells := []any{p.Node, p.Address, p.Bytes, p.Runs, p.Reused, gib(p.Cost)}
		if explain {
			cells = append(cells, Seconds(p.FinishS), p.Explain)
		}
		if !r.DryRun {
			cells = append(cells, duration(p.Seconds))
		}
		t.Row(cells...)
	}
	if len(r.Refused) > 0 {
		t.Line("")
		t.Header("left out", "address", "because")
		t.Below("because")
		for _, x := range r.Refused {
			t.Row(x.Node, x.Address, x.Reason)
		}
	}
	t.Line("")
	if explain {
		drawFlows(t, r)
		drawTimes(t, r)
		drawRisk(t, r)
	} else if len(r.Flows) > 0 {
		t.Line("predicted %s (%s of it to fill the pipeline), least possible %s, ratio %.2f, bound by %s",
			Seconds(r.PredictedS), Seconds(r.FillS), Seconds(r.BoundS), r.Ratio, r.Binding)
	}
	if r.Raised != "" {
		t.Line("%s: %s", Counted(r.Replicas, "replica"), r.Raised)
	}
	t.Line("%s of stored bytes, %s of them new, in %s and %s", r.Bytes, r.NewBytes, Counted(r.Runs, "run"),
		Counted(r.Segments, "segment"))
}

// perGiB heads costs: in the strategy's own unit, which is seconds for some and money for others, for a GiB.
const perGiB = "cost/GiB"

// gib is a cost for a GiB, of one for a byte.
func gib(cost float64) float64 { return cost * float64(core.GiB) }

// drawFlows shows what goes over each link.
func drawFlows(t *Table, r control.PlaceResult) {
	if len(r.Flows) == 0 {
		t.Line("Nothing has to be sent.")
		return
	}
	address := map[core.ID]string{}
	for _, p := range r.Placements {
		address[p.Node] = fmt.Sprintf("%s %s", p.Node.Short(), p.Address)
	}
	name := func(id core.ID) string {
		if a, ok := address[id]; ok {
			return a
		}
		return "this machine" // all others that send keep what they send
	}
	t.Header("sends", "to", "bytes", "rate")
	for _, f := range r.Flows {
		t.Row(name(f.From), name(f.To), f.Bytes, f.Rate)
	}
	t.Line("")
}

// drawTimes shows how long the plan takes, and how long any plan would.
func drawTimes(t *Table, r control.PlaceResult) {
	flows := r.PredictedS - r.FillS
	t.Header("time", "", "")
	t.Row("predicted", Seconds(r.PredictedS), "until the last byte has arrived")
	t.Row("pipeline fill", Seconds(r.FillS), "of it, since runs are passed on whole")
	t.Row("least possible", Seconds(r.BoundS), "bound by "+r.Binding)
	t.Row("ratio", fmt.Sprintf("%.3f", r.Ratio), "predicted without the fill, to the least possible")
	t.Row("over the least", Seconds(max(0, flows-r.BoundS)), "of it, since the plan's slowest flow takes longer")
	t.Row("wire", Seconds(flows*(1-1/core.WireOverhead)), "of it, for headers and TLS: assumed")
	t.Row("control", Seconds(2*2*r.DelayS), "beside it: two round trips, as measured")
	t.Row("barrier", Seconds(barrierS), "beside it at most, to the last receipt: assumed")
	t.Row("disks", Seconds(0), "assumed to keep up")
	t.Line("")
	drawBusy(t, r)
}

// barrierS is for how many seconds a target gathers what arrived, before it makes that durable and signs for it.
const barrierS = 1

// drawBusy shows what else is under way: bandwidth that is leased already, and until when.
func drawBusy(t *Table, r control.PlaceResult) {
	if len(r.Busy) == 0 {
		return
	}
	latest := 0.0
	for _, b := range r.Busy {
		until := "nobody knows until when"
		if b.EndsS > 0 {
			until = fmt.Sprintf("for %s more, as foretold", Seconds(b.EndsS))
		}
		latest += b.EndsS
		t.Line("This machine is busy with %s %s, %s.", b.Command, b.Name, until)
	}
	if latest > 0 {
		t.Line("Begun now, this takes between %s and %s: both share what they both need.", Seconds(r.PredictedS),
			Seconds(r.PredictedS+latest))
	}
	t.Line("")
}

// drawRisk shows what the loss of nodes would mean.
func drawRisk(t *Table, r control.PlaceResult) {
	zone := "yes"
	if !r.Risk.Zones {
		zone = "no: all copies of some runs are in " + r.Risk.Zone
	}
	t.Header("loss", "")
	t.Row("of any "+Counted(r.Risk.Bears, "node"), "every run can still be fetched")
	t.Row("of "+Counted(r.Risk.Bears+1, "node"), fmt.Sprintf("loses runs for %s of %.4g possible ones",
		Counted(r.Risk.Sets, "set"), r.Risk.Of))
	t.Row("of any zone survived", zone)
	t.Line("")
}

// Difference shows what each node keeps in two plans, and what they promise.
func Difference(t *Table, d saved.Difference) {
	a, b := d.Change.A, d.Change.B
	header := []string{"node", "address", "keeps", "", "runs", "", perGiB, ""}
	if d.Same {
		header = append(header, "gets", "drops")
	}
	t.Header(header...)
	t.Spare("address")
	for _, n := range d.Nodes {
		cells := []any{n.ID, n.Address, n.A.Bytes, arrow(n.B.Bytes), n.A.Runs, arrow(n.B.Runs),
			gib(n.A.Cost), arrow(gib(n.B.Cost))}
		if d.Same {
			cells = append(cells, n.Got, n.Let)
		}
		t.Row(cells...)
	}
	t.Line("")
	t.Header("", "before", "after")
	t.Row("version", Versioned(a.Name, a.Version), Versioned(b.Name, b.Version))
	t.Row("strategy", a.Strategy, b.Strategy)
	t.Row("replicas", a.Replicas, b.Replicas)
	t.Row("predicted", Seconds(a.PredictedS), Seconds(b.PredictedS))
	t.Row("least possible", Seconds(a.BoundS), Seconds(b.BoundS))
	t.Row("bound by", a.Binding, b.Binding)
	t.Line("")
	switch {
	case !d.Same:
		t.Line("The plans are for different runs: what moves cannot be told.")
	case d.Moved == 0:
		t.Line("No node gets a run that it did not have before.")
	default:
		t.Line("Nodes get %s that they did not have before.", Counted(d.Moved, "run"))
	}
}

// arrow points to what a value becomes.
func arrow(v any) string { return "> " + Cell(v) }

// Draw shows the plan, and what became of it where it was carried out.
func (p Placement) Draw(t *Table, explain bool) {
	r := p.PlaceResult
	if r.OnDisk != nil {
		drawOnDisk(t, r)
		return
	}
	if len(r.Frontier) > 0 {
		drawFrontier(t, r)
		return
	}
	if r.Coordinator.IsZero() || len(r.Placements) > 0 { // else nothing had to be sent to it
		drawPlan(t, r, explain || r.DryRun)
	}
	if r.DryRun {
		return
	}
	if !r.Coordinator.IsZero() {
		t.Line("%s has %s, and %d copies count beside its own: it keeps them, and this machine may go.",
			r.Coordinator.Short(), Versioned(r.Name, r.Version), r.Copies)
		drawUnexported(t, p.Exported)
		return
	}
	t.Line("Placed %s with %s in %s: %s kept, %s sent.", Versioned(r.Name, r.Version), redundancy(r.Replicas, r.Erasure),
		Seconds(r.Seconds), kept(r), r.SentBytes)
	if r.LetGo > 0 {
		t.Line("%s went from this machine: peers keep them now.", r.LetGo)
	}
	drawUnexported(t, p.Exported)
}

// drawOnDisk shows what is to travel.
func drawOnDisk(t *Table, r control.PlaceResult) {
	d, what := r.OnDisk, Versioned(r.Name, r.Version)
	if d.Folder == "" {
		t.Line("Nothing of %s is to travel: the node has all of it, as far as is known here.", what)
		return
	}
	t.Line("%s of %s for node %s %s stand in %s, in %s (%s written in %s).", d.Bytes, what, d.Node.Short(), d.Address,
		d.Folder, Counted(d.Runs, "run"), d.Written, Seconds(d.Seconds))
	if d.Kept > 0 {
		t.Line("%s of it that node has already.", d.Kept)
	}
	if d.Rest > 0 {
		t.Line("%s are not on this machine: they go over the link.", d.Rest)
	}
	t.Line("Until %s, there: bkp node import DIR; then, here: bkp place %s",
		time.Unix(d.Expires, 0).Format(time.DateOnly), what)
}

// drawFrontier shows plans to choose from.
func drawFrontier(t *Table, r control.PlaceResult) {
	t.Header("predicted", "cost", "nodes", "as")
	for i, f := range r.Frontier {
		as := "--objective time"
		switch {
		case i == len(r.Frontier)-1 && i > 0:
			as = "--objective cost"
		case i > 0:
			as = fmt.Sprintf("--objective cost --deadline %.0f", math.Ceil(f.DeadlineS*1.001))
		}
		t.Row(Seconds(f.PredictedS), f.Cost, f.Nodes, as)
	}
	t.Line("")
	if len(r.Frontier) == 1 {
		t.Line("By strategy %s, nothing that takes longer costs less.", r.Strategy)
	}
	t.Line("least possible %s, bound by %s; cost is all new copies, by strategy %s", Seconds(r.BoundS), r.Binding, r.Strategy)
}

// redundancy is how a version is kept: as copies, or in stripes.
func redundancy(replicas int, code core.Erasure) string {
	if code.IsZero() {
		return Counted(replicas, "replica")
	}
	return "stripes of " + code.String()
}

// drawUnexported tells who has no copy of the identity to take one.
func drawUnexported(t *Table, exported bool) {
	if !exported {
		t.Line("Nobody can fetch this without the identity. Keep a copy of it elsewhere: bkp key export -o FILE")
	}
}

// Placement is a placement's result and whether a copy of the identity was ever taken.
type Placement struct {
	control.PlaceResult
	Exported bool `json:"identity_exported"`
}

func kept(r control.PlaceResult) (sum core.Size) {
	for _, p := range r.Placements {
		sum += p.Bytes
	}
	return sum
}
