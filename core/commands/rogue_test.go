// SPDX-License-Identifier: Apache-2.0

package commands_test

import (
	"bytes"
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/license"
	"github.com/bkp-tool/bkp/core/link"
	"github.com/bkp-tool/bkp/core/storage"
	"github.com/bkp-tool/bkp/core/wire"
)

// rogue is a peer that says what a test wants, over a real session.
type rogue struct {
	t       *testing.T
	c       *cluster
	signer  *key.Signer
	owner   *key.Owner // who licenses what it offers
	hub     *link.Hub
	session chan *link.Session
	heard   chan wire.Message
	to      *link.Session
}

func (r *rogue) Up(s *link.Session)        { r.session <- s }
func (r *rogue) Down(*link.Session, error) {}
func (r *rogue) Message(s *link.Session, m wire.Message) {
	select {
	case r.heard <- m:
	case <-s.Done():
	}
}
func (r *rogue) Data(*link.Session, wire.Data) {}
func (r *rogue) Known(core.ID) bool            { return false }
func (r *rogue) Pin(core.ID, string) error     { return nil }
func (r *rogue) Follow(core.PublicKey) error   { return nil }

// rogue connects to a node as a member of the cluster.
func (c *cluster) rogue(to string) *rogue {
	c.t.Helper()
	signer, err := key.NewSigner(c.random)
	check(c.t, err)
	return c.rogueAs(to, signer)
}

// rogueAs is a rogue with a key of its own choice.
func (c *cluster) rogueAs(to string, signer *key.Signer) *rogue {
	c.t.Helper()
	return c.rogueWith(to, signer, c.token, nil)
}

// rogueWith is a rogue with another token, or none, that shows delegations.
func (c *cluster) rogueWith(to string, signer *key.Signer, token []byte, words [][]byte) *rogue {
	c.t.Helper()
	r := &rogue{t: c.t, c: c, signer: signer, owner: c.owner, session: make(chan *link.Session, 4), heard: make(chan wire.Message, 100)}
	r.hub = link.New(link.Config{Signer: signer, Epoch: 1, Token: token, Pins: r, Delegations: func() [][]byte { return words },
		Admit: func(link.Peer) error { return nil }, Dial: c.net.From("rogue")}, r)
	c.t.Cleanup(func() { r.hub.Close(c.t.Context()) })
	peers, err := core.ParsePeers("wss://" + to + ":8001-20MiB")
	check(c.t, err)
	r.hub.Dial(peers[0])
	r.to = <-r.session
	r.say(wire.BandwidthCoordination{Size: 20 << 20})
	hear[wire.BandwidthCoordination](r)
	return r
}

func (r *rogue) say(m wire.Message) {
	r.t.Helper()
	check(r.t, r.to.Send(m))
}

// hear waits for the next message of a type and skips others.
func hear[M wire.Message](r *rogue) M {
	r.t.Helper()
	for {
		select {
		case m := <-r.heard:
			if m, ok := m.(M); ok {
				return m
			}
		case <-time.After(30 * time.Second):
			var want M
			r.t.Fatalf("heard no %s", want.Type())
		}
	}
}

// silent wants no message of a type within a while.
func silent[M wire.Message](r *rogue) {
	r.t.Helper()
	for {
		select {
		case m := <-r.heard:
			if m, ok := m.(M); ok {
				r.t.Fatalf("heard %s %+v, want none", m.Type(), m)
			}
		case <-time.After(5 * time.Second):
			return
		}
	}
}

// offered is a segment of one run of one chunk, licensed by the cluster's owner for a target.
type offered struct {
	data  []byte
	chunk core.Chunk
	task  wire.StorageTask
	lic   core.License
}

func (r *rogue) offer(target *member, change func(*core.License)) offered {
	r.t.Helper()
	o := offered{data: content(99, 100<<10)}
	o.chunk = core.Chunk{Hash: chunk.Hash(o.data), Size: core.Size(len(o.data))}
	file := core.File{Name: "abc.1.0", Type: core.TypeFile, Hash: chunk.RunHash([]core.Chunk{o.chunk}),
		Size: o.chunk.Size}
	owner := r.owner.Signer()
	now := time.Now()
	o.lic = core.License{
		V: 1, ID: core.LicenseID{1}, Task: core.TaskID{7}, TaskSource: core.TaskSource{Owner: owner.ID(),
			Node: r.signer.ID()},
		Targets: []core.ID{target.ID()}, Op: "store", Root: chunk.RunHash([]core.Chunk{{Hash: file.Hash,
			Size: file.Size}}),
		MaxBytes: file.Size, MaxRuns: 1, NotBefore: now.Unix(), Expires: now.Add(time.Hour).Unix(),
		RetainUntil: now.Add(time.Hour).Unix(), Key: owner.Public(),
	}
	change(&o.lic)
	envelope, err := license.Sign(o.lic, owner)
	check(r.t, err)
	o.task = wire.StorageTask{
		Task: o.lic.Task, Alias: "abc", Version: 1, Files: []core.File{file}, License: envelope,
		Locations: []core.Span{{Node: target.ID(), From: r.signer.ID(), Start: 0, Length: 1}},
	}
	return o
}

func (o offered) apply(flow uint64) wire.StorageApply {
	return wire.StorageApply{Flow: flow, Task: o.task.Task, Filename: "abc.1.0", Size: o.chunk.Size, Rate: 10 << 20,
		Runs: []core.Range{{Start: 0, Length: 1}}}
}

func (o offered) begin(flow, transfer, lease uint64) wire.TransmissionBegin {
	return wire.TransmissionBegin{Transfer: transfer, Flow: flow, Lease: lease, Task: o.task.Task,
		Hash: o.task.Files[0].Hash, Chunks: []core.Chunk{o.chunk}}
}

func unchanged(*core.License) {}

// withRogue runs a test of one honest node and one rogue in virtual time.
func withRogue(t *testing.T, test func(t *testing.T, b *member, r *rogue)) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		b := c.start("b", "")
		test(t, b, c.rogue("b"))
	})
}

func (m *member) status() control.StatusResult {
	m.cluster.t.Helper()
	s, err := m.Status(m.cluster.t.Context(), control.None{}, quiet)
	check(m.cluster.t, err)
	return s
}

// Bad input 23.
func TestCompleteBeforeBeginIsAborted(t *testing.T) {
	withRogue(t, func(t *testing.T, b *member, r *rogue) {
		r.say(wire.TransmissionComplete{Transfer: 42, Received: true})
		if abort := hear[wire.TransmissionAbort](r); abort.Transfer != 42 || abort.Code != core.ReasonProtocol {
			t.Errorf("heard %+v, want transfer 42 aborted as a protocol error", abort)
		}
	})
}

// Bad input 24.
func TestAppliedTwiceIsAnsweredAlikeAndGrantedOnce(t *testing.T) {
	withRogue(t, func(t *testing.T, b *member, r *rogue) {
		o := r.offer(b, unchanged)
		r.say(o.task)
		hear[wire.TaskAgree](r)
		r.say(o.apply(5))
		first := hear[wire.StorageAgree](r)
		r.say(o.apply(5))
		again := hear[wire.StorageAgree](r)
		if first.Lease != again.Lease || first.Rate != again.Rate || !slices.Equal(first.Runs, again.Runs) {
			t.Errorf("answered %+v, then %+v", first, again)
		}
		if leases := b.status().Leases; len(leases) != 1 {
			t.Errorf("%d leases stand, want 1", len(leases))
		}
	})
}

// Bad input 26.
func TestChunkWithTheWrongHashIsNotKept(t *testing.T) {
	withRogue(t, func(t *testing.T, b *member, r *rogue) {
		o := r.offer(b, unchanged)
		r.say(o.task)
		hear[wire.TaskAgree](r)
		r.say(o.apply(5))
		lease := hear[wire.StorageAgree](r).Lease
		r.say(o.begin(5, 9, lease))
		o.data[1000] ^= 1
		check(t, r.to.SendData(t.Context(), 9, 0, 0, o.data))
		if abort := hear[wire.TransmissionAbort](r); abort.Transfer != 9 || abort.Code != core.ReasonCorrupt {
			t.Errorf("heard %+v, want transfer 9 aborted as corrupt", abort)
		}
		silent[wire.TransmissionComplete](r)
		s := b.status()
		if s.Used != 0 || s.Runs != 0 || s.Leases[0].State == "live" {
			t.Errorf("%s used, %d runs, lease %s: want nothing kept and the lease given back", s.Used, s.Runs,
				s.Leases[0].State)
		}
	})
}

func TestSessionOutlivesARunThatFails(t *testing.T) {
	withRogue(t, func(t *testing.T, b *member, r *rogue) {
		o := r.offer(b, unchanged)
		r.say(o.task)
		hear[wire.TaskAgree](r)
		r.say(o.apply(5))
		r.say(o.begin(5, 9, hear[wire.StorageAgree](r).Lease))
		for at := uint32(1); at < 10; at++ { // out of order, and all of it on its way before b can say so
			check(t, r.to.SendData(t.Context(), 9, 0, at, o.data[:100]))
		}
		if abort := hear[wire.TransmissionAbort](r); abort.Transfer != 9 {
			t.Errorf("heard %+v, want transfer 9 aborted", abort)
		}
		r.give(o, 6, 10)
		time.Sleep(10 * time.Second)
		select {
		case <-r.to.Done():
			t.Error("the session is gone")
		default:
		}
	})
}

func TestWholeRunIsReceipted(t *testing.T) {
	withRogue(t, func(t *testing.T, b *member, r *rogue) {
		o := r.offer(b, unchanged)
		r.say(o.task)
		hear[wire.TaskAgree](r)
		r.say(o.apply(5))
		r.say(o.begin(5, 9, hear[wire.StorageAgree](r).Lease))
		check(t, r.to.SendData(t.Context(), 9, 0, 0, o.data))
		if done := hear[wire.TransmissionComplete](r); done.Transfer != 9 || !done.Received {
			t.Errorf("heard %+v, want transfer 9 received", done)
		}
		receipt, err := license.OpenReceipt(hear[wire.TransmissionComplete](r).Receipt)
		check(t, err)
		if receipt.Target != b.ID() || receipt.Bytes != o.chunk.Size || receipt.License != o.lic.ID {
			t.Errorf("receipt %+v", receipt)
		}
		r.say(o.apply(6))
		if refuse := hear[wire.StorageRefuse](r); refuse.Code != core.ReasonHave || len(refuse.Have) != 1 {
			t.Errorf("applied for a kept run and heard %+v", refuse)
		}
	})
}

func TestLeaseOfASilentSenderExpires(t *testing.T) {
	withRogue(t, func(t *testing.T, b *member, r *rogue) {
		o := r.offer(b, unchanged)
		r.say(o.task)
		hear[wire.TaskAgree](r)
		r.say(o.apply(5))
		hear[wire.StorageAgree](r)
		if abort := hear[wire.TransmissionAbort](r); abort.Flow != 5 || abort.Code != core.ReasonExpired {
			t.Errorf("heard %+v, want flow 5 expired", abort)
		}
		for _, a := range b.status().Accounts {
			if a.Leased != 0 {
				t.Errorf("account %s has %s leased after the expiry", a.Name, a.Leased)
			}
		}
	})
}

func TestRateAboveCapacityIsNotGranted(t *testing.T) {
	withRogue(t, func(t *testing.T, b *member, r *rogue) {
		o := r.offer(b, unchanged)
		r.say(o.task)
		hear[wire.TaskAgree](r)
		apply := o.apply(5)
		apply.Rate = 1 << 40
		r.say(apply)
		if agree := hear[wire.StorageAgree](r); agree.Rate != 20<<20 {
			t.Errorf("granted %s on a link of 20 MiB/s", agree.Rate)
		}
	})
}

// resign makes the offer's licence fit its task again.
func (r *rogue) resign(o *offered) {
	r.t.Helper()
	o.lic.Task, o.lic.Segment = o.task.Task, o.task.Segment
	var runs []core.Chunk
	o.lic.MaxBytes, o.lic.MaxRuns = 0, len(o.task.Files)
	for _, f := range o.task.Files {
		runs = append(runs, core.Chunk{Hash: f.Hash, Size: f.Size})
		o.lic.MaxBytes += f.Size
	}
	o.lic.Root = chunk.RunHash(runs)
	envelope, err := license.Sign(o.lic, r.owner.Signer())
	check(r.t, err)
	o.task.License = envelope
}

// give has a run of an accepted offer sent, up to the word that it was received.
func (r *rogue) give(o offered, flow, transfer uint64) {
	r.t.Helper()
	r.say(o.apply(flow))
	r.say(o.begin(flow, transfer, hear[wire.StorageAgree](r).Lease))
	check(r.t, r.to.SendData(r.t.Context(), transfer, 0, 0, o.data))
	if done := hear[wire.TransmissionComplete](r); !done.Received {
		r.t.Errorf("heard %+v, want transfer %d received", done, transfer)
	}
}

func (r *rogue) receipt() core.Receipt {
	r.t.Helper()
	receipt, err := license.OpenReceipt(hear[wire.TransmissionComplete](r).Receipt)
	check(r.t, err)
	return receipt
}

func TestRunBeginsOnce(t *testing.T) {
	withRogue(t, func(t *testing.T, b *member, r *rogue) {
		o := r.offer(b, unchanged)
		r.say(o.task)
		hear[wire.TaskAgree](r)
		r.say(o.apply(5))
		lease := hear[wire.StorageAgree](r).Lease
		r.say(o.begin(5, 9, lease))
		r.say(o.begin(5, 10, lease))
		if abort := hear[wire.TransmissionAbort](r); abort.Transfer != 10 || abort.Code != core.ReasonProtocol {
			t.Errorf("heard %+v, want transfer 10 aborted", abort)
		}
	})
}

// another is an offer of a task of its own.
func (r *rogue) another(target *member, number byte) offered {
	r.t.Helper()
	o := r.offer(target, unchanged)
	o.data = content(number, 100<<10)
	o.chunk.Hash = chunk.Hash(o.data)
	o.task.Task, o.lic.ID, o.task.Files[0].Hash = core.TaskID{number}, core.LicenseID{number},
		chunk.RunHash([]core.Chunk{o.chunk})
	r.resign(&o)
	return o
}

// slowStore takes a second for a barrier.
type slowStore struct{ storage.Collector }

func (s slowStore) Barrier(ctx context.Context) error {
	time.Sleep(time.Second)
	return s.Collector.Barrier(ctx)
}

func TestNothingIsGrantedBeforeTheLinkHasACapacity(t *testing.T) {
	withRogue(t, func(t *testing.T, b *member, r *rogue) {
		r.to.Close(core.ReasonStopped, "again")
		r.to = <-r.session // dialled anew, and nothing said
		r.say(wire.GainApply{Flow: 5, Owner: r.c.owner.ID(), Rate: 1 << 40, Runs: []wire.GainRun{{Hash: core.Hash{1}}}})
		o := r.offer(b, unchanged)
		r.say(o.apply(6))
		if refuse := hear[wire.StorageRefuse](r); refuse.Code != core.ReasonProtocol {
			t.Errorf("heard %+v, want a protocol error", refuse)
		}
		r.say(wire.BandwidthCoordination{})
		select {
		case <-r.to.Done():
		case <-time.After(time.Minute):
			t.Error("a link of 0 bytes per second stands: it would be unlimited")
		}
	})
}

func TestFlowsOfAPeerAreBounded(t *testing.T) {
	withRogue(t, func(t *testing.T, b *member, r *rogue) {
		for i := range byte(70) {
			o := r.another(b, i+1)
			r.say(o.task)
			hear[wire.TaskAgree](r)
			apply := o.apply(100 + uint64(i))
			apply.Rate = 1000
			r.say(apply)
		}
		time.Sleep(time.Second)
		live := slices.DeleteFunc(b.status().Leases, func(l control.LeaseRow) bool { return l.State != "live" })
		if len(live) != 64 {
			t.Errorf("%d leases stand, want 64", len(live))
		}
	})
}

// A holder keeps a ref in both versions, for whoever may ask, and answers with the one that the peer reads.
func TestRefInVersion1IsKeptBesideVersion2(t *testing.T) {
	withRogue(t, func(t *testing.T, b *member, r *rogue) {
		o := r.offer(b, unchanged)
		r.say(o.task)
		hear[wire.TaskAgree](r)
		body := key.RefBody{Name: "x", Root: core.Sealed{Hash: core.Hash{1}, Size: 1, Key: [32]byte{1}, Plain: 1}}
		put := wire.RefPut{Owner: r.c.owner.ID(), Alias: r.c.owner.Alias("x"), Version: 1, Task: o.task.Task}
		var sent [3][]byte // by version
		for _, v := range []int{1, 2, 1, 2} {
			envelope, err := r.c.owner.SealRef(key.Ref{V: v, Version: 1, Created: time.Now().Unix()}, body)
			check(t, err)
			sent[v], put.Ref, put.Query = envelope, envelope, put.Query+1
			r.say(put)
			if ok := hear[wire.RefOK](r); ok.Code != core.ReasonNone {
				t.Fatalf("heard %+v", ok)
			}
		}
		held, err := b.holdings.Ref(put.Owner, put.Alias, 1)
		check(t, err)
		if !bytes.Equal(held.Envelope, sent[2]) || !bytes.Equal(held.Former, sent[1]) {
			t.Error("it does not keep the last of both versions")
		}
		envelope, err := r.c.owner.Delegate(r.signer.ID(), []key.Right{key.RightRead}, time.Now().Add(time.Hour))
		check(t, err)
		r.say(wire.Delegation{Delegations: [][]byte{envelope}})
		r.say(wire.RefGet{Query: 9, Owner: put.Owner, Alias: put.Alias})
		if report := hear[wire.RefReport](r); len(report.Refs) != 1 || !bytes.Equal(report.Refs[0], sent[2]) {
			t.Errorf("asked by a peer that reads version 2: %d refs, code %d %s", len(report.Refs), report.Code,
				report.Reason)
		}
	})
}
