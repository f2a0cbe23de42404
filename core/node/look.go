// SPDX-License-Identifier: Apache-2.0

package node

import (
	"cmp"
	"context"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/account"
	"github.com/bkp-tool/bkp/core/fetch"
	"github.com/bkp-tool/bkp/core/flow"
	"github.com/bkp-tool/bkp/core/keep"
	"github.com/bkp-tool/bkp/core/link"
	"github.com/bkp-tool/bkp/core/measure"
	"github.com/bkp-tool/bkp/core/task"
	"github.com/bkp-tool/bkp/core/wire"
)

// Peer is a node that this one has met since it started, as it stands now. Rates are wire bytes per second; 0 is
// unknown.
type Peer struct {
	ID        core.ID
	Address   string
	Labels    map[string]string
	Connected bool // a session leads there
	Settled   bool // and the capacity of its link is settled
	Reachable bool // by a session, or through others
	Has       func(wire.Feature) bool
	LastSeen  time.Time
	Problem   string // why it is not connected

	Given    core.Calendar // what this side gives the link, where it is Named
	Named    bool          // this side has a figure
	Changed  bool          // since the node started
	Followed bool          // this side has none, and takes the other's
	Declared core.Rate     // what this side gives the link now
	Capacity core.Rate     // the smaller word of both sides

	Measured     core.Rate // the lower quartile
	MeasuredMean core.Rate // newer samples counting more
	Samples      int       // that Measured comes of
	Out, In      core.Rate // leased
	Delay        time.Duration
	Report       wire.LinkReport // what only this side knows of the link
}

// See is the peers with some IDs as they stand now, or all: by address and ID.
func (n *Node) See(ids ...core.ID) (seen []Peer) {
	n.ask(do(func(n *state) {
		leased := map[string]core.Rate{}
		for _, a := range n.book.Accounts() {
			leased[a.Name] = a.Leased
		}
		for id, p := range n.peers {
			if len(ids) == 0 || slices.Contains(ids, id) {
				s := n.see(p)
				s.Out, s.In = leased[account.Out(id)], leased[account.In(id)]
				seen = append(seen, s)
			}
		}
	}))
	slices.SortFunc(seen, func(a, b Peer) int {
		return cmp.Or(strings.Compare(a.Address, b.Address), a.ID.Compare(b.ID))
	})
	return seen
}

func (n *state) see(p *peer) Peer {
	e := n.measures.To(p.id)
	_, changed := n.limits.links[p.id]
	s := Peer{ID: p.id, Address: p.address, Labels: p.labels, Reachable: p.reachable(), Problem: p.problem,
		LastSeen: p.lastSeen, Given: p.link, Named: p.named, Changed: changed, Followed: p.follows,
		Declared: p.declared, Capacity: p.capacity, Measured: n.measured(p), MeasuredMean: min(e.Mean(), p.capacity),
		Samples: len(e.Samples()), Delay: n.delayTo(p), Report: n.linkReport(p)}
	if p.session != nil {
		s.Connected, s.Settled, s.Has, s.LastSeen = true, p.capacity > 0, p.session.Has, p.session.LastSeen()
	}
	return s
}

// Side is what this node gives its uplink or downlink.
type Side struct {
	Given    core.Calendar
	Changed  bool // since the node started
	Measured core.Rate
}

// Now is how a node stands.
type Now struct {
	Self     core.NodeState // as its own plans see it
	Started  time.Time
	Listed   []core.Peer // the peers that it is to have
	Up, Down Side
	Accounts []core.Account
	Leases   []flow.Lease
	Reserved core.Size // of its capacity, for what is to come
	Offered  core.Size // of its capacity, to who asks
	Tasks    []Task
}

// Task is what is kept here of a task.
type Task struct {
	Task     core.TaskID
	Owner    core.ID
	Alias    string
	Version  int
	Segments int
	Runs     int // that would be here after a power loss
	Bytes    core.Size
}

// tasksOf is what is kept here, by alias, version and task.
func tasksOf(segments iter.Seq[*keep.Segment]) []Task {
	byID := map[core.TaskID]*Task{}
	for seg := range segments {
		t := byID[seg.Task]
		if t == nil {
			t = &Task{Task: seg.Task, Owner: seg.Owner, Alias: seg.Alias, Version: seg.Version}
			byID[seg.Task] = t
		}
		t.Segments++
		for run := range seg.Runs() {
			if seg.Durable(run) {
				t.Runs++
				t.Bytes += seg.File(run).Size
			}
		}
	}
	var tasks []Task
	for _, t := range byID {
		tasks = append(tasks, *t)
	}
	slices.SortFunc(tasks, func(a, b Task) int {
		return cmp.Or(strings.Compare(a.Alias, b.Alias), cmp.Compare(a.Version, b.Version), a.Task.Compare(b.Task))
	})
	return tasks
}

// Now is how the node stands.
func (n *Node) Now() (now Now) {
	n.ask(do(func(n *state) {
		now = Now{Self: n.ownState(), Started: n.started, Listed: n.Peers, Accounts: n.book.Accounts(),
			Up:     Side{n.limits.up, n.limits.changed[account.Up], n.measures.Up.Low()},
			Down:   Side{Given: n.limits.down, Changed: n.limits.changed[account.Down]},
			Leases: n.flows.Leases(), Reserved: n.kept.Reserved(), Offered: n.kept.Offered(), Tasks: tasksOf(n.kept.Segments())}
	}))
	return now
}

// Dialled is whom this node dials, and how that went.
func (n *Node) Dialled() []link.Dialled { return n.hub.Diallers() }

// Downloads brings runs from their holders.
func (n *Node) Downloads() fetch.Loops {
	return fetch.Loops{Loop: loopOf[*fetch.Downloading]{n, func(n *state) *fetch.Downloading { return n.downloads }},
		Owner: n.Owner, Life: n.ctx, Log: n.Log}
}

// Check holds the records of what is kept here against each other: damage that it finds is no error.
func (n *Node) Check(ctx context.Context) (keep.Records, error) { return n.target.Check(ctx) }

// CollectKept frees what is kept here and no holding needs. Whoever calls it has seen to it that the records agree.
func (n *Node) CollectKept(ctx context.Context) (core.Collected, error) { return n.target.Collect(ctx) }

// Probe measures the link to a peer on purpose, by sending it a block again and again for flow.ProbeTime at most.
func (n *Node) Probe(ctx context.Context, to core.ID, block []byte) (lease core.Rate, found measure.Probed, err error) {
	var p *flow.Probe
	n.ask(do(func(n *state) { p, err = n.flows.Probe(to, block) }))
	if err != nil || p == nil {
		return 0, found, cmp.Or(err, errStopped)
	}
	select {
	case <-p.Done():
	case <-ctx.Done():
	case <-time.After(flow.ProbeTime + task.Hold):
	}
	n.ask(do(func(*state) { lease, found, err = p.End() }))
	return lease, found, err
}
