package node

import (
	"fmt"
	"slices"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan"
	"github.com/bkp-tool/bkp/core/task"
)

// gather brings runs from their holders, each run from the first that has room for it; the last ones from who would
// have them there first (plan.Deal), and then from two (plan.Twice). Owned by the loop.
type gather struct {
	n       *Node
	owner   core.ID
	alias   string
	pending []*wantedRun // not asked for, in order
	open    int          // runs not there yet
	takers  map[core.ID]*taker
	lost    map[core.ID]string    // holders that failed, and how
	got     map[core.ID]core.Size // stored bytes by holder
	rates   map[core.ID]core.Rate // what holders say they can send, or last agreed to
	changed chan struct{}         // one word after every change
	keep    func(from core.ID, i int, r *wantedRun, c core.Chunk, data []byte) error
	// takes runs whose bytes are wrong at their holder; nil: the holder is lost, and others asked
	corrupt func([]*wantedRun)
}

// wantedRun is a run to be fetched, whole or the chunks of it that are wanted.
type wantedRun struct {
	core.Run
	wanted  core.Bitmap  // of Run.Chunks
	sent    []core.Chunk // the wanted ones, as the holder will send them
	size    core.Size    // their stored bytes
	holders []core.ID
	indexes []int // of sent, in Run.Chunks

	asked int  // holders that were asked for it and have not brought it
	done  bool // somebody brought it

	turn chan struct{} // holds one token: who has it keeps a chunk (a lock that a virtual clock can see waiting)
	kept core.Bitmap   // of sent, by whoever was first; the token guards it
}

func newWantedRun(r core.Run, wanted core.Bitmap, holders []core.ID) *wantedRun {
	w := &wantedRun{Run: r, wanted: wanted, holders: holders, turn: make(chan struct{}, 1)}
	for i, c := range r.Chunks {
		if wanted.Has(i) {
			w.sent, w.indexes = append(w.sent, c), append(w.indexes, i)
			w.size += c.Size
		}
	}
	w.kept = core.NewBitmap(len(w.sent))
	return w
}

// once keeps a chunk unless another holder brought it before. It returns when the chunk is kept, by whomever.
func (w *wantedRun) once(i int, keep func() error) error {
	w.turn <- struct{}{}
	defer func() { <-w.turn }()
	if w.kept.Has(i) {
		return nil
	}
	err := keep()
	if err == nil {
		w.kept.Set(i)
	}
	return err
}

// without takes a holder that does not have the run whole off its list.
func (w *wantedRun) without(id core.ID) {
	w.holders = slices.DeleteFunc(slices.Clone(w.holders), func(h core.ID) bool { return h == id })
}

// start asks every connected holder. Loop only.
func (g *gather) start() {
	g.open = len(g.pending)
	for _, r := range g.pending {
		for _, id := range r.holders {
			if g.takers[id] == nil {
				t := &taker{n: g.n, from: id, job: g, runs: map[int]*wantedRun{}, rate: g.rates[id]}
				g.takers[id] = t
				g.n.takers[t] = struct{}{}
			}
		}
	}
	g.driveAll()
}

func (g *gather) driveAll() {
	for _, t := range g.takers {
		t.drive()
	}
}

// stop ends every flow that is left. Loop only.
func (g *gather) stop() {
	for _, t := range g.takers {
		delete(g.n.takers, t)
		if t.flow != nil {
			g.n.step(t.flow, task.Event{Kind: task.Stop, Reason: core.ReasonStopped})
		}
	}
}

// orphans are the wanted runs that no holder left can bring. Loop only.
func (g *gather) orphans() (left []*wantedRun) {
	for _, r := range g.pending {
		if !slices.ContainsFunc(r.holders, func(id core.ID) bool { return g.lost[id] == "" }) {
			left = append(left, r)
		}
	}
	return left
}

// lose gives a holder up for this gather. Loop only.
func (g *gather) lose(id core.ID, format string, args ...any) {
	if g.lost[id] == "" {
		g.lost[id] = fmt.Sprintf(format, args...)
		g.n.Log.Warn("holder lost", "peer", id.Short(), "reason", g.lost[id])
	}
	signal(g.changed)
}

// forgive takes holders back that were away and are connected again. Loop only.
func (g *gather) forgive() {
	for id, t := range g.takers {
		if p := g.n.peers[id]; t.away && p != nil && p.session != nil {
			t.away, t.fails = false, 0
			delete(g.lost, id)
		}
	}
}

// strangers counts the holders that wait to be asked and of which nobody knows what they can send. Loop only.
func (g *gather) strangers() (count int) {
	for id, t := range g.takers {
		if t.rate == 0 && g.lost[id] == "" && (t.flow == nil || t.flow.State == task.Idle) {
			count++
		}
	}
	return count
}

// endGame is how few runs are left when it begins to matter who takes the last ones.
const endGame = 64

// dealt is the runs that a holder may be asked for: all that it has, or near the end those that it would bring first.
func (g *gather) dealt(t *taker) []*wantedRun {
	if len(g.pending) > endGame || t.rate == 0 {
		return g.pending
	}
	var bringers []plan.Bringer
	at := map[core.ID]int{}
	for id, other := range g.takers {
		if other == t || other.able() {
			at[id] = len(bringers)
			bringers = append(bringers, other.bringer())
		}
	}
	pieces := make([]plan.Piece, len(g.pending))
	for i, r := range g.pending {
		pieces[i].Size = r.size
		for _, id := range r.holders {
			if b, able := at[id]; able {
				pieces[i].Holders = append(pieces[i].Holders, b)
			}
		}
	}
	var mine []*wantedRun
	for i, b := range plan.Deal(bringers, pieces) {
		if b == at[t.from] {
			mine = append(mine, g.pending[i])
		}
	}
	return mine
}

// again is a run that another holder is late with and this one should be asked for too; nil where there is none.
func (g *gather) again(t *taker) *wantedRun {
	if slices.ContainsFunc(g.pending, func(r *wantedRun) bool { return slices.Contains(r.holders, t.from) }) {
		return nil
	}
	var runs []*wantedRun
	var late []plan.Late
	for _, other := range g.takers {
		if other == t {
			continue
		}
		due := other.dues()
		for i, r := range due.runs {
			if r.asked == 1 && !r.done && slices.Contains(r.holders, t.from) {
				runs, late = append(runs, r), append(late, due.late[i])
			}
		}
	}
	if k := plan.Twice(t.bringer(), late); k >= 0 {
		return runs[k]
	}
	return nil
}

// brought notes that a holder brought a run, and stops others that were asked for it too. Loop only.
func (g *gather) brought(t *taker, r *wantedRun) {
	r.asked--
	if r.done {
		return
	}
	r.done = true
	g.open--
	g.got[t.from] += r.size
	for _, other := range g.takers {
		if r.asked > 0 && other != t {
			other.shed()
		}
	}
}
