// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"

	"github.com/bkp-tool/bkp/core"
)

// Opener fetches the sealed bytes of a tree node and opens them.
type Opener interface {
	OpenNode(core.Sealed) ([]byte, error)
}

// SkipNode is returned by a visit of Nodes for a tree node to leave out everything below it.
//
//lint:ignore ST1012 it steers the walk as fs.SkipDir does, and is no failure
var SkipNode = errors.New("skip this tree node")

// Stat reads the root alone.
func Stat(root core.Sealed, o Opener) (Info, error) {
	w := walker{opener: o}
	n, err := w.openRoot(root)
	if err != nil {
		return Info{}, err
	}
	return *n.info, nil
}

// Walk calls visit for every chunk and hole of the file, in order. An error from visit ends the walk and is returned as
// it is. A tree that is not exactly as Builder makes one is core.CodeWrong; visit may have seen entries before that
// shows.
func Walk(root core.Sealed, o Opener, visit func(Entry) error) error {
	return Nodes(root, o, func(e Entry) error {
		if e.Type == core.TypeDirectory {
			return nil
		}
		return visit(e)
	})
}

// Nodes is Walk that also visits every tree node, the root first and each before what is below it.
func Nodes(root core.Sealed, o Opener, visit func(Entry) error) error {
	w := walker{opener: o, visit: visit}
	n, err := w.openRoot(root)
	if err != nil {
		return err
	}
	e := Entry{Type: core.TypeDirectory, Chunk: root, Span: n.info.Size, Level: n.level}
	switch err := visit(e); {
	case errors.Is(err, SkipNode):
		return nil
	case err != nil:
		return err
	}
	return w.walk(n, e, true)
}

// walker holds the way from the root to where the walk is.
type walker struct {
	opener Opener
	visit  func(Entry) error
	path   []core.Hash // of the tree nodes above and including the one being walked
}

func wrong(name, format string, args ...any) error {
	return core.Fail(core.CodeWrong, "manifest: tree node "+cmp.Or(name, "root")+": "+format, args...)
}

func (w *walker) openRoot(root core.Sealed) (*node, error) {
	n, err := w.open("", root)
	if err != nil {
		return nil, err
	}
	switch {
	case n.info == nil:
		return nil, wrong("", "is no root")
	case n.order != 0:
		return nil, wrong("", "begins at order %d: entries are missing", n.order)
	case n.level > 0 && len(n.entries) < 2:
		return nil, wrong("", "level %d with %d entries: want two at least", n.level, len(n.entries))
	}
	return n, nil
}

func (w *walker) open(name string, s core.Sealed) (*node, error) {
	for _, above := range w.path {
		if above == s.Hash {
			return nil, wrong(name, "the directory contains itself (%s)", s.Hash)
		}
	}
	plain, err := w.opener.OpenNode(s)
	if err != nil {
		return nil, fmt.Errorf("manifest: tree node %s: %w", cmp.Or(name, "root"), err)
	}
	n, err := decode(plain)
	if err != nil {
		return nil, wrong(name, "%w", err)
	}
	return n, nil
}

// walk visits the entries of n, which is e's node. edge: nothing of the file follows it.
func (w *walker) walk(n *node, e Entry, edge bool) error {
	if err := checkSizes(n, e); err != nil {
		return err
	}
	w.path = append(w.path, e.Chunk.Hash)
	defer func() { w.path = w.path[:len(w.path)-1] }()
	offset := e.Offset
	for i, c := range n.entries {
		next := Entry{Type: core.TypeFile, Name: childName(e.Name, i), Order: i, Chunk: c.sealed, Offset: offset,
			Span: c.span}
		if n.level > 0 {
			next.Type, next.Level = core.TypeDirectory, n.level-1
		}
		offset += c.span
		err := w.visit(next)
		if next.Type == core.TypeDirectory && errors.Is(err, SkipNode) {
			continue
		}
		if err != nil {
			return err
		}
		if next.Type == core.TypeDirectory {
			order := n.order + uint64(i)*capacity(next.Level)
			if err := w.descend(next, order, edge && i == len(n.entries)-1); err != nil {
				return err
			}
		}
	}
	return nil
}

// descend opens the node of an entry and walks it where it is the one that belongs there.
func (w *walker) descend(e Entry, order uint64, edge bool) error {
	n, err := w.open(e.Name, e.Chunk)
	if err != nil {
		return err
	}
	switch {
	case n.info != nil:
		return wrong(e.Name, "is a root inside a tree")
	case n.level != e.Level:
		return wrong(e.Name, "has level %d: want %d", n.level, e.Level)
	case n.order < order:
		return wrong(e.Name, "begins at order %d: entries overlap those before %d", n.order, order)
	case n.order > order:
		return wrong(e.Name, "begins at order %d: entries from %d are missing", n.order, order)
	case len(n.entries) == 0, !edge && len(n.entries) != Fanout:
		return wrong(e.Name, "has %d entries: some are missing", len(n.entries))
	}
	return w.walk(n, e, edge)
}

// checkSizes holds the sum of a node's entries against what its parent, or the root, says of it.
func checkSizes(n *node, e Entry) error {
	left := e.Span
	for i, c := range n.entries {
		if c.span > left {
			return wrong(e.Name, "sizes do not add up: entry %d passes the %d bytes that its parent tells", i, e.Span)
		}
		left -= c.span
	}
	if left != 0 {
		return wrong(e.Name, "sizes do not add up: entries cover %d of %d bytes", e.Span-left, e.Span)
	}
	return nil
}

func childName(parent string, order int) string {
	if parent == "" {
		return strconv.Itoa(order)
	}
	return parent + "/" + strconv.Itoa(order)
}
