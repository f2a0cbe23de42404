// SPDX-License-Identifier: Apache-2.0

package s3

import (
	"context"
	"sync"
)

const (
	// firstAhead is what is read beyond a record that follows on the one read before, the first time; each time after,
	// twice as much, up to mostAhead. So a pack that is read in order takes five requests and not one a chunk.
	firstAhead = 1 << 20
	mostAhead  = 8 << 20
	// mostRead is how much of what was read stays in memory.
	mostRead = 48 << 20
	// gap is what may lie between two records that are read in order: one that is dead, or was read from elsewhere.
	gap = 1 << 20
	// mostRequests is how many reads are under way at a time.
	mostRequests = 16
)

// windows reads stretches of packs, each once for all who want it, and reads ahead for who reads in order.
type windows struct {
	fetch func(name string, from, to int64) ([]byte, error)
	turns chan struct{} // a word for each request under way

	mu    sync.Mutex
	under sync.WaitGroup
	read  []*window // the last used is the last
	bytes int64
}

// window is bytes from up to but to of a pack.
type window struct {
	name     string
	from, to int64
	ordered  bool          // somebody reads in order
	done     chan struct{} // closed when what follows is known
	data     []byte
	err      error
}

func newWindows(fetch func(name string, from, to int64) ([]byte, error)) *windows {
	return &windows{fetch: fetch, turns: make(chan struct{}, mostRequests)}
}

// get is bytes from up to but to of a pack. fits is the longest stretch from an offset to the end of a record that is
// at most so long, for what is read ahead.
func (w *windows) get(ctx context.Context, name string, from, to int64, fits func(from, most int64) int64) ([]byte, error) {
	w.mu.Lock()
	found, before := w.find(name, from, to)
	if found == nil {
		end := to
		if before != nil {
			end = max(to, fits(from, before.next()))
		}
		found = w.begin(name, from, end, before != nil)
	}
	if found.ordered && from >= (found.from+found.to)/2 {
		if next := fits(found.to, found.next()); next > found.to && !w.covers(name, found.to) {
			w.begin(name, found.to, next, true)
		}
	}
	w.mu.Unlock()
	select {
	case <-found.done:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if found.err != nil {
		return nil, found.err
	}
	return found.data[from-found.from : to-found.from], nil
}

// next is how much is read after this window by who reads in order.
func (f *window) next() int64 {
	if !f.ordered {
		return firstAhead
	}
	return min(mostAhead, max(firstAhead, 2*(f.to-f.from)))
}

// find is a window that has all of a stretch, and one that ends where it begins. mu is held.
func (w *windows) find(name string, from, to int64) (found, before *window) {
	for i, f := range w.read {
		if f.name != name {
			continue
		}
		if f.from <= from && to <= f.to {
			w.read = append(append(w.read[:i:i], w.read[i+1:]...), f)
			return f, nil
		}
		if f.from < from && from-gap <= f.to && f.to < to && (before == nil || f.to > before.to) {
			before = f
		}
	}
	return nil, before
}

// covers reports whether a window has the byte at an offset. mu is held.
func (w *windows) covers(name string, at int64) bool {
	for _, f := range w.read {
		if f.name == name && f.from <= at && at < f.to {
			return true
		}
	}
	return false
}

// begin reads a window. mu is held.
func (w *windows) begin(name string, from, to int64, ordered bool) *window {
	f := &window{name: name, from: from, to: to, ordered: ordered, done: make(chan struct{})}
	w.read = append(w.read, f)
	w.bytes += to - from
	for len(w.read) > 1 && w.bytes > mostRead {
		w.drop(w.read[0]) // who waits for it gets it all the same
	}
	w.under.Go(func() {
		w.turns <- struct{}{}
		f.data, f.err = w.fetch(name, from, to)
		<-w.turns
		if f.err != nil {
			w.mu.Lock()
			w.drop(f)
			w.mu.Unlock()
		}
		close(f.done)
	})
	return f
}

// drop forgets a window. mu is held.
func (w *windows) drop(gone *window) {
	for i, f := range w.read {
		if f == gone {
			w.read = append(w.read[:i:i], w.read[i+1:]...)
			w.bytes -= f.to - f.from
			return
		}
	}
}

// forget drops what was read of a pack.
func (w *windows) forget(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := len(w.read) - 1; i >= 0; i-- {
		if w.read[i].name == name {
			w.drop(w.read[i])
		}
	}
}

// close waits for what is under way.
func (w *windows) close() { w.under.Wait() }
