// SPDX-License-Identifier: Apache-2.0

package node

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/account"
	"github.com/go-json-experiment/json"
)

// measures is what this node has seen its links carry, as their sender.
//
// A sample is taken of each second in which a flow always had more to send, from one word that a run arrived to the
// next, so neither its start nor a pause for want of runs counts. What it says depends on what held the flow back:
//
//   - it got its lease: the link carries at least that. Where the lease was all that the link had, it carries just
//     that;
//   - the receiver was at work with what came for over a quarter of the time, or this node with reading: at least that;
//   - runs went to other peers meanwhile, and none of those flows got its lease either: the uplink was slow, this link
//     carries at least that;
//   - else the link was what was slow, and carries what it did.
type measures struct {
	links map[core.ID]*account.Estimate // to each peer
	up    account.Estimate              // of the uplink
	sent  core.Size                     // payload that arrived, all links
	dirty bool
}

// Memory keeps what a node has measured over restarts, in a small file.
type Memory interface {
	// Read returns what was written last; core.ErrNotFound where nothing was.
	Read() ([]byte, error)
	Write([]byte) error
}

const (
	// sampleTime is how much of a stretch makes a sample.
	sampleTime = time.Second
	// fellShort is the part of its lease that a flow must get not to have fallen short of it.
	fellShort = 0.95
	// atWork is the part of a sample's time in which somebody else than the link may have held it back.
	atWork = 0.25
	// fineTime is how long it counts that a flow got its lease.
	fineTime = 10 * time.Second
)

// stretch is the time of a flow in which it always had more to send.
type stretch struct {
	on    bool
	since time.Duration // the last run arrived
	sent  core.Size     // to the peer by then
	all   core.Size     // to all peers

	took          time.Duration // of stretches since the last sample, and what arrived in them
	own, peer, up core.Size     // of this flow, to this peer, to all
	lease         float64       // bytes that the lease allowed
	allowed       float64       // the same since the last run arrived, until
	until         time.Duration
	held          time.Duration // the receiver was at work
	read          time.Duration // this node read from its store
}

// measure takes a run that its receiver has.
func (n *state) measure(f *flow, size core.Size, held time.Duration) {
	p := n.peers[f.peer]
	if p == nil {
		return
	}
	if pr, ok := sideOf[*prober](f); ok {
		pr.held += held
	}
	p.sent += size
	n.measures.sent += size
	s, now := &f.stretch, n.now()
	read := f.pump.readTime()
	s.lapse(now, f.Agreed())
	if s.on {
		took := now - s.since
		s.took += took
		s.own += size
		s.peer += p.sent - s.sent
		s.up += n.measures.sent - s.all
		s.lease += s.allowed
		s.held += held
		s.read += read
		if to, ok := sideOf[*sender](f); ok {
			to.Used(now, took, size, s.allowed)
		}
	}
	s.on, s.since, s.sent, s.all, s.allowed = true, now, p.sent, n.measures.sent, 0
	if s.took >= sampleTime {
		n.sample(f, p)
		*s = stretch{on: true, since: now, sent: p.sent, all: n.measures.sent, until: now}
	}
}

// lapse counts what a lease of this rate allowed since it was counted last.
func (s *stretch) lapse(now time.Duration, lease core.Rate) {
	s.allowed += float64(lease) * (now - s.until).Seconds()
	s.until = now
}

// slack ends a stretch: the flow has nothing more to send just now, and little on its way.
func (n *state) slack(f *flow, under core.Size) {
	p := n.peers[f.peer]
	if p == nil || p.session == nil || float64(under) <= float64(f.Agreed())*2*p.session.Delay().Seconds() {
		f.stretch.on = false
	}
}

// sample makes a sample of the stretches of a flow.
func (n *state) sample(f *flow, p *peer) {
	s, at := &f.stretch, time.Now().Unix()
	rate := func(bytes core.Size) account.Sample {
		return account.Sample{At: at, Rate: core.Rate(core.WireOverhead * float64(bytes) / s.took.Seconds())}
	}
	m := &n.measures
	e := m.link(p.id)
	short := core.WireOverhead*float64(s.own) < fellShort*s.lease
	elsewhere := s.held.Seconds() > atWork*s.took.Seconds() || s.read.Seconds() > atWork*s.took.Seconds()
	switch {
	case short && !elsewhere && s.up > s.peer+s.peer/8 && !n.othersFine(p):
		m.up.Carried(rate(s.up))
		e.AtLeast(rate(s.peer))
	case short && !elsewhere, !short && n.book.Free(accountOut(p.id))+
		f.Rate-f.Agreed() <= n.book.Nominal(accountOut(p.id))/20:
		e.Carried(rate(s.peer))
		m.up.AtLeast(rate(s.up))
	default:
		e.AtLeast(rate(s.peer))
		m.up.AtLeast(rate(s.up))
	}
	m.dirty = true
	if !short {
		p.fine = n.now()
	}
}

// othersFine reports whether a flow to another peer got its lease lately.
func (n *state) othersFine(p *peer) bool {
	for _, other := range n.peers {
		if other != p && other.fine > 0 && n.now()-other.fine < fineTime {
			return true
		}
	}
	return false
}

// link is the estimate of the link to a peer.
func (m *measures) link(id core.ID) *account.Estimate {
	e := m.links[id]
	if e == nil {
		e = &account.Estimate{}
		m.links[id] = e
	}
	return e
}

// measured is what was measured of the link to a peer, at most its capacity; 0 while too little was.
func (n *state) measured(p *peer) core.Rate { return min(n.measures.link(p.id).Low(), p.capacity) }

// remembered is the file of a node's measures.
type remembered struct {
	V     int                `json:"v"`
	Up    []account.Sample   `json:"up"`
	Links []rememberedSample `json:"links"`
}

type rememberedSample struct {
	Peer    core.ID          `json:"peer"`
	Samples []account.Sample `json:"samples"`
}

const (
	memoryVersion = 1
	maxMemory     = 256 // links, those that were measured last
	saveEvery     = time.Minute
)

// recall reads what was measured before this node started. What cannot be read is measured anew.
func (n *Node) recall() measures {
	m := measures{links: map[core.ID]*account.Estimate{}}
	if n.Memory == nil {
		return m
	}
	text, err := n.Memory.Read()
	if errors.Is(err, core.ErrNotFound) {
		return m
	}
	var r remembered
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil || r.V != memoryVersion {
		n.Log.Warn("what was measured before is not known any more", "version", r.V, "error", err)
		return m
	}
	m.up = account.Recall(r.Up)
	for _, l := range r.Links[:min(len(r.Links), maxMemory)] {
		e := account.Recall(l.Samples)
		m.links[l.Peer] = &e
	}
	return m
}

// written is the file as it should be now; nil where it is as it was.
func (m *measures) written() *remembered {
	if !m.dirty {
		return nil
	}
	m.dirty = false
	r := remembered{V: memoryVersion, Up: m.up.Samples()}
	for id, e := range m.links {
		if samples := e.Samples(); len(samples) > 0 {
			r.Links = append(r.Links, rememberedSample{id, samples})
		}
	}
	last := func(l rememberedSample) int64 { return l.Samples[len(l.Samples)-1].At }
	slices.SortFunc(r.Links, func(a, b rememberedSample) int {
		return cmp.Or(cmp.Compare(last(b), last(a)), a.Peer.Compare(b.Peer))
	})
	r.Links = r.Links[:min(len(r.Links), maxMemory)]
	return &r
}

// remember writes down what was measured, now and then, and in the end.
func (n *Node) remember() {
	for more := true; more; {
		var r *remembered
		written := do(func(n *state) { r = n.measures.written() })
		if more = n.pause(context.Background(), saveEvery) && n.ask(written); !more {
			<-n.ended
			r = n.unwritten
		}
		if r == nil {
			continue
		}
		text, err := json.Marshal(r)
		if err == nil {
			err = n.Memory.Write(append(text, '\n'))
		}
		if err != nil {
			n.Log.Warn("write down what was measured", "error", err)
		}
	}
}

// seconds is a span of time that travelled as finiteSeconds.
func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// finiteSeconds is a span of time as it travels.
func finiteSeconds(d time.Duration) float64 { return math.Round(d.Seconds()*1e6) / 1e6 }
