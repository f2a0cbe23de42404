package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/keep"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/ledger"
	"github.com/bkp-tool/bkp/core/storage/disk"
)

// records are the three that say what this machine keeps for others: chunks in packs, the database of what they are
// kept for, and the ledger of what was promised. A lost one has a stand-in, so that the others go on serving.
type records struct {
	keeping  *disk.Store
	holdings keep.Holdings
	ledger   keep.Ledger
	closing
}

var errNoLedger = errors.New("the ledger is gone, the log of what was promised here")

// recordsThere is which of the three there are.
type recordsThere struct {
	packs   bool // with something in them
	db      bool
	ledger  bool // its files
	entries bool // with something in it
}

// fresh tells a machine that never kept or placed anything.
func (t recordsThere) fresh() bool { return !t.packs && !t.db && !t.entries }

// recordsThere looks without making or locking anything.
func (h house) recordsThere() (t recordsThere, err error) {
	if exists(h.path("holdings", "packs")) {
		s, err := disk.OpenRead(h.path("holdings"))
		if err != nil {
			return t, err
		}
		used, err := s.Used(context.Background())
		if err = errors.Join(err, s.Close()); err != nil {
			return t, err
		}
		t.packs = used > 0
	}
	_, err = os.Stat(h.path("holdings.db"))
	t.db = err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return t, err
	}
	log, err := ledger.OpenRead(h.path("ledger"))
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

// openRecords opens the three, or stand-ins for those that are lost. It makes them only where none of them is there:
// one that is missing beside the others is damage, never a beginning.
func (h house) openRecords(signer *key.Signer) (_ *records, err error) {
	there, err := h.recordsThere()
	if err != nil {
		return nil, fmt.Errorf("open holdings: %w", err)
	}
	r := &records{}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Close())
		}
	}()
	if r.keeping, err = disk.Open(h.path("holdings")); err != nil {
		return nil, fmt.Errorf("open holdings: %w", err)
	}
	r.closing = append(r.closing, r.keeping)
	kept, err := h.openHoldings(r, there)
	if err != nil {
		return nil, err
	}
	return r, h.openLedger(r, there, kept, signer)
}

// openHoldings opens the database, and reports whether it has anything to say.
func (h house) openHoldings(r *records, there recordsThere) (says bool, err error) {
	db, err := disk.OpenHoldings(h.path("holdings.db"), !there.packs && !there.entries)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		r.holdings = &keep.LostHoldings{Why: errors.New("holdings.db is gone, the record of what is kept here for others")}
		return false, nil
	case core.CodeOf(err) == core.CodeWrong:
		r.holdings = &keep.LostHoldings{Why: err}
		return false, nil
	case err != nil:
		return false, err
	}
	r.holdings, r.closing = db, append(r.closing, db)
	head, _, err := db.Remembered()
	if err != nil {
		return false, err
	}
	segments, err := db.Segments()
	return head.Size > 0 || len(segments) > 0, err
}

func (h house) openLedger(r *records, there recordsThere, promised bool, signer *key.Signer) error {
	if !there.ledger && (promised || there.packs) {
		r.ledger = &keep.LostLedger{Why: errNoLedger}
		return nil
	}
	log, err := ledger.Open(h.path("ledger"), signer)
	if core.CodeOf(err) == core.CodeWrong {
		r.ledger = &keep.LostLedger{Why: err}
		return nil
	}
	if err != nil {
		return fmt.Errorf("open the ledger: %w", err)
	}
	r.ledger, r.closing = newLogbook(log, signer.ID()), append(r.closing, log)
	return nil
}

// noPacks are those of a directory that is gone.
type noPacks struct{}

func (noPacks) Has(context.Context, core.Hash) (bool, error) { return false, nil }

// checkRecords has the running node hold the records of what is kept here against each other, or does it, where there
// are any.
func (c *call) checkRecords(ctx context.Context) (found keep.Records, err error) {
	if caller, err := c.runningNode(); err == nil {
		err := caller.Call(ctx, control.CommandRecords, control.None{}, &found, c.Status)
		return found, err
	}
	there, err := c.house.recordsThere()
	if err != nil || there.fresh() {
		return found, err
	}
	lock, err := c.house.lockNode()
	if err != nil {
		return found, err
	}
	defer lock.Close()
	return c.house.readRecords(ctx, there)
}

// readRecords holds the records against each other and changes none. node.lock is held.
func (h house) readRecords(ctx context.Context, there recordsThere) (found keep.Records, err error) {
	r := &records{}
	defer func() { err = errors.Join(err, r.Close()) }()
	promised, err := h.openHoldings(r, there)
	if err != nil {
		return found, err
	}
	var log keep.Log = &keep.LostLedger{Why: errNoLedger}
	switch read, err := ledger.OpenRead(h.path("ledger")); {
	case err == nil:
		r.closing, log = append(r.closing, read), read
	case errors.Is(err, core.ErrNotFound) && (promised || there.packs):
	case errors.Is(err, core.ErrNotFound):
		return found, nil // nothing was ever kept
	case core.CodeOf(err) == core.CodeWrong:
		log = &keep.LostLedger{Why: err}
	default:
		return found, err
	}
	var keeping keep.Packs = noPacks{}
	if exists(h.path("holdings", "packs")) {
		s, err := disk.OpenRead(h.path("holdings"))
		if err != nil {
			return found, err
		}
		r.closing, keeping = append(r.closing, s), s
	}
	if found, err = keep.CheckRecords(ctx, r.holdings, keeping, log); err != nil {
		return found, err
	}
	p, err := openPins(h.path("pins.json"))
	if err == nil && p.damaged != nil {
		found.Damage = append(found.Damage, p.damage())
	}
	return found, err
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
