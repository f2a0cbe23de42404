// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"os"
	"sync"
)

// maxFiles is how many packs and tables are kept open for reading: 16, but fewer where the process may open few files.
var maxFiles = min(16, max(2, (fileLimit()-20)/5))

// files keeps the packs and tables that were read last open, at most maxFiles of them beside those in use at the
// moment.
type files struct {
	mu   sync.Mutex
	open map[uint32]*handle
	tick uint64
}

type handle struct {
	file  *os.File
	users int
	used  uint64 // tick of the last use
}

// use calls f with a file open for reading, which open opens where it is not open yet.
func (c *files) use(number uint32, open func() (*os.File, error), f func(*os.File) error) error {
	h, err := c.acquire(number, open)
	if err != nil {
		return err
	}
	defer c.release(number, h)
	return f(h.file)
}

func (c *files) acquire(number uint32, open func() (*os.File, error)) (*handle, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.open[number]
	if h == nil {
		file, err := open()
		if err != nil {
			return nil, err
		}
		h = &handle{file: file}
		if c.open == nil {
			c.open = map[uint32]*handle{}
		}
		c.open[number] = h
	}
	c.tick++
	h.used = c.tick
	h.users++
	return h, nil
}

func (c *files) release(number uint32, h *handle) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h.users--
	if c.open[number] != h && h.users == 0 {
		h.file.Close() // it was forgotten meanwhile
	}
	for len(c.open) > maxFiles && c.closeOldest() {
	}
}

// closeOldest closes the idle file whose last use is longest ago; false where all are in use.
func (c *files) closeOldest() bool {
	oldest, found := uint32(0), false
	for n, h := range c.open {
		if h.users == 0 && (!found || h.used < c.open[oldest].used) {
			oldest, found = n, true
		}
	}
	if found {
		c.open[oldest].file.Close()
		delete(c.open, oldest)
	}
	return found
}

// forget closes every file, those in use when their users are done.
func (c *files) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range c.open {
		if h.users == 0 {
			h.file.Close()
		}
	}
	c.open = nil
}

// openEither opens a pack under its final name or, while it is being written, its first one.
func openEither(dir, name string) (*os.File, error) {
	for range 2 { // it may be renamed between the two
		if f, err := os.Open(packPath(dir, name)); err == nil || !os.IsNotExist(err) {
			return f, err
		}
		if f, err := os.Open(openPath(dir, name)); err == nil || !os.IsNotExist(err) {
			return f, err
		}
	}
	return nil, os.ErrNotExist
}
