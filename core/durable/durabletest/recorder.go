// SPDX-License-Identifier: Apache-2.0

// Package durabletest is the recording twin of core/durable: it takes down what a program does to the files below some
// directories, and builds every state in which a power loss may leave them.
//
// The model of the disk is the weakest that POSIX allows. What a file holds is durable after the file's sync, a name
// after its directory's sync; everything else may be there or not, each write and each name for itself, in any order. A
// write that was on its way may be there in part.
package durabletest

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/bkp-tool/bkp/core/durable/internal/tap"
)

// Recorder takes down operations below its roots. Only one records at a time in a process; tests that use one do not
// run in parallel with tests that write below the same roots.
type Recorder struct {
	roots []string

	mu    sync.Mutex
	disk  *disk             // names and files as the program sees them
	open  map[uint64]*inode // by tap.Op.File
	steps []step
	fail  func(Op) error
	seen  map[string]int // calls by kind and path, for Fail
}

// Op is an operation that Fail is asked about: its kind as in package tap ("sync", "syncdir", "write", "rename",
// "commit", …), the path below the root that it is in, and how many of its kind there were before.
type Op struct {
	Kind string
	Path string
	Nth  int
}

// Record begins to take down what happens below the roots, which are durable as they are. It ends with Stop, or with
// the test.
func Record(t testing.TB, roots ...string) *Recorder {
	t.Helper()
	if tap.On() {
		t.Fatal("durabletest: another recorder is on")
	}
	r := &Recorder{open: map[uint64]*inode{}, seen: map[string]int{}, disk: newDisk()}
	for _, root := range roots {
		root, err := filepath.Abs(root)
		if err != nil {
			t.Fatal(err)
		}
		r.roots = append(r.roots, root)
		if err := r.disk.load(root, r.disk.mkroot(root)); err != nil {
			t.Fatal(err)
		}
	}
	r.steps = append(r.steps, step{kind: stepBase, base: r.disk.clone()})
	tap.Set(r)
	t.Cleanup(r.Stop)
	return r
}

// Stop ends the recording; what was taken down stays.
func (r *Recorder) Stop() { tap.Set(nil) }

// Promise notes what somebody was told at this moment: states of later moments carry it.
func (r *Recorder) Promise(p any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.steps = append(r.steps, step{kind: stepPromise, promise: p})
}

// Fail has operations refused: f returns the error with which one fails, or nil. It is called under a lock.
func (r *Recorder) Fail(f func(Op) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail = f
}

// below is the path inside a root; false where it is in none.
func (r *Recorder) below(path string) (string, bool) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", false
	}
	for _, root := range r.roots {
		if path == root || strings.HasPrefix(path, root+string(filepath.Separator)) {
			return path, true
		}
	}
	return "", false
}

// Before makes Recorder a tap.
func (r *Recorder) Before(op tap.Op) error {
	path, ok := r.below(op.Path)
	if !ok {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail == nil {
		return nil
	}
	kind := string(op.Kind)
	r.seen[kind]++
	return r.fail(Op{Kind: kind, Path: path, Nth: r.seen[kind] - 1})
}

// After makes Recorder a tap.
func (r *Recorder) After(op tap.Op) {
	path, ok := r.below(op.Path)
	if !ok {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.translate(op, path) {
		s.says = r.words(op, path)
		r.disk.apply(s)
		r.steps = append(r.steps, s)
	}
}

// words is an operation as a failure tells it.
func (r *Recorder) words(op tap.Op, path string) string {
	for _, root := range r.roots {
		path = strings.TrimPrefix(path, filepath.Dir(root)+string(filepath.Separator))
	}
	return string(op.Kind) + " " + path
}

// translate turns an operation on paths into steps on inodes, as names stand now.
func (r *Recorder) translate(op tap.Op, path string) []step {
	switch op.Kind {
	case tap.Create:
		dir, name := r.disk.parent(path)
		if dir == nil {
			return nil
		}
		node := &inode{id: r.disk.next()}
		r.open[op.File] = node
		return []step{{kind: stepName, dir: dir.id, name: name, node: node.id, is: stepFile}}
	case tap.Opened:
		r.open[op.File] = r.disk.find(path)
		return nil
	case tap.Write, tap.Truncate, tap.Sync, tap.Commit:
		node := r.open[op.File]
		if node == nil {
			return nil // made past the recorder: no state has it
		}
		return onFile(op, node.id)
	case tap.Mkdir:
		dir, name := r.disk.parent(path)
		if dir == nil {
			return nil
		}
		return []step{{kind: stepName, dir: dir.id, name: name, node: r.disk.next(), is: stepDir}}
	case tap.SyncDir:
		if dir := r.disk.find(path); dir != nil {
			return []step{{kind: stepSyncDir, dir: dir.id}}
		}
	case tap.Remove:
		if dir, name := r.disk.parent(path); dir != nil && dir.names[name] != nil {
			return []step{{kind: stepName, dir: dir.id, name: name}}
		}
	case tap.Link, tap.Rename, tap.Exchange:
		return r.renamed(op, path)
	}
	return nil
}

// renamed is a second name for what path names; a rename also takes the first one away, in the same step, and an
// exchange gives that to what had the second.
func (r *Recorder) renamed(op tap.Op, path string) []step {
	node := r.disk.find(path)
	to, ok := r.below(op.To)
	if node == nil || !ok {
		return nil
	}
	dir, name := r.disk.parent(to)
	if dir == nil {
		return nil
	}
	s := step{kind: stepName, dir: dir.id, name: name, node: node.id}
	if from, old := r.disk.parent(path); op.Kind != tap.Link && from != nil {
		s.fromDir, s.fromName = from.id, old
	}
	if op.Kind == tap.Exchange {
		s.other = dir.names[name].id
	}
	return []step{s}
}

// onFile is what an operation does to an open file's content.
func onFile(op tap.Op, node int) []step {
	switch op.Kind {
	case tap.Write:
		return []step{{kind: stepWrite, node: node, at: op.Offset, data: slices.Clone(op.Data)}}
	case tap.Truncate:
		return []step{{kind: stepSize, node: node, at: op.Size}}
	case tap.Sync:
		return []step{{kind: stepSync, node: node}}
	default: // a database's commit
	}
	var steps []step
	sync := step{kind: stepSync, node: node}
	for _, meta := range []bool{false, true} { // a database writes its meta page when all else is synced
		for _, p := range op.Pages {
			if p.Meta == meta {
				steps = append(steps, step{kind: stepWrite, node: node, at: p.Offset, data: slices.Clone(p.Data)})
			}
		}
		if op.Synced {
			steps = append(steps, sync)
		}
	}
	return steps
}

// load takes over what stands on the real disk.
func (d *disk) load(path string, into *inode) error {
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		node := &inode{id: d.next()}
		full := filepath.Join(path, e.Name())
		switch {
		case e.IsDir():
			node.names = map[string]*inode{}
			if err := d.load(full, node); err != nil {
				return err
			}
		case e.Type()&fs.ModeType == 0:
			data, err := os.ReadFile(full)
			if err != nil {
				return err
			}
			node.set(data)
		default:
			continue
		}
		d.nodes[node.id] = node
		into.names[e.Name()] = node
	}
	return nil
}
