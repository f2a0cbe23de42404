// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"context"
	"errors"
	"fmt"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable"
)

// maxFinishing is how many packs are finished in the background at a time.
const maxFinishing = 2

// Put keeps the stored bytes of a chunk, which the caller has held against c.Hash; id is zero where unknown. It reports
// whether the chunk was new. Nothing is durable before a Barrier that is called after Put has returned.
func (s *Store) Put(ctx context.Context, c core.Chunk, id core.Hash, data []byte) (bool, error) {
	err := s.begin(ctx)
	isNew := false
	if err == nil {
		isNew, err = s.put(c, id, data)
	}
	if err != nil {
		return false, fmt.Errorf("put chunk %s: %w", c.Hash, err)
	}
	return isNew, nil
}

func (s *Store) put(c core.Chunk, id core.Hash, data []byte) (bool, error) {
	switch {
	case s.readOnly:
		return false, errors.New("the store is open for reading only")
	case core.Size(len(data)) != c.Size:
		return false, fmt.Errorf("%d bytes of data, want %d", len(data), c.Size)
	case len(data) > maxData:
		return false, fmt.Errorf("%d bytes are more than a record holds", len(data))
	}
	s.appending.Lock()
	defer s.appending.Unlock()
	if known, err := s.known(c.Hash); known || err != nil {
		return false, err
	}
	return true, s.append(row{hash: c.Hash, id: id}, data)
}

// append adds a record to the current pack; the row tells its names. appending is held.
func (s *Store) append(r row, data []byte) error {
	p, err := s.packFor(len(data))
	if err != nil {
		return err
	}
	r.offset, r.size = uint32(p.end), uint32(len(data))
	if err := s.reserve(p, r.end()); err != nil {
		return err
	}
	header := r.header()
	s.fill(p, int64(r.offset), header[:])
	s.fill(p, int64(r.offset)+recordHeader, data)
	s.mu.Lock()
	defer s.mu.Unlock()
	p.end = r.end()
	p.rows = append(p.rows, r)
	p.dirty = true
	s.note(p, r)
	return nil
}

// known reports whether the store has a chunk that the next Barrier covers.
func (s *Store) known(hash core.Hash) (bool, error) {
	at, ok, err := s.at(hash)
	if err != nil {
		return false, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return ok && s.reliable(at), s.broken
}

// packFor is the pack that takes a record of so many bytes, a new one where the current one is full. appending is held.
func (s *Store) packFor(size int) (*pack, error) {
	if p := s.current; p != nil && p.end+recordHeader+int64(size) > s.packSize {
		s.filled = true
		s.finishLater(s.retire())
	}
	if s.current != nil {
		return s.current, nil
	}
	p, err := createPack(s.dir)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.register(p)
	s.mine[p.number] = p
	s.current, s.newNames = p, true
	s.mu.Unlock()
	var header [packHeader]byte
	copy(header[:], packMagic)
	s.fill(p, 0, header[:])
	return p, nil
}

// ours reports whether our Barrier covers a record: not one that another process is still writing. mu is held.
func (s *Store) ours(at place) bool {
	p := s.packs[at.pack]
	return p.finished || s.mine[p.number] != nil
}

// reliable reports whether a chunk need not be put again for there is this record of it; who only reads puts nothing,
// and takes also what others are writing. mu is held.
func (s *Store) reliable(at place) bool {
	return (s.readOnly || s.ours(at)) && s.packs[at.pack].trusts(at.offset)
}

// retire takes no more records into the current pack. It returns the pack where nothing of it is left to be written;
// else who writes the last of it will finish it. appending is held.
func (s *Store) retire() *pack {
	p := s.current
	s.flush(p, false)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = nil
	if len(p.buffers) > 0 || s.broken != nil {
		return nil
	}
	return p
}

// finishLater finishes a pack in the background, or at once where enough are being finished already.
func (s *Store) finishLater(p *pack) {
	if p == nil {
		return
	}
	s.mu.Lock()
	background := s.background < maxFinishing
	if background {
		s.background++
	}
	s.mu.Unlock()
	if !background {
		s.finish(p)
		return
	}
	s.finishing.Go(func() {
		s.finish(p)
		s.mu.Lock()
		s.background--
		s.mu.Unlock()
	})
}

// finish gives a pack that takes no more records, and has them all, its table. Where that fails it goes on without:
// Barrier makes its records durable all the same, and the next Open finds them.
func (s *Store) finish(p *pack) error {
	s.mu.RLock()
	rows, end := p.rows, p.end
	s.mu.RUnlock()
	err := p.finish(s.dir, rows, end)
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.file.Poisoned() != nil {
		s.fail(err)
	}
	if err == nil {
		p.loose = len(p.rows)
		s.loose += p.loose
		s.loosePacks++
		p.finished, p.rows, p.dirty = true, nil, false
		delete(s.mine, p.number)
		s.mergeLater()
	}
	return err
}

// mergeLater compacts in the background where too much stands in memory. What fails is tried again with the next pack;
// the packs have all that the index has. mu is held.
func (s *Store) mergeLater() {
	if s.loose < s.maxLoose && s.loosePacks < maxLoosePacks || s.merging {
		return
	}
	s.merging = true
	s.finishing.Go(func() {
		_ = s.compact()
		s.mu.Lock()
		s.merging = false
		s.mu.Unlock()
	})
}

// wantsMerge reports whether the index is worth merging, or making anew.
func (s *Store) wantsMerge() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.loose >= s.maxLoose || s.loosePacks >= maxLoosePacks || s.mend
}

// rotate finishes the current pack and waits for those before. appending is held.
func (s *Store) rotate() error {
	if s.current != nil {
		s.finishLater(s.retire())
		s.drain()
	}
	s.finishing.Wait()
	return s.failed()
}

// Barrier returns when everything put or found before it is durable. Concurrent calls share their work. After a failed
// one the store takes nothing more until it is opened again, since nobody can tell what reached the disk.
func (s *Store) Barrier(ctx context.Context) error {
	if err := s.begin(ctx); err != nil {
		return fmt.Errorf("make the store durable: %w", err)
	}
	if s.readOnly {
		return errors.New("make the store durable: it is open for reading only")
	}
	s.barrier.Lock()
	defer s.barrier.Unlock()
	s.appending.Lock()
	dirty, names, written := s.takeDirty()
	s.appending.Unlock() // Put goes on meanwhile
	<-written
	return s.makeDurable(dirty, names)
}

// barrierHere is Barrier for who holds barrier and appending.
func (s *Store) barrierHere() error {
	dirty, names, written := s.takeDirty()
	<-written
	return s.makeDurable(dirty, names)
}

// takeDirty takes the packs that must be synced, and whether their directory must be, too; it has what is in buffers
// written, and written is closed when that is done. appending is held.
func (s *Store) takeDirty() (dirty []*pack, names bool, written <-chan struct{}) {
	if s.current != nil {
		s.flush(s.current, true)
	}
	s.mu.Lock()
	for _, p := range s.mine {
		if p.dirty {
			dirty = append(dirty, p)
			p.dirty = false
		}
	}
	names, s.newNames = s.newNames, false
	s.mu.Unlock()
	done := make(chan struct{})
	if s.jobs != nil {
		s.jobs <- writeJob{done: done}
	} else {
		close(done)
	}
	return dirty, names, done
}

// makeDurable syncs packs that are written, and their directory.
func (s *Store) makeDurable(dirty []*pack, names bool) error {
	err := s.failed()
	for _, p := range dirty {
		if err == nil {
			err = p.sync()
		}
	}
	if err == nil && names {
		err = durable.SyncDir(s.dir)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail(err)
	if s.broken != nil { // whatever failed while the disk was waited for
		return fmt.Errorf("make the store durable: %w", s.broken)
	}
	return nil
}

// fail makes the store refuse everything from now on; the first reason stays. mu is held.
func (s *Store) fail(err error) {
	if s.broken == nil {
		s.broken = err
	}
}

func (s *Store) failed() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.broken
}
