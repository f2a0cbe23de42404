// SPDX-License-Identifier: Apache-2.0

package repair

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/placements"
	"github.com/bkp-tool/bkp/core/reconcile"
)

// DefaultShare is a tenth: enough to go on, and a placement that somebody waits for takes a ninth longer at most.
const DefaultShare = 0.1

// Config is how patient a keeper is.
type Config struct {
	Grace      time.Duration // how long a node may be away before its copies are made elsewhere
	AuditEvery time.Duration // how often each node proves what it keeps
	// Share is the part of this node's uplink and links, above 0 and up to 1, that copies made anew may use while
	// somebody waits for a placement; 0 is DefaultShare.
	Share float64
	// Tell is told one of core.Events about a record, and the node that it is about, or zero. It must not block. May be
	// nil.
	Tell func(what string, rec *placements.Record, peer core.ID)
}

// Node is what a keeper needs of its node. Every method may take long.
type Node interface {
	// ID is this node; zero where it is not known.
	ID() core.ID
	// Ready is nil where the owner can be acted for; else it says why not.
	Ready() error
	// Reached is the nodes that messages can be sent to.
	Reached() []core.ID
	// Find looks for nodes that are not among them, where others say that they are, or through those.
	Find(ctx context.Context, ids []core.ID)
	// Audit has a node prove again what it keeps by a record, and notes what came of it. lost is what it was found not
	// to have; err is why it could not be asked, or did not answer.
	Audit(ctx context.Context, rec *placements.Record, node core.ID) (lost, err error)
	// AuditInFull has a node that was found to lack something prove all that it keeps by a record, from a segment on,
	// and notes what else is lost. It goes on for a minute or so; next is the segment to go on with, or −1.
	AuditInFull(ctx context.Context, rec *placements.Record, node core.ID, from int) (next int, err error)
	// Enter makes it last what audits came to.
	Enter(word core.Audited) error
	// Mend places what a record lacks. What silent nodes keep, which can be reached and do not answer audits, goes to
	// others.
	Mend(ctx context.Context, rec *placements.Record, silent []core.ID, moved func(done, total core.Size)) error
}

// Mender is Node.Mend.
type Mender func(ctx context.Context, rec *placements.Record, silent []core.ID, moved func(done, total core.Size)) error

const (
	// breath is the least time from one look to the next.
	breath = 100 * time.Millisecond
	// settleTime is how long after a change it is looked, so that many at once are one.
	settleTime = time.Second
	// auditGap is how long after an audit a node that comes back is audited again.
	auditGap = 10 * time.Minute
	// auditRetry is how long after an audit that came to nothing the next one is made.
	auditRetry = time.Minute
)

// Keeper keeps the placements of a node. Its methods are safe for many goroutines.
type Keeper struct {
	Config
	node    Node
	records *placements.Records
	log     *slog.Logger
	news    chan struct{} // holds a word while something may have changed
	sought  time.Time     // when nodes that are away were looked for last; of Run alone

	mu      sync.Mutex
	running bool
	away    map[core.ID]time.Time        // nodes on record that cannot be reached, since when
	mute    map[core.ID]time.Time        // nodes that can, and do not answer audits, since when
	asked   map[core.ID]time.Time        // when they were asked last in vain
	back    map[core.ID]time.Time        // when nodes came that were away, or are new
	cases   map[core.TaskID]*attempt     // what was tried
	doubted map[doubt]int                // who is audited in full, and from which segment on
	sums    map[core.TaskID]core.Audited // what audits came to that is not entered yet
}

// doubt is of a node that was found to lack something of a placement.
type doubt struct {
	task core.TaskID
	node core.ID
}

// attempt is what was tried for a record.
type attempt struct {
	failed int
	ended  time.Time
	err    error
	began  time.Time // of the one that is under way; zero where none is

	done, total core.Size // that it moved, and is to move
}

// New keeps nothing until it runs.
func New(c Config, n Node, records *placements.Records, log *slog.Logger) *Keeper {
	return &Keeper{Config: c, node: n, records: records, log: log, news: make(chan struct{}, 1),
		away: map[core.ID]time.Time{}, mute: map[core.ID]time.Time{}, asked: map[core.ID]time.Time{},
		back: map[core.ID]time.Time{}, cases: map[core.TaskID]*attempt{},
		doubted: map[doubt]int{}, sums: map[core.TaskID]core.Audited{}}
}

// Came is a node that came, Gone one that went. They never wait for what is under way.
func (k *Keeper) Came(id core.ID) {
	k.mu.Lock()
	k.back[id] = time.Now()
	for _, c := range k.cases {
		c.failed = min(c.failed, 1) // it may have what was lacking, or take it
	}
	k.mu.Unlock()
	k.Changed()
}

// Gone is a node that went.
func (k *Keeper) Gone(core.ID) { k.Changed() }

// Changed has it looked soon.
func (k *Keeper) Changed() {
	select {
	case k.news <- struct{}{}:
	default:
	}
}

// Run looks after every change and every minute, until ctx ends.
func (k *Keeper) Run(ctx context.Context) {
	k.mu.Lock()
	k.running = true
	k.mu.Unlock()
	for ctx.Err() == nil {
		wake, err := k.look(ctx)
		if err != nil && ctx.Err() == nil {
			k.log.Warn("placements on record", "error", err)
		}
		timer := time.NewTimer(max(time.Until(wake), breath))
		select {
		case <-timer.C:
		case <-k.news:
			timer.Reset(settleTime)
			select {
			case <-timer.C:
			case <-ctx.Done():
			}
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// look has what is due proved and the one placement mended whose turn it is, and says when to look again.
func (k *Keeper) look(ctx context.Context) (wake time.Time, err error) {
	wake = time.Now().Add(lookOften)
	records, err := k.watched()
	if err != nil {
		return wake, err
	}
	k.find(ctx, k.network(records))
	k.network(records) // notes who is there
	for _, rec := range records {
		k.enterSum(rec)
		if next := k.audit(ctx, rec, false); next.Before(wake) {
			wake = next
		}
		if k.auditInFull(ctx, rec) {
			wake = time.Now()
		}
	}
	now, network := time.Now(), k.network(records)
	var cases []Case
	for _, rec := range records {
		cases = append(cases, k.judge(rec, network, now))
	}
	turn, next := Next(now, cases)
	if turn < 0 {
		if next.Before(wake) {
			wake = next
		}
		return wake, nil
	}
	k.mend(ctx, records[turn], k.Grace, k.node.Mend)
	return time.Now(), nil
}

// find looks for nodes that are away, once in lookOften.
func (k *Keeper) find(ctx context.Context, n reconcile.Network) {
	if time.Since(k.sought) < lookOften {
		return
	}
	k.sought = time.Now()
	reached := k.node.Reached()
	var lost []core.ID
	for _, x := range n.Nodes[1:] {
		if !slices.Contains(reached, x.ID) {
			lost = append(lost, x.ID)
		}
	}
	if len(lost) > 0 {
		k.node.Find(ctx, lost)
	}
}

// watched is the records that are kept: not those that are over, under way, handed over to another node, on a disk
// under way to one, or of a backup that is not finished; of owners who cannot be acted for here those that they handed
// over to this node.
func (k *Keeper) watched() (records []*placements.Record, err error) {
	all, err := k.records.All()
	self, ready := k.node.ID(), k.node.Ready() == nil
	newest := map[string]*placements.Record{}
	for _, rec := range all {
		if !rec.IsOver() && !rec.Window && (rec.Coordinator.IsZero() || !rec.Taken) && (self.IsZero() || rec.Source == self) &&
			(ready || rec.Delegation != nil) {
			newest[rec.Name()] = rec
		}
	}
	for _, rec := range all {
		if newest[rec.Name()] == rec && !k.records.UnderWay(rec) && rec.Shipment.IsZero() {
			records = append(records, rec)
		}
	}
	return records, err
}

// network is the nodes as they are now, this one first, and notes who went and who came back.
func (k *Keeper) network(records []*placements.Record) (n reconcile.Network) {
	reached, now := k.node.Reached(), time.Now()
	var holders []core.ID
	for _, rec := range records {
		for _, h := range rec.Holders() {
			holders = append(holders, h.Node)
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	n.Nodes = []reconcile.Node{{ID: k.node.ID()}}
	for _, id := range reached {
		if since, was := k.away[id]; was {
			delete(k.away, id)
			if k.back[id].Before(since) {
				k.back[id] = now
			}
		}
		n.Nodes = append(n.Nodes, reconcile.Node{ID: id, Away: k.mute[id]})
	}
	for _, id := range holders {
		if slices.ContainsFunc(n.Nodes, func(x reconcile.Node) bool { return x.ID == id }) {
			continue
		}
		if k.away[id].IsZero() {
			k.away[id] = now
		}
		delete(k.mute, id)
		n.Nodes = append(n.Nodes, reconcile.Node{ID: id, Away: k.away[id]})
	}
	return n
}

// judge says how a record stands.
func (k *Keeper) judge(rec *placements.Record, n reconcile.Network, now time.Time) Case {
	w := reconcile.Wanted{Copies: rec.Copies, Proof: true, Grace: k.Grace}
	c := Case{Verdict: reconcile.Judge(w, rec.Known(), without(n, rec), now)}
	k.mu.Lock()
	defer k.mu.Unlock()
	if a := k.cases[rec.Task]; a != nil {
		c.Failed, c.Tried = a.failed, a.ended
	}
	return c
}

// without is the network as a record sees it that some nodes are to keep nothing of.
func without(n reconcile.Network, rec *placements.Record) reconcile.Network {
	nodes := slices.Clone(n.Nodes)
	for i := range nodes {
		nodes[i].Drained = rec.LeavesOut(nodes[i].ID)
	}
	return reconcile.Network{Nodes: nodes}
}

// audit has the nodes prove what they keep by a record whose time has come, or all, and says whose time is next.
func (k *Keeper) audit(ctx context.Context, rec *placements.Record, all bool) (next time.Time) {
	next = time.Now().Add(k.AuditEvery)
	for _, h := range rec.Holders() {
		due, there := k.due(h)
		if !there {
			continue
		}
		if now := time.Now(); !all && now.Before(due) {
			if due.Before(next) {
				next = due
			}
			continue
		}
		lost, err := k.node.Audit(ctx, rec, h.Node)
		if ctx.Err() != nil {
			return next
		}
		now := time.Now()
		k.mu.Lock()
		switch {
		case lost != nil || err == nil:
			delete(k.mute, h.Node)
			delete(k.asked, h.Node)
		case k.mute[h.Node].IsZero():
			k.mute[h.Node] = now
			fallthrough
		default:
			k.asked[h.Node] = now
		}
		k.mu.Unlock()
		k.sum(rec, h.Node, lost, err)
		switch {
		case lost != nil:
			k.log.Error("audit failed", "target", h.Node, "task", rec.Task, "error", errors.Join(lost, err))
			k.tell(core.EventAuditFailed, rec, h.Node)
			k.again(rec)
			k.mu.Lock()
			k.doubted[doubt{rec.Task, h.Node}] = 0
			k.mu.Unlock()
		case err != nil:
			k.log.Warn("audit", "target", h.Node, "task", rec.Task, "error", err)
			next = now.Add(min(auditRetry, k.AuditEvery))
		}
	}
	return next
}

// auditInFull goes on with the nodes that were found to lack something of a record; more is true where it is not done.
func (k *Keeper) auditInFull(ctx context.Context, rec *placements.Record) (more bool) {
	for _, h := range rec.Holders() {
		k.mu.Lock()
		from, is := k.doubted[doubt{rec.Task, h.Node}]
		is = is && k.away[h.Node].IsZero() && k.mute[h.Node].IsZero()
		k.mu.Unlock()
		if !is {
			continue
		}
		next, err := k.node.AuditInFull(ctx, rec, h.Node, from)
		if ctx.Err() != nil {
			return false
		}
		if err != nil {
			k.log.Warn("audit in full", "target", h.Node, "task", rec.Task, "segment", next, "error", err)
		}
		k.mu.Lock()
		if k.doubted[doubt{rec.Task, h.Node}] = next; next < 0 {
			delete(k.doubted, doubt{rec.Task, h.Node})
		}
		k.mu.Unlock()
		more = more || next >= 0 && err == nil
	}
	return more
}

// due is when a node is to prove again what it keeps; there is false where it cannot be asked.
func (k *Keeper) due(h placements.Holder) (due time.Time, there bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if h.Signed == 0 || !k.away[h.Node].IsZero() {
		return due, false
	}
	due = h.Audited.Add(k.AuditEvery)
	if back := k.back[h.Node]; back.After(h.Audited) {
		if soon := h.Audited.Add(min(auditGap, k.AuditEvery)); soon.Before(due) {
			due = soon
		}
	}
	if asked := k.asked[h.Node]; !asked.IsZero() {
		due = asked.Add(min(auditRetry, k.AuditEvery))
	}
	return due, true
}

// again has a record tried at once, whatever failed before.
func (k *Keeper) again(rec *placements.Record) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if a := k.cases[rec.Task]; a != nil {
		a.failed = 0
	}
}

// silent is the nodes that can be reached and have not answered audits for so long.
func (k *Keeper) silent(grace time.Duration) (ids []core.ID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, id := range core.Sorted(k.mute) {
		if time.Since(k.mute[id]) >= grace {
			ids = append(ids, id)
		}
	}
	return ids
}

// mend tries to bring a record to what it shall be, without nodes that were silent for as long as the grace. Where it
// lacks copies for all that it is tried again later.
func (k *Keeper) mend(ctx context.Context, rec *placements.Record, grace time.Duration, do Mender) error {
	k.mu.Lock()
	a := k.cases[rec.Task]
	if a == nil {
		a = &attempt{}
		k.cases[rec.Task] = a
	}
	a.began, a.done, a.total = time.Now(), 0, 0
	first := a.failed == 0
	k.mu.Unlock()
	if first && rec.Counting() < rec.Copies {
		k.tell(core.EventCopiesLost, rec, core.ID{})
	}
	k.log.Info("repair", "task", rec.Task, "copies", rec.Counting(), "wanted", rec.Copies)
	err := do(ctx, rec, k.silent(grace), func(done, total core.Size) {
		k.mu.Lock()
		defer k.mu.Unlock()
		a.done, a.total = done, total
	})
	network := k.network([]*placements.Record{rec})
	w := reconcile.Wanted{Copies: rec.Copies, Proof: true, Grace: grace, Now: grace == 0}
	lacks := reconcile.Judge(w, rec.Known(), without(network, rec), time.Now()).Lacks
	k.mu.Lock()
	defer k.mu.Unlock()
	a.began, a.ended, a.err = time.Time{}, time.Now(), err
	a.failed++ // unless all is well then, and nobody tries again
	if copies := rec.Counting(); err == nil && !lacks {
		a.failed = 0
		k.log.Info("repaired", "task", rec.Task, "copies", copies)
		k.tell(core.EventRepaired, rec, core.ID{})
	} else {
		k.log.Warn("repair", "task", rec.Task, "copies", copies, "wanted", rec.Copies, "error", err)
	}
	return err
}

func (k *Keeper) tell(what string, rec *placements.Record, peer core.ID) {
	if k.Tell != nil {
		k.Tell(what, rec, peer)
	}
}
