// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/account"
	"github.com/bkp-tool/bkp/core/plan"
	"github.com/bkp-tool/bkp/core/spread"
)

// world is the network while it works. One Book holds all accounts; a node looks at its own and at what hints tell it
// of its neighbours' only.
type world struct {
	queue
	Config
	topology Topology
	random   *rand.Rand
	book     *account.Book
	serial   uint64 // of flows and leases

	nodes  []*node
	zones  []string
	trunks map[[2]int]*trunk
	zoneOf []int
	mesh   bool            // everybody is linked to everybody, without limit
	sizes  []core.Size     // by unit
	units  *spread.Segment // runs, or shards of runs
	spread *spread.Transfer
	relays *spread.Relays
	source int // −1 in a fetch

	flows int // under way
	end   time.Duration
	due   time.Duration // in a fetch: when the fluid plan is done
	part  []int         // in a fetch: which part of the file a unit belongs to
	plan  *plan.Plan

	predicted float64     // seconds
	owed      []plan.Copy // every copy that some node is to get
	perZone   int

	believed          core.Snapshot // the network as the planner sees it
	measured          bool          // believed is what was measured
	dealt             bool          // copies went to others than planned
	routed            bool          // every run goes the way that the plan has it go
	following         *plan.Pace    // how fast nodes receive, in a placement
	losses, unnoticed int           // nodes that were lost, and of them those of which nobody knows
	left              plan.Bound    // when all can be there, at best, after the last loss
	severed           int           // links that were cut
	waiting           int           // flows that were refused for now
	stuck             bool
}

// newWorld makes the network as it really is, with nothing wanted yet.
func newWorld(t Topology, c Config) *world {
	w := &world{Config: c, topology: t, book: account.New(), trunks: map[[2]int]*trunk{}, sizes: units(t.Goal, c.Runs),
		source: t.Network.Source, mesh: len(t.Network.Links) == 0, spread: &spread.Transfer{},
		random: rand.New(rand.NewPCG(c.Seed, 0x62_6b_70))}
	w.units = w.spread.Segment(0, w.sizes)
	space := spread.Alone
	switch t.Goal.Mode {
	case plan.Fetch:
		w.source = -1
	case plan.Broadcast:
		w.spread.Once, space = true, spread.Busy
	case plan.Replicas:
		w.spread.Once = true
	case plan.Shards:
	}
	w.relays = w.spread.Relay(space)
	w.relays.Neighbours = func(i int) (out, in []int) { return w.nodes[i].out, w.nodes[i].in }
	w.relays.Planned = func(from, to int) bool { l := w.nodes[from].links[to]; return l != nil && l.planned }
	at, behind := map[string]int{}, map[int]*spread.Zone{}
	for _, s := range t.Network.Nodes {
		if _, ok := at[s.Zone]; !ok {
			at[s.Zone] = len(w.zones)
			w.zones = append(w.zones, s.Zone)
		}
		w.zoneOf = append(w.zoneOf, at[s.Zone])
	}
	for _, s := range t.Network.Trunks {
		from, ok := at[s.From]
		to, ok2 := at[s.To]
		if ok && ok2 && (s.Rate > 0 || len(s.Ahead) > 0) {
			t := &trunk{name: s.From + ">" + s.To, from: from, to: to, rate: s.Rate, ahead: s.Ahead}
			w.trunks[[2]int{from, to}] = t
			behind[to] = &spread.Zone{}
			w.book.SetCapacity(t.account(), s.Rate)
			w.follow(t.account(), s.Ahead, &t.rate)
		}
	}
	for i, s := range t.Network.Nodes {
		n := &node{w: w, index: i, name: nameOf(s), up: s.Up, down: s.Down, links: make([]*link, len(t.Network.Nodes))}
		n.account.up, n.account.down = n.name+" up", n.name+" down"
		w.book.SetCapacity(n.account.up, n.up)
		w.book.SetCapacity(n.account.down, n.down)
		w.follow(n.account.up, s.UpAhead, &n.up)
		w.follow(n.account.down, s.DownAhead, &n.down)
		n.peer = w.spread.Join(0, i, behind[w.zoneOf[i]], n.up, n.down)
		n.engine = spread.New(n, w.random)
		n.part = n.engine.Add(w.spread, n.peer, n)
		w.nodes = append(w.nodes, n)
	}
	w.connect()
	return w
}

func nameOf(s core.NodeState) string {
	if name := s.Labels["name"]; name != "" {
		return name
	}
	return s.ID.Short()
}

// connect says who is whose neighbour, and makes the links that are named.
func (w *world) connect() {
	rates, ahead := map[[2]int]core.Rate{}, map[[2]int]core.Forecast{}
	for _, l := range w.topology.Network.Links {
		if rates[[2]int{l.From, l.To}] = l.Rate; len(l.Ahead) > 0 {
			ahead[[2]int{l.From, l.To}] = l.Ahead
		}
	}
	for _, from := range w.nodes {
		for _, to := range w.nodes {
			rate, ok := rates[[2]int{from.index, to.index}]
			if from == to || !ok && !w.mesh {
				continue
			}
			from.out = append(from.out, to.index)
			to.in = append(to.in, from.index)
			if !ok {
				continue
			}
			l := w.link(from, to)
			l.rate, l.ahead = rate, ahead[[2]int{from.index, to.index}]
			if rate > 0 || len(l.ahead) > 0 {
				name := fmt.Sprintf("%s>%s", from.name, to.name)
				w.book.SetCapacity(name, rate)
				w.follow(name, l.ahead, &l.rate)
				l.accounts = append(l.accounts, name)
			}
		}
	}
}

// link finds or makes the link from one node to another.
func (w *world) link(from, to *node) *link {
	l := from.links[to.index]
	if l == nil {
		l = &link{from: from, to: to, delay: w.delay(from, to), trunk: w.trunkTo(from, to),
			accounts: []string{from.account.up}}
		if l.trunk != nil {
			l.accounts = append(l.accounts, l.trunk.account())
		}
		from.links[to.index] = l
	}
	return l
}

// trunkTo is the trunk between two nodes; nil where there is none.
func (w *world) trunkTo(from, to *node) *trunk {
	if len(w.trunks) == 0 {
		return nil
	}
	return w.trunks[[2]int{w.zoneOf[from.index], w.zoneOf[to.index]}]
}

// delay is how long a message takes from one node to another. Between two others than the source they are taken to be
// as far from each other as the farther one is from the source, as core/plan does.
func (w *world) delay(a, b *node) time.Duration {
	nodes := w.topology.Network.Nodes
	return time.Duration(max(nodes[a.index].Delay, nodes[b.index].Delay) * float64(time.Second))
}

// arrived settles a unit that a link brought.
func (w *world) arrived(l *link, unit int) {
	n := l.to
	if n.has(unit) || !n.peer.Expects(w.units, unit) {
		return
	}
	l.from.part.Sender(n.index).Arrived(w.now, w.units, unit)
	size := w.sizes[unit]
	l.carried += size
	if l.trunk != nil {
		l.trunk.carried += size
	}
	if n.peer.Wants(w.units, unit) {
		n.got += size
		n.lastGot = w.now.Seconds()
		w.end = w.now
	}
	w.after(0, func() { w.wake(n) })
}

// try lets a node look for something to send.
func (w *world) try(n *node) {
	n.engine.Wake()
	w.drive(n)
}

// drive does what a node decides, until there is nothing more.
func (w *world) drive(n *node) {
	for !n.lost {
		a, ok := n.engine.Next(w.now)
		if !ok {
			return
		}
		w.do(w.link(n, w.nodes[a.Sender.To()]), a)
	}
}

// wake lets those look again for whom something changed when a node received something: the source first, since nobody
// can make up for a moment that it waits; then the node itself; then who has bandwidth left and something for it.
func (w *world) wake(n *node) {
	if w.source >= 0 && w.nodes[w.source].engine.Hungry() {
		w.try(w.nodes[w.source])
	}
	w.try(n)
	if len(n.in) == 0 {
		return
	}
	start, looked := w.random.IntN(len(n.in)), 0
	for k := range n.in {
		from := w.nodes[n.in[(start+k)%len(n.in)]]
		if looked < plan.MaxReceivers && from.engine.Hungry() && from.part.Could(w.now, n.peer) {
			looked++
			from.engine.WakeFor(n.peer)
			w.drive(from)
		}
	}
}
