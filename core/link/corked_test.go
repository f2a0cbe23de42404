// SPDX-License-Identifier: Apache-2.0

package link

import (
	"bytes"
	"errors"
	"net"
	"testing"
)

// writes keeps what is written to it, write by write.
type writes struct {
	net.Conn
	got [][]byte
	err error
}

func (w *writes) Write(p []byte) (int, error) {
	w.got = append(w.got, bytes.Clone(p))
	return len(p), w.err
}

func TestCorked(t *testing.T) {
	w := &writes{}
	c := newCorked(w)
	c.Write([]byte("at once"))
	if len(w.got) != 1 {
		t.Fatalf("%d writes; want the one that was not corked", len(w.got))
	}
	c.cork()
	record := bytes.Repeat([]byte("r"), 16<<10)
	for range corkSize/len(record) - 1 {
		c.Write(record)
	}
	if len(w.got) != 1 {
		t.Errorf("%d writes below the cork's size; want none yet", len(w.got)-1)
	}
	c.Write(record)
	if len(w.got) != 2 || len(w.got[1]) != corkSize {
		t.Errorf("%d writes at the cork's size; want one with everything", len(w.got)-1)
	}
	c.Write([]byte("the end"))
	if err := c.uncork(); err != nil || len(w.got) != 3 || string(w.got[2]) != "the end" {
		t.Errorf("uncorked: %v, last write %.20q", err, w.got[len(w.got)-1])
	}
	c.cork()
	c.Write([]byte("lost"))
	w.err = errors.New("broken")
	if err := c.uncork(); !errors.Is(err, w.err) {
		t.Errorf("a write that failed when uncorked: %v", err)
	}
}
