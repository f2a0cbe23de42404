// SPDX-License-Identifier: Apache-2.0

package node

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/account"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/link"
	"github.com/bkp-tool/bkp/core/wire"
)

// peer is a node that this one has met since it started.
type peer struct {
	id       core.ID
	session  *link.Session // nil while gone
	epoch    core.Epoch    // of its process
	address  string
	labels   map[string]string
	link     core.Calendar // what this side gives the link, where it has a figure (named)
	named    bool
	declared core.Rate // this side's word: what it gives the link now
	theirs   core.Rate // the other side's; 0 until it came
	follows  bool      // this side has no figure and takes the other's
	followed bool      // the other way round: theirs says what this side said when it came
	capacity core.Rate // the smaller word of both; 0 until coordinated
	via      []core.ID // the way to it through others, where no session leads there
	vouched  bool      // whoever brought word from it last is a member of this node's token
	rights   []key.Delegation
	lastSeen time.Time
	problem  string
}

// maxRights is how many delegations of a peer are remembered, the newest.
const maxRights = 64

// handler is the node as its sessions see it.
type handler Node

// Up is called once a session is authenticated, before any message of it.
func (h *handler) Up(s *link.Session) { (*Node)(h).ask(peerUp{s}) }

// Down is called once after the last message of a session.
func (h *handler) Down(s *link.Session, err error) { (*Node)(h).ask(peerDown{s, err}) }

// Message is called for one message after another; the next is read when it returns.
func (h *handler) Message(s *link.Session, m wire.Message) { (*Node)(h).ask(said{s, m}) }

// Data is called on the data socket's reader; blocking here holds the sender back.
func (h *handler) Data(s *link.Session, d wire.Data) { h.arrivals.Receive(s, d) }

// The events of a session.
type (
	peerUp   struct{ session *link.Session }
	peerDown struct {
		session *link.Session
		why     error
	}
	said struct {
		session *link.Session
		message wire.Message
	}
)

func (e peerUp) apply(n *state) {
	s, info := e.session, e.session.Peer()
	p := n.peers[info.ID]
	if p == nil {
		p = &peer{id: info.ID}
		n.peers[info.ID] = p
	}
	if p.epoch != info.Epoch {
		n.kept.Restarted(p.id)
	}
	p.epoch = info.Epoch
	p.session, p.labels, p.problem, p.lastSeen = s, info.Labels, "", time.Now()
	p.address = cmp.Or(info.Listen, info.Address)
	if info.Dialled {
		p.address = info.Address
	}
	p.rights = n.validRights(info.Delegations, info.ID)
	p.link, p.named = n.linkOf(info)
	p.declared, p.theirs, p.capacity, p.follows = p.link.At(time.Now()), 0, 0, false
	p.followed = false
	n.Log.Info("peer up", "peer", p.id.Short(), "address", p.address)
	n.gossip.Met(p.id)
	if info.Dialled {
		p.declared = cmp.Or(p.declared, n.DefaultLink, fallbackLink)
		n.send(p.id, wire.BandwidthCoordination{Size: p.declared})
	}
}

// declared is this side's figure for a peer, from the peer list: by ID, by address, or by who answered there; 0 where
// there is none.
func (n *state) declared(info link.Peer) core.Rate {
	for _, p := range n.Peers {
		if p.ID == info.ID || p.ID.IsZero() && (p.Address() == info.Listen || info.Dialled &&
			p.Address() == info.Address) {
			return p.Rate
		}
	}
	for _, d := range n.hub.Diallers() {
		if d.ID == info.ID {
			return d.Peer.Rate
		}
	}
	return 0
}

// onBandwidth settles a link's capacity: the smaller of both words, one account per direction. Only the first word is
// answered.
func (n *state) onBandwidth(p *peer, m wire.BandwidthCoordination) {
	if m.Size == 0 {
		p.session.Close(core.ReasonProtocol, "a link of 0 bytes per second")
		return
	}
	first := p.theirs == 0
	p.theirs, p.followed = m.Size, m.Follows
	if first && !p.session.Peer().Dialled {
		p.follows = !p.named && n.DefaultLink == 0
		p.declared = cmp.Or(p.declared, n.DefaultLink, p.theirs)
		n.send(p.id, wire.BandwidthCoordination{Size: p.declared, Follows: p.follows})
	}
	if p.follows {
		p.declared = p.theirs
	}
	n.relink(p)
	if !first {
		n.wakeWaiting()
		return
	}
	n.kept.Met(p.id)
	n.transfers.Came(p.id)
	for _, pl := range n.places {
		pl.inbox.Came(p.id)
	}
	if n.Watch != nil {
		n.Watch.Came(p.id)
	}
	n.wakeWaiting()
}

func (e peerDown) apply(n *state) {
	s, p := e.session, n.peers[e.session.Peer().ID]
	if p == nil || p.session != s {
		return // another session took its place
	}
	p.session, p.lastSeen = nil, time.Now()
	if e.why != nil {
		p.problem = e.why.Error()
	}
	n.Log.Info("peer down", "peer", p.id.Short(), "error", e.why)
	n.gossip.Gone(p.id)
	n.kept.Lost(p.id)
	n.flows.Lost(p.id, s)
	for id, q := range n.queries {
		if q.peer == p.id {
			close(q.answer)
			delete(n.queries, id)
		}
	}
	for _, pl := range n.places {
		pl.inbox.Gone(p.id)
	}
	if n.Watch != nil {
		n.Watch.Gone(p.id)
	}
}

// goneAfter is how long a peer that left is remembered, unless this node dials it or gives its link a figure: clients
// of one command would fill the lists of a node that runs for months.
const goneAfter = 30 * time.Second

// forgetGone forgets peers that are gone, and the accounts of their links. Nobody is forgotten while work is under way:
// it may be theirs.
func (n *state) forgetGone() {
	if n.flows.Active() || n.transfers.Active() || n.downloads.Active() || len(n.places) > 0 {
		return
	}
	dialled := n.hub.Diallers()
	for id, p := range n.peers {
		if p.named || p.reachable() || time.Since(p.lastSeen) < goneAfter ||
			slices.ContainsFunc(dialled, func(d link.Dialled) bool { return d.ID == id }) {
			continue
		}
		if n.book.Forget(account.Out(id)) && n.book.Forget(account.In(id)) {
			delete(n.peers, id)
			n.gossip.Forget(id)
		}
	}
}

// onDelegation takes further word of whom a peer may act for.
func (n *state) onDelegation(p *peer, m wire.Delegation) {
	p.rights = append(p.rights, n.validRights(m.Delegations, p.id)...)
	p.rights = slices.Clone(p.rights[max(0, len(p.rights)-maxRights):])
}

// send queues a message for a peer; false where it has no session.
func (n *state) send(to core.ID, m wire.Message) bool {
	p := n.peers[to]
	if p == nil || p.session == nil {
		return p.reachable() && n.sendFar(p, m)
	}
	if err := p.session.Send(m); err != nil {
		n.Log.Debug("send", "peer", to.Short(), "type", m.Type(), "error", err)
		return false
	}
	return true
}

func (e said) apply(n *state) {
	p := n.peers[e.session.Peer().ID]
	if p == nil || p.session != e.session {
		return
	}
	p.lastSeen = time.Now()
	n.hearing = e.session
	defer func() { n.hearing = nil }()
	if r, ok := e.message.(wire.Relay); ok {
		n.onRelay(p, r)
		return
	}
	n.dispatch(p, e.message)
}

// connected lists peers with a coordinated session, by address and ID.
func (n *state) connected() []*peer {
	var up []*peer
	for _, p := range n.peers {
		if p.session != nil && p.capacity > 0 {
			up = append(up, p)
		}
	}
	slices.SortFunc(up, func(a, b *peer) int {
		return cmp.Or(strings.Compare(a.address, b.address), a.id.Compare(b.id))
	})
	return up
}

// readsRefs2 reports whether a peer reads refs of version 2; one that is reached through others has not said.
func (p *peer) readsRefs2() bool {
	return p != nil && p.session != nil && p.session.Has(wire.FeatureRefs2)
}
