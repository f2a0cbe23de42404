// SPDX-License-Identifier: Apache-2.0

package fluid

import (
	"math"
	"slices"

	"github.com/bkp-tool/bkp/core"
)

// Fill is how much longer than its bound a job takes because its runs are passed on whole. In a fetch, half a run of
// the slowest holder is left when the others are done, on the mean. Of replicas and shards Place knows more.
func Fill(s core.Snapshot, g Goal, run core.Size) (float64, error) {
	net, err := NewNetwork(s)
	if err == nil {
		err = g.check(net)
	}
	if err != nil {
		return 0, err
	}
	if g.Mode != Fetch {
		return net.Fill([]int{s.Source}, g.Targets, float64(run)), nil
	}
	slowest := 0.0
	for _, part := range g.Parts {
		for _, h := range part.Holders {
			if h != g.Sink {
				slowest = max(slowest, Seconds(float64(run), min(net.Out[h], net.In[g.Sink])))
			}
		}
	}
	return slowest / 2, nil
}

// mostSpread is up to how many nodes a run is followed to; beyond, its time grows as the logarithm of their number.
const mostSpread = 64

// Fill lets one run travel alone from who has it to nodes, from each to the next as soon as it is there, always by the
// sending that ends first. The slowest of these sendings is in the time of a fluid already; the others come on top.
// Where the ways branch, nodes have other runs to send at the same time, so that it takes about twice as long.
func (n *Network) Fill(have, nodes []int, run float64) float64 {
	factor := 1.0
	if len(nodes) > mostSpread {
		factor = math.Log2(float64(len(nodes))) / math.Log2(mostSpread)
		some := make([]int, mostSpread)
		for k := range some {
			some[k] = nodes[k*len(nodes)/mostSpread]
		}
		nodes = some
	}
	t := &Traveller{Network: n, run: run, have: slices.Clone(have), free: map[int]float64{}, sent: map[int]int{}}
	last, slowest, branches := 0.0, 0.0, false
	for lack := slices.Clone(nodes); len(lack) > 0; {
		from, to, ends := t.next(lack)
		if from < 0 { // nobody has a link to any of them: somebody else passes it on
			if from, to, ends = t.next(t.others(lack)); from < 0 {
				break
			}
		}
		slowest = max(slowest, ends-t.free[from])
		t.sent[from]++
		branches = branches || t.sent[from] > 1
		t.have, t.free[from], t.free[to] = append(t.have, to), ends, ends
		if k := slices.Index(lack, to); k >= 0 {
			lack, last = slices.Delete(lack, k, k+1), ends
		}
	}
	if branches {
		factor *= 2
	}
	return factor * max(0, last-slowest)
}

// Traveller is one run on its way.
type Traveller struct {
	*Network
	run  float64
	have []int
	free map[int]float64 // when who has it can send it again, in seconds
	sent map[int]int
}

// next is the sending that ends first, −1 where there is none.
func (t *Traveller) next(lack []int) (from, to int, ends float64) {
	from, ends = -1, math.Inf(1)
	for _, a := range t.have {
		for _, b := range lack {
			if _, linked := t.Link(a, b); !linked {
				continue
			}
			if e := t.free[a] + t.Takes(a, b); from < 0 || e < ends {
				from, to, ends = a, b, e
			}
		}
	}
	return from, to, ends
}

// InitialWindow is how many bytes TCP sends before the first acknowledgement (RFC 6928: ten segments).
const InitialWindow = 14600

// talk is how long two nodes need before bytes flow at their rate, by the delay one way: an application, its answer,
// the way of the first byte; then TCP's window doubles with every round trip until the run fits in.
func talk(delay, run float64) float64 { return 3*delay + 2*delay*math.Log2(1+run/InitialWindow) }

// Takes is how long the run takes from one node to another when they have nothing else to do. Between two others they
// are taken to be as far from each other as the farther one is from the source.
func (t *Traveller) Takes(from, to int) float64 {
	link, _ := t.Link(from, to)
	rate := min(link, t.Up[from], t.Down[to])
	if _, trunk, crosses := t.Trunk(from, to); crosses {
		rate = min(rate, trunk)
	}
	return talk(max(t.Nodes[from].Delay, t.Nodes[to].Delay), t.run) + Seconds(t.run, rate)
}

// others is who neither has the run nor is to keep it.
func (t *Traveller) others(lack []int) (nodes []int) {
	for i := range t.Nodes {
		if !slices.Contains(t.have, i) && !slices.Contains(lack, i) {
			nodes = append(nodes, i)
		}
	}
	return nodes
}

// Seconds is how long bytes take at a payload rate.
func Seconds(bytes, rate float64) float64 {
	if math.IsInf(rate, 1) {
		return 0
	}
	return bytes / rate
}

// NewTraveller is a run that nobody has yet.
func NewTraveller(n *Network, run float64) *Traveller { return &Traveller{Network: n, run: run} }
