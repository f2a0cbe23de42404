// SPDX-License-Identifier: Apache-2.0

package pack

import (
	"os"
	"testing"
	"time"
)

// A block that is written again, with more in it, is written after what was there before: not beside it, where the
// older one could stay in the end.
func TestABlockIsWrittenAgainAfterItWasWritten(t *testing.T) {
	f, err := create(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer f.abandon()
	path := f.file.Name()
	w := NewWriter(t.TempDir(), Size, nil)
	w.current, w.free = f, make(chan *buffer, bufferCount) // current: the pack is not finished
	filled := func(with byte, again bool) *buffer {
		b := newBuffer(Size)
		b.file, b.again, b.given, b.n = f, again, true, 100
		for i := range b.n {
			b.mem[i] = with
		}
		f.buffers = append(f.buffers, b)
		return b
	}
	first := func() byte {
		data, err := os.ReadFile(path)
		if err != nil || len(data) == 0 {
			return 0
		}
		return data[0]
	}
	old, more := filled('o', false), filled('m', true)
	jobs, done := make(chan writeJob), make(chan struct{})
	w.writing.Go(func() { w.write(jobs) })
	w.mu.Lock() // old is written, and cannot be told to be
	jobs <- writeJob{buffer: old}
	jobs <- writeJob{buffer: more}
	for range 20 {
		if first() == 'm' {
			t.Error("the block was written again before its first write was done with")
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	w.mu.Unlock()
	jobs <- writeJob{done: done}
	<-done
	close(jobs)
	w.writing.Wait()
	if got := first(); got != 'm' || len(f.buffers) != 0 || len(w.free) != 2 {
		t.Errorf("the block begins with %q, %d buffers wait and %d are free; want all written, the later last", got,
			len(f.buffers), len(w.free))
	}
}
