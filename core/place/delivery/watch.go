// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"fmt"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/placements"
	"github.com/bkp-tool/bkp/core/plan"
)

const (
	// AwayPatience is with a target whose session is gone: silence ends a session after three pings, 15 to 20 s.
	AwayPatience = 10 * time.Second
	// minimumPatience is with targets that send no receipts.
	minimumPatience = 60 * time.Second
)

// Watch decides what is to be done while the data of a placement moves. Who holds it tells it what happens, each event
// by a method, and then carries out what Next says, one action after the other.
type Watch struct {
	*placements.Standing
	ground Ground
	index  map[core.ID]int // of nodes in the snapshot
	pace   *plan.Pace
	room   []core.Size  // what is left on each node of the snapshot, once copies were dealt anew
	barred map[int]bool // nodes of the snapshot that the strategy does not allow
	joined int          // the first of the nodes in the snapshot that came last
	joins  bool         // they were not dealt anything yet
	asked  bool         // for receipts once more, since none came

	blank map[core.ID]time.Time // targets that knew nothing of what they agreed to, since when

	unplaced bool // copies of targets that were given up want another place
	decided  []Action
}

// Ground is what a placement was planned on.
type Ground struct {
	Snapshot core.Snapshot
	Plan     *plan.Plan
	Scores   core.Scores
	Given    bool // the plan was given, and is carried out as it is
	Far      bool // some nodes are reached through others only
}

// Peer is what is known of a node of the snapshot now.
type Peer struct {
	Address   string    // where it was reached last
	Reachable bool      // messages can be sent to it, by a session or through others
	Connected bool      // by a session, over a link whose capacity is settled
	Capacity  core.Rate // of the link; 0 where it is not known
	Refs2     bool      // it reads refs of version 2, as it said itself
	Far       bool      // it is reached through others only
	Stripes   bool      // it keeps runs of parity, as it said itself
	Keeps     bool      // it knows of versions that are handed over, or is reached through others and has not said that it does not
	Audited   bool      // it answers audits, or is reached through others and has not said that it does not
}

// Progress tells what the targets lack, as far as the source knows.
type Progress interface {
	// Left is the stored bytes that each target lacks of segments.
	Left(segments []int) map[core.ID]core.Size
	// Loose is the runs of a segment that each target lacks and that nobody is known to be sending it.
	Loose(segment int) map[core.ID]core.Bitmap
}

// ActionKind is what is to be done.
type ActionKind uint8

const (
	Show   ActionKind = iota // show Target the segment as it stands
	Ask                      // ask Target for the receipts that it owes
	Forget                   // send Target nothing more
	Narrow                   // what targets of the segment are to get has changed: some get less
	Renew                    // sign a further licence for the segment, and show it to all its targets
	Join                     // Target agreed to the segment: it gets what it lacks of it
	Say                      // tell the person who waits: Text
)

// Action is something that is to be done.
type Action struct {
	Kind    ActionKind
	Segment int
	Target  core.ID
	Text    string
}

// NewWatch begins when the data does.
func NewWatch(now time.Time, s *placements.Standing, g Ground) *Watch {
	w := &Watch{Standing: s, ground: g, index: map[core.ID]int{}, barred: map[int]bool{},
		blank: map[core.ID]time.Time{}}
	for i, node := range g.Snapshot.Nodes {
		w.index[node.ID] = i
	}
	for _, x := range g.Plan.Refused {
		w.barred[x.Node] = x.Barred
	}
	run, slowest := core.Size(0), core.Rate(0)
	for _, seg := range s.Segments {
		seg.Had = map[core.ID]core.Bitmap{}
		had := func(id core.ID, runs core.Bitmap) {
			if seg.Had[id] == nil {
				seg.Had[id] = core.NewBitmap(len(seg.Runs))
			}
			seg.Had[id].Or(runs)
		}
		for id := range seg.Told {
			had(id, seg.Has[id])
		}
		for id, runs := range seg.Receipts { // of who refused this time, too
			had(id, runs)
		}
		for _, r := range seg.Runs {
			run = max(run, r.Size)
		}
	}
	for _, f := range g.Plan.Flows {
		if slowest == 0 || f.Rate > 0 && f.Rate < slowest {
			slowest = f.Rate
		}
	}
	w.pace = plan.NewPace(g.Plan.PredictedS, run, slowest)
	s.Began, s.Last = now, now
	return w
}

// Came asks a target that came, or came back, for the receipts that it owes.
func (w *Watch) Came(id core.ID) { w.do(Action{Kind: Ask, Target: id}) }

// Answered takes the answer of a target that was shown a segment.
func (w *Watch) Answered(from core.ID, segment int, a placements.Answer) {
	switch {
	case !w.Standing.Answered(from, segment, a):
	case a.Agreed:
		w.do(Action{Kind: Join, Target: from, Segment: segment})
	default:
		w.NoMore[from] = true
		w.GiveUp(from, a.Reason)
	}
}

// GiveUp leaves a target out of what is awaited.
func (w *Watch) GiveUp(id core.ID, why string) {
	if w.Failed[id] != "" {
		return
	}
	w.Failed[id], w.unplaced = why, true
	w.do(Action{Kind: Say,
		Text: fmt.Sprintf("%s (%s) is given up: %s; the others go on", w.address(id), id.Short(), why)})
	w.do(Action{Kind: Forget, Target: id})
}

// blankPatience is how long what a target said before it was asked anew may be on its way.
const blankPatience = 10 * time.Second

// Unknown has a target that knows nothing of what it agreed to asked anew, since it lost all that it had; who does not
// know it a second time is given up. It reports whether what the target signed for is worth nothing any more.
func (w *Watch) Unknown(now time.Time, id core.ID) (lost bool) {
	since, again := w.blank[id]
	switch {
	case w.Failed[id] != "":
		return false
	case again && now.Sub(since) > blankPatience:
		w.GiveUp(id, "it knows nothing of what it agreed to")
		return false
	case again:
		return false
	}
	w.blank[id] = now
	w.Refuted(id, 0, nil)
	w.do(Action{Kind: Say, Text: fmt.Sprintf("%s (%s) has lost what it had: it is asked anew", w.address(id), id.Short())})
	w.do(Action{Kind: Forget, Target: id})
	for _, seg := range w.Segments {
		if slices.Contains(seg.Targets, id) {
			w.do(Action{Kind: Show, Target: id, Segment: seg.Number})
		}
	}
	return true
}

// Joined takes nodes in that came after the survey: snapshot has them behind those that are known, and scores is what
// the strategy says of all. Where it cannot say, known is false, and none of them may keep anything.
func (w *Watch) Joined(snapshot core.Snapshot, scores core.Scores, known bool) {
	w.free() // of those that were there
	w.joined = len(w.ground.Snapshot.Nodes)
	w.ground.Snapshot = snapshot
	for node := w.joined; node < len(snapshot.Nodes); node++ {
		state := snapshot.Nodes[node]
		w.index[state.ID] = node
		w.room = append(w.room, w.roomAt(node, scores))
		if row := node - 1; !known || len(scores.Allow) > 0 && !scores.Allow[row] { // of all but the source
			w.barred[node] = true
			continue
		}
		w.joins = true
		w.do(Action{Kind: Say, Text: fmt.Sprintf("%s (%s) joined", state.Address, state.ID.Short())})
	}
}

// Next is what is to be done now. peers has what is known of the snapshot's nodes. Until it returns nothing there may
// be more.
func (w *Watch) Next(now time.Time, peers map[core.ID]Peer, p Progress) []Action {
	w.care(now, peers)
	late := w.pace.Note(now.Sub(w.Began), w.left(p, w.Segments)) && !w.ground.Given && !w.ground.Far
	switch {
	case w.unplaced:
		w.unplaced = false
		w.reassign(now, lostTarget, peers, p)
	case late:
		w.reassign(now, latePlacement, peers, p)
	case w.joins:
		w.joins = false
		w.reassign(now, joinedPeer, peers, p)
	}
	out := w.decided
	w.decided = nil
	return out
}

// care looks after targets that went away, and those that send no receipts.
func (w *Watch) care(now time.Time, peers map[core.ID]Peer) {
	for _, id := range core.Sorted(w.Lost) {
		switch {
		case w.Failed[id] != "":
		case peers[id].Connected:
			delete(w.Lost, id) // back: it says itself what it lacks
			w.showAgain(id)
		case now.Sub(w.Lost[id]) > AwayPatience:
			w.GiveUp(id, "it went away")
		}
	}
	patience := w.patience()
	switch {
	case now.Sub(w.Last) <= patience:
	case !w.asked: // a receipt may have been lost without a word
		w.asked, w.Last = true, now
		for _, target := range core.Sorted(w.index) {
			w.do(Action{Kind: Ask, Target: target})
		}
	default:
		for _, seg := range w.Segments {
			for _, target := range seg.Targets {
				if w.Failed[target] == "" && !seg.Complete(target) {
					w.Failed[target] = fmt.Sprintf("no receipt for %s", patience)
				}
			}
		}
	}
}

// showAgain shows a target that was away the licences that it may have missed.
func (w *Watch) showAgain(id core.ID) {
	for _, seg := range w.Segments {
		if len(seg.Licenses) > 1 && slices.Contains(seg.Targets, id) {
			w.do(Action{Kind: Show, Target: id, Segment: seg.Number})
		}
	}
}

// patience is how long no receipt at all may come: a minute, or four of the largest runs on the slowest flow, or at the
// lowest rate that a calendar comes to.
func (w *Watch) patience() time.Duration {
	longest := minimumPatience
	rates := []core.Rate{w.ground.Snapshot.Slowest()}
	for _, f := range w.ground.Plan.Flows {
		rates = append(rates, f.Rate)
	}
	for _, r := range rates {
		if r > 0 {
			longest = max(longest, time.Duration(4*r.Payload().Seconds(core.MaxRun)*float64(time.Second)))
		}
	}
	return longest.Round(time.Second)
}

func (w *Watch) do(a Action) { w.decided = append(w.decided, a) }

// address is where a node was reached when it was surveyed.
func (w *Watch) address(id core.ID) string {
	if at, ok := w.index[id]; ok {
		return w.ground.Snapshot.Nodes[at].Address
	}
	return ""
}

// left is what each node of the snapshot lacks of segments.
func (w *Watch) left(p Progress, segments []*placements.Segment) []core.Size {
	var numbers []int
	for _, seg := range segments {
		numbers = append(numbers, seg.Number)
	}
	left := make([]core.Size, len(w.ground.Snapshot.Nodes))
	for id, bytes := range p.Left(numbers) {
		if at, ok := w.index[id]; ok && w.Failed[id] == "" {
			left[at] = bytes
		}
	}
	return left
}
