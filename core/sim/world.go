package sim

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/account"
	"github.com/bkp-tool/bkp/core/plan"
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
	zones  []*zone
	trunks map[[2]int]*trunk
	zoneOf []int
	sizes  []core.Size // by unit
	copies []int32     // by unit: there or on the way, anywhere
	source int         // −1 in a fetch

	flows   int // under way
	missing int // copies that are wanted and not there
	end     time.Duration
	due     time.Duration // in a fetch: when the fluid plan is done
	part    []int         // in a fetch: which part of the file a unit belongs to
	plan    *plan.Plan

	predicted float64     // seconds
	owed      []plan.Copy // every copy that some node is to get
	perZone   int
	scratch   set
	hops      []int   // from who held something at the start
	relays    []*node // the farthest first
	space     int     // units that a relay holds or expects
	loose     bool    // relays had filled up: they take whatever helps
	stale     bool    // what relays would take has to be found anew

	believed          core.Snapshot // the network as the planner sees it
	measured          bool          // believed is what was measured
	replanned         time.Duration
	losses, unnoticed int // nodes that were lost, and of them those of which nobody knows
	severed           int // links that were cut
	waiting           int // flows that were refused for now
	stuck             bool
}

// newWorld makes the network as it really is, with nothing wanted yet.
func newWorld(t Topology, c Config) *world {
	sizes := units(t.Goal, c.Runs)
	w := &world{Config: c, topology: t, book: account.New(), trunks: map[[2]int]*trunk{}, sizes: sizes,
		source: t.Network.Source,
		random: rand.New(rand.NewPCG(c.Seed, 0x62_6b_70)), copies: make([]int32, len(sizes)), space: relaySpace,
		scratch: newSet(len(sizes))}
	if t.Goal.Mode == plan.Fetch {
		w.source = -1
	}
	if t.Goal.Mode != plan.Broadcast {
		w.space = farSpace // what a relay carries for one target, nobody else can bring
	}
	at := map[string]int{}
	for i, s := range t.Network.Nodes {
		n := &node{index: i, name: nameOf(s), up: s.Up, down: s.Down, has: newSet(len(sizes)), owns: newSet(len(sizes)),
			coming: newSet(len(sizes)),
			want:   newSet(len(sizes)), passes: newSet(len(sizes)), behind: newSet(len(sizes)),
			sent: newSet(len(sizes)), had: newSet(len(sizes)),
			lanes: make([]*lane, len(t.Network.Nodes)), given: make([]float64, len(t.Network.Nodes)),
			first: make([]float64, len(t.Network.Nodes))}
		n.account.up, n.account.down = n.name+" up", n.name+" down"
		w.book.SetCapacity(n.account.up, n.up)
		w.book.SetCapacity(n.account.down, n.down)
		w.follow(n.account.up, s.UpAhead, &n.up)
		w.follow(n.account.down, s.DownAhead, &n.down)
		w.nodes = append(w.nodes, n)
		k, ok := at[s.Zone]
		if !ok {
			k = len(w.zones)
			at[s.Zone] = k
			w.zones = append(w.zones, &zone{name: s.Zone, copies: make([]int32, len(sizes)), wanted: newSet(len(sizes)),
				there: newSet(len(sizes))})
		}
		w.zoneOf = append(w.zoneOf, k)
		w.zones[k].members = append(w.zones[k].members, i)
	}
	for _, s := range t.Network.Trunks {
		from, ok := at[s.From]
		to, ok2 := at[s.To]
		if ok && ok2 && (s.Rate > 0 || len(s.Ahead) > 0) {
			t := &trunk{name: s.From + ">" + s.To, from: from, to: to, rate: s.Rate, ahead: s.Ahead}
			w.trunks[[2]int{from, to}] = t
			w.book.SetCapacity("trunk "+t.name, s.Rate)
			w.follow("trunk "+t.name, s.Ahead, &t.rate)
		}
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

// connect makes the lanes.
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
			if from == to || !ok && len(rates) > 0 {
				continue
			}
			l := &lane{from: from, to: to, link: rate, delay: w.delay(from, to),
				ahead: ahead[[2]int{from.index, to.index}], accounts: []string{from.account.up}}
			if rate > 0 || len(l.ahead) > 0 {
				name := fmt.Sprintf("%s>%s", from.name, to.name)
				w.book.SetCapacity(name, rate)
				w.follow(name, l.ahead, &l.link)
				l.accounts = append(l.accounts, name)
			}
			if t := w.trunks[[2]int{w.zoneOf[from.index], w.zoneOf[to.index]}]; t != nil {
				l.trunk = t
				l.accounts = append(l.accounts, "trunk "+t.name)
			}
			from.lanes[to.index] = l
			from.out = append(from.out, to.index)
			to.in = append(to.in, from.index)
		}
	}
}

// delay is how long a message takes from one node to another. Between two others than the source they are taken to be
// as far from each other as the farther one is from the source, as core/plan does.
func (w *world) delay(a, b *node) time.Duration {
	nodes := w.topology.Network.Nodes
	return time.Duration(max(nodes[a.index].Delay, nodes[b.index].Delay) * float64(time.Second))
}

// keep makes a unit a node's own from the start.
func (w *world) keep(n *node, unit int) {
	n.has.add(unit)
	n.owns.add(unit)
	w.copies[unit]++
	z := w.zones[w.zoneOf[n.index]]
	z.copies[unit]++
	z.there.add(unit)
}

// wish makes a node want a unit.
func (w *world) wish(n *node, unit int) {
	if n.want.has(unit) {
		return
	}
	n.want.add(unit)
	if n.has.has(unit) {
		return
	}
	n.need += w.sizes[unit]
	w.missing++
	z := w.zones[w.zoneOf[n.index]]
	if !z.wanted.has(unit) {
		z.wanted.add(unit)
		if !z.there.has(unit) {
			z.need += w.sizes[unit]
		}
	}
}

// unwish takes a wish back.
func (w *world) unwish(n *node, unit int) {
	if n.want.has(unit) {
		n.want.drop(unit)
		if !n.has.has(unit) {
			n.need -= w.sizes[unit]
			w.missing--
		}
	}
}

// count keeps the numbers of copies that are there or on the way.
func (w *world) count(n *node, unit int, by int32) {
	w.copies[unit] += by
	w.zones[w.zoneOf[n.index]].copies[unit] += by
}

// uncome forgets a unit that was on its way.
func (w *world) uncome(n *node, unit int) {
	if n.coming.has(unit) {
		n.coming.drop(unit)
		w.count(n, unit, -1)
		w.stale = true
		if !n.want.has(unit) {
			n.relayed--
		}
	}
}

// arrived settles a unit that a lane brought.
func (w *world) arrived(l *lane, unit int) {
	n := l.to
	if n.has.has(unit) || !n.coming.has(unit) {
		return
	}
	w.stale = true
	n.coming.drop(unit)
	n.has.add(unit)
	n.began = true
	size := w.sizes[unit]
	l.carried += size
	if l.trunk != nil {
		l.trunk.carried += size
	}
	z := w.zones[w.zoneOf[n.index]]
	if !z.there.has(unit) {
		z.there.add(unit)
		if z.wanted.has(unit) {
			z.need -= size
		}
	}
	if n.want.has(unit) {
		n.need -= size
		n.got += size
		n.lastGot = w.now.Seconds()
		w.missing--
		w.end = w.now
	} else {
		n.carry -= float64(size)
	}
	w.relieve(n, unit)
	w.after(0, func() { w.wake(n) })
}

// wake lets those look again for whom something changed when a node received something: the source first, since nobody
// can make up for a moment that it waits; then the node itself; then who has bandwidth left and a link to it.
func (w *world) wake(n *node) {
	if w.source >= 0 && w.nodes[w.source].hungry {
		w.try(w.nodes[w.source])
	}
	w.try(n)
	if len(n.in) == 0 {
		return
	}
	start, looked := w.random.IntN(len(n.in)), 0
	for k := range n.in {
		from := w.nodes[n.in[(start+k)%len(n.in)]]
		if l := from.lanes[n.index]; from.hungry && looked < plan.MaxReceivers && !l.busy &&
			!w.useful(l, plan.Filling).empty() {
			looked++
			w.try(from)
		}
	}
}
