// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"math"
	"slices"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan"
	"github.com/bkp-tool/bkp/plugins/strategies/cheapest"
	mostfree "github.com/bkp-tool/bkp/plugins/strategies/most-free"
	"github.com/bkp-tool/bkp/plugins/strategies/nearest"
	"github.com/bkp-tool/bkp/plugins/strategies/reliable"
	"github.com/bkp-tool/bkp/plugins/strategies/seed"
	zonespread "github.com/bkp-tool/bkp/plugins/strategies/zone-spread"
	"pgregory.net/rapid"
)

// What each strategy's name says holds on random networks. A plan moves whole runs, so that a node may have one more or
// less than its share.

const largestRun core.Size = 4000

// job is a file for a random mesh of nodes with labels: the source is the first.
type job struct {
	nodes []core.NodeState
	runs  plan.Class
	all   core.Size // of the runs
	want  int       // copies
}

func drawJob(t *rapid.T, rates bool) job {
	j := job{nodes: make([]core.NodeState, 1), want: rapid.IntRange(1, 3).Draw(t, "copies")}
	for _, size := range rapid.SliceOfN(rapid.IntRange(1000, int(largestRun)), 20, 100).Draw(t, "runs") {
		j.runs.Runs = append(j.runs.Runs, core.Size(size))
		j.all += core.Size(size)
	}
	number := func(name string, of ...string) string { return rapid.SampledFrom(of).Draw(t, name) }
	for i := range rapid.IntRange(j.want, 10).Draw(t, "nodes") {
		n := core.NodeState{Free: core.Size(rapid.IntRange(1000, 500_000).Draw(t, "free")), Total: 500_000,
			Zone:  rapid.SampledFrom([]string{"", "a", "b", "c"}).Draw(t, "zone"),
			Delay: float64(rapid.IntRange(0, 100).Draw(t, "delay")) / 1000,
			Labels: map[string]string{"price_store": number("store", "1e-9", "3e-9", "7e-9"),
				"price_send": number("send", "0", "2e-9"), "afr": number("afr", "0", "0.01", "0.1", "0.3")}}
		n.ID[0] = byte(i + 1)
		j.nodes = append(j.nodes, n)
	}
	for i := range j.nodes {
		if rates {
			j.nodes[i].Up = core.Rate(rapid.SampledFrom([]int{10_000, 30_000, 100_000}).Draw(t, "up"))
			j.nodes[i].Down = core.Rate(rapid.SampledFrom([]int{20_000, 100_000}).Draw(t, "down"))
		}
	}
	return j
}

// request asks a strategy, as a placement does.
func (j job) request(t *rapid.T, s core.Strategy) plan.Request {
	r := plan.Request{Snapshot: core.Snapshot{Nodes: j.nodes}, Classes: []plan.Class{j.runs}, Replicas: j.want}
	if s == nil {
		return r
	}
	batch, _ := plan.BatchOf(r.Snapshot, r.Classes, r.Replicas)
	info, err := s.Describe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	scores, err := s.Score(t.Context(), batch)
	if err == nil {
		err = plan.CheckScores(batch, scores)
	}
	if err != nil {
		t.Fatal(err)
	}
	r.Info, r.Scores = info, scores
	return r
}

// keeps is what each node gets of a plan.
func (j job) keeps(p *plan.Plan) []core.Size {
	keeps := make([]core.Size, len(j.nodes))
	for _, row := range p.Nodes {
		keeps[row.Node] = row.Bytes
	}
	return keeps
}

// inOrder fails where a node is used though one that comes before it has room.
func (j job) inOrder(t *rapid.T, p *plan.Plan, comes func(core.NodeState) float64) {
	keeps := j.keeps(p)
	for i, n := range j.nodes[1:] {
		room := min(n.Free, j.all) - keeps[i+1]
		for k, other := range j.nodes[1:] {
			if comes(n) < comes(other) && room > largestRun && keeps[k+1] > largestRun {
				t.Fatalf("node %d (%v) has room for %d, and node %d (%v) is used: %v of %d", i+1, comes(n), room, k+1,
					comes(other), keeps, j.all)
			}
		}
	}
}

// TestNearestSkipsNobody: no nearer node with room is passed over.
func TestNearestSkipsNobody(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		j := drawJob(t, rapid.Bool().Draw(t, "rates"))
		if p, err := plan.Place(j.request(t, nearest.New())); err == nil {
			j.inOrder(t, p, func(n core.NodeState) float64 { return math.Floor(n.Delay / 0.005) })
		}
	})
}

func price(n core.NodeState) float64 {
	return map[string]float64{"1e-9": 1, "3e-9": 3, "7e-9": 7}[n.Labels["price_store"]] +
		map[string]float64{"0": 0, "2e-9": 2}[n.Labels["price_send"]]
}

// TestCheapestIsTheLeast: the cheapest nodes are full before a dearer one is used; and with a deadline the cost is the
// less the later it is, never above that of the soonest plan.
func TestCheapestIsTheLeast(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		j := drawJob(t, true)
		r := j.request(t, cheapest.New())
		free, err := plan.Place(r)
		if err != nil {
			return
		}
		j.inOrder(t, free, price)
		cost := func(p *plan.Plan) (sum float64) {
			for i, bytes := range j.keeps(p) {
				if i > 0 {
					sum += price(j.nodes[i]) * float64(bytes)
				}
			}
			return sum
		}
		before := math.Inf(1)
		for _, times := range []float64{1.1, 1.5, 2.5} {
			if r.Deadline = times * free.BoundS; r.Deadline == 0 {
				return
			}
			p, err := plan.Place(r)
			if err != nil {
				continue
			}
			wide := float64(len(j.nodes)*int(largestRun)) * 9 // a run each, at the highest price
			if got := cost(p); got > before+wide || got < cost(free)-wide {
				t.Fatalf("with %.1f times the bound it costs %.0f; with less %.0f, without a deadline %.0f", times, got, before,
					cost(free))
			} else {
				before = got
			}
		}
	})
}

// TestMostFreeIsInProportion: where no link binds, each node keeps a share by its free space, but no run twice.
func TestMostFreeIsInProportion(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		j := drawJob(t, false)
		for i := range j.nodes {
			j.nodes[i].Zone = ""
			j.nodes[i].Free += 3 * largestRun // one run more or less is not all that it has
		}
		p, err := plan.Place(j.request(t, mostfree.New()))
		if err != nil {
			return
		}
		keeps := j.keeps(p)
		for i, n := range j.nodes[1:] {
			for k, other := range j.nodes[1:] {
				full := j.all - keeps[i+1] // it has every run, about: its share goes to others
				if full <= largestRun || keeps[k+1] <= largestRun {
					continue
				}
				// Of two nodes the one with more free is not the one with clearly less to keep for it.
				if has, others := float64(keeps[i+1])/float64(n.Free), float64(keeps[k+1])/float64(other.Free); has+
					float64(2*largestRun)/float64(n.Free) < others-float64(2*largestRun)/float64(other.Free) {
					t.Fatalf("node %d keeps %d of %d free, node %d %d of %d: %v", i+1, keeps[i+1], n.Free, k+1, keeps[k+1],
						other.Free, keeps)
				}
			}
		}
	})
}

// TestZoneSpreadKeepsCopiesApart: no run has two copies in a zone, and where that is asked for in vain there is no
// plan.
func TestZoneSpreadKeepsCopiesApart(t *testing.T) {
	planned := 0
	rapid.Check(t, func(t *rapid.T) {
		j := drawJob(t, true)
		p, err := plan.Place(j.request(t, zonespread.New()))
		if err != nil {
			return
		}
		planned++
		for run := range j.runs.Runs {
			var zones []string
			for _, s := range p.Classes[0] {
				if zone := j.nodes[s.Node].Zone; run >= s.Start && run < s.End() && zone != "" {
					if slices.Contains(zones, zone) {
						t.Fatalf("run %d is twice in zone %s", run, zone)
					}
					zones = append(zones, zone)
				}
			}
		}
	})
	if planned == 0 {
		t.Error("nothing was planned")
	}
}

// TestReliableBearsTheWorst: the nodes that would lose a run most likely, all of those that keep it, lose it with a
// chance of 1 in 1,000 a year at most, or it is on all that are allowed.
func TestReliableBearsTheWorst(t *testing.T) {
	planned := 0
	rapid.Check(t, func(t *rapid.T) {
		j := drawJob(t, true)
		r := j.request(t, reliable.New())
		p, err := plan.Place(r)
		if err != nil {
			return
		}
		planned++
		allowed := 0
		for i := range j.nodes[1:] {
			if len(r.Scores.Allow) == 0 || r.Scores.Allow[i] {
				allowed++
			}
		}
		for run := range j.runs.Runs {
			chance, copies := 1.0, 0
			for _, s := range p.Classes[0] {
				if run >= s.Start && run < s.End() {
					chance *= map[string]float64{"0": 0, "0.01": 0.01, "0.1": 0.1, "0.3": 0.3}[j.nodes[s.Node].Labels["afr"]]
					copies++
				}
			}
			if copies < j.want || chance > 0.001+1e-12 && copies < allowed {
				t.Fatalf("run %d has %d copies of %d nodes, asked were %d, and is lost with a chance of %v", run, copies, allowed,
					j.want, chance)
			}
		}
	})
	if planned == 0 {
		t.Error("nothing was planned")
	}
}

// TestSeedCostsNoTime: what a node costs by the seed's formula chooses among plans that are as soon as the soonest,
// about.
func TestSeedCostsNoTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		j := drawJob(t, true)
		soonest, err := plan.Place(j.request(t, nil))
		if err != nil {
			return
		}
		p, err := plan.Place(j.request(t, seed.New()))
		if err != nil {
			t.Fatalf("no plan with the seed's prices: %v", err)
		}
		if run := core.Rate(10_000).Seconds(largestRun); p.PredictedS > plan.Slack*soonest.PredictedS+2*run {
			t.Fatalf("%.2f s with the seed's prices, %.2f s without", p.PredictedS, soonest.PredictedS)
		}
	})
}
