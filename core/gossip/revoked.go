// SPDX-License-Identifier: Apache-2.0

package gossip

import (
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/wire"
)

// Revoked is where a node keeps owners' lists of revocations, the newest of each. Any goroutine may use it.
type Revoked interface {
	// Of is the list of an owner, zero without one, and All is those of all. They do not wait.
	Of(owner core.ID) key.Revocations
	All() [][]byte
	// Keep keeps a list that follows on the one that is there, and reports whether it does; it is durable then.
	Keep(list key.Revocations, envelope []byte) (news bool, err error)
}

// toldAtOnce is how many bytes of lists one message has at most: base64 makes them a third longer.
const toldAtOnce = wire.MaxMessage / 2

// tellRevoked tells a node all lists.
func (g *Gossip) tellRevoked(to core.ID) {
	if g.Revoked == nil || !g.peers.Hears(to, wire.FeatureRevoked) {
		return
	}
	all := g.Revoked.All()
	for len(all) > 0 {
		next, bytes := 0, 0
		for next < len(all) && next < wire.MaxRevoked && (next == 0 || bytes+len(all[next]) <= toldAtOnce) {
			bytes += len(all[next])
			next++
		}
		g.peers.Send(to, wire.Revoked{Lists: all[:next]})
		all = all[next:]
	}
}

// HeardRevoked keeps what is news to this node, and tells it on.
func (g *Gossip) HeardRevoked(from core.ID, m wire.Revoked) {
	if g.Revoked == nil || !g.peers.Hears(from, wire.FeatureRevoked) {
		return
	}
	c, loop := g.Config, g.loop
	g.peers.Act(func() {
		var news []list
		for _, envelope := range m.Lists {
			news = append(news, c.hearRevoked(envelope)...)
		}
		loop.Post(func(g *Gossip) { g.note(news) })
	})
}

// list is an owner's, of a sequence.
type list struct {
	owner    core.ID
	sequence int64
	envelope []byte
}

// tellEvery is how often lists of one owner are told on: who signs one after another sets nobody else to work as often.
const tellEvery = time.Second

// note has lists that are news count for nodes that are here, and tells them on, at once or when it is looked next.
func (g *Gossip) note(news []list) {
	if len(news) == 0 {
		return
	}
	for _, l := range news {
		if g.news[l.owner].sequence < l.sequence {
			g.news[l.owner] = l
		}
	}
	g.peers.Revoked()
	g.tellNews()
}

// tellNews tells on what was noted, the newest of each owner, who told it too: it may have been answered by a list of
// this node's.
func (g *Gossip) tellNews() {
	now := time.Now()
	for owner, at := range g.told {
		if now.Sub(at) >= tellEvery {
			delete(g.told, owner)
		}
	}
	for _, owner := range core.Sorted(g.news) {
		if _, lately := g.told[owner]; !lately {
			g.told[owner] = now
			g.spread(g.news[owner].envelope)
			delete(g.news, owner)
		}
	}
}

// hearRevoked keeps a list that is news, and returns what is to be told on. Where another machine of this owner made
// one that lacks what this one revoked, a list of both follows on them. Not on the loop.
func (c Config) hearRevoked(envelope []byte) (news []list) {
	said, err := key.OpenRevocations(envelope)
	if err != nil {
		c.Log.Warn("revocations", "error", err)
		return nil
	}
	before := c.Revoked.Of(said.Owner)
	kept, err := c.Revoked.Keep(said, envelope)
	if err != nil {
		c.Log.Warn("revocations", "owner", said.Owner.Short(), "error", err)
	}
	if kept {
		c.Log.Info("revoked", "owner", said.Owner.Short(), "sequence", said.Sequence, "nodes", len(said.Nodes), "licences",
			len(said.Licenses))
		news = append(news, list{said.Owner, said.Sequence, envelope})
	}
	lacks := kept && said.Lacks(before.Revoked) ||
		!kept && err == nil && said.Sequence == before.Sequence && before.Lacks(said.Revoked)
	if o := c.Owner(); lacks && o != nil && o.ID() == said.Owner {
		if both, err := Revoke(c.Revoked, o, before.With(said.Revoked)); err == nil {
			news = append(news, list{said.Owner, c.Revoked.Of(said.Owner).Sequence, both})
		}
	}
	return news
}

// Revoke signs and keeps the list that follows on this node's, with more.
func Revoke(lists Revoked, o *key.Owner, more core.Revoked) ([]byte, error) {
	envelope, err := o.Revoke(lists.Of(o.ID()), more, time.Now().Unix())
	if err != nil {
		return nil, err
	}
	list, err := key.OpenRevocations(envelope)
	if err == nil {
		_, err = lists.Keep(list, envelope)
	}
	return envelope, err
}

// Spread has a list that this node made count for nodes that are here, and tells it to all at once.
func (g *Gossip) Spread(envelope []byte) (told []core.ID) {
	g.peers.Revoked()
	return g.spread(envelope)
}

func (g *Gossip) spread(envelope []byte) (told []core.ID) {
	for _, id := range g.peers.Met() {
		if g.peers.Hears(id, wire.FeatureRevoked) && g.peers.Send(id, wire.Revoked{Lists: [][]byte{envelope}}) {
			told = append(told, id)
		}
	}
	return told
}
