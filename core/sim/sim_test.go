// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan"
)

func topologies(t testing.TB) (all []Topology) {
	files, _ := filepath.Glob("testdata/*.json")
	for _, file := range files {
		all = append(all, open(t, file))
	}
	if len(all) < 9 {
		t.Fatalf("%d topologies", len(all))
	}
	return all
}

func open(t testing.TB, file string) Topology {
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	top, err := Read(data, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	return top
}

// TestBoundsAreThoseOfTheFiles compares with what exact rational arithmetic, or a certified interval, found for each
// topology.
func TestBoundsAreThoseOfTheFiles(t *testing.T) {
	for _, top := range topologies(t) {
		b, err := plan.LeastTime(top.Network, top.Goal)
		if err != nil {
			t.Fatal(err)
		}
		above := 1e-6
		if top.Name == "o7-rand60" {
			above = 64.0/top.Bound - 1 // the best known plan takes 63.9987 s
		}
		if b.Seconds < top.Bound*(1-1e-6) || b.Seconds > top.Bound*(1+above) {
			t.Errorf("%s: bound %v s by %s, want %v s", top.Name, b.Seconds, b.Binding, top.Bound)
		}
	}
}

func TestCloseToTheBound(t *testing.T) {
	for _, top := range topologies(t) {
		for _, c := range []struct{ wrong, most float64 }{{0, 1.05}, {0.3, 1.10}} {
			if c.wrong == 0 && len(top.Network.Nodes) > 20 {
				continue // takes long; the one with errors keeps to 1.05 too
			}
			t.Run(fmt.Sprintf("%s/error=%v", top.Name, c.wrong), func(t *testing.T) {
				r, err := Run(top, Config{Runs: 1000, Seed: 1, Error: c.wrong})
				if err != nil {
					t.Fatal(err)
				}
				if len(top.Network.Nodes) > 20 {
					c.most = 1.05
				}
				if r.Ratio > c.most || r.Ratio < 1-1e-9 || r.UndeliveredBytes > 0 || r.LostBytes > 0 {
					t.Errorf("%.4f of the bound, which may be %v; %s undelivered", r.Ratio, c.most, r.UndeliveredBytes)
				}
			})
		}
	}
}

// TestLossOfAnyNode: it ends within twice the bound, and whatever is missing was nowhere that a way leads from.
// FuzzLoss goes on.
func TestLossOfAnyNode(t *testing.T) {
	for _, top := range topologies(t) {
		t.Run(top.Name, func(t *testing.T) {
			runs, step := 60, 1
			if len(top.Network.Nodes) > 20 {
				runs, step = 30, 40
			}
			for node := 0; node < len(top.Network.Nodes); node += step {
				part := 0.1 + 0.6*float64(node%2)
				loseOne(t, top, Config{Runs: runs, Seed: 1, Lose: []Loss{{node, part * top.Bound}}})
			}
		})
	}
}

// FuzzLoss loses any node at any moment.
func FuzzLoss(f *testing.F) {
	f.Add(uint8(1), uint8(3), uint8(128), uint64(9), false)
	f.Add(uint8(3), uint8(0), uint8(30), uint64(2), true)
	all := topologies(f)
	f.Fuzz(func(t *testing.T, which, node, when uint8, seed uint64, wrong bool) {
		top := all[int(which)%len(all)]
		c := Config{Runs: 100, Seed: seed, Lose: []Loss{{int(node) % len(top.Network.Nodes),
			float64(when) / 200 * top.Bound}}}
		if wrong {
			c.Error = 0.3
		}
		loseOne(t, top, c)
	})
}

// loseOne loses a node, and looks for every copy that was wanted.
func loseOne(t testing.TB, top Topology, c Config) {
	w, r := simulate(t, top, c)
	lost := w.nodes[c.Lose[0].Node].name
	if fill := 5 / float64(c.Runs) * top.Bound; r.MakespanS > 2*r.BoundS+fill {
		t.Errorf("seed %d: %s lost at %v s: %.3f of the bound %v", c.Seed, lost, c.Lose[0].At, r.Ratio, r.BoundS)
	}
	named := map[string]bool{}
	for _, m := range r.Missing {
		named[m.Node] = true
	}
	for _, owed := range w.owed {
		to, unit := w.nodes[owed.Node], w.unit(owed)
		if to.has(unit) {
			continue
		}
		if !named[to.name] {
			t.Errorf("%s lost: %s lacks run %d, and nobody says so", lost, to.name, owed.Run)
		}
		if !to.lost && w.reachable(to, unit) {
			t.Fatalf("seed %d: %s lost at %v s: %s lacks run %d, though there is a way", c.Seed, lost, c.Lose[0].At,
				to.name, owed.Run)
		}
	}
}

// simulate is Run, and hands out the world after it.
func simulate(t testing.TB, top Topology, c Config) (*world, Result) {
	t.Helper()
	w, bound, err := prepare(top, c)
	if err != nil {
		t.Fatal(err)
	}
	r, err := w.run(bound)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range w.book.Accounts() {
		if a.Leased > 0 {
			t.Errorf("at rest, %d of %s is leased", a.Leased, a.Name)
		}
	}
	return w, r
}

// reachable is a slow twin: does any way lead from who has a unit to a node?
func (w *world) reachable(to *node, unit int) bool {
	seen := map[int]bool{}
	queue := w.where(unit)
	for ; len(queue) > 0; queue = queue[1:] {
		if queue[0] == to.index {
			return true
		}
		for _, next := range w.nodes[queue[0]].out {
			if !seen[next] && !w.nodes[next].lost {
				seen[next] = true
				queue = append(queue, next)
			}
		}
	}
	return false
}

// TestLostCopiesGoWhereTheyComeSoonest: a node that receives fast is no good behind a trunk that is slow.
func TestLostCopiesGoWhereTheyComeSoonest(t *testing.T) {
	node := func(name, zone string, up, down core.Rate) core.NodeState {
		return core.NodeState{ID: core.ID{name[1]}, Labels: map[string]string{"name": name}, Zone: zone, Up: up * 1e6,
			Down: down * 1e6, Free: 1e12}
	}
	top := Topology{Network: core.Snapshot{
		Nodes: []core.NodeState{node("n0", "home", 20, 20), node("n1", "home", 20, 20), node("n2", "home", 10, 10),
			node("n3", "away", 50, 50)},
		Trunks: []core.TrunkState{{From: "home", To: "away", Rate: 1e6}, {From: "away", To: "home", Rate: 1e6}},
	}, Goal: plan.Goal{Mode: plan.Replicas, Replicas: 1, Size: 2e9}}
	_, r := simulate(t, top, Config{Runs: 200, Seed: 1, Lose: []Loss{{1, 30}}})
	if r.Ratio > 1.1 {
		t.Errorf("%.0f s, and the least possible is %.0f", r.MakespanS, r.BoundS)
	}
}

// TestLostCopiesAreMadeAnew: while the source is there, every run has as many copies on nodes that are left as were
// asked for.
func TestLostCopiesAreMadeAnew(t *testing.T) {
	for _, name := range []string{"o4-twosite8-r3", "o5-dsl8-4+2", "o6-weaksrc8-r3"} {
		top := open(t, "testdata/"+name+".json")
		for node := 1; node < len(top.Network.Nodes); node++ {
			w, r := simulate(t, top, Config{Runs: 100, Seed: 7, Lose: []Loss{{node, 0.4 * top.Bound}}})
			copies, zones := map[int]map[int]bool{}, map[string]int{}
			for _, c := range w.owed {
				if copies[c.Run] == nil {
					copies[c.Run] = map[int]bool{}
				}
				copies[c.Run][c.Node] = true
				zones[fmt.Sprint(c.Run, top.Network.Nodes[c.Node].Zone)]++
				if !w.nodes[c.Node].has(w.unit(c)) {
					t.Fatalf("%s, %s lost: run %d is not at %s", name, w.nodes[node].name, c.Run, w.nodes[c.Node].name)
				}
			}
			want := max(top.Goal.Replicas, top.Goal.K+top.Goal.M)
			for run, nodes := range copies {
				if len(nodes) != want || nodes[node] {
					t.Fatalf("%s, %s lost: run %d is on %v, want %d nodes", name, w.nodes[node].name, run, nodes, want)
				}
			}
			for run, n := range zones {
				if n > top.Goal.PerZone {
					t.Fatalf("%s: run and zone %s: %d copies", name, run, n)
				}
			}
			if r.LostBytes > 0 {
				t.Errorf("%s: lost %s", name, r.LostBytes)
			}
		}
	}
}

// TestChainReachesTheEnd: no link leads from the source to the last node, which is to keep everything; those between
// only pass on.
func TestChainReachesTheEnd(t *testing.T) {
	top := open(t, "testdata/o3-chain6.json")
	for _, g := range []plan.Goal{
		{Mode: plan.Broadcast, Size: top.Goal.Size, Targets: []int{5}},
		{Mode: plan.Replicas, Size: top.Goal.Size, Replicas: 2},
		{Mode: plan.Shards, Size: top.Goal.Size, K: 1, M: 1},
		{Mode: plan.Fetch, Size: top.Goal.Size, Sink: 0, K: 1,
			Parts: []plan.Part{{Size: top.Goal.Size, Holders: []int{5}}}},
	} {
		far := top
		far.Goal = g
		far.Network.Nodes = append([]core.NodeState(nil), top.Network.Nodes...)
		for i := 1; i < 4; i++ {
			far.Network.Nodes[i].Free = 0
		}
		w, r := simulate(t, far, Config{Runs: 200, Seed: 3})
		if r.Ratio > 1.05 || r.UndeliveredBytes > 0 {
			t.Errorf("%s: ratio %v of %v s by %s, missing %v", g.Mode, r.Ratio, r.BoundS, r.Binding, r.Missing)
		}
		for i := 1; i < 4; i++ {
			if n := w.nodes[i]; n.peer.Passing() > 0 || n.got > 0 {
				t.Errorf("%s: relay %s is left with %d units, keeps %s", g.Mode, n.name, n.peer.Passing(), n.got)
			}
		}
	}
}

func TestFetchOfShards(t *testing.T) {
	top := open(t, "testdata/o8-fetch5.json")
	top.Goal.K = 2
	top.Goal.Parts = []plan.Part{{Size: top.Goal.Size, Holders: []int{1, 2, 3, 4}}}
	_, r := simulate(t, top, Config{Runs: 500, Seed: 1})
	if r.Ratio > 1.05 || r.UndeliveredBytes > 0 {
		t.Errorf("ratio %v of %v by %s", r.Ratio, r.BoundS, r.Binding)
	}
	if _, r := simulate(t, top, Config{Runs: 500, Seed: 1, Lose: []Loss{{3, 5}}}); r.Ratio > 2 ||
		r.UndeliveredBytes > 0 {
		t.Errorf("with a holder lost: ratio %v of %v by %s, missing %v", r.Ratio, r.BoundS, r.Binding, r.Missing)
	}
}

func TestSameSeedSameResult(t *testing.T) {
	top := open(t, "testdata/o4-twosite8-r3.json")
	c := Config{Runs: 150, Seed: 5, Error: 0.3, Lose: []Loss{{2, 30}}}
	a, err := Run(top, c)
	b, _ := Run(top, c)
	if err != nil || !reflect.DeepEqual(a, b) {
		t.Errorf("twice the same question, two answers (%v):\n%+v\n%+v", err, a, b)
	}
	c.Seed++
	if b, _ = Run(top, c); reflect.DeepEqual(a, b) {
		t.Error("the seed changes nothing")
	}
}

// TestNothingIsFasterThanItsAccounts: no link, side or trunk carries more than it could in the time.
func TestNothingIsFasterThanItsAccounts(t *testing.T) {
	for _, top := range topologies(t) {
		if len(top.Network.Nodes) > 20 {
			continue
		}
		_, r := simulate(t, top, Config{Runs: 100, Seed: 2, Error: 0.3})
		for _, use := range append(r.Links, r.Trunks...) {
			if use.Share > 1+1e-6 {
				t.Errorf("%s: %s to %s carried %.3f of what it can", top.Name, use.From, use.To, use.Share)
			}
		}
		for i, row := range r.Nodes {
			n := top.Network.Nodes[i]
			for _, side := range []struct {
				bytes core.Size
				rate  core.Rate
			}{{row.Sent, n.Up}, {row.Bytes + row.Passed, n.Down}} {
				if side.rate > 0 && core.WireOverhead*side.rate.Seconds(side.bytes) > r.MakespanS*(1+1e-6) {
					t.Errorf("%s: %s moved %s in %v s", top.Name, row.Node, side.bytes, r.MakespanS)
				}
			}
		}
	}
}

func TestBadTopologies(t *testing.T) {
	good := `{"schema":"bkp-topology/1","name":"x","file":{"bytes":100},"nodes":[{"id":"a"},{"id":"b","up":5,"zone":"Z"}],
		"mesh":{"bw":null},"source":"a","redundancy":{"mode":"broadcast"}}`
	if _, err := Read([]byte(good), time.Time{}); err != nil {
		t.Fatal(err)
	}
	for old, bad := range map[string]string{
		"bkp-topology/1":     "bkp-topology/2",
		`"bytes":100`:        `"bytes":0`,
		`"id":"b"`:           `"id":"a"`,
		`"up":5`:             `"up":-5`,
		`"up":5,`:            `"up":5,"delay":-1,`,
		`"source":"a"`:       `"source":"c"`,
		`"broadcast"`:        `"gossip"`,
		`"mesh":{"bw":null}`: `"links":[]`,
		`"file":{`:           `"links":[{"from":"a","to":"a"}],"file":{`,
		`"broadcast"}`:       `"fetch","sink":"a","classes":[{"fraction":"-1/2","holders":["b"]}]}`,
		`100},`:              `100}`,
	} {
		if _, err := Read([]byte(strings.Replace(good, old, bad, 1)), time.Time{}); err == nil || !strings.Contains(err.Error(), "topology") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestImpossible(t *testing.T) {
	top := open(t, "testdata/o6-weaksrc8-r3.json")
	top.Goal.Replicas = 8
	if _, err := Run(top, Config{Runs: 10}); core.CodeOf(err) != core.CodeRedundant {
		t.Errorf("8 copies on 7 nodes: %v", err)
	}
	top = open(t, "testdata/o9-targets6.json")
	top.Goal.Targets = []int{1}
	if _, err := Run(top, Config{Runs: 10}); core.CodeOf(err) != core.CodeRedundant {
		t.Errorf("a target without space: %v", err)
	}
	if b, _ := plan.LeastTime(top.Network, plan.Goal{Mode: plan.Shards, Size: 100, K: 1, M: 9, PerZone: 1}); !math.IsInf(b.Seconds, 1) {
		t.Errorf("10 shards on 4 nodes with space take %v s", b.Seconds)
	}
}

// TestCutLinks: after a cut, what can be reached is reached another way, and what is beyond reach gets new homes or is
// named.
func TestCutLinks(t *testing.T) {
	top := open(t, "testdata/o4-twosite8-r3.json")
	for name, c := range map[string]struct {
		cuts    []Cut
		missing bool
	}{
		"one link":          {top.Cut("n0", "n1", 10), false},
		"both ways":         {append(top.Cut("n0", "n5", 10), top.Cut("n5", "n0", 20)...), false},
		"from the source":   {append(top.Cut("n0", "A", 3), top.Cut("n0", "B", 3)...), true},
		"between the sites": {top.Cut("A", "B", 10), true},
	} {
		if len(c.cuts) == 0 {
			t.Fatalf("%s: nothing to cut", name)
		}
		w, r := simulate(t, top, Config{Runs: 100, Seed: 1, Cut: c.cuts})
		if c.missing != (r.UndeliveredBytes > 0) || r.LostBytes > 0 {
			t.Errorf("%s: %s undelivered, %s lost: %v", name, r.UndeliveredBytes, r.LostBytes, r.Missing)
		}
		for _, cut := range c.cuts {
			if l := w.nodes[cut.From].links[cut.To]; l.asker != nil && l.asker.Holds() {
				t.Errorf("%s: %s>%s is busy", name, l.from.name, l.to.name)
			}
		}
		again, err := Run(top, Config{Runs: 100, Seed: 1, Cut: c.cuts})
		if err != nil || !reflect.DeepEqual(r, again) {
			t.Errorf("%s: twice the same question, two answers (%v)", name, err)
		}
	}
	chain := open(t, "testdata/o3-chain6.json")
	_, r := simulate(t, chain, Config{Runs: 100, Seed: 1, Cut: chain.Cut("n2", "n3", 30)})
	if len(r.Missing) != 3 || r.Missing[0].Node != "n3" {
		t.Errorf("a chain that is cut: missing %v", r.Missing)
	}
}

func TestTimeToRestore(t *testing.T) {
	// by hand: F over the least of what all holders give and the source receives
	for name, want := range map[string]float64{
		"o1-homog8": 100, "o6-weaksrc8-r3": 10, "o4-twosite8-r3": 10, "o8-fetch5": 0,
	} {
		_, r := simulate(t, open(t, "testdata/"+name+".json"), Config{Runs: 500, Seed: 1})
		if math.Abs(r.RestoreS-want) > 0.03*want {
			t.Errorf("%s: %v s, want %v", name, r.RestoreS, want)
		}
	}
}
