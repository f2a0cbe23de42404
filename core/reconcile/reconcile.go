// SPDX-License-Identifier: Apache-2.0

// Package reconcile decides how a placement comes to what it shall be: by what is wanted and what is known of copies
// and nodes it says what to do next.
//
// It is pure. Placing for the first time is the question with nothing known yet; placing again, going on after a
// refusal, a silence or a loss, draining a node and letting go of what is too many are the same question. Who asks
// carries the moves out, notes what became known, and asks again, until there is nothing to do but to wait.
//
// Three things never happen: a node is asked for more than it has room for, a copy that counts is let go before
// as many others count as are wanted, and a node that is merely away is given up early, least of all when it is the
// coordinator that has lost its line.
package reconcile

import (
	"cmp"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan"
)

// Wanted is what a placement shall be.
type Wanted struct {
	Copies int           // of every run that is in no stripe, on as many nodes; of those in stripes one
	Proof  bool          // a copy counts once it was proved, not by its receipt alone
	Grace  time.Duration // how long a node may be away before its copies are made elsewhere
	Now    bool          // a person asks: who is away is done without, however long it may be
	Partly bool          // where there is no room for all copies, for as many as there is
}

// Segment is what is known of one segment.
type Segment struct {
	Sizes   []core.Size        // of its runs
	Stripes []core.Stripe      // of its runs; each has its runs on nodes of their own
	Nowhere core.Bitmap        // runs of no stripe that nobody can send: the others are seen to without them
	At      map[core.ID]Copies // by everybody who was ever told of it or has runs of it
}

// Copies is what is known of one node and one segment. The bitmaps are of runs, and may be nil.
type Copies struct {
	Told      bool        // it was asked to keep some, and did not say since that it let go or wants none
	Coming    core.Bitmap // it agreed to them, and they are being sent
	Has       core.Bitmap // it said that it has them
	Receipted core.Bitmap // it signed for them
	Proved    core.Bitmap // it showed that it has them
}

// Here reports whether a run is at the node, as far as it is known to say so.
func (c Copies) Here(run int) bool { return c.Has.Has(run) || c.Receipted.Has(run) }

// Network is the nodes, this one first.
type Network struct{ Nodes []Node }

// Node is a node as it is now.
type Node struct {
	ID      core.ID
	Barred  string    // why it gets nothing new; what it has counts
	Drained bool      // it is to keep nothing; what it has counts until others have it
	Away    time.Time // since when it cannot be reached; zero where it can
}

// Plan finds nodes for classes of runs: spans by class. A class of stripes has the size of the longest run of each; the
// spans' shards count those of its runs that no holder keeps. The holders are indexes into the nodes of the network,
// and so are the nodes of the spans; holders stay as far as they are wanted. Barred and drained nodes get nothing new.
type Plan func(classes []plan.Class) ([][]plan.Span, error)

// Kind is what a move is.
type Kind uint8

const (
	Send    Kind = iota // have the node get runs
	Prove               // have it show that it has runs
	Release             // let it go of all that it keeps for the placement
	Wait                // for runs that are on their way, or until its grace is over
)

// Move is something to be done next.
type Move struct {
	Kind    Kind
	Node    core.ID
	Segment int          // of Send, Prove and Wait
	Runs    []core.Range // likewise; none where a node that is away is waited for
	Copies  int          // that count of the run that has the fewest; of one in a stripe, the losses that it bears, and one
	Until   time.Time    // Wait: when grace ends, where it does
}

// Decision is what is to be done, the most endangered runs first, and what it is to come to.
type Decision struct {
	Moves     []Move
	Locations [][]core.Span // by segment: who is to keep which runs
	Short     error         // why these are fewer copies than are wanted
}

// Next says what to do next. An error is the plan's: the network has no room for what is wanted; the decision says even
// then what else is to be done.
func Next(w Wanted, known []Segment, n Network, now time.Time, p Plan) (d Decision, err error) {
	q := ask(w, known, n, now)
	d.Locations, d.Short, err = q.locate(p)
	d.Moves = q.toward(d.Locations)
	return d, err
}

// Toward says what to do next where it is decided who is to keep which runs, by segment.
func Toward(locations [][]core.Span, w Wanted, known []Segment, n Network, now time.Time) []Move {
	return ask(w, known, n, now).toward(locations)
}

func ask(w Wanted, known []Segment, n Network, now time.Time) *question {
	q := &question{Wanted: w, known: known, nodes: n.Nodes, now: now, index: map[core.ID]int{}}
	for i, node := range n.Nodes {
		q.index[node.ID] = i
	}
	q.patient = !q.mostReached()
	for _, s := range known {
		q.of = append(q.of, core.StripeOf(s.Stripes, len(s.Sizes)))
	}
	return q
}

// toward is the moves, in order; no locations: they could not be decided.
func (q *question) toward(locations [][]core.Span) []Move {
	q.waits()
	if locations != nil {
		q.bring(locations)
		q.releases(locations)
	}
	slices.SortStableFunc(q.moves, func(a, b Move) int {
		return cmp.Or(cmp.Compare(a.Copies, b.Copies), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Segment, b.Segment),
			a.Node.Compare(b.Node))
	})
	return q.moves
}

// question is one call of Next.
type question struct {
	Wanted
	known   []Segment
	nodes   []Node
	now     time.Time
	index   map[core.ID]int
	patient bool // the coordinator reaches too few to judge: nobody is lost
	moves   []Move
	of      [][]int // by segment and run: the stripe that it is in; -1 for none
}

// part is the nodes that have a part in the placement.
func (q *question) part() (ids []core.ID) {
	seen := map[core.ID]bool{}
	for _, s := range q.known {
		for id, c := range s.At {
			if !seen[id] && (c.Told || !c.Has.Empty() || !c.Receipted.Empty()) {
				seen[id] = true
				ids = append(ids, id)
			}
		}
	}
	slices.SortFunc(ids, core.ID.Compare)
	return ids
}

// mostReached reports whether the coordinator reaches more than half of the nodes that have a part in the placement, or
// could have: where it reaches many others its own line is not what is down.
func (q *question) mostReached() bool {
	part := q.part()
	all, reached := len(part), 0
	for i, node := range q.nodes {
		if i == 0 || !node.Away.IsZero() {
			continue
		}
		reached++
		if !slices.Contains(part, node.ID) {
			all++
		}
	}
	return 2*reached > all
}

// lost reports whether what a node has is given up.
func (q *question) lost(id core.ID) bool {
	i, there := q.index[id]
	switch {
	case there && q.nodes[i].Away.IsZero():
		return false
	case q.Now:
		return true
	}
	return there && !q.patient && q.now.Sub(q.nodes[i].Away) >= q.Grace
}

// counts reports whether a node's copy of a run does.
func (q *question) counts(s Segment, id core.ID, run int) bool {
	c := s.At[id]
	return c.Receipted.Has(run) && (!q.Proof || c.Proved.Has(run)) && !q.lost(id)
}

// counting is how many copies of a run do, among the nodes that ask is true for.
func (q *question) counting(s Segment, run int, ask func(core.ID) bool) (copies int) {
	for id := range s.At {
		if q.counts(s, id, run) && ask(id) {
			copies++
		}
	}
	return copies
}

func anybody(core.ID) bool { return true }

// stays reports whether a node is to go on keeping a run, or to get it still.
func (q *question) stays(s Segment, i, run int) bool {
	node := q.nodes[i]
	c := s.At[node.ID]
	return i > 0 && !node.Drained && !q.lost(node.ID) && (c.Here(run) || node.Barred == "" && c.Coming.Has(run))
}

// locate plans who is to keep which runs. The first class is of those that nobody keeps, and may be empty.
func (q *question) locate(p Plan) (locations [][]core.Span, short, err error) {
	c := newClasses()
	if slices.ContainsFunc(q.known, func(s Segment) bool { return len(s.Stripes) > 0 }) {
		c.list[0].Copies = q.Copies // the plan counts runs of stripes
	}
	for number, s := range q.known {
		for run, size := range s.Sizes {
			if q.of[number][run] >= 0 || s.Nowhere.Has(run) {
				continue
			}
			var holders []int
			for i := range q.nodes {
				if q.stays(s, i, run) {
					holders = append(holders, i)
				}
			}
			c.add(place{segment: number, run: run, stripe: -1}, holders, c.list[0].Copies, size)
		}
		for i, stripe := range s.Stripes {
			at := place{segment: number, stripe: i}
			at.holders = q.holders(s, stripe)
			holders, size := []int(nil), core.Size(0)
			for k, run := range stripe.Runs() {
				if size = max(size, s.Sizes[run]); at.holders[k] >= 0 {
					holders = append(holders, at.holders[k])
				}
			}
			c.add(at, holders, len(at.holders), size)
		}
	}
	spans, err := p(c.list)
	if core.CodeOf(err) == core.CodeRedundant && q.Partly {
		if fewer := c.partly(q.Copies, p); fewer != nil {
			return q.spans(c, fewer), err, nil
		}
	}
	if err != nil {
		return nil, nil, err
	}
	return q.spans(c, spans), nil, nil
}

// spans is where the plan has runs, by segment.
func (q *question) spans(c *classes, planned [][]plan.Span) [][]core.Span {
	locations := make([][]core.Span, len(q.known))
	add := func(segment, run int, s plan.Span) {
		list, span := locations[segment], core.Span{Node: q.nodes[s.Node].ID, From: q.nodes[s.From].ID, Start: run, Length: 1}
		if n := len(list) - 1; n >= 0 && list[n].Node == span.Node && list[n].From == span.From &&
			list[n].Start+list[n].Length == run {
			list[n].Length++
			return
		}
		locations[segment] = append(list, span)
	}
	for class, list := range planned {
		kept := map[int]bool{} // holders that the plan has go on
		for _, s := range list {
			kept[s.Node] = kept[s.Node] || s.Node == s.From
		}
		for _, s := range list {
			for at := s.Start; at < s.End(); at++ {
				p := c.places[class][at]
				run := p.run
				if p.stripe >= 0 {
					run = q.known[p.segment].Stripes[p.stripe].Runs()[p.shard(s, kept)]
				}
				add(p.segment, run, s)
			}
		}
	}
	return locations
}

// holders is who is to go on keeping each run of a stripe, by the runs; -1 where nobody is. Nobody keeps two of them.
func (q *question) holders(s Segment, stripe core.Stripe) (holders []int) {
	for _, run := range stripe.Runs() {
		holder := -1
		for i := range q.nodes {
			if holder < 0 && q.stays(s, i, run) && !slices.Contains(holders, i) {
				holder = i
			}
		}
		holders = append(holders, holder)
	}
	return holders
}

// wanted is how many copies of a run there are to be.
func (q *question) wanted(segment, run int) int {
	if q.of[segment][run] >= 0 {
		return 1
	}
	return q.Copies
}

// bring is what brings copies to where they are to be, and has them count.
func (q *question) bring(locations [][]core.Span) {
	for number, spans := range locations {
		s := q.known[number]
		asked := map[core.ID][]int{}
		for _, span := range spans {
			for run := span.Start; run < span.Start+span.Length; run++ {
				asked[span.Node] = append(asked[span.Node], run)
			}
		}
		for id, runs := range asked {
			var send, prove, wait []int
			for _, run := range runs {
				switch c := s.At[id]; {
				case q.counts(s, id, run):
				case c.Receipted.Has(run):
					prove = append(prove, run)
				case c.Has.Has(run) || c.Coming.Has(run):
					wait = append(wait, run)
				default:
					send = append(send, run)
				}
			}
			q.do(Send, id, number, send)
			q.do(Prove, id, number, prove)
			q.do(Wait, id, number, wait)
		}
	}
}

// do adds a move for runs, if there are any.
func (q *question) do(kind Kind, id core.ID, number int, runs []int) {
	if len(runs) == 0 {
		return
	}
	m := Move{Kind: kind, Node: id, Segment: number, Runs: core.Ranges(runs), Copies: len(q.nodes)}
	for _, run := range runs {
		m.Copies = min(m.Copies, q.left(number, run, anybody))
	}
	q.moves = append(q.moves, m)
}

// left is how many copies of a run count at the nodes that ask is true for; of one in a stripe, how many losses that
// bears, and one.
func (q *question) left(number, run int, ask func(core.ID) bool) int {
	s := q.known[number]
	if i := q.of[number][run]; i >= 0 {
		return 1 + s.Stripes[i].Bears(func(run int) bool { return q.counting(s, run, ask) > 0 })
	}
	return q.counting(s, run, ask)
}

// waits is for nodes that are away and not given up yet.
func (q *question) waits() {
	for _, id := range q.part() {
		i, there := q.index[id]
		if q.lost(id) || there && q.nodes[i].Away.IsZero() {
			continue
		}
		m := Move{Kind: Wait, Node: id, Copies: q.Copies}
		if there && !q.patient {
			m.Until = q.nodes[i].Away.Add(q.Grace)
		}
		q.moves = append(q.moves, m)
	}
}

// releases is of nodes that are to keep nothing and can be told so, once enough copies of all that they have count at
// nodes that are to keep it and are there.
func (q *question) releases(locations [][]core.Span) {
	keeps := make([]map[core.ID]core.Bitmap, len(q.known))
	wanted := map[core.ID]bool{}
	for number, spans := range locations {
		keeps[number] = map[core.ID]core.Bitmap{}
		for _, span := range spans {
			wanted[span.Node] = true
			if keeps[number][span.Node] == nil {
				keeps[number][span.Node] = core.NewBitmap(len(q.known[number].Sizes))
			}
			for run := span.Start; run < span.Start+span.Length; run++ {
				keeps[number][span.Node].Set(run)
			}
		}
	}
	for _, id := range q.part() {
		i, there := q.index[id]
		if wanted[id] || !there || !q.nodes[i].Away.IsZero() || !q.told(id) {
			continue
		}
		spare := true
		for number, s := range q.known {
			for run := range s.Sizes {
				spare = spare && (!s.At[id].Here(run) || q.counting(s, run, func(other core.ID) bool {
					return keeps[number][other].Has(run) && q.nodes[q.index[other]].Away.IsZero()
				}) >= q.wanted(number, run))
			}
		}
		if spare {
			q.moves = append(q.moves, Move{Kind: Release, Node: id, Copies: q.Copies})
		}
	}
}

func (q *question) told(id core.ID) bool {
	return slices.ContainsFunc(q.known, func(s Segment) bool { return s.At[id].Told })
}
