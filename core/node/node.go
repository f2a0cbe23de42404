// SPDX-License-Identifier: Apache-2.0

// Package node is the daemon: one loop that owns the state of a node, and the acts that loop decides.
//
// Everything that changes what the node knows is an event that the loop applies to its state (post, ask): sessions
// coming and going, messages, accounts and leases, tasks and flows. Only events receive the state, so whoever has one
// runs on the loop. The loop does no I/O. Whatever takes time, a plugin's verdict, a barrier, the writing of a run into
// a socket, is an act in a goroutine of its own that reports back by posting.
//
//	state.go       the state, its events, the loop          dispatch.go  what each message does
//	peer.go        sessions, bandwidth coordination         query.go     questions and their answers
//	where.go       addresses that peers tell of others      invite.go    letting new nodes in
//	gossip.go      signed words of others: core/gossip      identity.go  the owner, and who may act for whom
//	relay.go       messages through others
//	flows.go       the flows: core/flow                     kept.go      what is kept for others: core/keep
//	transfers.go   tasks under way: core/transfer           coordinate.go  those that this node coordinates
//	limit.go       what this node gives, by calendars       measure.go   what its links carry, over restarts
//	report.go      what peers are told of the node          look.go      what its own commands see of it
//
// What the node is asked by its own user's commands is core/commands: it sees values (look.go), and has the rooms that
// act for it put their questions to the loop.
package node

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/flow"
	"github.com/bkp-tool/bkp/core/gossip"
	"github.com/bkp-tool/bkp/core/health"
	"github.com/bkp-tool/bkp/core/keep"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/link"
	"github.com/bkp-tool/bkp/core/measure"
	"github.com/bkp-tool/bkp/core/storage"
)

// Config is everything a node is made of. The roof (cmd/bkp) fills it from the data dir.
type Config struct {
	Signer *key.Signer
	// Owner finds whose files are placed and fetched here: nil without an identity, which may come later. nil: none
	// ever.
	Owner func() (*key.Owner, error)

	Listen   string
	Listener net.Listener // already bound; nil for a node that only dials
	Peers    []core.Peer
	Capacity core.Size
	Room     func() (core.Size, error) // how much more the disk of Keeping takes; nil: as much as Capacity says
	// Freeing carries out what frees space, on a full disk in room that was set aside for that; nil: there is none.
	Freeing     func(do func() error) error
	Uplink      core.Calendar
	Downlink    core.Calendar
	Links       map[string]core.Calendar // by ID or HOST:PORT: links that the peer list has no figure for, or another
	DefaultLink core.Rate                // 0: none; for peers this node has no figure for
	Labels      map[string]string

	Token     []byte
	Plaintext bool
	Issuers   map[core.ID]core.Size // who may store here, with quotas; empty: members of the token
	// how long anything is promised to be kept at most; 0: keep.DefaultKeepAtMost
	KeepAtMost time.Duration
	Pins       link.Pins
	Heads      gossip.Heads   // of ledgers; nil: none are exchanged
	Revoked    gossip.Revoked // what owners took back; nil: nothing is heard of it
	Guests     Guests         // who was invited; nil: nobody is

	Keeping  storage.Collector
	Holdings keep.Holdings
	Ledger   keep.Ledger
	// Watch is told of peers that come and go. nil: nobody is.
	Watch Watcher
	// Handed takes a version that an owner hands over to this node to coordinate, or hears that another node does, and
	// says how many copies count by now beside its own. It is called beside the loop. nil: nothing is taken.
	Handed func(envelope []byte) (receipt []byte, copies int, err error)
	// Yields is the part of the uplink and of links that tasks may use which nobody waits for, while somebody waits for
	// another; 0: all.
	Yields float64

	Verifiers []keep.NamedVerifier

	Dial func(ctx context.Context, network, addr string) (net.Conn, error) // nil: the system's
	// one JSON line per control message; nil: none
	Trace io.Writer
	// Memory keeps what the node measures over restarts; nil: it measures anew each time.
	Memory Memory
	// Strict panics where an invariant of accounts or leases is broken; tests set it. Else it is logged.
	Strict bool
	Log    *slog.Logger
	// Damaged is what the roof found wrong when it opened what this node stands on: while something is, nothing is
	// collected.
	Damaged []core.Damage
	// Health is where the roof says what is wrong beneath the node, also before Start. nil: the node has one of its
	// own.
	Health *health.Health
}

// Watcher is told of peers on the loop: it must not wait.
type Watcher interface {
	// Came is a peer whose session has begun, over a link whose capacity is settled; Gone one whose session has ended.
	Came(id core.ID)
	Gone(id core.ID)
}

// fallbackLink is a link's capacity where neither side has a figure: 1 Gbit/s.
const fallbackLink core.Rate = 125_000_000

// Node is a running node. Make one with Start, end it with Close.
type Node struct {
	Config
	epoch   core.Epoch
	started time.Time
	hub     *link.Hub

	ctx    context.Context // ends when the node closes
	cancel context.CancelCauseFunc
	acts   sync.WaitGroup
	events chan event
	ended  chan struct{} // closed when the loop has run its last event

	found  atomic.Pointer[key.Owner]
	secret atomic.Pointer[[]byte] // the cluster token

	arrivals  *flow.Arrivals  // runs that arrive
	target    *keep.Target    // what is kept for others
	unwritten *measure.Memory // measured since it was written down last; set when ended is closed
}

// Start opens the node's sessions and begins to serve. The caller closes what Config brought after Close.
func Start(ctx context.Context, c Config) (*Node, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Health == nil {
		c.Health = &health.Health{}
	}
	if err := checkChain(c.Verifiers); err != nil {
		return nil, err
	}
	n := &Node{
		Config: c, started: time.Now(),
		events:   make(chan event, 256),
		arrivals: flow.NewArrivals(),
		ended:    make(chan struct{}),
	}
	var seed [16]byte
	if _, err := rand.Read(seed[:]); err != nil {
		return nil, fmt.Errorf("draw epoch: %w", err)
	}
	n.secret.Store(&c.Token)
	n.epoch = core.Epoch(binary.LittleEndian.Uint64(seed[:8]))
	n.ctx, n.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	s, err := newState(n, binary.LittleEndian.Uint64(seed[8:]))
	if err != nil {
		return nil, err
	}
	n.hub = link.New(link.Config{
		Signer: c.Signer, Token: c.Token, Plaintext: c.Plaintext, Epoch: n.epoch, Listen: c.Listen,
		Labels: c.Labels, Pins: c.Pins, Delegations: n.delegations, Admit: n.admit, Invites: n.inviting(), Dial: c.Dial,
		Trace: link.Trace(c.Trace, c.Log), Log: c.Log,
	}, (*handler)(n))
	n.Act(s.loop)
	n.Act(n.expireLeases)
	n.target.Start(c.Listener != nil) // a node of one command keeps nothing
	if n.Memory != nil {
		n.Act(n.remember)
	}
	if c.Listener != nil {
		n.Act(func() {
			if err := n.hub.Serve(c.Listener); err != nil && n.ctx.Err() == nil {
				n.Log.Error("listen", "error", err)
			}
		})
	}
	for _, p := range c.Peers {
		n.hub.Dial(p)
	}
	return n, nil
}

// Close ends every session and flow, and waits for the acts. What it stands on is closed by who opened it, and durable
// then.
func (n *Node) Close() error {
	n.cancel(errStopped)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(n.ctx), 5*time.Second)
	defer cancel()
	err := n.hub.Close(ctx)
	n.acts.Wait()
	if err == nil {
		err = n.target.Close()
	}
	return err
}

var errStopped = errors.New("the node is stopping")

// ID is the node's identity.
func (n *Node) ID() core.ID { return n.Signer.ID() }

// Meet takes another list of peers: new ones are dialled, and sessions with those that left it end.
func (n *Node) Meet(peers []core.Peer) {
	var before []core.Peer
	n.ask(do(func(s *state) { before, s.Peers = s.Peers, peers }))
	in := func(list []core.Peer, p core.Peer) bool {
		return slices.ContainsFunc(list, func(o core.Peer) bool { return o.Address() == p.Address() })
	}
	for _, p := range before {
		if !in(peers, p) {
			n.hub.Forget(p)
		}
	}
	for _, p := range peers {
		if !in(before, p) {
			n.hub.Dial(p)
		}
	}
}

// Life ends when the node closes.
func (n *Node) Life() context.Context { return n.ctx }

// Act runs f in a goroutine that Close waits for.
func (n *Node) Act(f func()) { n.acts.Go(f) }

// Pause waits for d, or until the node or ctx ends; false when it ended.
func (n *Node) Pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	case <-n.ctx.Done():
		return false
	}
}

// checkChain refuses a chain of verifiers without the two that make a licence mean anything.
func checkChain(chain []keep.NamedVerifier) error {
	for _, need := range []string{"signature", "targets"} {
		found := false
		for _, v := range chain {
			found = found || v.Name == need
		}
		if !found {
			return core.WithHint(core.Fail(core.CodeUsage, "the chain of verifiers lacks %q", need),
				"start with --verifiers signature,targets,issuers and add yours after them")
		}
	}
	return nil
}
