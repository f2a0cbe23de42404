// SPDX-License-Identifier: Apache-2.0

package datadir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/keep"
	"github.com/bkp-tool/bkp/core/keep/lost"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/ledger"
	"github.com/bkp-tool/bkp/core/storage"
	"github.com/bkp-tool/bkp/core/storage/holdings"
)

// Records are the three that say what this machine keeps for others: chunks in packs, the database of what they are
// kept for, and the ledger of what was promised. A lost one has a stand-in, so that the others go on serving.
type Records struct {
	Keeping  storage.Collector
	Holdings keep.Holdings
	Ledger   keep.Ledger
	Closers
}

var errNoLedger = errors.New("the ledger is gone, the log of what was promised here")

// Present is which of the three there are.
type Present struct {
	packs   bool // with something in them
	db      bool
	ledger  bool // its files
	entries bool // with something in it
}

// Fresh tells a machine that never kept or placed anything.
func (t Present) Fresh() bool { return !t.packs && !t.db && !t.entries }

// RecordsPresent looks without making or locking anything.
func (d Dir) RecordsPresent() (t Present, err error) {
	if d.keeps() {
		s, err := d.readKeeping(context.Background())
		if err != nil {
			return t, err
		}
		used, err := s.Used(context.Background())
		if err = errors.Join(err, s.Close()); err != nil {
			return t, err
		}
		t.packs = used > 0
	}
	_, err = os.Stat(d.Path("holdings.db"))
	t.db = err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return t, err
	}
	log, err := ledger.OpenRead(d.Path("ledger"))
	if errors.Is(err, core.ErrNotFound) {
		return t, nil
	}
	if err != nil {
		return t, err
	}
	head, headErr := log.Head()
	t.ledger, t.entries = true, headErr == nil && head.Size > 0
	return t, log.Close()
}

// OpenRecords opens the three, or stand-ins for those that are lost. It makes them only where none of them is there:
// one that is missing beside the others is damage, never a beginning.
func (d Dir) OpenRecords(signer *key.Signer, told Told) (_ *Records, err error) {
	there, err := d.RecordsPresent()
	if err != nil {
		return nil, fmt.Errorf("open holdings: %w", err)
	}
	r := &Records{}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Close())
		}
	}()
	if r.Keeping, err = d.OpenKeeping(context.Background(), told); err != nil {
		return nil, fmt.Errorf("open holdings: %w", err)
	}
	r.Closers = append(r.Closers, r.Keeping)
	kept, err := d.openHoldings(r, there)
	if err != nil {
		return nil, err
	}
	return r, d.openLedger(r, there, kept, signer)
}

// openHoldings opens the database, and reports whether it has anything to say.
func (d Dir) openHoldings(r *Records, there Present) (says bool, err error) {
	db, err := holdings.Open(d.Path("holdings.db"), !there.packs && !there.entries)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		r.Holdings = &lost.Holdings{Why: errors.New("holdings.db is gone, the record of what is kept here for " +
			"others")}
		return false, nil
	case core.CodeOf(err) == core.CodeWrong:
		r.Holdings = &lost.Holdings{Why: err}
		return false, nil
	case err != nil:
		return false, err
	}
	r.Holdings, r.Closers = db, append(r.Closers, db)
	head, _, err := db.Remembered()
	if err != nil {
		return false, err
	}
	segments, err := db.Segments()
	return head.Size > 0 || len(segments) > 0, err
}

func (d Dir) openLedger(r *Records, there Present, promised bool, signer *key.Signer) error {
	if !there.ledger && (promised || there.packs) {
		r.Ledger = &lost.Ledger{Why: errNoLedger}
		return nil
	}
	log, err := ledger.Open(d.Path("ledger"), signer)
	if core.CodeOf(err) == core.CodeWrong {
		r.Ledger = &lost.Ledger{Why: err}
		return nil
	}
	if err != nil {
		return fmt.Errorf("open the ledger: %w", err)
	}
	r.Ledger, r.Closers = NewLogbook(log, signer.ID()), append(r.Closers, log)
	return nil
}

// noPacks are those of a directory that is gone.
type noPacks struct{}

func (noPacks) Has(context.Context, core.Hash) (bool, error) { return false, nil }

// CheckRecords holds the records against each other and changes none. No node may run.
func (d Dir) CheckRecords(ctx context.Context) (found keep.Records, err error) {
	there, err := d.RecordsPresent()
	if err != nil || there.Fresh() {
		return found, err
	}
	lock, err := d.LockNode()
	if err != nil {
		return found, err
	}
	defer lock.Close()
	r := &Records{}
	defer func() { err = errors.Join(err, r.Close()) }()
	promised, err := d.openHoldings(r, there)
	if err != nil {
		return found, err
	}
	var log keep.Log = &lost.Ledger{Why: errNoLedger}
	switch read, err := ledger.OpenRead(d.Path("ledger")); {
	case err == nil:
		r.Closers, log = append(r.Closers, read), read
	case errors.Is(err, core.ErrNotFound) && (promised || there.packs):
	case errors.Is(err, core.ErrNotFound):
		return found, nil // nothing was ever kept
	case core.CodeOf(err) == core.CodeWrong:
		log = &lost.Ledger{Why: err}
	default:
		return found, err
	}
	var keeping keep.Packs = noPacks{}
	if d.keeps() {
		s, err := d.readKeeping(ctx)
		if err != nil {
			return found, err
		}
		r.Closers, keeping = append(r.Closers, s), s
	}
	if found, err = keep.CheckRecords(ctx, r.Holdings, keeping, log); err != nil {
		return found, err
	}
	p, err := d.OpenPins(d)
	if err == nil {
		found.Damage = append(found.Damage, p.Damage()...)
	}
	return found, err
}
