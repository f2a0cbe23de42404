// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/place/content"
	"github.com/bkp-tool/bkp/core/placements"
	"github.com/bkp-tool/bkp/core/plan"
	"github.com/bkp-tool/bkp/core/scenariotest"
)

// TestWatch reads testdata/*.txt: lines that say what happens, then ---- and what is decided, to the next empty line.
// What is decided is carried out, on targets and a transfer that are made up. The words:
//
//	node NAME [zone=Z] [down=RATE] [free=SIZE] [barred]    the first is the source
//	trunk FROM TO RATE                    between zones
//	zones MAX                             so many copies of a run may a zone keep
//	runs 8x1MiB                           all new
//	keep NAME RUNS [from NAME]            who is to keep what, and from whom it comes: RUNS is FIRST-LAST
//	flow FROM TO RATE SIZE                of the plan
//	given      far                        the plan was given; some nodes are reached through others only
//	start SPAN                            the data begins to move, and is planned to take so long
//	wait SPAN                             time passes, a quarter of a second a step
//	got NAME RUNS                         the target has runs, and says so
//	coming NAME RUNS                      runs are on their way to it
//	receipt NAME RUNS                     it has runs, and signs for them
//	refuse NAME REASON      fails NAME WHY      unknown NAME      it knows nothing of what it agreed to
//	down NAME       up NAME               its session ends; it is back
//	join NAME …                           as node, while the data moves; with "unknown" the strategy cannot say
//	where                                 prints who is to keep what
//	stand                                 prints what has receipts, and what is wrong
func TestWatch(t *testing.T) {
	scenariotest.Each(t, "testdata/*.txt", func(t *testing.T, file string) {
		w := newWorld()
		scenariotest.Play(t, file, w.line, func() string { defer w.did.Reset(); return w.did.String() })
	})
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// world is a placement of one segment whose targets the test plays.
type world struct {
	ground  Ground
	spans   []plan.Span
	chunks  []core.Chunk
	content *content.Runs // of chunks
	w       *Watch
	now     time.Time
	has     map[core.ID]core.Bitmap // runs at targets
	coming  map[core.ID]core.Bitmap // on their way there
	gets    map[core.ID]core.Bitmap // what the transfer gives a target
	down    map[core.ID]bool
	did     strings.Builder
}

func newWorld() *world {
	return &world{has: map[core.ID]core.Bitmap{}, coming: map[core.ID]core.Bitmap{}, gets: map[core.ID]core.Bitmap{},
		down: map[core.ID]bool{}, now: time.Unix(1_000_000, 0)}
}

func (w *world) node(name string) int {
	return slices.IndexFunc(w.ground.Snapshot.Nodes, func(n core.NodeState) bool { return n.Address == name })
}

func (w *world) id(name string) core.ID { return w.ground.Snapshot.Nodes[w.node(name)].ID }

func (w *world) name(id core.ID) string {
	for _, n := range w.ground.Snapshot.Nodes {
		if n.ID == id {
			return n.Address
		}
	}
	return id.Short()
}

// Left makes the world Progress; it has one segment.
func (w *world) Left(segments []int) map[core.ID]core.Size {
	left := map[core.ID]core.Size{}
	for id := range w.gets {
		for range segments {
			w.lacks(id).Each(func(run int) { left[id] += w.w.Segments[0].Runs[run].Size })
		}
	}
	return left
}

func (w *world) Loose(int) map[core.ID]core.Bitmap {
	loose := map[core.ID]core.Bitmap{}
	for id := range w.gets {
		loose[id] = w.lacks(id)
		w.set(w.coming, id).Each(loose[id].Clear)
	}
	return loose
}

func (w *world) lacks(id core.ID) core.Bitmap {
	lacks := slices.Clone(w.gets[id])
	w.set(w.has, id).Each(lacks.Clear)
	return lacks
}

func (w *world) set(of map[core.ID]core.Bitmap, id core.ID) core.Bitmap {
	if of[id] == nil {
		of[id] = core.NewBitmap(len(w.content.Fresh))
	}
	return of[id]
}

func (w *world) line(f []string) error {
	switch f[0] {
	case "node":
		return w.addNode(f[1:])
	case "trunk":
		rate, err := core.ParseRate(f[3])
		w.ground.Snapshot.Trunks = append(w.ground.Snapshot.Trunks, core.TrunkState{From: f[1], To: f[2], Rate: rate})
		return err
	case "zones":
		w.ground.Scores.Spread.Level = "zone"
		_, err := fmt.Sscan(f[1], &w.ground.Scores.Spread.Max)
		return err
	case "runs":
		count, size, _ := strings.Cut(f[1], "x")
		n, err := strconv.Atoi(count)
		bytes, err2 := core.ParseSize(size)
		for i := range n {
			w.chunks = append(w.chunks, core.Chunk{Hash: core.Hash{byte(i), byte(i >> 8), 1}, Size: bytes})
		}
		w.content = content.New("alias.1", w.chunks)
		return cmp.Or(err, err2)
	case "keep":
		runs := ranges(f[2])
		s := plan.Span{Node: w.node(f[1]), Start: runs.Start, Length: runs.Length}
		if len(f) > 4 {
			s.From = w.node(f[4])
		}
		w.spans = append(w.spans, s)
	case "flow":
		rate, err := core.ParseRate(f[3])
		size, err2 := core.ParseSize(f[4])
		w.plan().Flows = append(w.plan().Flows,
			plan.Flow{From: w.node(f[1]), To: w.node(f[2]), Rate: rate, Bytes: size})
		return cmp.Or(err, err2)
	case "given":
		w.ground.Given = true
	case "far":
		w.ground.Far = true
	case "start":
		return w.start(f[1])
	default:
		return w.happens(f)
	}
	return nil
}

func (w *world) plan() *plan.Plan {
	if w.ground.Plan == nil {
		w.ground.Plan = &plan.Plan{}
	}
	return w.ground.Plan
}

func (w *world) addNode(f []string) (err error) {
	at := len(w.ground.Snapshot.Nodes)
	n := core.NodeState{ID: core.ID{byte(at + 1)}, Address: f[0], Free: core.GiB}
	for _, word := range f[1:] {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "zone":
			n.Zone = value
		case "down":
			n.Down, err = core.ParseRate(value)
		case "free":
			n.Free, err = core.ParseSize(value)
		case "barred":
			w.plan().Refused = append(w.plan().Refused, plan.Refusal{Node: at, Barred: true})
		}
	}
	w.ground.Snapshot.Nodes = append(w.ground.Snapshot.Nodes, n)
	return err
}

func (w *world) start(span string) error {
	took, err := time.ParseDuration(span)
	p := w.plan()
	p.PredictedS, p.Classes = took.Seconds(), [][]plan.Span{w.spans}
	for node := range w.ground.Snapshot.Nodes {
		row := plan.NodeRow{Node: node}
		for _, s := range w.spans {
			if s.Node == node {
				row.Bytes += core.Size(s.Length) * w.content.Fresh[0].Size
			}
		}
		p.Nodes = append(p.Nodes, row)
	}
	segments := content.Cut(core.TaskID{1}, "alias", 1, w.content)
	standing := placements.NewStanding(core.TaskID{1}, w.ground.Snapshot.Nodes[0].ID, segments)
	if err := assignPlanned(standing, w.ground); err != nil {
		return err
	}
	for _, s := range segments {
		s.Licenses = []core.LicenseID{{1}}
		for _, id := range s.Targets {
			s.Answers[id] = placements.Answer{Agreed: true}
		}
	}
	w.w = NewWatch(w.now, standing, w.ground)
	for _, span := range segments[0].Message.Locations {
		w.give(span)
	}
	w.follow()
	return err
}

// give has the transfer bring a span to its node.
func (w *world) give(s core.Span) {
	for run := s.Start; run < s.Start+s.Length; run++ {
		w.set(w.gets, s.Node).Set(run)
	}
}

// ranges reads FIRST-LAST, or one number.
func ranges(s string) core.Range {
	first, last, more := strings.Cut(s, "-")
	from, _ := strconv.Atoi(first)
	to := from
	if more {
		to, _ = strconv.Atoi(last)
	}
	return core.Range{Start: from, Length: to - from + 1}
}

// happens tells the watch what a line says, and carries out what it decides.
func (w *world) happens(f []string) error {
	var id core.ID
	if len(f) > 1 && f[0] != "wait" && f[0] != "join" {
		id = w.id(f[1])
	}
	mark := func(of map[core.ID]core.Bitmap, runs string) core.Range {
		r := ranges(runs)
		for run := r.Start; run < r.Start+r.Length; run++ {
			w.set(of, id).Set(run)
		}
		return r
	}
	switch f[0] {
	case "wait":
		span, err := time.ParseDuration(f[1])
		for end := w.now.Add(span); err == nil && w.now.Before(end); {
			w.now = w.now.Add(250 * time.Millisecond)
			w.follow()
		}
		return err
	case "got":
		mark(w.has, f[2])
	case "coming":
		mark(w.coming, f[2])
	case "receipt":
		r := core.Receipt{Task: w.w.Task, Target: id, License: core.LicenseID{1}, Runs: []core.Range{mark(w.has, f[2])}}
		if err := w.w.Expects(r); err != nil {
			return err
		}
		w.w.Receipted(w.now, r)
		w.w.Proved(r.Target, r.Segment, w.w.Segments[r.Segment].Unproved(r.Target))
	case "refuse":
		w.w.Answered(id, 0, placements.Answer{Code: core.ReasonSpace, Reason: strings.Join(f[2:], " ")})
	case "fails":
		w.w.GiveUp(id, strings.Join(f[2:], " "))
	case "unknown":
		clear(w.set(w.has, id))
		w.w.Unknown(w.now, id)
	case "down":
		w.down[id], w.w.Lost[id] = true, w.now
	case "up":
		delete(w.down, id)
		w.w.Came(id)
	case "join":
		known := !slices.Contains(f, "unknown")
		if err := w.addNode(f[1:]); err != nil {
			return err
		}
		scores := core.Scores{Allow: slices.Repeat([]bool{true}, len(w.ground.Snapshot.Nodes)-1)}
		scores.Allow[len(scores.Allow)-1] = !slices.Contains(f, "barred")
		w.w.Joined(w.ground.Snapshot, scores, known)
	case "where":
		for _, s := range w.w.Segments[0].Message.Locations {
			fmt.Fprintf(&w.did, "%s keeps %d-%d from %s\n", w.name(s.Node), s.Start, s.Start+s.Length-1, w.name(s.From))
		}
		for _, row := range w.w.Segments[0].Message.TrunkShares {
			fmt.Fprintf(&w.did, "%s may send %s at %s\n", w.name(row.From), w.name(row.To), row.Rate)
		}
		return nil
	case "stand":
		done, total, ended := w.w.Progress()
		fmt.Fprintf(&w.did, "%s of %s, ended: %v\n", done, total, ended)
		address := func(id core.ID) string { return w.name(id) }
		if err := w.w.Shortfall("disk.img", address); err != nil {
			fmt.Fprintf(&w.did, "%v\n", err)
		}
		return nil
	default:
		return fmt.Errorf("what is %q?", f[0])
	}
	w.follow()
	return nil
}

// follow carries out what the watch decides, as a placement does.
func (w *world) follow() {
	for {
		peers := map[core.ID]Peer{}
		for _, n := range w.ground.Snapshot.Nodes[1:] {
			up := !w.down[n.ID]
			peers[n.ID] = Peer{Reachable: up, Connected: up, Capacity: cmp.Or(n.Down, core.Rate(core.GiB))}
		}
		actions := w.w.Next(w.now, peers, w)
		for _, a := range actions {
			w.act(a)
		}
		if len(actions) == 0 {
			return
		}
	}
}

func (w *world) act(a Action) {
	at := w.now.Sub(w.w.Began).Round(time.Millisecond)
	seg := w.w.Segments[a.Segment]
	switch a.Kind {
	case Say:
		text := a.Text
		for _, n := range w.ground.Snapshot.Nodes {
			text = strings.ReplaceAll(text, " ("+n.ID.Short()+")", "")
		}
		fmt.Fprintf(&w.did, "%s say: %s\n", at, text)
	case Forget:
		fmt.Fprintf(&w.did, "%s forget %s\n", at, w.name(a.Target))
		delete(w.gets, a.Target)
	case Ask:
		if missing := seg.Unreceipted(a.Target); len(missing) > 0 {
			fmt.Fprintf(&w.did, "%s ask %s for %v\n", at, w.name(a.Target), missing)
		}
	case Show:
		fmt.Fprintf(&w.did, "%s show %s\n", at, w.name(a.Target))
	case Join:
		fmt.Fprintf(&w.did, "%s bring %s its part\n", at, w.name(a.Target))
		for _, s := range seg.Message.Locations {
			if w.w.Failed[s.Node] == "" {
				w.give(s)
			}
		}
	case Narrow:
		fmt.Fprintf(&w.did, "%s narrow\n", at)
		for id := range w.gets {
			asked := core.NewBitmap(len(seg.Runs))
			for _, run := range seg.Share(id) {
				asked.Set(run)
			}
			for run := range seg.Runs {
				if w.gets[id].Has(run) && !asked.Has(run) {
					w.gets[id].Clear(run)
				}
			}
		}
	case Renew:
		seg.Licenses = append(seg.Licenses, core.LicenseID{byte(len(seg.Licenses) + 1)})
		var names []string
		for _, id := range seg.Targets {
			names = append(names, w.name(id))
		}
		fmt.Fprintf(&w.did, "%s renew for %s\n", at, strings.Join(slices.Sorted(slices.Values(names)), " "))
		for _, id := range seg.Targets { // they agree at once
			if w.w.Failed[id] == "" && !w.down[id] {
				w.w.Answered(id, a.Segment, placements.Answer{Agreed: true})
			}
		}
	}
}

// TestScenariosShowEveryAction: a scenario prints every kind of action that there is.
func TestScenariosShowEveryAction(t *testing.T) {
	seen := map[string]bool{}
	files, _ := filepath.Glob("testdata/*.txt")
	for _, file := range files {
		text, err := os.ReadFile(file)
		check(t, err)
		for line := range strings.Lines(string(text)) {
			if f := strings.Fields(line); len(f) > 1 {
				seen[strings.TrimSuffix(f[1], ":")] = true
			}
		}
	}
	for _, word := range []string{"say", "forget", "ask", "show", "bring", "narrow", "renew"} {
		if !seen[word] {
			t.Errorf("no scenario has %q; there are %v", word, slices.Sorted(maps.Keys(seen)))
		}
	}
}
