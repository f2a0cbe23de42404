package store

import (
	"errors"
	"fmt"
	"os"

	"github.com/bkp-tool/bkp/core"
)

// SweepReport says what a sweep found and did.
type SweepReport struct {
	Packs      int       // that there were
	Removed    int       // of them
	Unreadable int       // of them: nothing in it is whole; left for a person to look at
	Chunks     int       // removed
	Freed      core.Size // stored bytes of the removed chunks
	Dead       core.Size // stored bytes of chunks that nobody needs, in packs that stay for the sake of others
}

// Sweep removes the packs whose every chunk is not live. It must see every use of the store: chunks that were put but that
// live does not know yet go too. No other process may have the store open for writing (ErrLocked); Put and Barrier of this
// one wait. live may use Get, Has and Find, and is asked about a chunk once for each pack that has it.
func (s *Store) Sweep(live func(core.Hash) bool) (report SweepReport, err error) {
	if s.readOnly {
		return report, errors.New("sweep: the store is open for reading only")
	}
	s.barrier.Lock()
	defer s.barrier.Unlock()
	s.appending.Lock()
	defer s.appending.Unlock()
	if err := s.lockAlone(); err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, s.lockShared()) }()
	err = s.rotate()
	if err == nil {
		err = s.adopt()
	}
	if err == nil {
		err = s.refresh(true)
	}
	if err != nil {
		return report, fmt.Errorf("sweep: %w", err)
	}
	err = s.sweep(live, &report)
	return report, err
}

// Collect is Sweep for who wants to know no more than the bytes freed.
func (s *Store) Collect(live func(core.Hash) bool) (freed core.Size, err error) {
	report, err := s.Sweep(live)
	return report.Freed, err
}

func (s *Store) sweep(live func(core.Hash) bool, report *SweepReport) error {
	s.mu.RLock()
	var packs []*pack
	for _, p := range s.names {
		if p.finished {
			packs = append(packs, p)
		}
	}
	s.mu.RUnlock()
	for _, p := range packs {
		if err := s.sweepPack(p, live, report); err != nil {
			return fmt.Errorf("sweep pack %s: %w", p.name, err)
		}
	}
	if report.Removed == 0 {
		return nil
	}
	return syncDir(s.dir) // lockShared reads what is left
}

func (s *Store) sweepPack(p *pack, live func(core.Hash) bool, report *SweepReport) error {
	report.Packs++
	rows, err := s.rowsOf(p)
	if err != nil {
		report.Unreadable++ // opening the store did not find a whole record in it either
		return nil
	}
	var dead core.Size
	deadRows := 0
	for _, r := range rows {
		if !live(r.hash) {
			dead += core.Size(r.size)
			deadRows++
		}
	}
	if deadRows < len(rows) {
		report.Dead += dead
		return nil
	}
	if err := os.Remove(packPath(s.dir, p.name)); err != nil {
		return err
	}
	report.Removed++
	report.Chunks += len(rows)
	report.Freed += dead
	return nil
}

// rowsOf reads the table of a finished pack.
func (s *Store) rowsOf(p *pack) (rows []row, err error) {
	f, err := os.Open(packPath(s.dir, p.name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return readTable(f, info.Size())
}

// lockAlone turns the shared lock into one that nobody else has, or leaves it as it was.
func (s *Store) lockAlone() error {
	if err := s.lock.Unlock(); err != nil {
		return fmt.Errorf("sweep: unlock the store: %w", err)
	}
	got, err := s.lock.TryLock()
	switch {
	case err != nil:
		err = fmt.Errorf("sweep: lock the store: %w", err)
	case !got:
		err = locked("sweep")
	default:
		return nil
	}
	return errors.Join(err, s.lockShared())
}

// lockShared takes the shared lock again, and looks at what others did while this store had none.
func (s *Store) lockShared() error {
	if err := s.lock.Unlock(); err != nil {
		return fmt.Errorf("unlock the store: %w", err)
	}
	err := s.lock.RLock()
	if err == nil {
		err = s.refresh(true)
	}
	if err != nil {
		return fmt.Errorf("lock the store again: %w", err)
	}
	return nil
}
