// SPDX-License-Identifier: Apache-2.0

package files

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// opening counts how often each file is opened.
type opening struct {
	dir    string
	opened map[int]int
	files  []*os.File
}

func (o *opening) use(t *testing.T, c *Cache, n int, f func(*os.File) error) {
	t.Helper()
	err := c.Use(fmt.Sprint(n), func() (*os.File, error) {
		o.opened[n]++
		file, err := os.Create(filepath.Join(o.dir, fmt.Sprint(n)))
		o.files = append(o.files, file)
		return file, err
	}, f)
	if err != nil {
		t.Fatal(err)
	}
}

func (o *opening) open() (n int) {
	for _, f := range o.files {
		if _, err := f.Stat(); err == nil {
			n++
		}
	}
	return n
}

func nothing(*os.File) error { return nil }

// What was used last stays open, what was used longest ago is closed, however many there are.
func TestTheLastUsedStayOpen(t *testing.T) {
	var c Cache
	o := &opening{dir: t.TempDir(), opened: map[int]int{}}
	for n := range 3 * most {
		o.use(t, &c, n, nothing)
		o.use(t, &c, 0, nothing)
	}
	if o.opened[0] != 1 || o.open() != most {
		t.Errorf("the one in use was opened %d times, and %d are open; want 1 and %d", o.opened[0], o.open(), most)
	}
	o.use(t, &c, 1, nothing)
	if o.opened[1] != 2 {
		t.Errorf("one that was used long ago was opened %d times, want 2", o.opened[1])
	}
	c.Forget()
	if o.open() != 0 {
		t.Errorf("%d are open after all were forgotten", o.open())
	}
}

// A file that is read stays open until its reader is done, also where all are forgotten meanwhile.
func TestAFileInUseIsNotClosed(t *testing.T) {
	var c Cache
	o := &opening{dir: t.TempDir(), opened: map[int]int{}}
	o.use(t, &c, 0, func(f *os.File) error {
		for n := 1; n < 3*most; n++ {
			o.use(t, &c, n, nothing)
		}
		c.Forget()
		_, err := f.Stat()
		return err
	})
	if o.open() != 0 {
		t.Errorf("%d are open in the end", o.open())
	}
}

func TestAFileThatCannotBeOpenedIsTriedAgain(t *testing.T) {
	var c Cache
	for range 2 {
		opened := false
		err := c.Use("x", func() (*os.File, error) { opened = true; return nil, os.ErrNotExist }, nothing)
		if err != os.ErrNotExist || !opened {
			t.Errorf("got %v, opened %v", err, opened)
		}
	}
}
