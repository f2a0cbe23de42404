// SPDX-License-Identifier: Apache-2.0

package fluid

import (
	"cmp"
	"math"
	"slices"
)

// question is a job as a linear program: ways to carry a part of what is demanded, over links of the network and into
// room that is limited, and the rate at which all demands are met. There are far too many ways to write down, so those
// that are worth having at the present prices are asked of a pricer until it has none (Gilmore, Gomory 1961).
type question struct {
	net     *Network
	demands []float64 // bytes of each
	rooms   []room
	pricer  pricer
	parts   []int // Fetch: by demand, the part of the goal

	lp       program
	seconds  float64 // in which the program counts time, and
	bytes    float64 // bytes: both about as many as the answer is made of
	rate     int     // the column of the rate
	ups      []int   // by node: its row, −1 where nothing limits it
	downs    []int
	links    map[[2]int]int
	trunks   map[[2]string]int
	roomRows []int // by room, −1 where nothing limits it
	fairRows []int // by room, −1 where nothing counts beyond a part
	demRows  []int
	within   float64 // where it is above 0, the least cost within these seconds is looked for, not the least time
	names    []pipe  // by row
	ways     []Route
	cols     []int // by way

	least float64 // no plan takes fewer seconds
}

// room is a limit in bytes on what ways put there, and what it costs.
type room struct {
	bytes  float64 // +Inf for any number
	fair   float64 // beyond so many, each costs beyond; only where beyond is above 0
	cost   float64 // of a byte
	beyond float64
	pipe   pipe
}

// Route is one way to carry a part of a demand: every byte passes each of its links once, and fills each of its rooms.
type Route struct {
	Demand int
	From   int      // who has it; a tree may have several such, of which this is one
	Links  [][2]int // in no order
	Keeps  []int    // who is to keep it
	Rooms  []int
	Bytes  float64 // the answer
}

// pricer knows the ways of one kind of job.
type pricer interface {
	// cheapest is some of the cheapest ways for every demand at the prices, the very cheapest first, and a price for
	// each demand that none is below; +Inf where there is no way at all.
	cheapest(p *prices) (ways []Route, floor []float64)
}

// prices are those of a byte on each link and in each room.
type prices struct {
	link func(from, to int) float64 // +Inf where there is none
	room []float64
	pays []float64 // by demand: what a way may cost to be worth having
}

func (p *prices) of(w Route) (sum float64) {
	for _, l := range w.Links {
		sum += p.link(l[0], l[1])
	}
	for _, r := range w.Rooms {
		sum += p.room[r]
	}
	return sum
}

// How many times a pricer is asked for the least time, and on big networks for the least cost: there, the ways of least
// time are most of what is needed.
const (
	mostRounds  = 2000
	fewRounds   = 8
	smallExact  = 20 // up to so many nodes both are exact
	exact       = 1e-9
	nearlyExact = 0.001 // and beyond, the least time is to within this part
)

// solve finds the least time; +Inf where the job is impossible.
func (q *question) solve() (seconds float64) {
	q.within = 0
	if q.begin(); q.bytes <= 0 {
		return 0
	}
	ways, floor := q.pricer.cheapest(q.prices(true))
	if slices.ContainsFunc(floor, func(v float64) bool { return math.IsInf(v, 1) }) {
		q.least = math.Inf(1)
		return q.least
	}
	for _, w := range ways {
		q.add(w)
	}
	q.scale()
	tiny := exact
	if len(q.net.Nodes) > smallExact {
		tiny = nearlyExact
	}
	for range mostRounds {
		if !q.lp.maximise() {
			return 0 // nothing limits it
		}
		p := q.prices(false)
		ways, floor := q.pricer.cheapest(p)
		if q.raise(floor); q.least*(1+tiny) >= q.time() || !q.addWorthy(p, ways) {
			break
		}
	}
	return q.time()
}

// cheaply goes on from the ways that solve found to those that cost least within some seconds; false where that is too
// short.
func (q *question) cheaply(seconds float64) bool {
	known := q.ways
	q.within = seconds
	q.begin()
	for _, w := range known {
		q.add(w)
	}
	rounds := mostRounds
	if len(q.net.Nodes) > smallExact {
		rounds = fewRounds
	}
	for range rounds {
		q.lp.maximise()
		p := q.prices(false)
		ways, _ := q.pricer.cheapest(p)
		if !q.addWorthy(p, ways) {
			break
		}
	}
	served := make([]float64, len(q.demands))
	for k, w := range q.ways {
		served[w.Demand] += q.lp.value(q.cols[k]) * q.bytes
	}
	for k, d := range q.demands {
		if served[k] < d*(1-1e-7) {
			return false
		}
	}
	return true
}

// worthy is by which part a way has to be cheaper than what it would pay for.
const worthy = 1e-9

func (q *question) addWorthy(p *prices, ways []Route) (added bool) {
	for _, w := range ways {
		if pays := p.pays[w.Demand]; p.of(w) < pays-worthy*math.Abs(pays) {
			added = q.add(w) || added
		}
	}
	return added
}

// scale counts time in about the seconds that the first ways take, before anything was computed.
func (q *question) scale() {
	load := make([]float64, len(q.lp.limit))
	for _, terms := range q.lp.cols[1:] {
		for _, t := range terms {
			load[t.row] += max(0, t.value)
		}
	}
	longest := 0.0
	for r, l := range load {
		if q.lp.limit[r] > 0 {
			longest = max(longest, l/q.lp.limit[r])
		}
	}
	if longest == 0 {
		return
	}
	q.seconds *= longest
	for r := range q.lp.limit {
		q.lp.limit[r] *= longest
		q.lp.x[r] = q.lp.limit[r]
	}
}

// time is how long the ways found so far take.
func (q *question) time() float64 {
	rate := q.lp.value(q.rate)
	if rate < 1e-9 {
		return math.Inf(1)
	}
	return q.seconds / rate
}

// begin makes the rows. So that the program's numbers are near 1, time counts in about what the source alone needs.
func (q *question) begin() {
	n := q.net
	q.bytes, q.seconds = slices.Max(q.demands), q.within
	if q.seconds == 0 {
		q.seconds = 1
		if out := n.Out[n.Source]; !math.IsInf(out, 1) && out > 0 {
			q.seconds = q.bytes / out
		}
	}
	q.links, q.trunks, q.lp = map[[2]int]int{}, map[[2]string]int{}, program{}
	q.names, q.ups, q.downs, q.demRows, q.roomRows, q.fairRows, q.ways, q.cols = nil, nil, nil, nil, nil, nil, nil, nil
	for i := range n.Nodes {
		q.ups = append(q.ups, q.account(n.Up[i], pipe{kind: ofUp, node: i}))
		q.downs = append(q.downs, q.account(n.Down[i], pipe{kind: ofDown, node: i}))
	}
	var terms []term // of the rate
	limit := func(bytes float64, what pipe, sign float64) int {
		q.names = append(q.names, what)
		if q.within > 0 {
			return q.lp.row(bytes / q.bytes)
		}
		terms = append(terms, term{len(q.lp.limit), sign * bytes / q.bytes})
		return q.lp.row(0)
	}
	for _, d := range q.demands {
		q.demRows = append(q.demRows, limit(d, pipe{}, 1))
	}
	for _, room := range q.rooms {
		r, fair := -1, -1
		if !math.IsInf(room.bytes, 1) {
			r = limit(room.bytes, room.pipe, -1)
		}
		if q.within > 0 && room.beyond > 0 {
			fair = limit(room.fair, pipe{}, 0)
			q.lp.column(-room.beyond, []term{{fair, -1}})
		}
		q.roomRows, q.fairRows = append(q.roomRows, r), append(q.fairRows, fair)
	}
	if q.within == 0 {
		q.rate = q.lp.column(1, terms)
	}
}

// account is a row of a bandwidth.
func (q *question) account(rate float64, what pipe) int {
	if math.IsInf(rate, 1) {
		return -1
	}
	q.names = append(q.names, what)
	return q.lp.row(rate * q.seconds / q.bytes)
}

// linkRow is the row of a link that may be narrower than its ends; −1 where it is not.
func (q *question) linkRow(from, to int) int {
	l := [2]int{from, to}
	r, ok := q.links[l]
	if !ok {
		r = -1
		if rate, _ := q.net.Link(from, to); rate < min(q.net.Up[from], q.net.Down[to]) {
			r = q.account(rate, pipe{kind: ofLink, node: from, to: to})
		}
		q.links[l] = r
	}
	return r
}

// trunkRow is the row of the trunk that a link crosses; −1 where there is none.
func (q *question) trunkRow(from, to int) int {
	if len(q.net.trunks) == 0 {
		return -1
	}
	name, rate, crosses := q.net.Trunk(from, to)
	if !crosses {
		return -1
	}
	r, ok := q.trunks[name]
	if !ok {
		r = q.account(rate, pipe{kind: ofTrunk, name: name[0] + ">" + name[1]})
		q.trunks[name] = r
	}
	return r
}

// What counts where the least cost is looked for: everything is to be served, whatever it costs; and of ways that cost
// the same, the one of fewest links is taken.
const (
	served = 1e4
	hop    = 1e-3
)

// add writes a way down as a column; false where it is there already.
func (q *question) add(w Route) bool {
	same := func(o Route) bool {
		return o.Demand == w.Demand && slices.Equal(o.Links, w.Links) && slices.Equal(o.Rooms, w.Rooms)
	}
	slices.SortFunc(w.Rooms, cmp.Compare[int])
	if slices.ContainsFunc(q.ways, same) {
		return false
	}
	terms, gain := []term{{q.demRows[w.Demand], -1}}, 0.0
	if q.within > 0 {
		terms[0].value, gain = 1, served-hop*float64(len(w.Links))
	}
	for _, l := range w.Links {
		for _, r := range []int{q.ups[l[0]], q.downs[l[1]], q.linkRow(l[0], l[1]), q.trunkRow(l[0], l[1])} {
			if r >= 0 {
				terms = append(terms, term{r, 1})
			}
		}
	}
	for _, k := range w.Rooms {
		for _, r := range []int{q.roomRows[k], q.fairRows[k]} {
			if r >= 0 {
				terms = append(terms, term{r, 1})
			}
		}
		if q.within > 0 {
			gain -= q.rooms[k].cost
		}
	}
	q.ways, q.cols = append(q.ways, w), append(q.cols, q.lp.column(gain, terms))
	return true
}

// prices are the program's; at first, whatever has a limit costs the more the narrower it is.
func (q *question) prices(first bool) *prices {
	row := func(r int) float64 {
		switch {
		case r < 0:
			return 0
		case !first:
			return max(0, q.lp.y[r])
		case q.lp.limit[r] > 0:
			return 1 / q.lp.limit[r]
		}
		return 0
	}
	p := &prices{room: make([]float64, len(q.rooms))}
	for k := range q.rooms {
		p.room[k] = row(q.roomRows[k]) + row(q.fairRows[k])
		if q.within > 0 {
			p.room[k] += q.rooms[k].cost
		}
	}
	for _, r := range q.demRows {
		p.pays = append(p.pays, q.lp.y[r])
	}
	base := 0.0
	if q.within > 0 {
		base = hop
		for k, pays := range p.pays {
			p.pays[k] = served - pays
		}
	}
	n := len(q.net.Nodes)
	table := make([]float64, n*n)
	for i := range n {
		for j := range n {
			rate, ok := q.net.Link(i, j)
			if table[i*n+j] = math.Inf(1); !ok {
				continue
			}
			table[i*n+j] = base + row(q.ups[i]) + row(q.downs[j])
			if r, known := q.links[[2]int{i, j}]; known {
				table[i*n+j] += row(r)
			} else if first {
				table[i*n+j] += q.bytes / (rate * q.seconds)
			}
			if len(q.net.trunks) > 0 {
				table[i*n+j] += row(q.trunkRow(i, j))
			}
		}
	}
	p.link = func(from, to int) float64 { return table[from*n+to] }
	return p
}

// raise raises the bound by the present prices: whatever meets the demands pays them, and no more is there to be had.
func (q *question) raise(floor []float64) {
	worth, pays := 0.0, 0.0
	for r, y := range q.lp.y {
		worth += q.lp.limit[r] * max(0, y)
	}
	for k, f := range floor {
		if q.demands[k] > 0 {
			pays += f * q.demands[k] / q.bytes
		}
	}
	for k, r := range q.roomRows {
		if r >= 0 {
			pays -= max(0, q.lp.y[r]) * q.rooms[k].bytes / q.bytes
		}
	}
	if worth > 0 {
		q.least = max(q.least, q.seconds*pays/worth)
	}
}

// routes is the ways that carry something, with how many bytes.
func (q *question) routes() (out []Route) {
	times := 1.0
	if q.within == 0 && q.lp.value(q.rate) > 0 {
		times = 1 / q.lp.value(q.rate)
	}
	for k, w := range q.ways {
		if w.Bytes = q.lp.value(q.cols[k]) * q.bytes * times; w.Bytes > 1e-9*q.bytes {
			out = append(out, w)
		}
	}
	return out
}

// binding names what the prices are paid for.
func (q *question) binding() string {
	worth := 0.0
	for r, y := range q.lp.y {
		worth += q.lp.limit[r] * max(0, y)
	}
	var parts []pipe
	for r, y := range q.lp.y {
		if q.names[r].kind != ofNothing && (q.lp.limit[r]*y > worth/100 || q.lp.limit[r] == 0 && y > 1e-6) {
			parts = append(parts, q.names[r])
		}
	}
	return q.net.sentence(parts)
}
