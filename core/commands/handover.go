// SPDX-License-Identifier: Apache-2.0

package commands

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/keep/handed"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/place"
	"github.com/bkp-tool/bkp/core/place/stripes"
	"github.com/bkp-tool/bkp/core/placements"
	"github.com/bkp-tool/bkp/core/storage"
	"github.com/bkp-tool/bkp/core/version"
)

// handed takes a version that an owner hands over to this node, which keeps all of it already: the record is durable
// when the receipt is given, and the keeper has the copies made that are wanted. Handed over again it tells how far
// that is.
func (n *Node) handed(envelope []byte) (receipt []byte, copies int, err error) {
	<-n.ready
	n.handing.Lock()
	defer n.handing.Unlock()
	h, err := n.Kept().Handed(envelope)
	if err != nil {
		return nil, 0, err
	}
	all, err := n.Placed.Of(h.Alias, h.Version)
	if err != nil {
		return nil, 0, err
	}
	for _, rec := range all {
		switch {
		case rec.Owner != h.Owner || rec.Delegation == nil || rec.IsOver():
		case h.Node == n.ID() && rec.Term == h.Term:
			if err := rec.Want(wantedBy(h)); err != nil {
				return nil, 0, err
			}
			n.keeper.Changed()
			receipt, err = n.Signer.SignTaken(envelope, time.Now())
			return receipt, rec.Counting(), err
		case rec.Term < h.Term: // who coordinates it now sees to what others keep by it
			err = errors.Join(err, n.Placed.Stop(n.Life(), h.Alias, h.Version, errRelieved), rec.Forget())
		}
	}
	if err == nil && h.Node == n.ID() {
		err = n.coordinate(h)
	}
	if err == nil {
		receipt, err = n.Signer.SignTaken(envelope, time.Now())
	}
	return receipt, 0, err
}

// handedOver is what of it this node keeps itself.
func (n *Node) handedOver() handed.Versions { return handed.Versions{Target: n.Kept()} }

// errRelieved is why a placement stops that this node is to see to no more.
var errRelieved = core.Fail(core.CodeRefused, "another node coordinates it now")

// coordinate writes down what an owner wants of a version that this node keeps all of, and has the keeper see to it.
func (n *Node) coordinate(h key.Handover) error {
	if n.Repair == nil {
		return core.Fail(core.CodeRefused, "this node keeps no placements by itself")
	}
	kept, err := n.handedOver().All(h.Owner, h.Task, h.Alias, h.Version)
	if err != nil {
		return err
	}
	if _, _, err := n.handedOver().RefOf(h.Owner, h.Alias, h.Version); err != nil {
		return err
	}
	var random [8]byte
	if _, err := rand.Read(random[:]); err != nil {
		return fmt.Errorf("draw task: %w", err)
	}
	task := core.NewTaskID(h.Owner, random)
	var segments []*placements.Segment
	for number, k := range kept {
		var runs []version.Run
		for _, r := range k.Runs {
			runs = append(runs, version.Run{Run: r, Task: task, Used: core.FullBitmap(len(r.Chunks))})
		}
		s := placements.NewSegment(task, h.Alias, h.Version, number, runs)
		s.Of, s.Stripes = k.License, stripes.Of(runs, h.Erasure)
		segments = append(segments, s)
	}
	_, err = n.Placed.Begin(placements.Head{Owner: h.Owner, Alias: h.Alias, Version: h.Version, Task: task,
		Source: n.ID(), Began: time.Now().UnixNano(), Proofs: true, Delegation: h.Delegation,
		Erasure: h.Erasure, Wanted: wantedBy(h)}, segments)
	if err == nil {
		n.Log.Info("coordinates", "owner", h.Owner.Short(), "alias", h.Alias, "version", h.Version, "term", h.Term,
			"task", task)
		n.keeper.Changed()
	}
	return err
}

func wantedBy(h key.Handover) placements.Wanted {
	return placements.Wanted{Copies: h.Copies, Strategy: h.Strategy, Retain: h.Retain, Locked: h.Locked, Out: h.Out,
		Only: h.Only, Term: h.Term}
}

// coordinatorOf places what is on record: of a version that was handed over its bytes are what this node keeps itself.
func (n *Node) coordinatorOf(rec *placements.Record) *place.Coordinator {
	c := n.coordinator()
	if rec.Delegation != nil {
		c.Staging = keptToo{n.Staging, n.here()}
		c.Bring = n.bringBackFor(rec.Owner)
	}
	return c
}

// keptToo is staging in which there is, too, what this node keeps for others.
type keptToo struct {
	storage.Store
	either storage.Either
}

func (k keptToo) Get(ctx context.Context, hash core.Hash, dst []byte) ([]byte, error) {
	return k.either.Get(ctx, hash, dst)
}

func (k keptToo) Has(ctx context.Context, hash core.Hash) (bool, error) {
	return k.either.Has(ctx, hash)
}
