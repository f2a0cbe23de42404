// SPDX-License-Identifier: Apache-2.0

package durabletest

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"os"
	"path/filepath"
	"sort"
	"strings"
)

// inode is a file, or a directory where names is not nil.
type inode struct {
	id    int
	data  []byte // never changed, but replaced: copies of a disk share it
	facts *facts // of data
	names map[string]*inode
}

// facts are what is found out about a file's content once, for all copies of the disk.
type facts struct {
	sum  [sha256.Size]byte
	last int // length without the zeros at its end
	done bool
}

func (n *inode) set(data []byte) { n.data, n.facts = data, &facts{} }

// know finds out the facts.
func (n *inode) know() facts {
	if n.facts == nil {
		n.facts = &facts{} // of an empty file
	}
	if f := n.facts; !f.done {
		f.last = len(bytes.TrimRight(n.data, "\x00"))
		f.sum, f.done = sha256.Sum256(n.data[:f.last]), true
	}
	return *n.facts
}

// disk is what stands on a disk: inodes by number, and the roots by absolute path.
type disk struct {
	nodes map[int]*inode
	roots map[string]*inode
	last  int
}

func newDisk() *disk { return &disk{nodes: map[int]*inode{}, roots: map[string]*inode{}} }

func (d *disk) next() int {
	d.last++
	return d.last
}

func (d *disk) mkroot(path string) *inode {
	node := &inode{id: d.next(), names: map[string]*inode{}}
	d.nodes[node.id], d.roots[path] = node, node
	return node
}

// find is what a path names; nil where there is nothing.
func (d *disk) find(path string) *inode {
	for root, node := range d.roots {
		if path == root {
			return node
		}
		rest, inside := strings.CutPrefix(path, root+string(filepath.Separator))
		if !inside {
			continue
		}
		for _, name := range strings.Split(rest, string(filepath.Separator)) {
			if node == nil {
				return nil
			}
			node = node.names[name]
		}
		return node
	}
	return nil
}

// parent is the directory that a path stands in, nil where it is not there, and its name in it.
func (d *disk) parent(path string) (*inode, string) {
	dir := d.find(filepath.Dir(path))
	if dir == nil || dir.names == nil {
		return nil, ""
	}
	return dir, filepath.Base(path)
}

// stepKind is what a step changes.
type stepKind int

const (
	stepBase    stepKind = iota // where the recording began
	stepPromise                 // somebody was told something
	stepName                    // a name in a directory: given, moved, or taken away (node 0)
	stepWrite
	stepSize
	stepSync
	stepSyncDir
	stepFile // the two kinds of inode that a name is given to
	stepDir
)

// step is one change of a disk.
type step struct {
	kind     stepKind
	base     *disk
	promise  any
	dir      int // stepName, stepSyncDir
	name     string
	fromDir  int // stepName of a rename: where the inode had its name
	fromName string
	other    int // stepName of an exchange: what takes the old name
	node     int
	is       stepKind // stepName of a new inode: what it is
	at       int64    // stepWrite: where; stepSize: the size
	says     string   // for people: the call and the path
	data     []byte
}

// apply changes the disk by a step; what is not there is not changed.
func (d *disk) apply(s step) {
	switch s.kind {
	case stepName:
		d.applyName(s)
	case stepWrite:
		if n := d.file(s.node); n != nil {
			n.resize(max(s.at+int64(len(s.data)), int64(len(n.data))))
			copy(n.data[s.at:], s.data)
		}
	case stepSize:
		if n := d.file(s.node); n != nil {
			n.resize(s.at)
		}
	default: // it changes when things last, not what there is
	}
}

func (d *disk) applyName(s step) {
	if s.is != 0 && d.nodes[s.node] == nil {
		d.make(s.node, s.is)
	}
	dir := d.nodes[s.dir]
	if dir == nil {
		return
	}
	if from := d.nodes[s.fromDir]; from != nil && from.names[s.fromName] != nil && from.names[s.fromName].id == s.node {
		delete(from.names, s.fromName)
		if other := d.nodes[s.other]; other != nil {
			from.names[s.fromName] = other
		}
	}
	if s.node == 0 {
		delete(dir.names, s.name)
	} else if node := d.nodes[s.node]; node != nil {
		dir.names[s.name] = node
	}
}

func (d *disk) make(id int, is stepKind) {
	node := &inode{id: id}
	if is == stepDir {
		node.names = map[string]*inode{}
	}
	d.nodes[id] = node
}

func (d *disk) file(id int) *inode {
	if n := d.nodes[id]; n != nil && n.names == nil {
		return n
	}
	return nil
}

// resize sets the length, in a copy: clones share content.
func (n *inode) resize(size int64) {
	data := make([]byte, size)
	copy(data, n.data)
	n.set(data)
}

// clone copies names and inodes; contents are shared until they are changed.
func (d *disk) clone() *disk {
	c := &disk{nodes: make(map[int]*inode, len(d.nodes)), roots: map[string]*inode{}, last: d.last}
	for id, n := range d.nodes {
		c.nodes[id] = &inode{id: id, data: n.data, facts: n.facts}
	}
	for id, n := range d.nodes {
		if n.names == nil {
			continue
		}
		names := make(map[string]*inode, len(n.names))
		for name, child := range n.names {
			names[name] = c.nodes[child.id]
		}
		c.nodes[id].names = names
	}
	for path, n := range d.roots {
		c.roots[path] = c.nodes[n.id]
	}
	return c
}

// sum identifies what can be read from the disk.
func (d *disk) sum() (sum [sha256.Size]byte) {
	h := sha256.New()
	var walk func(n *inode)
	number := func(n int) { h.Write(binary.LittleEndian.AppendUint64(nil, uint64(n))) }
	walk = func(n *inode) {
		if n.names == nil {
			number(len(n.data))
			f := n.know()
			h.Write(f.sum[:])
			return
		}
		names := sortedNames(n)
		number(-len(names) - 1)
		for _, name := range names {
			number(len(name))
			h.Write([]byte(name))
			walk(n.names[name])
		}
	}
	for _, root := range sortedRoots(d) {
		walk(d.roots[root])
	}
	h.Sum(sum[:0])
	return sum
}

// write makes what a root holds below a real directory.
func (n *inode) write(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, name := range sortedNames(n) {
		child, path := n.names[name], filepath.Join(dir, name)
		var err error
		if child.names != nil {
			err = child.write(path)
		} else {
			err = child.writeFile(path)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// writeFile leaves a hole where only zeros stand at the end: packs are given room long before they have bytes.
func (n *inode) writeFile(path string) error {
	last := n.know().last
	err := os.WriteFile(path, n.data[:last], 0o600)
	if err == nil && last < len(n.data) {
		err = os.Truncate(path, int64(len(n.data)))
	}
	return err
}

func sortedNames(n *inode) []string {
	names := make([]string, 0, len(n.names))
	for name := range n.names {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

func sortedRoots(d *disk) []string {
	roots := make([]string, 0, len(d.roots))
	for root := range d.roots {
		roots = append(roots, root)
	}
	sort.Strings(roots)
	return roots
}
