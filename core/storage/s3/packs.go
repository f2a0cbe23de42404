// SPDX-License-Identifier: Apache-2.0

package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/durable"
	"github.com/bkp-tool/bkp/core/storage/disk/pack"
)

const (
	packsPrefix = "packs/"
	// packSize is what a pack grows to: all of it stands in memory until the bucket has it, and 16 MiB is as much as
	// goes up in one request without a loss (restic writes packs of that size, too).
	packSize = 16 << 20
	// mostInMemory is how many packs are in memory: one is filled while the others go up.
	mostInMemory = 5
)

// packKey is the object of a pack.
func packKey(name string) string { return packsPrefix + name + ".pack" }

// packs is the packs of a store as objects, and their shadows in a directory. It is a disk.Packs.
type packs struct {
	bucket *bucket
	dir    string // of the shadows
	size   int64
	owner  pack.Owner
	ctx    context.Context // of all requests but those of who reads; ends when nobody waits for an upload any more
	cancel context.CancelFunc
	read   *windows
	locks  *locks
	room   chan struct{} // a word for each pack in memory

	uploads sync.WaitGroup

	mu      sync.RWMutex // guards what follows; held for no longer than it takes to look something up
	current *writing     // where new records go
	mine    map[string]*writing
	broken  error
	spans   map[string][]span // where records stand in packs that are read
}

// writing is a pack that this process writes, or that is on its way.
type writing struct {
	name   string
	memory *pack.Memory
	done   chan struct{} // closed when it is in the bucket, or never will be
}

// span is where a record stands in its pack.
type span struct{ from, to uint32 }

// mostSpans is of how many packs it stays in memory where their records stand.
const mostSpans = 512

func newPacks(b *bucket, dir string, size int64, owner pack.Owner) *packs {
	p := &packs{bucket: b, dir: dir, size: size, owner: owner, room: make(chan struct{}, mostInMemory),
		mine: map[string]*writing{}, spans: map[string][]span{}, locks: newLocks(b.place.Lock)}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.read = newWindows(p.fetch)
	return p
}

// Append adds a record to the pack in memory; where that is full it goes up, and where as many are on their way as
// memory is for, it waits.
func (p *packs) Append(r pack.Row, data []byte) (string, pack.Row, error) {
	if len(data) > pack.MaxData {
		return "", r, fmt.Errorf("%d bytes are more than a record holds", len(data))
	}
	if w := p.current; w != nil && w.memory.End()+pack.RecordHeader+int64(len(data)) > p.size {
		p.retire()
	}
	if err := p.Broken(); err != nil {
		return "", r, err
	}
	if p.current == nil {
		p.room <- struct{}{}
		w := &writing{name: pack.NewName(), memory: pack.NewMemory(p.size), done: make(chan struct{})}
		p.owner.Began(w.name)
		p.mu.Lock()
		p.current, p.mine[w.name] = w, w
		p.mu.Unlock()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	at, err := p.current.memory.Append(r, data)
	return p.current.name, at, err
}

// retire has the current pack go up; it takes no more records.
func (p *packs) retire() {
	w := p.current
	if w == nil {
		return
	}
	p.mu.Lock()
	p.current = nil
	p.mu.Unlock()
	p.uploads.Go(func() { p.upload(w) })
}

// upload has the bucket keep a pack, and only then makes its shadow, by which others find it.
func (p *packs) upload(w *writing) {
	defer close(w.done)
	defer func() { <-p.room }()
	whole, rows, end := w.memory.Seal()
	err := p.Broken()
	until := p.locks.next()
	if err == nil {
		err = p.bucket.put(p.ctx, packKey(w.name), whole, false, until)
	}
	if err == nil {
		err = p.prove(w.name, until)
	}
	if err == nil {
		err = pack.Shadow(p.dir, w.name, rows, end)
	}
	if err != nil {
		p.fail(fmt.Errorf("pack %s: %w", w.name, err))
		return
	}
	p.locks.learn(w.name, until)
	p.owner.Finished(w.name)
	p.mu.Lock()
	delete(p.mine, w.name)
	p.mu.Unlock()
}

// Rotate has the current pack go up, and waits for it and those before.
func (p *packs) Rotate() error {
	p.retire()
	p.uploads.Wait()
	return p.Broken()
}

// Flush has the current pack go up, and returns what waits until that and those before are in the bucket.
func (p *packs) Flush(bool) (makeDurable func() error) {
	p.retire()
	p.mu.RLock()
	var waits []*writing
	for _, w := range p.mine {
		waits = append(waits, w)
	}
	p.mu.RUnlock()
	return func() error {
		for _, w := range waits {
			<-w.done
		}
		return p.Broken()
	}
}

// fail makes Append and all that waits refuse from now on; the first reason stays.
func (p *packs) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.broken == nil {
		p.broken = err
	}
}

// Broken is why nothing is taken any more; nil while it is.
func (p *packs) Broken() error {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.broken
}

// MakesRoom changes nothing: a bucket has room for what makes some.
func (p *packs) MakesRoom(bool) {}

// Close ends what is under way.
func (p *packs) Close() {
	p.cancel()
	p.uploads.Wait()
	p.read.close()
}

// reader is bytes of a pack from an offset on.
type reader struct {
	pack  string
	at    int64
	bytes []byte
}

// Name is the pack's name.
func (r reader) Name() string { return r.pack }

func (r reader) ReadAt(dst []byte, at int64) (int, error) {
	if at < r.at || at-r.at > int64(len(r.bytes)) {
		return 0, io.ErrUnexpectedEOF
	}
	n := copy(dst, r.bytes[at-r.at:])
	if n < len(dst) {
		return n, io.ErrUnexpectedEOF
	}
	return n, nil
}

// Use calls f with what reads a record, out of memory or out of the bucket. Bytes that are wrong are read once more,
// from the bucket alone: the line may have been at fault.
func (p *packs) Use(ctx context.Context, name string, offset uint32, f func(pack.Reader) error) error {
	for again := false; ; again = true {
		bytes, err := p.record(ctx, name, offset)
		if err != nil {
			return err
		}
		if err = f(reader{name, int64(offset), bytes}); core.CodeOf(err) != core.CodeWrong || again {
			return err
		}
		p.read.forget(name)
	}
}

// record is the bytes of a record, and maybe of those behind.
func (p *packs) record(ctx context.Context, name string, offset uint32) ([]byte, error) {
	p.mu.RLock()
	w := p.mine[name]
	var bytes []byte
	if w != nil {
		bytes = w.memory.From(offset)
	}
	p.mu.RUnlock()
	if w != nil {
		return bytes, nil
	}
	spans, err := p.spansOf(name)
	if err != nil {
		return nil, err
	}
	i, ok := slices.BinarySearchFunc(spans, offset, func(s span, at uint32) int { return int(int64(s.from) - int64(at)) })
	if !ok {
		return nil, core.Fail(core.CodeWrong, "pack %s: no record begins at %d", name, offset)
	}
	fits := func(from, most int64) int64 {
		to := from
		for _, s := range spans {
			if int64(s.from) >= from && int64(s.to)-from <= most {
				to = max(to, int64(s.to))
			}
		}
		return to
	}
	bytes, err = p.read.get(ctx, name, int64(spans[i].from), int64(spans[i].to), fits)
	if errors.Is(err, fs.ErrNotExist) {
		err = p.gone(name, err)
	}
	return bytes, err
}

// gone is the error of a pack that the bucket does not have: one that was collected, or one that somebody else removed.
func (p *packs) gone(name string, err error) error {
	if _, there := os.Stat(pack.Path(p.dir, name)); there != nil {
		return err
	}
	return core.Fail(core.CodeWrong, "pack %s is gone from the bucket: %w", name, errors.New(err.Error()))
}

// spansOf is where the records of a finished pack stand, in order.
func (p *packs) spansOf(name string) ([]span, error) {
	p.mu.RLock()
	spans, ok := p.spans[name]
	p.mu.RUnlock()
	if ok {
		return spans, nil
	}
	rows, err := pack.Rows(p.dir, name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		rows, err = p.Rebuild(name, true)
	}
	if err != nil {
		return nil, err
	}
	spans = make([]span, len(rows))
	for i, r := range rows {
		spans[i] = span{r.Offset, uint32(r.End())}
	}
	slices.SortFunc(spans, func(a, b span) int { return int(int64(a.from) - int64(b.from)) })
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.spans) >= mostSpans {
		clear(p.spans)
	}
	p.spans[name] = spans
	return spans, nil
}

// fetch reads a stretch of a pack from the bucket. Who reads may have gone; others may want the same.
func (p *packs) fetch(name string, from, to int64) ([]byte, error) {
	data, _, err := p.bucket.get(p.ctx, packKey(name), from, to-from)
	if err == nil && int64(len(data)) < to-from {
		err = core.Fail(core.CodeWrong, "pack %s has %d bytes at %d instead of %d", name, len(data), from, to-from)
	}
	return data, err
}

// Rebuild makes a shadow anew: from the table of the pack, or where that is damaged, from the whole pack.
func (p *packs) Rebuild(name string, _ bool) ([]pack.Row, error) {
	size, err := p.bucket.size(p.ctx, packKey(name))
	var rows []pack.Row
	var end int64
	if err == nil {
		rows, end, err = p.table(p.ctx, name, size)
	}
	if err != nil {
		return nil, fmt.Errorf("rebuild the table of pack %s: %w", name, err)
	}
	_ = pack.Shadow(p.dir, name, rows, end) // who may not write reads it again the next time
	return rows, nil
}

// tail is how much of the end of a pack is read for its table: that of 200 records, and so of 16 MiB in chunks of 80
// KiB.
const tail = 16 << 10

// table reads the table of a pack of so many bytes in the bucket, and where its last record ends.
func (p *packs) table(ctx context.Context, name string, size int64) (rows []pack.Row, end int64, err error) {
	for most := int64(tail); ; most *= 16 {
		from := max(0, size-most)
		bytes, size, err := p.bucket.get(ctx, packKey(name), from, size-from)
		if err != nil {
			return nil, 0, err
		}
		if rows, err = pack.ReadTable(reader{name, from, bytes}, size); err == nil {
			return rows, size - pack.TableSize(len(rows)), nil
		}
		if from > 0 && errors.Is(err, io.ErrUnexpectedEOF) {
			continue // it is longer
		}
		return p.salvage(ctx, name, size)
	}
}

// salvage is what is whole in a pack whose table is damaged, each chunk once, and where the last of it ends.
func (p *packs) salvage(ctx context.Context, name string, size int64) (rows []pack.Row, end int64, err error) {
	bytes, size, err := p.bucket.get(ctx, packKey(name), 0, size)
	if err != nil {
		return nil, 0, err
	}
	seen := map[core.Hash]bool{}
	end, err = pack.Salvage(reader{name, 0, bytes}, size, func(r pack.Row, _ []byte) error {
		if !seen[r.Hash] {
			seen[r.Hash], rows = true, append(rows, r)
		}
		return nil
	})
	return rows, end, err
}

// Remove removes a pack. Its shadow gets another name first, durably: so what a crash leaves is a pack that is to be
// removed still, and never a shadow without its pack. One that the server does not let go of stays where it is.
func (p *packs) Remove(name string) error {
	err := durable.Rename(pack.Path(p.dir, name), goingPath(p.dir, name))
	if err == nil {
		err = durable.SyncDir(p.dir)
	}
	if err == nil {
		err = p.finishRemoval(p.ctx, name)
	}
	p.mu.Lock()
	delete(p.spans, name)
	p.mu.Unlock()
	p.locks.forget(name)
	p.read.forget(name)
	return err
}

// finishRemoval removes a pack whose shadow says that it is going. Where packs can be locked, one that the server does
// not let go of comes back.
func (p *packs) finishRemoval(ctx context.Context, name string) error {
	if !p.bucket.place.byVersion() {
		if err := p.bucket.remove(ctx, packKey(name)); err != nil {
			return err
		}
		return durable.Remove(goingPath(p.dir, name))
	}
	err := p.bucket.removeVersions(ctx, packKey(name))
	if core.CodeOf(err) == core.CodeRefused {
		return errors.Join(err, durable.Rename(goingPath(p.dir, name), pack.Path(p.dir, name)), durable.SyncDir(p.dir))
	}
	if err != nil {
		return err
	}
	return durable.Remove(goingPath(p.dir, name))
}
