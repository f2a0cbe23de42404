// SPDX-License-Identifier: Apache-2.0

package commands_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/commands"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/invite"
	"github.com/bkp-tool/bkp/core/keep"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/ledger"
	"github.com/bkp-tool/bkp/core/link"
	"github.com/bkp-tool/bkp/core/wire"
)

// strangers is what members of a token who do not trust each other may try, by the number of the bad input. b is the
// one honest node that is attacked; the rogue is a member. Afterwards b holds no lease and has promised no room.
var strangers = []struct {
	number int
	name   string
	try    func(t *testing.T, b *member, r *rogue)
}{
	{59, "a member lists the files of another owner", listsForeignFiles},
	{60, "a licence over the runs of another owner", licensesForeignRuns},
	{60, "a ref whose record is a chunk of another owner", namesForeignChunkAsRecord},
	{61, "a receipt for bytes that nobody sent", wantsReceiptForNothing},
	{63, "parallel segments under one quota", offersInParallel},
	{63, "runs after their promises were dropped, under one quota", comesLate},
	{63, "owners drawn by the dozen under one invite's quota", drawsOwners},
	{64, "records beyond the quota", putsRecordsBeyondQuota},
	{64, "refs beyond the quota", putsRefsBeyondQuota},
	{65, "tasks that ask this node for nothing", asksForNothing},
	{66, "one task again and again", repeatsTask},
	{67, "records in the name of invented nodes", relaysInventedRecords},
	{68, "chunks that begin and never end", beginsChunks},
	{70, "other content for a version, in a ref of either version", replacesContent},
	{71, "a release before locked_until", releasesEarly},
	{71, "a lock beyond what the node promises", locksForEver},
	{72, "a task ID that another owner used first", takesTaskID},
	{74, "a member after the token was changed", hasOldToken},
	{76, "hashes that nobody knows, by the thousand", asksForTheUnknown},
	{77, "a node that only backup_location names", isNamedWithoutLicence},
	{78, "to be kept for 8,000 years", keepsForEver},
}

// quota is what the cluster's owner may have at b.
const quota = 300 * core.KiB

func TestStrangers(t *testing.T) {
	for _, c := range strangers {
		t.Run(fmt.Sprintf("%d %s", c.number, c.name), func(t *testing.T) {
			virtual(t, func(t *testing.T) {
				cl := newCluster(t)
				b := cl.start("b", "", func(conf *commands.Config) {
					conf.Guests = &guestBook{}
					if c.number == 63 || c.number == 64 {
						conf.Issuers = map[core.ID]core.Size{cl.owner.ID(): quota}
					}
				})
				r := cl.rogue("b")
				c.try(t, b, r)
				go func() { // whatever else b says
					for {
						select {
						case <-r.heard:
						case <-t.Context().Done():
							return
						}
					}
				}()
				time.Sleep(20 * time.Minute) // promises that nobody came for are over
				synctest.Wait()
				s := b.status()
				for _, l := range s.Leases {
					if l.State == "live" {
						t.Errorf("a lease of %s stands", l.Rate)
					}
				}
				if s.Reserved != 0 {
					t.Errorf("%s are promised", s.Reserved)
				}
			})
		})
	}
}

// as makes a rogue speak for an owner of its own: what it offers is licensed by that one.
func (r *rogue) as(seed byte) *key.Owner {
	r.t.Helper()
	owner, err := key.NewOwner(r.c.random)
	check(r.t, err)
	r.owner = owner
	return owner
}

// delegated shows the word of an owner that the rogue may act for it.
func (r *rogue) delegated(o *key.Owner, rights ...key.Right) {
	r.t.Helper()
	envelope, err := o.Delegate(r.signer.ID(), rights, time.Now().Add(time.Hour))
	check(r.t, err)
	r.say(wire.Delegation{Delegations: [][]byte{envelope}})
}

// keeps has b keep a run of the cluster's owner, which the rogue brings as that owner's machine, and returns it.
func (r *rogue) keeps(b *member) offered {
	r.t.Helper()
	o := r.offer(b, unchanged)
	r.say(o.task)
	hear[wire.TaskAgree](r)
	r.give(o, 5, 9)
	r.receipt()
	return o
}

// mine is the same run, licensed by the rogue's own owner under a task of its own.
func (r *rogue) mine(b *member, o offered) offered {
	r.t.Helper()
	r.as(9)
	o.task.Task, o.lic.ID = core.TaskID{77}, core.LicenseID{77}
	o.lic.TaskSource.Owner, o.lic.Key = r.owner.ID(), r.owner.Signer().Public()
	r.resign(&o)
	return o
}

func listsForeignFiles(t *testing.T, b *member, r *rogue) {
	o := r.keeps(b)
	ask := func(owner core.ID) int {
		r.say(wire.StateQuery{Query: 1, Owner: owner, Files: true})
		report := hear[wire.StateReport](r)
		for _, f := range report.Files {
			if f.Hash != o.task.Files[0].Hash {
				t.Errorf("file %+v", f)
			}
		}
		return len(report.Files)
	}
	r.as(1)
	r.delegated(r.owner, key.AllRights...)
	if all, owners, own := ask(core.ID{}), ask(r.c.owner.ID()), ask(r.owner.ID()); all+owners+own != 0 {
		t.Errorf("a member without a right was told of %d, %d and %d files", all, owners, own)
	}
	r.say(wire.RefList{Query: 2, Owner: r.c.owner.ID()})
	hear[wire.RefReport](r) // it is the source of a task of that owner
	r.delegated(r.c.owner, key.RightRead)
	if n := ask(r.c.owner.ID()); n != 1 {
		t.Errorf("who may read was told of %d files, want 1", n)
	}
}

func licensesForeignRuns(t *testing.T, b *member, r *rogue) {
	o := r.mine(b, r.keeps(b))
	r.say(o.task)
	if agree := hear[wire.TaskAgree](r); !agree.Have.Empty() {
		t.Error("b says that it has the run already")
	}
	silent[wire.TransmissionComplete](r)
	r.say(wire.GainApply{Flow: 7, Owner: r.owner.ID(), Name: "abc", Rate: 1 << 20,
		Runs: []wire.GainRun{{Hash: o.task.Files[0].Hash}}})
	if refuse := hear[wire.GainRefuse](r); len(refuse.Missing) != 1 {
		t.Errorf("heard %+v", refuse)
	}
	r.give(o, 15, 19) // who has the bytes may bring them
	if receipt := r.receipt(); receipt.Bytes != o.chunk.Size {
		t.Errorf("receipt %+v", receipt)
	}
}

func wantsReceiptForNothing(t *testing.T, b *member, r *rogue) {
	o := r.mine(b, r.keeps(b))
	for range 3 { // asked for again, and as one that misses it
		r.say(o.task)
		hear[wire.TaskAgree](r)
		r.say(wire.Want{Task: o.task.Task, Wanted: []core.Range{{Length: 1}}})
	}
	silent[wire.TransmissionComplete](r)
}

func namesForeignChunkAsRecord(t *testing.T, b *member, r *rogue) {
	theirs := r.keeps(b)
	r.as(1)
	o := r.another(b, 50)
	r.say(o.task)
	hear[wire.TaskAgree](r)
	envelope, err := r.owner.SealRef(key.Ref{V: 2, Version: 1, Created: time.Now().Unix()}, key.RefBody{Name: "x",
		Root: core.Sealed{Hash: core.Hash{1}, Size: 1, Key: [32]byte{1}, Plain: 1}})
	check(t, err)
	r.say(wire.RefPut{Query: 1, Owner: r.owner.ID(), Alias: r.owner.Alias("x"), Version: 1, Task: o.task.Task,
		Ref: envelope, Records: []core.Chunk{theirs.chunk}})
	if ok := hear[wire.RefOK](r); ok.Code == core.ReasonNone {
		t.Error("the ref was taken")
	}
	r.delegated(r.owner, key.RightRead)
	r.say(wire.RefGet{Query: 2, Owner: r.owner.ID(), Alias: r.owner.Alias("x"), Version: 1, Record: theirs.chunk.Hash})
	if report := hear[wire.RefReport](r); bytes.Contains(theirs.data, report.Data) && len(report.Data) > 0 {
		t.Errorf("%d bytes of another owner", len(report.Data))
	}
}

func asksForTheUnknown(t *testing.T, b *member, r *rogue) {
	r.delegated(r.c.owner, key.RightRead)
	before := b.log.Len()
	for i := range 20 {
		m := wire.GainApply{Flow: uint64(100 + i), Owner: r.c.owner.ID(), Name: "abc", Rate: 1 << 20}
		for j := range 1000 {
			m.Runs = append(m.Runs, wire.GainRun{Hash: core.Hash{1, byte(i), byte(j), byte(j >> 8)}})
		}
		r.say(m)
		hear[wire.GainRefuse](r)
	}
	if grown := b.log.Len() - before; grown > 20*400 {
		t.Errorf("20 questions after 1,000 unknown runs each wrote %d bytes of log", grown)
	}
}

func isNamedWithoutLicence(t *testing.T, b *member, r *rogue) {
	named := r.c.rogue("b")
	o := r.offer(b, unchanged)
	o.task.Locations = append(o.task.Locations, core.Span{Node: named.signer.ID(), From: r.signer.ID(), Length: 1})
	r.say(o.task)
	hear[wire.TaskAgree](r)
	r.give(o, 5, 9)
	named.say(wire.GainApply{Flow: 7, Owner: r.c.owner.ID(), Name: "abc", Rate: 1 << 20,
		Runs: []wire.GainRun{{Hash: o.task.Files[0].Hash}}})
	if refuse := hear[wire.GainRefuse](named); refuse.Code != core.ReasonRights {
		t.Errorf("heard %+v", refuse)
	}
	named.say(wire.RefList{Query: 1, Owner: r.c.owner.ID()})
	if report := hear[wire.RefReport](named); report.Code != core.ReasonRights {
		t.Errorf("heard %+v", report)
	}
}

// answered counts how a number of offers was answered, and that each refusal says why.
func (r *rogue) answered(offers int, why string) (agreed []wire.TaskAgree) {
	r.t.Helper()
	for n := 0; n < offers; {
		switch m := (<-r.heard).(type) {
		case wire.TaskAgree:
			agreed = append(agreed, m)
			n++
		case wire.TaskRefuse:
			if !strings.Contains(m.Reason, why) {
				r.t.Errorf("refused: %s", m.Reason)
			}
			n++
		}
	}
	return agreed
}

func offersInParallel(t *testing.T, b *member, r *rogue) {
	const offers = 20
	for i := range byte(offers) {
		r.say(r.another(b, 100+i).task)
	}
	if agreed := r.answered(offers, "its quota is"); len(agreed) != 2 {
		t.Errorf("%d segments of 100 KiB were accepted under a quota of %s", len(agreed), quota)
	}
}

// guestBook is a node's invites in memory.
type guestBook struct {
	mu    sync.Mutex
	book  invite.Book
	drawn []byte
}

func (g *guestBook) Book() invite.Book {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.book
}

func (g *guestBook) Change(change func(invite.Book) (invite.Book, error)) error {
	book, err := change(g.Book())
	g.mu.Lock()
	defer g.mu.Unlock()
	g.book = book
	return err
}

func (g *guestBook) DrawToken() ([]byte, error) { return g.drawn, nil }

func drawsOwners(t *testing.T, b *member, r *rogue) {
	guests := b.Guests.(*guestBook)
	by := invite.Invite{Name: core.Nonce{1}, Quota: quota, Came: []invite.Guest{{Node: r.signer.ID()}}}
	guests.book = invite.Book{Invites: []invite.Invite{by}}
	const offers = 20
	for i := range byte(offers) {
		r.as(i)
		r.say(r.another(b, 100+i).task)
	}
	if agreed := r.answered(offers, "its quota is"); len(agreed) != 2 {
		t.Errorf("%d segments of 100 KiB of %d owners were accepted, who came by one invite with a quota of %s",
			len(agreed), offers, quota)
	}
}

func comesLate(t *testing.T, b *member, r *rogue) {
	var all []offered
	for i := range byte(6) {
		o := r.another(b, 100+i)
		all = append(all, o)
		r.say(o.task)
		r.answered(1, "its quota is")
		time.Sleep(15 * time.Minute) // nobody comes for it
	}
	granted := 0
	for i, o := range all {
		r.say(o.apply(uint64(10 + i)))
		select {
		case m := <-r.heard:
			if _, ok := m.(wire.StorageAgree); ok {
				granted++
				r.say(wire.TransmissionAbort{Flow: uint64(10 + i), Code: core.ReasonStopped})
				time.Sleep(time.Second)
			}
		case <-time.After(10 * time.Second):
			t.Error("no answer")
		}
	}
	if granted != 2 {
		t.Errorf("%d runs of 100 KiB were granted under a quota of %s", granted, quota)
	}
}

// pieces puts a record, and returns how its pieces were answered.
func (r *rogue) record(put wire.RefPut, data []byte) wire.RefOK {
	r.t.Helper()
	put.Query, put.Record, put.Size, put.Data = 1, chunk.Hash(data), core.Size(len(data)), data
	r.say(put)
	return hear[wire.RefOK](r)
}

func (r *rogue) refPut(o offered, name string) wire.RefPut {
	return wire.RefPut{Owner: r.owner.ID(), Alias: r.owner.Alias(name), Version: 1, Task: o.task.Task}
}

func putsRecordsBeyondQuota(t *testing.T, b *member, r *rogue) {
	o := r.another(b, 50)
	r.say(o.task)
	hear[wire.TaskAgree](r)
	taken := 0
	for i := range byte(20) {
		ok := r.record(r.refPut(o, "x"), content(150+i, 64<<10))
		if ok.Code == core.ReasonNone {
			taken++
		} else if !strings.Contains(ok.Reason, "its quota is") {
			t.Errorf("refused: %s", ok.Reason)
		}
	}
	if taken != 3 {
		t.Errorf("%d records of 64 KiB were taken beside 100 KiB under a quota of %s", taken, quota)
	}
	if used := b.status().Used; used > quota {
		t.Errorf("%s are stored", used)
	}
}

func putsRefsBeyondQuota(t *testing.T, b *member, r *rogue) {
	o := r.another(b, 50)
	r.say(o.task)
	hear[wire.TaskAgree](r)
	var put core.Size
	for i := range 1000 {
		m := r.refPut(o, fmt.Sprintf("name %d", i))
		envelope, err := r.owner.SealRef(key.Ref{V: 2, Version: 1, Created: time.Now().Unix()}, key.RefBody{
			Name: fmt.Sprintf("name %d", i), Root: core.Sealed{Hash: core.Hash{1}, Size: 1, Key: [32]byte{1}, Plain: 1}})
		check(t, err)
		m.Query, m.Ref = 1, envelope
		r.say(m)
		if ok := hear[wire.RefOK](r); ok.Code != core.ReasonNone {
			if !strings.Contains(ok.Reason, "its quota is") {
				t.Errorf("refused: %s", ok.Reason)
			}
			break
		}
		put += core.Size(len(envelope))
	}
	if put == 0 || put > quota-100*core.KiB {
		t.Errorf("%s of refs were taken beside 100 KiB under a quota of %s", put, quota)
	}
}

func asksForNothing(t *testing.T, b *member, r *rogue) {
	for i := range byte(60) {
		o := r.another(b, 100+i)
		o.task.Locations[0].Node = core.ID{1}
		r.say(o.task)
	}
	if agreed := r.answered(60, "nothing of segment 0 is for this node"); len(agreed) > 0 || len(b.ledger.Entries()) > 0 {
		t.Errorf("%d were accepted, %d entries in the ledger", len(agreed), len(b.ledger.Entries()))
	}
}

func repeatsTask(t *testing.T, b *member, r *rogue) {
	o := r.offer(b, unchanged)
	for range 40 {
		r.say(o.task)
	}
	if agreed := r.answered(40, "none"); len(agreed) != 40 || b.ledger.Count(ledger.KindLicense) > 2 {
		t.Errorf("%d were accepted, %d licences in the ledger", len(agreed), b.ledger.Count(ledger.KindLicense))
	}
}

func relaysInventedRecords(t *testing.T, b *member, r *rogue) {
	const invented = 12
	tell := func(from *key.Signer, m wire.Message) wire.Message {
		r.say(r.relayed(from, m, r.signer.ID(), b.ID()))
		back, err := hear[wire.Relay](r).Open(time.Now())
		check(t, err)
		return back
	}
	taken := 0
	for i := range byte(invented) {
		stranger, err := key.NewSigner(r.c.random)
		check(t, err)
		o := r.another(b, 100+i)
		o.lic.TaskSource.Node = stranger.ID()
		r.resign(&o)
		if agree, ok := tell(stranger, o.task).(wire.TaskAgree); !ok {
			t.Fatalf("heard %+v", agree)
		}
		put := r.refPut(o, "x")
		put.Query, put.Record, put.Size, put.Data = 1, core.Hash{1, i}, 32*core.MiB, make([]byte, wire.RecordPiece)
		if ok := tell(stranger, put).(wire.RefOK); ok.Code == core.ReasonNone {
			taken++
		} else if ok.Code != core.ReasonBusy {
			t.Errorf("refused: %s", ok.Reason)
		}
	}
	if taken != 2 {
		t.Errorf("one neighbour began %d records of 32 MiB in the names of %d nodes", taken, invented)
	}
}

func beginsChunks(t *testing.T, b *member, r *rogue) {
	const runs = 48
	o := r.offer(b, unchanged)
	o.chunk.Size = 4 * core.MiB
	o.task.Files = nil
	var begin []wire.TransmissionBegin
	for i := range byte(runs) {
		c := core.Chunk{Hash: core.Hash{1, i}, Size: 4 * core.MiB}
		o.task.Files = append(o.task.Files, core.File{Name: fmt.Sprintf("abc.1.%d", i), Type: core.TypeFile,
			Order: int(i), Hash: chunk.RunHash([]core.Chunk{c}), Size: c.Size})
		begin = append(begin, wire.TransmissionBegin{Transfer: 100 + uint64(i), Flow: 5, Task: o.task.Task, Run: int(i),
			Hash: o.task.Files[i].Hash, Chunks: []core.Chunk{c}})
	}
	o.task.Locations[0].Length = runs
	r.resign(&o)
	r.say(o.task)
	hear[wire.TaskAgree](r)
	apply := o.apply(5)
	apply.Size, apply.Runs = runs*4*core.MiB, []core.Range{{Length: runs}}
	r.say(apply)
	agree := hear[wire.StorageAgree](r)
	if len(agree.Runs) != 1 || agree.Runs[0].Length != runs {
		t.Fatalf("granted %+v", agree.Runs)
	}
	for _, m := range begin {
		m.Lease = agree.Lease
		r.say(m)
		check(t, r.to.SendData(t.Context(), m.Transfer, 0, 0, []byte{1}))
	}
	aborted := 0
	for aborted < runs-24 {
		if abort := hear[wire.TransmissionAbort](r); abort.Transfer != 0 {
			aborted++
		}
	}
}

func replacesContent(t *testing.T, b *member, r *rogue) {
	o := r.offer(b, unchanged)
	r.say(o.task)
	hear[wire.TaskAgree](r)
	put := func(v int, content byte) wire.RefOK {
		m := r.refPut(o, "x")
		envelope, err := r.owner.SealRef(key.Ref{V: v, Version: 1, Created: time.Now().Unix()}, key.RefBody{Name: "x",
			Root: core.Sealed{Hash: core.Hash{content}, Size: 1, Key: [32]byte{1}, Plain: 1}})
		check(t, err)
		m.Query, m.Ref = 1, envelope
		r.say(m)
		return hear[wire.RefOK](r)
	}
	if ok := put(2, 1); ok.Code != core.ReasonNone {
		t.Fatalf("heard %+v", ok)
	}
	if ok := put(2, 2); ok.Code != core.ReasonContent {
		t.Errorf("other content in version 2: %+v", ok)
	}
	put(1, 2)
	held, err := b.holdings.Ref(r.owner.ID(), r.owner.Alias("x"), 1)
	check(t, err)
	if ref, err := key.OpenRef(held.Envelope); err != nil || ref.V != 2 || ref.Content != (core.Hash{1}) {
		t.Errorf("after other content in version 1 the ref is %+v, %v", ref, err)
	}
	if done := r.bury(o, r.owner, core.Hash{2}); done.Code != core.ReasonContent {
		t.Errorf("other content is removed: %+v", done)
	}
	other, err := key.NewOwner(rand.NewChaCha8([32]byte{77}))
	check(t, err)
	if done := r.bury(o, other, core.Hash{1}); done.Code != core.ReasonRights {
		t.Errorf("another owner removes it: %+v", done)
	}
	if _, err := b.holdings.Ref(r.owner.ID(), r.owner.Alias("x"), 1); err != nil {
		t.Errorf("the ref went: %v", err)
	}
	if done := r.bury(o, r.owner, core.Hash{1}); done.Code != core.ReasonNone {
		t.Errorf("its owner removes it: %+v", done)
	}
	o.task.Alias = r.owner.Alias("x")
	r.say(o.task)
	if no := hear[wire.TaskRefuse](r); no.Code != core.ReasonContent {
		t.Errorf("what is removed is offered again: %+v", no)
	}
}

// bury has an owner's tombstone say that the version of an offer is removed, with that content.
func (r *rogue) bury(o offered, owner *key.Owner, content core.Hash) wire.ReleaseDone {
	r.t.Helper()
	alias, now := r.owner.Alias("x"), time.Now().Unix()
	tombstone, err := owner.SignTombstone(key.Tombstone{Alias: alias, Version: 1, Content: content, Time: now,
		Until: now + 1000})
	check(r.t, err)
	envelope, err := r.owner.SignRelease(key.Release{Task: o.task.Task, Alias: alias, Version: 1, Time: now})
	check(r.t, err)
	r.say(wire.Release{Query: 1, Envelope: envelope, Tombstone: tombstone})
	return hear[wire.ReleaseDone](r)
}

func (r *rogue) release(o offered) wire.ReleaseDone {
	r.t.Helper()
	envelope, err := r.owner.SignRelease(key.Release{Task: o.task.Task, Alias: r.owner.Alias("x"), Version: 1,
		Time: time.Now().Unix()})
	check(r.t, err)
	r.say(wire.Release{Query: 1, Envelope: envelope})
	return hear[wire.ReleaseDone](r)
}

func releasesEarly(t *testing.T, b *member, r *rogue) {
	o := r.offer(b, func(l *core.License) { l.LockedUntil = l.RetainUntil })
	r.say(o.task)
	hear[wire.TaskAgree](r)
	r.give(o, 5, 9)
	r.receipt()
	if done := r.bury(o, r.owner, core.Hash{1}); done.Code != core.ReasonLocked || done.Runs != 0 {
		t.Errorf("by a tombstone: %+v", done)
	}
	if gone, err := b.holdings.Tombstones(r.owner.ID()); err != nil || len(gone) > 0 {
		t.Errorf("%d tombstones are kept of what is locked, %v", len(gone), err)
	}
	if done := r.release(o); done.Code != core.ReasonLocked || done.Runs != 0 {
		t.Errorf("heard %+v", done)
	}
	o.lic.ID, o.lic.LockedUntil = core.LicenseID{2}, 0 // a further licence takes no lock away
	r.resign(&o)
	r.say(o.task)
	hear[wire.TaskAgree](r)
	if done := r.release(o); done.Code != core.ReasonLocked {
		t.Errorf("after a licence without a lock: %+v", done)
	}
	segments, err := b.holdings.Segments()
	check(t, err)
	if len(segments) != 1 || segments[0].LockedUntil == 0 {
		t.Errorf("in the database: %+v", segments)
	}
	time.Sleep(2 * time.Hour)
	if done := r.release(o); done.Code != core.ReasonNone || done.Runs != 1 {
		t.Errorf("once the lock is over: %+v", done)
	}
}

func locksForEver(t *testing.T, b *member, r *rogue) {
	far := time.Now().AddDate(8000-time.Now().Year(), 0, 0).Unix()
	r.say(r.offer(b, func(l *core.License) { l.RetainUntil, l.LockedUntil = far, far }).task)
	if len(r.answered(1, "promises nothing beyond")) != 0 {
		t.Error("it was accepted")
	}
}

func keepsForEver(t *testing.T, b *member, r *rogue) {
	o := r.offer(b, func(l *core.License) {
		l.RetainUntil = time.Now().AddDate(7900, 0, 0).Unix()
	})
	r.say(o.task)
	hear[wire.TaskAgree](r)
	r.give(o, 5, 9)
	if until := time.Unix(r.receipt().RetainUntil, 0); time.Until(until) > keep.DefaultKeepAtMost {
		t.Errorf("it promises to keep it until %v", until)
	}
}

func takesTaskID(t *testing.T, b *member, r *rogue) {
	task := core.NewTaskID(r.c.owner.ID(), [8]byte{1})
	victim := r.c.rogue("b")
	offer := func(r *rogue, number byte) offered {
		o := r.another(b, number)
		o.task.Task = task
		r.resign(&o)
		r.say(o.task)
		return o
	}
	r.as(9)
	theirs := offer(r, 100)
	hear[wire.TaskAgree](r) // b cannot know better yet
	r.give(theirs, 5, 9)
	r.receipt()
	o := offer(victim, 101)
	if agreed := victim.answered(1, "none"); len(agreed) != 1 {
		t.Fatal("the task's owner was refused")
	}
	victim.give(o, 5, 9)
	if receipt := victim.receipt(); receipt.Task != task {
		t.Errorf("receipt %+v", receipt)
	}
	offer(r, 100)
	if len(r.answered(1, "known here from another source")) != 0 {
		t.Error("the ID was taken again")
	}
	if found, err := b.LookAtRecords(t.Context(), control.None{}, quiet); err != nil || len(found.Damage) > 0 {
		t.Errorf("the records of b: %+v, %v", found, err)
	}
}

func hasOldToken(t *testing.T, b *member, r *rogue) {
	cl := *r.c
	cl.token = []byte("the token of the tests before it was changed")
	signer, err := key.NewSigner(cl.random)
	check(t, err)
	old := &rogue{t: t, c: &cl, signer: signer, session: make(chan *link.Session, 4), heard: make(chan wire.Message, 100)}
	old.hub = link.New(link.Config{Signer: signer, Epoch: 1, Token: cl.token, Pins: old, Dial: cl.net.From("old")}, old)
	defer old.hub.Close(t.Context())
	peers, err := core.ParsePeers("wss://b:8001-20MiB")
	check(t, err)
	old.hub.Dial(peers[0])
	select {
	case <-old.session:
		t.Error("it has a session")
	case <-time.After(time.Minute):
	}
	if err := old.hub.Diallers()[0].Err; err == nil || !strings.Contains(err.Error(), "has another cluster token") {
		t.Errorf("told: %v", err)
	}
}

// What a person locks is locked at the targets: rm by the owner's own node changes nothing.
func TestLockReachesTargets(t *testing.T) {
	virtual(t, func(t *testing.T) {
		c := newCluster(t)
		a, b := c.start("a", "", c.owned), c.start("b", "a-20MiB")
		data := content(3, 1<<20)
		a.split("disk.img", 1, data)
		c.settle()
		a.place(control.PlaceArgs{Name: "disk.img", Replicas: 1, Lock: 3600})
		r, err := a.Remove(t.Context(), control.RemoveArgs{Name: "disk.img"}, quiet)
		if err != nil || len(r.Versions) > 0 || len(r.Locked) != 1 {
			t.Errorf("rm: %+v, %v", r, err)
		}
		if s := b.status(); s.Runs == 0 {
			t.Error("b keeps nothing")
		}
		a.fetch("disk.img", 1, data)
	})
}
