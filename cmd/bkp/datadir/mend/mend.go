// SPDX-License-Identifier: Apache-2.0

package mend

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/cmd/bkp/datadir"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/durable"
	"github.com/bkp-tool/bkp/core/keep"
	"github.com/bkp-tool/bkp/core/keep/lost"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/ledger"
	"github.com/bkp-tool/bkp/core/license"
	"github.com/bkp-tool/bkp/core/storage/holdings"
)

// Result is what was wrong, and what came of it.
type Result struct {
	Damage    []core.Damage `json:"damage"`
	Steps     []string      `json:"steps"` // done, or to be done
	Aside     []string      `json:"aside"` // paths of what was replaced
	Restored  int           `json:"restored_runs"`
	Lost      int           `json:"lost_runs"`
	LostBytes core.Size     `json:"lost_bytes"` // as far as they are known
	LostRefs  int           `json:"lost_refs"`
	Pins      int           `json:"pins"` // that could still be read
	DryRun    bool          `json:"dry_run"`
}

// Run repairs the records of a data directory, under its node.lock. In a dry run it says what it would do, and changes
// nothing.
func Run(ctx context.Context, dir datadir.Dir, dryRun bool, status func(control.Status)) (Result, error) {
	lock, err := dir.LockNode()
	if err != nil {
		return Result{}, core.WithHint(err, "stop the node that runs here, and repair it then")
	}
	defer lock.Close()
	r := &repair{dir: dir, status: status, ctx: ctx, sum: Result{DryRun: dryRun, Damage: []core.Damage{},
		Steps: []string{}, Aside: []string{}}}
	if r.signer, err = dir.NodeKey(); err != nil {
		return Result{}, err
	}
	if err := r.run(); err != nil {
		return Result{}, fmt.Errorf("node repair: %w", err)
	}
	return r.sum, nil
}

// repair is one under way, under node.lock. It can be interrupted anywhere and run again: a record that is made
// anew comes to its place when it is complete, and until then the old one is missing, or wrong, as before.
type repair struct {
	dir    datadir.Dir
	status func(control.Status)
	ctx    context.Context
	signer *key.Signer
	sum    Result
	mark   string // of what is put aside
}

// told hears of a bucket.
func (r *repair) told() datadir.Told {
	return datadir.Told{Say: func(format string, args ...any) {
		r.status(control.Status{Phase: "repair", Text: fmt.Sprintf(format, args...)})
	}}
}

func (r *repair) step(format string, args ...any) {
	r.sum.Steps = append(r.sum.Steps, fmt.Sprintf(format, args...))
}

func (r *repair) run() error {
	r.mark = ".damaged-" + time.Now().UTC().Format("20060102T150405Z")
	if err := r.pins(); err != nil {
		return err
	}
	there, err := r.dir.RecordsPresent()
	if err != nil || there.Fresh() {
		return err
	}
	found, lostDB, lostLog, err := r.look()
	r.sum.Damage = append(r.sum.Damage, found.Damage...)
	if err != nil || len(found.Damage) == 0 {
		return err
	}
	if r.sum.DryRun {
		r.plan(found, lostDB, lostLog)
		return nil
	}
	if lostDB {
		if err := r.remakeHoldings(lostLog); err != nil {
			return err
		}
	}
	if lostLog {
		if err := r.remakeLedger(); err != nil {
			return err
		}
	}
	if err := r.align(); err != nil {
		return err
	}
	if found, _, _, err = r.look(); err == nil {
		err = found.Err()
	}
	return err
}

// look holds the records against each other. A ledger that was cut counts as lost: what is missing of it nobody has.
func (r *repair) look() (found keep.Records, lostDB, lostLog bool, err error) {
	rec, err := r.dir.OpenRecords(r.signer, r.told())
	if err != nil {
		return found, false, false, err
	}
	found, err = keep.CheckRecords(r.ctx, rec.Holdings, rec.Keeping, rec.Ledger)
	_, lostDB = rec.Holdings.(*lost.Holdings)
	lostLog = slices.ContainsFunc(found.Damage, func(d core.Damage) bool { return d.Key == "ledger" })
	return found, lostDB, lostLog, errors.Join(err, rec.Close())
}

// plan says what run would do.
func (r *repair) plan(found keep.Records, lostDB, lostLog bool) {
	if lostDB {
		r.step("holdings.db is made again from the descriptions in the packs%s",
			map[bool]string{true: "", false: " and the ledger"}[lostLog])
	}
	if lostLog {
		r.step("a new ledger begins with the licences and receipts of what is kept")
	}
	for _, l := range found.Lost {
		r.sum.Lost += len(l.Runs)
		r.sum.LostBytes += l.Bytes
	}
	if r.sum.Lost > 0 {
		r.step("of %d runs those that the packs do not have are written down as lost", r.sum.Lost)
	}
	if r.sum.LostRefs = len(found.Refs); r.sum.LostRefs > 0 {
		r.step("%d refs without their records are forgotten", r.sum.LostRefs)
	}
}

// pins brings back what can be read of pins.json and rotations.json.
func (r *repair) pins() error {
	p, err := r.dir.OpenPins(r.dir)
	if err != nil || len(p.Damage()) == 0 {
		return err
	}
	r.sum.Damage = append(r.sum.Damage, p.Damage()...)
	r.sum.Pins = p.Len()
	for _, d := range p.Damage() {
		switch d.Key {
		case "pins.json":
			r.step("pins.json is written anew with the %d nodes that can still be read; others are known again once they "+
				"prove the cluster token", p.Len())
		default:
			r.step("%s is written anew with what can still be read; keys that other nodes have taken are learnt again "+
				"when they are met", d.Key)
		}
		if r.sum.DryRun {
			continue
		}
		if err := r.copyAside(d.Key); err != nil {
			return err
		}
	}
	if r.sum.DryRun {
		return nil
	}
	return p.Rewrite()
}

// putAside moves a record out of the way, durably.
func (r *repair) putAside(name string) error {
	from, to := r.dir.Path(name), r.dir.Path(name+r.mark)
	if err := durable.Rename(from, to); err != nil {
		return err
	}
	r.sum.Aside = append(r.sum.Aside, to)
	return durable.SyncDir(string(r.dir))
}

// replace moves what was made under another name to its place; what is there goes aside.
func (r *repair) replace(made, name string) error {
	if r.dir.Has(name) {
		if err := r.putAside(name); err != nil {
			return err
		}
	}
	if err := durable.Rename(r.dir.Path(made), r.dir.Path(name)); err != nil {
		return err
	}
	return durable.SyncDir(string(r.dir))
}

// remakeLedger begins a new ledger with what the holdings know.
func (r *repair) remakeLedger() error {
	const made = "ledger.new"
	if err := durable.RemoveAll(r.dir.Path(made)); err != nil {
		return err
	}
	db, err := holdings.Open(r.dir.Path("holdings.db"), false)
	if err != nil {
		return err
	}
	log, err := ledger.Open(r.dir.Path(made), r.signer)
	if err != nil {
		return errors.Join(err, db.Close())
	}
	book := datadir.NewLogbook(log, r.signer.ID())
	segments, err := db.Segments()
	for _, s := range segments {
		if err == nil {
			err = r.promiseAnew(db, book, s)
		}
	}
	if err == nil {
		err = log.Sync()
	}
	var head core.LedgerHead
	if err == nil {
		head, err = book.Durable()
	}
	if err = errors.Join(err, log.Close()); err == nil {
		err = r.replace(made, "ledger")
	}
	if err == nil {
		err = db.Remember(head) // last: until then the database knows that the old one is not whole
	}
	if err == nil {
		r.step("a new ledger begins with %d licences and receipts of what is kept", head.Size)
	}
	return errors.Join(err, db.Close())
}

// promiseAnew enters a segment's licence, and a receipt for the runs of it that are kept.
func (r *repair) promiseAnew(db *holdings.Holdings, book *datadir.Logbook, s core.Segment) error {
	kept, err := db.Kept(s.Task, s.Number)
	if err != nil {
		return err
	}
	if err := book.AppendLicense(s.License); err != nil || len(kept) == 0 {
		return err
	}
	receipt := core.Receipt{License: s.LicenseID, Task: s.Task, Segment: s.Number, RetainUntil: s.RetainUntil,
		Time: time.Now().Unix()}
	var numbers []int
	for _, h := range kept {
		numbers = append(numbers, h.Number)
		receipt.Bytes += h.File.Size
	}
	receipt.Runs = core.Ranges(numbers)
	if receipt.Previous, err = book.LastReceipt(s.LicenseID); err != nil {
		return err
	}
	envelope, err := license.SignReceipt(receipt, r.signer)
	if err != nil {
		return err
	}
	return book.AppendReceipt(envelope)
}

// align brings back from the packs what stands in the ledger and the database lacks, and gives up what the packs do not
// have.
func (r *repair) align() error {
	rec, err := r.dir.OpenRecords(r.signer, r.told())
	if err != nil {
		return err
	}
	m := &mending{repair: r, rec: rec}
	var known, logged bool
	if m.db, known = rec.Holdings.(*holdings.Holdings); known {
		m.book, logged = rec.Ledger.(*datadir.Logbook)
	}
	if !known || !logged {
		return errors.Join(errors.New("a record that was made again cannot be opened"), rec.Close())
	}
	return errors.Join(m.run(), rec.Close())
}

// copyAside leaves a copy of a small file beside it.
func (r *repair) copyAside(name string) error {
	text, err := os.ReadFile(r.dir.Path(name))
	if err == nil {
		err = durable.New(r.dir.Path(name+r.mark), text, 0o600)
	}
	if err == nil {
		r.sum.Aside = append(r.sum.Aside, filepath.Join(string(r.dir), name+r.mark))
	}
	return err
}
