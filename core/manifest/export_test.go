// SPDX-License-Identifier: Apache-2.0

package manifest

import "github.com/bkp-tool/bkp/core"

// TestNode is a tree node of a test's making, good or not.
type TestNode struct {
	Level   int
	Order   uint64
	Entries []TestEntry
	Info    *Info
}

// TestEntry is an entry of it.
type TestEntry struct {
	Sealed core.Sealed
	Span   core.Size
}

// Encode writes it as a Builder would.
func (n TestNode) Encode() []byte {
	inner := node{level: n.Level, order: n.Order, info: n.Info}
	for _, e := range n.Entries {
		inner.entries = append(inner.entries, child{sealed: e.Sealed, span: e.Span})
	}
	plain, err := inner.encode()
	if err != nil {
		panic(err)
	}
	return plain
}

// DecodeNode reads one.
func DecodeNode(plain []byte) (TestNode, error) {
	n, err := decode(plain)
	if err != nil {
		return TestNode{}, err
	}
	t := TestNode{Level: n.level, Order: n.order, Info: n.info}
	for _, c := range n.entries {
		t.Entries = append(t.Entries, TestEntry{c.sealed, c.span})
	}
	return t, nil
}
