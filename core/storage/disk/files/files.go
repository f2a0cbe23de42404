// SPDX-License-Identifier: Apache-2.0

// Package files keeps the files open that were read last.
package files

import (
	"os"
	"sync"
)

// most is how many files are kept open for reading: 16, but fewer where the process may open few.
var most = min(16, max(2, (limit()-20)/5))

// Cache is files that are open for reading, each under a key of its user's choice: at most 16 beside those in use at
// the moment. Any number of goroutines may use it; its zero value is empty.
type Cache struct {
	mu   sync.Mutex
	open map[string]*handle
	tick uint64
}

type handle struct {
	file  *os.File
	users int
	used  uint64 // tick of the last use
}

// Use calls f with a file open for reading, which open opens where it is not open yet.
func (c *Cache) Use(key string, open func() (*os.File, error), f func(*os.File) error) error {
	h, err := c.acquire(key, open)
	if err != nil {
		return err
	}
	defer c.release(key, h)
	return f(h.file)
}

func (c *Cache) acquire(key string, open func() (*os.File, error)) (*handle, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.open[key]
	if h == nil {
		file, err := open()
		if err != nil {
			return nil, err
		}
		h = &handle{file: file}
		if c.open == nil {
			c.open = map[string]*handle{}
		}
		c.open[key] = h
	}
	c.tick++
	h.used = c.tick
	h.users++
	return h, nil
}

func (c *Cache) release(key string, h *handle) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h.users--
	if c.open[key] != h && h.users == 0 {
		h.file.Close() // it was forgotten meanwhile
	}
	for len(c.open) > most && c.closeOldest() {
	}
}

// closeOldest closes the idle file whose last use is longest ago; false where all are in use.
func (c *Cache) closeOldest() bool {
	oldest, found := "", false
	for key, h := range c.open {
		if h.users == 0 && (!found || h.used < c.open[oldest].used) {
			oldest, found = key, true
		}
	}
	if found {
		c.open[oldest].file.Close()
		delete(c.open, oldest)
	}
	return found
}

// Forget closes every file, those in use when their users are done.
func (c *Cache) Forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range c.open {
		if h.users == 0 {
			h.file.Close()
		}
	}
	c.open = nil
}
