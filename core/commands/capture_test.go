// SPDX-License-Identifier: Apache-2.0

package commands_test

import (
	"bytes"
	"context"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/commands"
	"github.com/bkp-tool/bkp/core/control"
)

// capture is all bytes that went over the connections of a network, both ways, each direction of one apart.
type capture struct {
	mu    sync.Mutex
	conns []*tapped
}

// tapped is a connection whose bytes are noted.
type tapped struct {
	net.Conn
	mu        sync.Mutex
	said, got bytes.Buffer
}

func (c *tapped) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got.Write(p[:n])
	return n, err
}

func (c *tapped) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.said.Write(p[:n])
	return n, err
}

// on has a node's connections captured: each is dialled by one of its two ends.
func (c *capture) on(conf *commands.Config) {
	dial := conf.Dial
	conf.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		tap := &tapped{Conn: conn}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.conns = append(c.conns, tap)
		return tap, nil
	}
}

// find reports whether words went over the network, and size how much did.
func (c *capture) find(words []byte) (found bool, size int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		conn.mu.Lock()
		for _, b := range [][]byte{conn.said.Bytes(), conn.got.Bytes()} {
			size += len(b)
			found = found || bytes.Contains(b, words)
		}
		conn.mu.Unlock()
	}
	return found, size
}

// onDisk reports whether words are in a file, or its name, below a directory.
func onDisk(t *testing.T, dir string, words []byte) (found bool) {
	t.Helper()
	check(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		found = found || bytes.Contains(content, words) || bytes.Contains([]byte(e.Name()), words)
		return err
	}))
	return found
}

// sealed is the chunks that a node keeps for others, by hash.
func (m *member) sealed() map[core.Hash][]byte {
	t := m.cluster.t
	t.Helper()
	all := map[core.Hash][]byte{}
	segments, err := m.holdings.Segments()
	check(t, err)
	for _, seg := range segments {
		kept, err := m.holdings.Kept(seg.Task, seg.Number)
		check(t, err)
		for _, h := range kept {
			for _, c := range h.Chunks {
				all[c.Hash], err = m.keeping.Get(t.Context(), c.Hash, nil)
				check(t, err)
			}
		}
	}
	return all
}

// A capture of a placement, its audits and a fetch shows no chunk, sealed or not, no name and no part of the manifest;
// nor does a storage node's disk show what is in a chunk, a name or a manifest. Without TLS it shows sealed chunks, and
// no more.
func TestNothingIsInTheClear(t *testing.T) {
	long(t)
	t.Parallel()
	for _, plaintext := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) { capturePlacement(t, plaintext) })
	}
}

func capturePlacement(t *testing.T, plaintext bool) {
	cl, wire := newCluster(t), &capture{}
	as := func(conf *commands.Config) {
		wire.on(conf)
		if conf.Plaintext = plaintext; plaintext {
			for i := range conf.Peers {
				conf.Peers[i].Scheme = "ws"
			}
		}
	}
	b := cl.start("b", "", as)
	c := cl.start("c", "b-20MiB", as)
	a := cl.start("a", "b-20MiB,c-20MiB", as, cl.owned)
	const name = "the name of a secret file.img"
	data := content(23, 1<<20)
	a.split(name, 1, data)
	cl.settle()
	placed := a.place(control.PlaceArgs{Name: name, Replicas: 2})
	sealed := b.sealed() // chunks and tree nodes as they are stored
	z := cl.start("z", "b-50MiB,c-50MiB", as, cl.owned)
	cl.settle()
	z.fetch(name, 0, data)
	if len(placed.Placements) != 2 || len(sealed) < 3 {
		t.Fatalf("%d placements of %d chunks", len(placed.Placements), len(sealed))
	}
	if _, size := wire.find(nil); size < 3*len(data) {
		t.Fatalf("%d bytes were captured of a placement of 2 copies and a fetch of %d bytes", size, len(data))
	}
	secrets := map[string][]byte{"its name": []byte(name), "the cluster token": cl.token}
	if !plaintext {
		secrets["its alias"] = []byte(cl.owner.Alias(name))
	}
	for at := 1000; at < len(data); at += 100_000 {
		secrets["what is in it"] = data[at : at+24]
		for what, words := range secrets {
			if found, _ := wire.find(words); found {
				t.Errorf("the capture shows %s", what)
			}
		}
		for _, m := range []*member{b, c} {
			if onDisk(t, m.dir, data[at:at+24]) || onDisk(t, m.dir, []byte(name)) {
				t.Errorf("the disk of %s shows what is in it, or its name", m.name)
			}
		}
	}
	kept := 0
	for hash, stored := range sealed {
		middle := stored[len(stored)/2 : len(stored)/2+16]
		if found, _ := wire.find(middle); found != plaintext {
			t.Errorf("without TLS: %v; the capture shows chunk %s: %v", plaintext, hash, found)
		}
		if onDisk(t, b.dir, middle) {
			kept++
		}
	}
	if kept != len(sealed) {
		t.Errorf("the disk of b has %d of %d sealed chunks: it is not looked at as it should", kept, len(sealed))
	}
}
