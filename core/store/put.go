package store

import (
	"errors"
	"fmt"

	"github.com/bkp-tool/bkp/core"
)

// maxFinishing is how many packs are finished in the background at a time.
const maxFinishing = 2

// Put keeps the stored bytes of a chunk, which the caller has held against c.Hash; id is zero where unknown. It reports
// whether the chunk was new. Nothing is durable before a Barrier that is called after Put has returned.
func (s *Store) Put(c core.Chunk, id core.Hash, data []byte) (bool, error) {
	isNew, err := s.put(c, id, data)
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
	s.gate.RLock()
	defer s.gate.RUnlock()
	f, full, err := s.begin(c.Hash, id, len(data))
	s.finishLater(full)
	if f == nil || err != nil {
		return false, err
	}
	err = writeRecord(f.pack.file, f.row, data)
	s.finishLater(s.land(f, err))
	return err == nil, err
}

// flight is a record on its way to its pack.
type flight struct {
	pack   *pack
	row    row
	landed chan struct{} // closed when it is written, or failed to be
}

// begin finds room for a record. No flight means that the store has the chunk already. The caller finishes the pack that
// is full.
func (s *Store) begin(hash, id core.Hash, size int) (f *flight, full *pack, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := prefixOf(hash)
	for {
		if s.broken != nil {
			return nil, nil, s.broken
		}
		if at, ok := s.index.hashes[key]; ok && s.ours(at) {
			return nil, nil, nil
		}
		other := s.flights[key]
		if other == nil {
			break
		}
		s.mu.Unlock() // the same chunk is being written: wait how that ends
		<-other.landed
		s.mu.Lock()
	}
	if p := s.current; p != nil && p.end+recordHeader+int64(size) > s.packSize {
		full = s.retire()
	}
	if s.current == nil {
		p, err := createPack(s.dir)
		if err != nil {
			return nil, full, err
		}
		s.register(p)
		s.mine[p.number] = p
		s.current, s.newFile = p, true
	}
	p := s.current
	f = &flight{pack: p, row: row{hash: hash, id: id, offset: uint32(p.end), size: uint32(size)}, landed: make(chan struct{})}
	p.end = f.row.end()
	p.waiting++
	s.flights[key] = f
	return f, full, nil
}

// ours reports whether our Barrier covers a record: not one that another process is still writing. mu is held.
func (s *Store) ours(at place) bool {
	p := s.packs[at.pack]
	return p.finished || s.mine[p.number] != nil
}

// land notes how a flight ended. The caller finishes the pack that is full.
func (s *Store) land(f *flight, err error) (full *pack) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.flights, prefixOf(f.row.hash))
	close(f.landed)
	f.pack.waiting--
	if err == nil {
		f.pack.rows = append(f.pack.rows, f.row)
		f.pack.dirty = true
		s.note(f.pack, f.row)
	} else if s.current == f.pack {
		return s.retire() // there is a hole in it now; what it has stays
	}
	if s.current != f.pack && f.pack.waiting == 0 {
		return f.pack
	}
	return nil
}

// retire takes no more records into the current pack. It returns the pack where nobody writes to it any more; else the
// last one who does will finish it. mu is held.
func (s *Store) retire() *pack {
	p := s.current
	s.current = nil
	if p.waiting > 0 {
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

// finish gives a pack that takes no more records its table. Where that fails it goes on without: Barrier makes its records
// durable all the same, and the next Open finds them.
func (s *Store) finish(p *pack) error {
	s.mu.RLock()
	rows, end := p.rows, p.end
	s.mu.RUnlock()
	err := p.finish(s.dir, rows, end)
	s.mu.Lock()
	defer s.mu.Unlock()
	if errors.Is(err, errSync) {
		s.broken = err
	}
	if err == nil {
		p.finished, p.rows, p.dirty = true, nil, false
		delete(s.mine, p.number)
	}
	return err
}

// rotate finishes the current pack. The gate is held alone.
func (s *Store) rotate() error {
	s.mu.Lock()
	p := s.current
	s.current = nil
	s.mu.Unlock()
	if p == nil {
		return nil
	}
	return s.finish(p) // waiting is 0: every Put holds the gate
}

// Barrier returns when everything put before it is durable. Concurrent calls share their work. After a failed one the
// store takes nothing more until it is opened again, since nobody can tell what reached the disk.
func (s *Store) Barrier() error {
	if s.readOnly {
		return nil
	}
	s.barrier.Lock()
	defer s.barrier.Unlock()
	dirty, newFile, err := s.takeDirty()
	if err != nil {
		return fmt.Errorf("barrier: %w", err)
	}
	for _, p := range dirty {
		if err = p.sync(); err != nil {
			break
		}
	}
	if err == nil && newFile {
		err = syncDir(s.dir)
	}
	if err != nil {
		err = fmt.Errorf("make the store durable: %w", err)
		s.mu.Lock()
		s.broken = err
		s.mu.Unlock()
	}
	return err
}

// takeDirty waits until no record is half written and takes what must be synced.
func (s *Store) takeDirty() (dirty []*pack, newFile bool, err error) {
	s.gate.Lock()
	defer s.gate.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.mine {
		if p.dirty {
			dirty = append(dirty, p)
			p.dirty = false
		}
	}
	newFile, s.newFile = s.newFile, false
	return dirty, newFile, s.broken
}
