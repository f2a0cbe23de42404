// SPDX-License-Identifier: Apache-2.0

package repair_test

import (
	"container/heap"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/audit"
	"github.com/bkp-tool/bkp/core/plan"
	"github.com/bkp-tool/bkp/core/reconcile"
	"github.com/bkp-tool/bkp/core/repair"
)

// What is decided about copies is decided by pure code: who is to keep what (core/plan, core/reconcile), whose turn it
// is (repair.Next), what is audited (core/audit). Here it decides for whole clusters on one queue of events, drawn from
// a seed: disks that fail, rot and fill up, nodes that lie, lines that are down. The same seed gives the same trace.

const (
	grace      = 30 * time.Minute
	auditEvery = 2 * time.Hour
	// repaired is how long it takes at most until what befell a copy is made good: it is found by an audit, waits for
	// its turn and its next attempt, and is moved.
	repaired = auditEvery + grace + 15*time.Minute + 2*time.Hour
	faults   = 24 * time.Hour // as long as things happen
)

// TestExact plays BKP_EXACT=FIRST-LAST, else a few; one in fifty of them twice.
func TestExact(t *testing.T) {
	first, last := 1, 60
	if drawn := os.Getenv("BKP_EXACT"); drawn != "" {
		if _, err := fmt.Sscanf(drawn, "%d-%d", &first, &last); err != nil || last < first {
			t.Fatalf("BKP_EXACT=%s: want FIRST-LAST", drawn)
		}
	}
	rare := map[string]int{}
	for seed := first; seed <= last; seed++ {
		trace := play(t, seed, rare)
		if seed%50 == 0 && play(t, seed, map[string]int{}) != trace {
			t.Fatalf("seed %d: another trace at the second time", seed)
		}
		if t.Failed() {
			return
		}
	}
	if last-first < 900 { // some are rare
		return
	}
	for _, what := range []string{"two wait for their turn", "blind", "no room", "released after it was replaced",
		"liar found", "rot found", "lost", "back before its grace was over", "away while runs came"} {
		if rare[what] == 0 {
			t.Errorf("none of %d seeds came to: %s", last-first+1, what)
		}
	}
	t.Log(rare)
}

// event is something that happens at a moment; of two at once the one that was said first.
type event struct {
	at  time.Time
	seq int
	do  func()
}

type events []event

func (q events) Len() int { return len(q) }
func (q events) Less(i, j int) bool {
	return q[i].at.Before(q[j].at) || q[i].at.Equal(q[j].at) && q[i].seq < q[j].seq
}
func (q events) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *events) Push(x any)   { *q = append(*q, x.(event)) }
func (q *events) Pop() any     { last := (*q)[len(*q)-1]; *q = (*q)[:len(*q)-1]; return last }

// copyOf is a run as a disk knows it.
type copyOf struct{ file, segment, run int }

// machine is a node: what it is known as, and how it really is.
type machine struct {
	reconcile.Node
	room    core.Size
	rate    float64 // bytes per second that it takes
	up      bool
	liar    bool // it keeps nothing, and says that it does
	disk    map[copyOf]bool
	audited time.Time
	life    int // counts disks that it lost: what was on its way then is lost, too
}

// stored is a placement.
type stored struct {
	reconcile.Wanted
	known   []reconcile.Segment
	here    bool // this machine has the bytes
	failed  int
	tried   time.Time
	pending int                  // events that it waits for
	steps   int                  // of the attempt under way
	hit     map[copyOf]time.Time // when something befell a copy last
	lost    map[copyOf]bool      // it is gone for good, and may be
}

type cluster struct {
	t      *testing.T
	seed   int
	random *rand.Rand
	rare   map[string]int
	now    time.Time
	queue  events
	seq    int
	trace  uint64
	nodes  []*machine // this one first
	files  []*stored
	line   bool      // of this machine
	unable time.Time // when the cluster last could not have made good what befell it
	turn   *stored   // is being mended
}

func play(t *testing.T, seed int, rare map[string]int) uint64 {
	c := &cluster{t: t, seed: seed, random: rand.New(rand.NewPCG(uint64(seed), 7)), rare: rare, now: time.Unix(1e9, 0), line: true}
	c.draw()
	start := c.now
	for i := range c.files {
		c.after(time.Duration(i)*time.Minute, func() { c.files[i].here = true })
	}
	c.after(0, c.look)
	for range c.random.IntN(10) {
		c.after(time.Duration(c.random.Int64N(int64(faults))), c.befall)
	}
	for len(c.queue) > 0 && !t.Failed() {
		e := heap.Pop(&c.queue).(event)
		if c.now = e.at; c.now.Sub(start) > faults+2*repaired {
			break
		}
		e.do()
	}
	if !t.Failed() {
		c.ended()
	}
	return c.trace
}

func (c *cluster) fail(format string, args ...any) {
	c.t.Errorf("seed %d at %s: %s", c.seed, c.now.Sub(time.Unix(1e9, 0)), fmt.Sprintf(format, args...))
}

func (c *cluster) after(d time.Duration, do func()) {
	c.seq++
	heap.Push(&c.queue, event{c.now.Add(d), c.seq, do})
}

// note makes something that happened part of the trace.
func (c *cluster) note(format string, args ...any) {
	if os.Getenv("BKP_TRACE") != "" {
		fmt.Printf(c.now.Sub(time.Unix(1e9, 0)).String()+" "+format+"\n", args...)
	}
	h := fnv.New64a()
	fmt.Fprintf(h, "%d %d ", c.trace, c.now.UnixNano())
	fmt.Fprintf(h, format, args...)
	c.trace = h.Sum64()
}

func (c *cluster) draw() {
	c.nodes = []*machine{{Node: reconcile.Node{ID: core.ID{1}}, up: true}}
	for i := range 3 + c.random.IntN(4) {
		c.nodes = append(c.nodes, &machine{Node: reconcile.Node{ID: core.ID{byte(i + 2)}}, up: true, disk: map[copyOf]bool{},
			room: core.Size(20+c.random.IntN(120)) * core.MiB, rate: float64(1+c.random.IntN(20)) * 2e4, audited: c.now,
			liar: c.random.IntN(20) == 0})
	}
	for range 1 + c.random.IntN(3) {
		s := &stored{Wanted: reconcile.Wanted{Copies: 2 + c.random.IntN(2), Proof: true, Grace: grace, Partly: true}, hit: map[copyOf]time.Time{},
			lost: map[copyOf]bool{}}
		for range 1 + c.random.IntN(2) {
			segment := reconcile.Segment{At: map[core.ID]reconcile.Copies{}}
			for range 1 + c.random.IntN(6) {
				segment.Sizes = append(segment.Sizes, core.Size(1+c.random.IntN(3))*core.MiB)
			}
			s.known = append(s.known, segment)
		}
		c.files = append(c.files, s)
	}
}

func (c *cluster) node(id core.ID) *machine {
	return c.nodes[slices.IndexFunc(c.nodes, func(m *machine) bool { return m.ID == id })]
}

// copies is what is known of a node and a segment, so that it can be changed.
func copies(s reconcile.Segment, id core.ID) reconcile.Copies {
	k := s.At[id]
	k.Told = true
	for _, b := range []*core.Bitmap{&k.Coming, &k.Has, &k.Receipted, &k.Proved} {
		if *b == nil {
			*b = core.NewBitmap(len(s.Sizes))
		}
	}
	s.At[id] = k
	return k
}

// each calls f with every run of a file.
func (s *stored) each(file int, f func(at copyOf, size core.Size)) {
	for segment, k := range s.known {
		for run, size := range k.Sizes {
			f(copyOf{file, segment, run}, size)
		}
	}
}

// befall is one of what may happen to a cluster.
func (c *cluster) befall() {
	m := c.nodes[1+c.random.IntN(len(c.nodes)-1)]
	what := c.random.IntN(8)
	c.note("%d befalls %v", what, m.ID[0])
	switch what {
	case 0, 1: // it is away for a while
		if m.up {
			m.up = false
			c.after(time.Duration(c.random.Int64N(int64(4*grace))), func() { m.up = true })
		}
	case 2: // its disk is lost, and it with it
		m.up = false
		m.life++
		c.wipe(m, func(copyOf) bool { return true })
	case 3: // its disk is lost, and it goes on with a new one
		m.life++
		c.wipe(m, func(copyOf) bool { return true })
	case 4: // it rots
		c.wipe(m, func(copyOf) bool { return c.random.IntN(4) == 0 })
	case 5:
		m.room = 0
		c.unable = c.now
	case 6:
		m.Drained = true
	case 7:
		if c.line {
			c.line, c.unable = false, c.now
			c.after(time.Duration(c.random.Int64N(int64(3*grace))), func() { c.line, c.unable = true, c.now })
		}
	}
	if c.able() < 3 {
		c.unable = c.now
	}
}

// able is how many nodes could keep something.
func (c *cluster) able() (count int) {
	for _, m := range c.nodes[1:] {
		if m.up && !m.liar && !m.Drained && m.room > 40*core.MiB {
			count++
		}
	}
	return count
}

// wipe takes copies from a disk.
func (c *cluster) wipe(m *machine, which func(copyOf) bool) {
	for file, s := range c.files {
		s.each(file, func(at copyOf, size core.Size) {
			if m.disk[at] && which(at) {
				delete(m.disk, at)
				m.room += size
				c.vanished(s, at)
			}
		})
	}
}

// vanished notes that a copy is gone. The last one may go only where others went a short time ago.
func (c *cluster) vanished(s *stored, at copyOf) {
	last := s.hit[at]
	s.hit[at] = c.now
	if s.here || slices.ContainsFunc(c.nodes, func(m *machine) bool { return m.disk[at] }) || s.lost[at] {
		return
	}
	s.lost[at] = true
	c.rare["lost"]++
	if c.now.Sub(last) > repaired && c.now.Sub(c.unable) > repaired && c.able() >= s.Copies {
		c.fail("the last copy of %v is gone, and nothing had befallen one since %s", at, c.now.Sub(last))
	}
}

// reach notes who is away, and since when.
func (c *cluster) reach() (n reconcile.Network) {
	for i, m := range c.nodes {
		switch reached := i == 0 || m.up && c.line; {
		case !reached && m.Away.IsZero():
			m.Away = c.now
		case reached && !m.Away.IsZero():
			if c.now.Sub(m.Away) < grace {
				c.rare["back before its grace was over"]++
			}
			m.Away = time.Time{}
		}
		n.Nodes = append(n.Nodes, m.Node)
	}
	return n
}

// look is what a keeper does: audits whose time has come, and then whose turn it is.
func (c *cluster) look() {
	if c.turn != nil {
		return
	}
	n := c.reach()
	for _, m := range c.nodes[1:] {
		if m.Away.IsZero() && c.now.Sub(m.audited) >= auditEvery {
			m.audited = c.now
			c.audit(m)
		}
	}
	var cases []repair.Case
	acting := 0
	for _, s := range c.files {
		v := reconcile.Judge(s.Wanted, s.known, n, c.now)
		if v.Act {
			acting++
		}
		if v.Blind {
			c.rare["blind"]++
			c.unable = c.now
		}
		if s.here && !v.Lacks && v.Reached >= s.Copies { // it is offloaded
			s.here = false
			c.note("offloaded")
		}
		cases = append(cases, repair.Case{Verdict: v, Failed: s.failed, Tried: s.tried})
	}
	if acting > 1 {
		c.rare["two wait for their turn"]++
	}
	turn, wake := repair.Next(c.now, cases)
	if turn < 0 {
		wait := max(time.Second, wake.Sub(c.now))
		if wait == time.Minute { // nothing is due: it looks that often in vain
			wait *= 10
		}
		c.after(wait, c.look)
		return
	}
	c.note("turn of %d: %+v", turn, cases[turn])
	c.turn = c.files[turn]
	c.turn.steps = 0
	for _, m := range c.nodes {
		m.Barred = ""
	}
	c.step()
}

// audit has a node prove some of what it keeps, and all of it where it cannot.
func (c *cluster) audit(m *machine) {
	for file, s := range c.files {
		for segment, k := range s.known {
			var parts []audit.Part
			for run, size := range k.Sizes {
				if k.At[m.ID].Receipted.Has(run) {
					parts = append(parts, audit.Part{Number: run, Chunks: []core.Chunk{{Size: size}}, Kept: core.FullBitmap(1)})
				}
			}
			lacks := func(r core.AuditedRange) bool { return !m.disk[copyOf{file, segment, r.Run}] }
			if !slices.ContainsFunc(audit.Draw(c.random, parts, audit.Enough), lacks) {
				continue
			}
			c.rare["rot found"]++
			known := copies(k, m.ID)
			for _, r := range audit.Every(parts) {
				if lacks(r) {
					c.note("%d lost %v", m.ID[0], r)
					forget(known, r.Run)
				}
			}
			s.failed = 0
		}
	}
}

func forget(k reconcile.Copies, run int) {
	for _, b := range []core.Bitmap{k.Has, k.Receipted, k.Proved} {
		b.Clear(run)
	}
}

// step asks what is to be done for the file whose turn it is, and begins it.
func (c *cluster) step() {
	s := c.turn
	d, err := reconcile.Next(s.Wanted, s.known, c.reach(), c.now, c.plan(s))
	if s.steps++; s.steps > 200 {
		c.fail("it does not come to rest: %+v", d.Moves)
	}
	if err != nil {
		c.rare["no room"]++
	}
	c.hold(s, d)
	free := map[*machine]time.Duration{}
	began := false
	for _, m := range d.Moves {
		began = c.carry(s, m, free) || began
	}
	if !began && s.pending == 0 {
		c.done(err)
	} else if s.pending == 0 {
		c.after(time.Second, c.step)
	}
}

// arrived says that something that a file waited for is over.
func (c *cluster) arrived(s *stored) {
	if s.pending--; s.pending == 0 && c.turn == s {
		c.after(time.Second, c.step)
	}
}

// done ends an attempt.
func (c *cluster) done(err error) {
	s := c.turn
	v := reconcile.Judge(s.Wanted, s.known, c.reach(), c.now)
	s.tried = c.now
	if s.failed++; err == nil && !v.Lacks {
		s.failed = 0
	}
	c.turn = nil
	c.note("ends: %v, %+v", err, v)
	c.after(time.Second, c.look)
}

// plan has a file planned on a mesh.
func (c *cluster) plan(s *stored) reconcile.Plan {
	return func(classes []plan.Class) ([][]plan.Span, error) {
		r := plan.Request{Replicas: s.Copies, Classes: classes}
		for _, m := range c.nodes {
			state := core.NodeState{ID: m.ID, Free: m.room, Up: 1e6, Down: core.Rate(max(1, m.rate)), Total: core.TiB}
			if m.Barred != "" || m.Drained || !m.Away.IsZero() {
				state.Free = 0
			}
			r.Snapshot.Nodes = append(r.Snapshot.Nodes, state)
		}
		p, err := plan.Place(r)
		if err != nil {
			return nil, err
		}
		return p.Classes, nil
	}
}

// hold holds a decision to what it promises.
func (c *cluster) hold(s *stored, d reconcile.Decision) {
	asked := map[core.ID]core.Size{}
	for _, m := range d.Moves {
		node := c.node(m.Node)
		switch m.Kind {
		case reconcile.Send:
			if node.Barred != "" || node.Drained || !node.Away.IsZero() || node == c.nodes[0] {
				c.fail("%d is to get runs: %+v", node.ID[0], node.Node)
			}
			for _, r := range m.Runs {
				for run := r.Start; run < r.Start+r.Length; run++ {
					asked[m.Node] += s.known[m.Segment].Sizes[run]
				}
			}
		case reconcile.Release:
			s.each(0, func(at copyOf, _ core.Size) {
				k, others := s.known[at.segment], 0
				for id, at2 := range k.At {
					if other := c.node(id); id != m.Node && at2.Receipted.Has(at.run) && at2.Proved.Has(at.run) && other.Away.IsZero() {
						others++
					}
				}
				if k.At[m.Node].Receipted.Has(at.run) && others < s.Copies {
					c.fail("%d is to let go of %v, of which %d others count", m.Node[0], at, others)
				}
			})
		case reconcile.Prove, reconcile.Wait:
		}
	}
	for id, bytes := range asked {
		if node := c.node(id); bytes > node.room {
			c.fail("%d is asked for %s and offers %s", id[0], bytes, node.room)
		}
	}
}

// carry begins what a move says, and reports whether there is anything to wait for. free is when each node's downlink
// comes free.
func (c *cluster) carry(s *stored, m reconcile.Move, free map[*machine]time.Duration) (began bool) {
	node, file := c.node(m.Node), slices.Index(c.files, s)
	c.note("%v", m)
	switch m.Kind {
	case reconcile.Send:
		for _, r := range m.Runs {
			for run := r.Start; run < r.Start+r.Length; run++ {
				began = c.send(s, copyOf{file, m.Segment, run}, node, free) || began
			}
		}
	case reconcile.Prove:
		if !node.Away.IsZero() {
			return false
		}
		s.pending++
		began = true
		c.after(2*time.Second, func() { c.prove(s, m, node); c.arrived(s) })
	case reconcile.Release:
		c.rare["released after it was replaced"]++
		began = true
		s.each(file, func(at copyOf, size core.Size) {
			s.known[at.segment].At[m.Node] = reconcile.Copies{}
			if node.disk[at] {
				delete(node.disk, at)
				node.room += size
				last := s.hit[at]
				if c.vanished(s, at); s.lost[at] && last.IsZero() {
					c.fail("the last copy of %v was let go", at)
				}
				s.hit[at] = last // nothing befell it
			}
		})
	case reconcile.Wait:
	}
	return began
}

// send has a run come to a node, from wherever it is.
func (c *cluster) send(s *stored, at copyOf, to *machine, free map[*machine]time.Duration) bool {
	known, size := copies(s.known[at.segment], to.ID), s.known[at.segment].Sizes[at.run]
	from := slices.ContainsFunc(c.nodes, func(m *machine) bool { return m.disk[at] && m.up && c.line })
	if !s.here && !from {
		return false
	}
	known.Coming.Set(at.run)
	to.room -= size
	free[to] += time.Duration(float64(size) / to.rate * float64(time.Second))
	life := to.life
	s.pending++
	c.after(free[to], func() {
		defer c.arrived(s)
		known := copies(s.known[at.segment], to.ID)
		known.Coming.Clear(at.run)
		if !to.up || !c.line || to.life != life {
			c.rare["away while runs came"]++
			to.room += size
			return
		}
		known.Has.Set(at.run)
		known.Receipted.Set(at.run)
		if to.disk[at] = !to.liar; to.liar {
			delete(to.disk, at)
			to.room += size
		}
	})
	return true
}

// prove has a node show that it has runs. Who signed for what it does not have gets nothing more in this attempt.
func (c *cluster) prove(s *stored, m reconcile.Move, node *machine) {
	if !node.up || !c.line {
		return
	}
	known := copies(s.known[m.Segment], node.ID)
	for _, r := range m.Runs {
		for run := r.Start; run < r.Start+r.Length; run++ {
			if node.disk[copyOf{slices.Index(c.files, s), m.Segment, run}] {
				known.Proved.Set(run)
				continue
			}
			forget(known, run)
			if node.Barred = "it does not have what it signed for"; node.liar {
				c.rare["liar found"]++
			}
		}
	}
}

// ended wants every run that is not lost to be kept as often as is wanted, or by all nodes that have room.
func (c *cluster) ended() {
	if !c.line {
		return
	}
	for file, s := range c.files {
		if reconcile.Judge(s.Wanted, s.known, c.reach(), c.now).Blind {
			continue // half of its nodes are away: who is to say that it is not this one's line
		}
		s.each(file, func(at copyOf, _ core.Size) {
			kept, could := 0, 0
			for _, m := range c.nodes[1:] {
				switch good := m.up && !m.Drained && !m.liar; {
				case good && m.disk[at]:
					kept++
				case good && m.room > 40*core.MiB:
					could++
				}
			}
			if !s.lost[at] && kept < s.Copies && could > 0 {
				c.fail("%v has %d of %d copies, and %d nodes more could have one: %+v", at, kept, s.Copies, could,
					s.known[at.segment].At)
			}
		})
	}
}
