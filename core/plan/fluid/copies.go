// SPDX-License-Identifier: Apache-2.0

package fluid

import (
	"maps"
	"math"
	"slices"
)

// leastReplicas is the least time for some copies of every run on nodes of free choice. By bisection: the source must
// send every run once; the copies must arrive where there is room; somebody must send each; and what a set of zones
// around the source cannot keep must leave it.
func (n *Network) leastReplicas(g Goal) (b Bound) {
	c := &copyBound{Network: n, size: float64(g.Size), copies: float64(g.Replicas), perZone: float64(g.Replicas)}
	if g.PerZone > 0 {
		c.perZone = float64(min(g.PerZone, g.Replicas))
	}
	c.reach()
	p := n.pipes()
	p.stores(n, c.size, 0)
	b.raise(p.least(c.size))
	b.raise(c.least(c.received), c.receiving())
	b.raise(c.least(c.sent), "uplinks of all nodes together")
	for _, way := range c.leaving() {
		b.raise(c.size/way.rate, way.name)
	}
	return b
}

// copyBound is one question about copies.
type copyBound struct {
	*Network
	size, copies, perZone float64
	arrive                []float64 // by node: the rate at which anything can reach it
	into                  map[string]float64
}

// reach finds how fast each node, and each zone, can be reached from the source, by min-cuts.
func (c *copyBound) reach() {
	c.arrive = c.In
	if c.links != nil {
		c.arrive = c.Arrivals()
	}
	zones := map[string][]int{}
	for i := range c.Nodes {
		zones[c.ZoneOf(i)] = append(zones[c.ZoneOf(i)], i)
	}
	p := c.pipes()
	c.into = map[string]float64{}
	for z, nodes := range zones {
		c.into[z] = math.Inf(1)
		if len(c.trunks) > 0 && z != c.ZoneOf(c.Source) {
			p.drain(forever, nodes...)
			c.into[z] = p.rate()
		}
	}
}

// room is what a node can have received and keep after t seconds.
func (c *copyBound) room(i int, t float64) float64 {
	if i == c.Source {
		return 0
	}
	return min(c.size, float64(c.Nodes[i].Free), Within(c.arrive[i], t))
}

// received: copies that can have arrived after t seconds. A zone has at most perZone copies of what came into it.
func (c *copyBound) received(t float64) (sum float64) {
	zones := map[string]float64{}
	for i := range c.Nodes {
		zones[c.ZoneOf(i)] += c.room(i, t)
	}
	for _, z := range slices.Sorted(maps.Keys(zones)) {
		sum += min(zones[z], c.perZone*min(c.size, Within(c.into[z], t)))
	}
	return sum
}

// sent: copies that can have been sent after t seconds. Of what a node keeps it sends at most copies−1; of what it only
// passes on at most all, but that has to be sent to it first.
func (c *copyBound) sent(t float64) float64 {
	sum := Within(c.Out[c.Source], t)
	for i := range c.Nodes {
		if i == c.Source {
			continue
		}
		out, kept := Within(c.Out[i], t), c.room(i, t)*(c.copies-1)
		sum += min(out, kept)
		if passed := min((out-kept)/c.copies, Within(c.In[i], t)); out > kept && c.copies > 1 && c.fanout(i) > 0 {
			sum += passed * (c.copies - 1)
		}
	}
	return sum
}

// least is when one of the two above reaches all copies, by bisection.
func (c *copyBound) least(done func(t float64) float64) float64 {
	want := c.size * c.copies * (1 - 1e-9)
	low, high := 0.0, 1.0
	if done(0) >= want {
		return 0
	}
	for done(high) < want {
		if low, high = high, 2*high; high > 1e18 {
			return math.Inf(1)
		}
	}
	for range 100 {
		if mid := (low + high) / 2; done(mid) < want {
			low = mid
		} else {
			high = mid
		}
	}
	return high
}

// receiving names the nodes that still receive a moment before the copies fit.
func (c *copyBound) receiving() string {
	t := c.least(c.received) * (1 - 1e-4)
	if math.IsInf(t, 1) {
		return "space"
	}
	var slow []int
	for i := range c.Nodes {
		if i != c.Source && c.room(i, t) < min(c.size, float64(c.Nodes[i].Free))*(1-1e-6) {
			slow = append(slow, i)
		}
	}
	return Plural(len(slow), "downlink ", "downlinks ") + c.NamesOf(slow)
}

// holds is how many copies of a run a zone can keep: each on a node of its own, and the source keeps none.
func (c *copyBound) holds(zone string) float64 {
	nodes := 0.0
	for i := range c.Nodes {
		if i != c.Source && c.ZoneOf(i) == zone && c.Nodes[i].Free > 0 {
			nodes++
		}
	}
	return min(nodes, c.perZone)
}

type leavingWay struct {
	rate float64
	name string
}

// leaving lists the sets of zones around the source that cannot keep all copies of a run, so that each run must leave
// them.
func (c *copyBound) leaving() (ways []leavingWay) {
	if len(c.trunks) == 0 {
		return nil
	}
	home, others := c.ZoneOf(c.Source), []string{}
	for i := range c.Nodes {
		if z := c.ZoneOf(i); z != home && !slices.Contains(others, z) {
			others = append(others, z)
		}
	}
	slices.Sort(others)
	tries := 0
	var add func(set []string, from int)
	add = func(set []string, from int) {
		if tries++; tries > 4096 {
			return
		}
		holds := 0.0
		for _, z := range set {
			holds += c.holds(z)
		}
		if holds >= c.copies || len(set) > len(others) {
			return
		}
		rate, name, open := 0.0, "", false
		for _, a := range set {
			for _, b := range others {
				if slices.Contains(set, b) {
					continue
				}
				r, ok := c.trunks[[2]string{a, b}]
				if open = open || !ok; ok {
					rate += Payload(r)
					if name != "" {
						name += ", "
					}
					name += a + ">" + b
				}
			}
		}
		if !open && rate > 0 {
			ways = append(ways, leavingWay{rate, "trunk " + name})
		}
		for k := from; k < len(others); k++ {
			add(append(slices.Clone(set), others[k]), k+1)
		}
	}
	add([]string{home}, 0)
	return ways
}
