package node

import (
	"cmp"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/account"
	"github.com/bkp-tool/bkp/core/keep"
	"github.com/bkp-tool/bkp/core/plan"
	"github.com/bkp-tool/bkp/core/wire"
)

// swarm is a task under way as one node sees it, its source or a target: what this node can send, who wants it, and who
// has it already as far as agreements and hints tell. Which run goes to whom next is decided anew for every batch
// (plan.Choose), so a link that turns out slower than planned costs no more than its share.
type swarm struct {
	n       *state
	task    core.TaskID
	source  core.ID
	tables  wire.StorageTask // its Bandwidth, Trunks and TrunkShares only
	pieces  map[int]*piece   // by segment
	order   []int            // their numbers, ascending
	lanes   map[core.ID]*lane
	hints   map[core.ID]hint
	unsent  int  // runs that the source has sent to nobody yet
	told    bool // a word to the neighbours is on its way
	touched time.Duration
	random  *rand.Rand
}

// hint is what a node said of itself.
type hint struct {
	need core.Size
	down core.Rate
}

// piece is one segment of a swarm.
type piece struct {
	number int
	runs   int
	file   func(run int) core.File
	store  Chunks               // has the bytes of what is here
	chunks map[int][]core.Chunk // of runs that are here
	here   core.Bitmap
	sent   core.Bitmap // at the source: given to somebody
	copies []uint8     // by run: who is known to have it, or is being sent it from here
	views  map[core.ID]*view
	open   int           // of the views, those that lack something
	mine   *keep.Segment // nil at the source
	news   []int         // runs that came since the neighbours were told
	sought map[int]bool  // runs whose chunks are being looked up
}

// view is what one target lacks of a piece, as far as this node knows.
type view struct {
	share  core.Bitmap   // what it is to keep
	lacks  core.Bitmap   // of that
	left   core.Size     // stored bytes of what it lacks
	coming core.Bitmap   // on its way to it from others
	until  time.Duration // when coming is no longer believed
}

// comingLife is how long word is believed of runs that are on their way to somebody.
const comingLife = 5 * time.Second

// swarm finds or makes the swarm of a task.
func (n *state) swarm(id core.TaskID, source core.ID, tables wire.StorageTask) *swarm {
	s := n.swarms[id]
	if s == nil {
		s = &swarm{n: n, task: id, source: source, pieces: map[int]*piece{}, lanes: map[core.ID]*lane{},
			hints:  map[core.ID]hint{},
			random: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))}
		n.swarms[id] = s
	}
	s.tables, s.touched = tables, n.now()
	return s
}

// join adds a segment, or what is new of one: who keeps what of it. have is what a target said it has.
func (s *swarm) join(p *piece, locations []core.Span, have func(core.ID) core.Bitmap) {
	if old := s.pieces[p.number]; old != nil {
		p = old
	} else {
		p.here, p.sent, p.copies = core.NewBitmap(p.runs), core.NewBitmap(p.runs), make([]uint8, p.runs)
		p.chunks, p.views = map[int][]core.Chunk{}, map[core.ID]*view{}
		s.pieces[p.number] = p
		s.order = slices.Sorted(maps.Keys(s.pieces))
	}
	for _, span := range locations {
		if span.Node == s.n.ID() {
			continue
		}
		v := p.views[span.Node]
		if v == nil {
			v = &view{share: core.NewBitmap(p.runs), lacks: core.NewBitmap(p.runs), coming: core.NewBitmap(p.runs)}
			p.views[span.Node] = v
		}
		known := have(span.Node)
		for run := span.Start; run < span.Start+span.Length; run++ {
			if v.share.Has(run) {
				continue
			}
			v.share.Set(run)
			if known.Has(run) {
				p.count(run)
			} else {
				p.wants(v, run)
			}
		}
	}
}

// give notes that a run is here and can be sent on.
func (s *swarm) give(p *piece, run int, chunks []core.Chunk) {
	if p.here.Has(run) {
		return
	}
	p.here.Set(run)
	p.chunks[run] = chunks
	p.count(run)
	if s.source == s.n.ID() {
		s.unsent++
	}
}

// wants notes that a target lacks a run; gets that it has it.
func (p *piece) wants(v *view, run int) {
	if v.left == 0 {
		p.open++
	}
	v.lacks.Set(run)
	v.left += p.file(run).Size
}

func (p *piece) gets(v *view, run int) {
	v.lacks.Clear(run)
	if v.left -= p.file(run).Size; v.left == 0 {
		p.open--
	}
}

func (p *piece) count(run int) { p.copies[run] = min(p.copies[run]+1, 254) }

func (p *piece) uncount(run int) { p.copies[run] -= min(p.copies[run], 1) }

// had notes that a target has a run.
func (s *swarm) had(p *piece, id core.ID, run int) {
	v := p.views[id]
	if v == nil || !v.lacks.Has(run) {
		return
	}
	p.gets(v, run)
	l := s.lanes[id]
	if l == nil || !l.sends(p.number, run) { // that was counted when it was chosen
		p.count(run)
	}
	if l != nil {
		l.fed = s.n.now()
	}
	for _, other := range p.views {
		if other.lacks.Has(run) {
			return
		}
	}
	if p.mine != nil {
		delete(p.chunks, run) // nobody wants it any more
	}
}

// forget takes a node out: it keeps nothing of the piece any more.
func (p *piece) forget(id core.ID) {
	if v := p.views[id]; v != nil && v.left > 0 {
		p.open--
	}
	delete(p.views, id)
}

// narrow takes out of the views of a piece what its locations no longer ask for.
func (s *swarm) narrow(p *piece, locations []core.Span) {
	share := core.NewBitmap(p.runs)
	for id, v := range p.views {
		clear(share)
		for _, span := range locations {
			if span.Node == id {
				each([]core.Range{{Start: span.Start, Length: span.Length}}, p.runs, share.Set)
			}
		}
		if share.Empty() {
			p.forget(id)
			continue
		}
		for run := range p.runs {
			if !v.share.Has(run) || share.Has(run) {
				continue
			}
			v.share.Clear(run)
			if v.lacks.Has(run) {
				p.gets(v, run)
			}
		}
	}
}

// forget takes a node out: it keeps nothing of the task any more, or is given up.
func (s *swarm) forget(id core.ID) {
	for _, p := range s.pieces {
		p.forget(id)
	}
	if l := s.lanes[id]; l != nil {
		l.end()
	}
}

// over reports whether nobody wants anything that could come from here.
func (s *swarm) over() bool {
	for _, p := range s.pieces {
		if p.open > 0 {
			return false
		}
	}
	return true
}

// end closes every lane.
func (s *swarm) end() {
	delete(s.n.swarms, s.task)
	for _, l := range s.lanes {
		l.end()
	}
}

// useful is what a lane could carry now of one piece; nil where there is nothing.
func (s *swarm) useful(l *lane, p *piece, stage plan.Stage) core.Bitmap {
	v := p.views[l.to]
	if v == nil || v.left == 0 || s.n.now() < l.after {
		return nil
	}
	if v.until < s.n.now() {
		clear(v.coming)
	}
	found := false
	out := s.scratch(len(v.lacks))
	for i := range out {
		b := p.here[i] & v.lacks[i] &^ v.coming[i]
		if stage == plan.Spreading {
			b &^= p.sent[i]
		}
		out[i] = b
		found = found || b != 0
	}
	if !found {
		return nil
	}
	l.sendingOf(p, out.Clear)
	if l.trunk() != nil && !l.stranded() {
		s.firstAcross(l, p, out)
	}
	if out.Empty() {
		return nil
	}
	return out
}

func (s *swarm) scratch(n int) core.Bitmap {
	if cap(s.n.scratch) < n {
		s.n.scratch = make(core.Bitmap, n)
	}
	return s.n.scratch[:n]
}

// firstAcross leaves the runs that nobody beyond a trunk has or is getting: one copy crosses it, the others are made
// there.
func (s *swarm) firstAcross(l *lane, p *piece, out core.Bitmap) {
	zone := s.n.zoneOf(l.to)
	for id, v := range p.views {
		if s.n.zoneOf(id) != zone {
			continue
		}
		for i := range out {
			out[i] &^= v.share[i]&^v.lacks[i] | v.coming[i]
		}
		if other := s.lanes[id]; other != nil {
			other.sendingOf(p, out.Clear)
		}
	}
}

// offers is the first piece of which a lane could carry something now.
func (s *swarm) offers(l *lane, stage plan.Stage) (*piece, core.Bitmap) {
	for _, number := range s.order {
		p := s.pieces[number]
		if p.open == 0 {
			continue
		}
		if out := s.useful(l, p, stage); out != nil {
			return p, out
		}
	}
	return nil, nil
}

// stages are the rules by which this node chooses now, in order.
func (s *swarm) stages() []plan.Stage {
	if s.source == s.n.ID() && s.unsent > 0 {
		return []plan.Stage{plan.Spreading, plan.Filling}
	}
	return []plan.Stage{plan.Filling}
}

// serve lets one lane apply for a batch; false if there is nobody to send to now.
func (s *swarm) serve() bool {
	for _, stage := range s.stages() {
		if l := s.choose(stage, nil); l != nil && l.ask(stage) {
			return true
		}
	}
	return false
}

// choose is the lane that should be served next; nil if it is better to wait. held is a lane whose lease stands and
// could be renewed: what it holds is free for it.
func (s *swarm) choose(stage plan.Stage, held *lane) *lane {
	free, up := s.n.book.Free(accountUp), s.n.book.Nominal(accountUp)
	if held != nil && up < account.Unlimited {
		free += held.flow.Rate
	}
	if up == account.Unlimited {
		up = 0
	}
	if plan.Spent(free, up) {
		return nil // before much is looked at
	}
	served, able := s.contenders(stage, held)
	if held != nil {
		if p, _ := s.offers(held, stage); p != nil {
			able = append(able, held)
		}
	}
	beside, open := receiversOf(served, held), receiversOf(able, held)
	if up > 0 {
		mine := s.uplink()
		for i, r := range open {
			open[i].Fair = plan.Fair(stage, mine, r, beside, slices.Delete(slices.Clone(open), i, i+1))
		}
	}
	if at := plan.Choose(stage, free, up, open); at >= 0 {
		return able[at]
	}
	return nil
}

// contenders are the lanes that hold a lease, and up to MaxReceivers others, drawn at random, that could carry
// something now by the rule of a stage; one lane is left out.
func (s *swarm) contenders(stage plan.Stage, but *lane) (served, waiting []*lane) {
	members := s.members()
	start := s.random.IntN(max(1, len(members)))
	for i := range members {
		switch l := s.lane(members[(start+i)%len(members)]); {
		case l == but:
		case l.holds():
			served = append(served, l)
		case len(waiting) < plan.MaxReceivers && l.waits():
			if p, _ := s.offers(l, stage); p != nil {
				waiting = append(waiting, l)
			}
		}
	}
	return served, waiting
}

// receiversOf are the targets of lanes as the choice sees them. held is the lane whose lease stands.
func receiversOf(lanes []*lane, held *lane) (out []plan.Receiver) {
	for _, l := range lanes {
		out = append(out, l.receiver(held))
	}
	return out
}

// members lists the connected targets that lack something.
func (s *swarm) members() (ids []core.ID) {
	seen := map[core.ID]bool{}
	for _, p := range s.pieces {
		if p.open == 0 {
			continue
		}
		for id, v := range p.views {
			if peer := s.n.peers[id]; !seen[id] && peer != nil && peer.session != nil && peer.capacity > 0 &&
				v.left > 0 {
				seen[id] = true
				ids = append(ids, id)
			}
		}
	}
	slices.SortFunc(ids, core.ID.Compare)
	return ids
}

// need is what a node lacks, as it said, or as its views say.
func (s *swarm) need(id core.ID) (bytes core.Size) {
	if h, ok := s.hints[id]; ok {
		return h.need
	}
	for _, p := range s.pieces {
		if v := p.views[id]; v != nil {
			bytes += v.left
		}
	}
	return bytes
}

// zoneNeed is what a whole zone lacks.
func (s *swarm) zoneNeed(zone string) (bytes core.Size) {
	seen := map[core.ID]bool{}
	for _, p := range s.pieces {
		for id := range p.views {
			if !seen[id] && s.n.zoneOf(id) == zone {
				seen[id] = true
				bytes += s.need(id)
			}
		}
	}
	return bytes
}

// empty reports whether a target is not known to have anything of the task, nor to be getting it from here.
func (s *swarm) empty(id core.ID) bool {
	if l := s.lanes[id]; l != nil && len(l.sending) > 0 {
		return false
	}
	for _, p := range s.pieces {
		if v := p.views[id]; v != nil && !slices.Equal(v.share, v.lacks) {
			return false
		}
	}
	return true
}

// meanRun is the size of a run, about.
func (s *swarm) meanRun() core.Size {
	for _, p := range s.pieces {
		return p.file(0).Size
	}
	return 0
}

// pick chooses the runs of a batch from one piece: in order while the source spreads them, else the rarest, of equally
// rare ones any.
func (s *swarm) pick(p *piece, useful core.Bitmap, stage plan.Stage, bytes core.Size) (runs []int) {
	var all []int
	useful.Each(func(run int) { all = append(all, run) })
	if stage == plan.Filling {
		s.random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		slices.SortStableFunc(all, func(a, b int) int { return cmp.Compare(p.copies[a], p.copies[b]) })
	}
	for _, run := range all {
		if len(runs) > 0 && bytes < p.file(run).Size || len(runs) == batchRuns {
			break
		}
		bytes -= p.file(run).Size
		runs = append(runs, run)
	}
	return runs
}

// driveLanes gives the uplink to whoever should have it next, as long as there is some to give.
func (n *state) driveLanes() {
	for {
		if n.busyLanes() >= plan.MaxFlows || !n.serveSwarms() {
			break
		}
	}
	for _, s := range n.swarms {
		for _, l := range s.lanes {
			l.raise()
		}
	}
}

// serveSwarms lets the tasks take turns.
func (n *state) serveSwarms() bool {
	ids := slices.SortedFunc(maps.Keys(n.swarms), core.TaskID.Compare)
	for i := range ids {
		s := n.swarms[ids[(i+n.turn)%len(ids)]]
		if s.serve() {
			n.turn++
			return true
		}
	}
	return false
}

// busyLanes counts the lanes that hold a lease or ask for one.
func (n *state) busyLanes() (busy int) {
	for _, f := range n.flows {
		if _, ok := sideOf[*lane](f); ok && f.Holds() {
			busy++
		}
	}
	return busy
}

// zoneOf is a node's zone as its labels say.
func (n *state) zoneOf(id core.ID) string {
	if id == n.ID() {
		return n.Labels["zone"]
	}
	if p := n.peers[id]; p != nil {
		return p.labels["zone"]
	}
	return ""
}

// pieceOf is a segment that this node accepted, as a piece of its swarm.
func (n *state) pieceOf(seg *keep.Segment) *piece {
	s := n.swarm(seg.Task, seg.Source, seg.Tables())
	s.join(&piece{number: seg.Number, runs: seg.Runs(), file: seg.File, store: n.Keeping, mine: seg}, seg.Locations,
		func(core.ID) core.Bitmap { return nil })
	return s.pieces[seg.Number]
}

// take brings a segment that was accepted into its swarm.
func (n *state) take(seg *keep.Segment) *piece {
	p := n.pieceOf(seg)
	s := n.swarms[seg.Task]
	seg.Here(func(run int) { s.give(p, run, nil) })
	return p
}

// arrived lets a run that came be sent on, and the neighbours know.
func (n *state) arrived(seg *keep.Segment, run int, chunks []core.Chunk) {
	p := n.pieceOf(seg)
	s := n.swarms[seg.Task]
	s.give(p, run, chunks)
	p.news = append(p.news, run)
	s.tell()
}

// parcel is a run of a piece, ready to be sent; false where its chunks are not known any more.
func (s *swarm) parcel(p *piece, run int) (parcel, bool) {
	chunks := p.chunks[run]
	if chunks == nil && p.mine != nil {
		s.seek(p, run)
	}
	return parcel{begin: wire.TransmissionBegin{Task: s.task, Segment: p.number, Hash: p.file(run).Hash,
		Chunks: chunks}, store: p.store}, chunks != nil
}

// seek has the chunks of a run looked up that was here before the swarm, or that nobody wanted for a while; then it may
// begin.
func (s *swarm) seek(p *piece, run int) {
	if p.sought[run] {
		return
	}
	if p.sought == nil {
		p.sought = map[int]bool{}
	}
	p.sought[run] = true
	s.n.kept.Chunks(p.file(run).Hash, func(chunks []core.Chunk) {
		delete(p.sought, run)
		if len(chunks) == 0 {
			return
		}
		p.chunks[run] = chunks
		for _, l := range s.lanes {
			if l.flow != nil && l.sends(p.number, run) {
				l.more(s.n, l.flow)
			}
		}
	})
}

// swarmLife is how long a swarm is kept in which nothing happens.
const swarmLife = 10 * time.Minute

// endSwarms ends those that are done, and those in which nothing happens any more.
func (n *state) endSwarms() {
	for id, s := range n.swarms {
		if !n.coordinates(id) && (n.now()-s.touched > swarmLife || s.over() && !s.lacking()) {
			s.end()
		}
	}
}

// lacking reports whether this node still lacks something of the task.
func (s *swarm) lacking() bool {
	for _, p := range s.pieces {
		if p.mine != nil && !p.mine.Complete() {
			return true
		}
	}
	return false
}
