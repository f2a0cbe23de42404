// SPDX-License-Identifier: Apache-2.0

package node_test

import (
	"bytes"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/wire"
)

// strangers is what members of a token who do not trust each other may try, by the number of the bad input. b is the one
// honest node that is attacked; the rogue is a member. Afterwards b holds no lease and has promised no room.
var strangers = []struct {
	number int
	name   string
	try    func(t *testing.T, b *member, r *rogue)
}{
	{59, "a member lists the files of another owner", listsForeignFiles},
	{60, "a licence over the runs of another owner", licensesForeignRuns},
	{60, "a ref whose record is a chunk of another owner", namesForeignChunkAsRecord},
	{61, "a receipt for bytes that nobody sent", wantsReceiptForNothing},
	{76, "hashes that nobody knows, by the thousand", asksForTheUnknown},
	{77, "a node that only backup_location names", isNamedWithoutLicence},
}

func TestStrangers(t *testing.T) {
	for _, c := range strangers {
		t.Run(fmt.Sprintf("%d %s", c.number, c.name), func(t *testing.T) {
			withRogue(t, func(t *testing.T, b *member, r *rogue) {
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
