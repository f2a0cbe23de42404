package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/wire"
)

// lookAtDisk is how often the node looks how much room its disk has. Between two looks it counts what it keeps itself;
// others write there, too.
const lookAtDisk = 3 * time.Second

// watchSpace keeps what the loop knows of the disk up to date.
func (n *Node) watchSpace() {
	for n.pause(context.Background(), lookAtDisk) {
		n.measureSpace()
	}
}

// measureSpace looks how much can be kept in all: the capacity, or less where the disk has less room beside what is
// kept.
func (n *Node) measureSpace() {
	room, err := n.Room()
	used, usedErr := n.Keeping.Used(n.ctx)
	if usedErr != nil {
		err = usedErr
	}
	keeps := n.Capacity
	switch {
	case errors.Is(err, errors.ErrUnsupported):
	case err != nil: // a disk that does not say how much is free does not take more either
		n.Health.Degrade(spaceKey, fmt.Sprintf("its disk does not answer: %v", err), true)
		return
	default:
		keeps = min(keeps, used+room)
	}
	n.Health.Recover(spaceKey)
	n.post(func() { n.keeps = keeps })
}

const spaceKey = "space"

// remaining is the room that is neither used nor promised; none where the store cannot tell. Loop only.
func (n *Node) remaining() core.Size {
	used, err := n.Keeping.Used(n.ctx)
	if err != nil {
		return 0
	}
	return max(0, n.keeps-used-n.reserved)
}

// offered is the room that peers are told of: none while nothing new can be kept, so that plans go elsewhere. Loop
// only.
func (n *Node) offered() core.Size {
	if n.Health.refusal() != nil {
		return 0
	}
	return n.remaining()
}

const (
	// restAfterRelease is how long bytes that were released stay at most where nobody asks for room: most often more is
	// released a moment later, and one collection frees it all.
	restAfterRelease = 15 * time.Second
	// restShare keeps collections that nobody waits for to a tenth of the time: what arrives waits for each.
	restShare = 9
	// lookForExpired is how often the node looks for tasks whose time is over.
	lookForExpired = time.Hour
	// questionPatience is how long a question after the room waits for what was released to be freed.
	questionPatience = 2 * time.Second
)

// releases is what owners have released and no collection has freed yet.
type releases struct {
	seen, freed atomic.Uint64 // how many there were, and how many of them had come when the last collection began
	before      atomic.Bool   // there may be some of before the node started
	came        chan struct{} // holds one word once there are any
	need        chan struct{} // holds one word once somebody wants the room
}

func (r *releases) init() {
	r.before.Store(true)
	r.came, r.need = make(chan struct{}, 1), make(chan struct{}, 1)
}

// add says that something was released.
func (r *releases) add() {
	r.seen.Add(1)
	signal(r.came)
}

// wait reports whether something that was released is not freed yet.
func (r *releases) wait() bool { return r.seen.Load() != r.freed.Load() }

// freeReleased frees by itself what was released: soon, or at once where room is wanted.
func (n *Node) freeReleased() {
	expired := time.NewTicker(lookForExpired)
	defer expired.Stop()
	var took time.Duration // of the last collection
	for {
		select {
		case <-n.released.came:
		case <-expired.C:
			n.collecting.Lock()
			err := n.releaseAbandoned()
			n.collecting.Unlock()
			if err != nil {
				n.Log.Error("let go of abandoned tasks", "error", err)
			}
			continue
		case <-n.ctx.Done():
			return
		}
		rest := time.NewTimer(max(restAfterRelease, restShare*took))
		select {
		case <-rest.C:
		case <-n.released.need:
		case <-n.ctx.Done():
		}
		rest.Stop()
		if n.ctx.Err() != nil {
			return
		}
		began := time.Now()
		if err := n.collectReleased(); err != nil {
			n.Log.Error("free what was released", "error", err)
		}
		took = time.Since(began)
	}
}

// collectReleased frees what was released; it returns when that is done, whoever does it. Never on the loop.
func (n *Node) collectReleased() error {
	n.collecting.Lock()
	defer n.collecting.Unlock()
	if !n.released.wait() || n.damaged.Load() {
		return nil
	}
	found, err := n.checkRecords(n.ctx)
	if err = cmp.Or(err, found.Err()); err != nil {
		return err
	}
	freed, err := n.sweepKeeping(n.ctx)
	if freed.Waiting > 0 {
		n.released.add() // again later
	}
	if freed.Freed > 0 {
		n.Log.Info("freed what was released", "bytes", freed.Freed, "waiting", freed.Waiting)
	}
	return err
}

// freeing carries out what frees space, on a full disk in room that was set aside for that.
func (n *Node) freeing(do func() error) error {
	if n.Freeing == nil {
		return do()
	}
	return n.Freeing(do)
}

// makeRoom frees what was released before do is tried once more, where do lacks room.
func (n *Node) makeRoom(do func() error) error {
	err := do()
	if r, is := errors.AsType[*refusal](err); !is || r.code != core.ReasonSpace {
		return err
	}
	if n.released.before.Swap(false) {
		n.released.add()
	}
	if err := n.collectReleased(); err != nil {
		n.Log.Error("free what was released", "error", err)
	}
	return do()
}

// onStateQuery answers a question after this node's state. What was released is room again, which who asks most often
// wants to know.
func (n *Node) onStateQuery(p *peer, m wire.StateQuery) {
	if !n.released.wait() {
		n.reportState(p, m)
		return
	}
	n.act(func() {
		freed := make(chan struct{})
		n.act(func() {
			defer close(freed)
			if err := n.collectReleased(); err != nil {
				n.Log.Error("free what was released", "error", err)
			}
		})
		patience := time.NewTimer(questionPatience)
		defer patience.Stop()
		select {
		case <-freed:
		case <-patience.C:
		}
		n.post(func() { n.reportState(p, m) })
	})
}

const (
	// promiseLife is how long room stays promised to a segment for which nothing arrives.
	promiseLife = 10 * time.Minute
	// orphanLife is how long where its source cannot be reached either. Who comes back is promised room anew when it
	// applies.
	orphanLife = time.Minute
)

// promise keeps so much room for what is to come of a segment. Loop only.
func (n *Node) promise(seg *segment, room core.Size) error {
	more := room - seg.promised
	if more <= 0 {
		return nil
	}
	free := n.remaining()
	if more > free {
		free += n.dropDead(seg)
	}
	if more > free {
		signal(n.released.need)
		return refuse(core.ReasonSpace, "%s are needed here, %s are free", more, free)
	}
	seg.promised += more
	n.reserved += more
	seg.touched = time.Now()
	return nil
}

// dropDead takes back what is promised to other tasks of a segment's owner that seem dead: their source cannot be
// reached, and nothing arrives for them. It is the owner's to use again. Loop only.
func (n *Node) dropDead(seg *segment) (dropped core.Size) {
	for _, s := range n.segments {
		if s.Owner == seg.Owner && s.Task != seg.Task && len(s.arriving) == 0 && !n.peers[s.Source].reachable() {
			dropped += s.promised
			n.dropPromises(s)
		}
	}
	return dropped
}

// dropOutlived takes back promises that nobody came for. Loop only.
func (n *Node) dropOutlived() {
	for _, seg := range n.segments {
		quiet := time.Since(seg.touched)
		orphan := len(seg.arriving) == 0 && !n.peers[seg.Source].reachable()
		if quiet > promiseLife || quiet > orphanLife && orphan {
			n.dropPromises(seg)
		}
	}
}

// dropEarlier takes back what was promised to a node's placements before it started anew: they ended with it. What it
// goes on with is promised room again when its runs are offered. Loop only.
func (n *Node) dropEarlier(source core.ID) {
	for _, seg := range n.segments {
		if seg.Source == source && len(seg.arriving) == 0 {
			n.dropPromises(seg)
		}
	}
}

// dropPromise takes a run's bytes out of what is promised. Loop only.
func (n *Node) dropPromise(seg *segment, run int) {
	size := min(seg.promised, seg.File(run).Size)
	seg.promised -= size
	n.reserved -= size
	seg.touched = time.Now()
}

// trimPromise takes back what a segment no longer needs: its runs turned out to be here. Loop only.
func (n *Node) trimPromise(seg *segment) {
	over := max(0, seg.promised-seg.missing())
	seg.promised -= over
	n.reserved -= over
}

// dropPromises takes back all that is promised to a segment. Loop only.
func (n *Node) dropPromises(seg *segment) {
	n.reserved -= seg.promised
	seg.promised = 0
}
