// SPDX-License-Identifier: Apache-2.0

package manifest_test

import (
	"bytes"
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/manifest"
	"github.com/fxamacker/cbor/v2"
)

// leaf makes a tree node of chunks from the first order on.
func leaf(first, count int) manifest.TestNode {
	n := manifest.TestNode{Order: uint64(first)}
	for i := first; i < first+count; i++ {
		n.Entries = append(n.Entries, manifest.TestEntry{Sealed: piece(i), Span: piece(i).Plain})
	}
	return n
}

// above makes the root over the given entries.
func above(entries ...manifest.TestEntry) manifest.TestNode {
	n := manifest.TestNode{Level: 1, Entries: entries, Info: &manifest.Info{}}
	for _, e := range entries {
		n.Info.Size += e.Span
	}
	return n
}

// Every tree that Builder would not make is refused with code 14, by words that say what is wrong.
func TestBadTrees(t *testing.T) {
	const full = manifest.Fanout
	for _, c := range []struct {
		bad  int // number of the bad input, where it has one
		say  string
		tree func(v *vault) manifest.TestNode
	}{
		// this one is good
		{0, "", func(v *vault) manifest.TestNode { return above(v.seal(leaf(0, full)), v.seal(leaf(full, 5))) }},
		{41, "overlap", func(v *vault) manifest.TestNode {
			return above(v.seal(leaf(0, full)),
				v.seal(leaf(full-1, 5)))
		}},
		{41, "are missing", func(v *vault) manifest.TestNode {
			return above(v.seal(leaf(0, full)),
				v.seal(leaf(full+1, 5)))
		}},
		{41, "some are missing", func(v *vault) manifest.TestNode {
			return above(v.seal(leaf(0, full-1)),
				v.seal(leaf(full, 5)))
		}},
		{41, "are missing", func(v *vault) manifest.TestNode {
			return above(v.seal(leaf(full, full)),
				v.seal(leaf(0, full)))
		}},
		{41, "some are missing", func(v *vault) manifest.TestNode {
			n := above(v.seal(leaf(0, full)), v.seal(leaf(full, 0)))
			n.Entries[1].Span, n.Info.Size = 1, n.Info.Size+1
			return n
		}},
		{41, "entries are missing", func(v *vault) manifest.TestNode {
			n := leaf(5, 5)
			n.Info = &manifest.Info{Size: 40}
			return n
		}},
		{42, "sizes do not add up", func(v *vault) manifest.TestNode {
			n := leaf(0, 3)
			n.Info = &manifest.Info{Size: 7} // 1 + 2 + 3
			return n
		}},
		{42, "sizes do not add up", func(v *vault) manifest.TestNode {
			n := leaf(0, 3)
			n.Info = &manifest.Info{Size: 5}
			return n
		}},
		{42, "sizes do not add up", func(v *vault) manifest.TestNode {
			n := above(v.seal(leaf(0, full)), v.seal(leaf(full, 5)))
			n.Entries[0].Span++
			n.Entries[1].Span--
			return n
		}},
		{43, "contains itself", func(v *vault) manifest.TestNode {
			// No honest hash allows this; a vault that answers for one with another node does.
			n := above(v.seal(leaf(0, full)), manifest.TestEntry{Sealed: core.Sealed{Hash: core.Hash{43}, Size: 1,
				Plain: 1}, Span: 5})
			v.nodes[core.Hash{43}] = n.Encode()
			return n
		}},
		{0, "is a root inside a tree", func(v *vault) manifest.TestNode {
			inner := leaf(0, full)
			inner.Info = &manifest.Info{}
			return above(v.seal(inner), v.seal(leaf(full, 5)))
		}},
		{0, "has level 1: want 0", func(v *vault) manifest.TestNode {
			inner := above(v.seal(leaf(0, full)), v.seal(leaf(full, 5)))
			inner.Info = nil
			return above(v.seal(inner), v.seal(leaf(full, 5)))
		}},
		{0, "is no root", func(v *vault) manifest.TestNode { return leaf(0, 5) }},
		{0, "want two at least", func(v *vault) manifest.TestNode { return above(v.seal(leaf(0, 5))) }},
	} {
		v := newVault()
		root := c.tree(v)
		sealed := v.seal(root).Sealed
		if c.bad == 43 {
			sealed.Hash = core.Hash{43}
		}
		err := manifest.Walk(sealed, v, func(manifest.Entry) error { return nil })
		switch {
		case c.say == "" && err != nil:
			t.Errorf("a good tree: %v", err)
		case c.say != "" && (core.CodeOf(err) != core.CodeWrong || !strings.Contains(err.Error(), c.say)):
			t.Errorf("bad input %d: got %v, want %q", c.bad, err, c.say)
		}
	}
}

// A tree node has one form.
func TestBadNodes(t *testing.T) {
	hash, big := make([]byte, 32), uint64(1)<<63
	hash[0] = 1
	good := []any{1, 0, 0, []any{[]any{hash, hash, 31, 1}}, nil}
	info := []any{1, "cdc", 1, 2, 3, "", []byte{}}
	with := func(field int, v any) []any {
		n := append([]any(nil), good...)
		n[field] = v
		return n
	}
	entry := func(e ...any) []any { return with(3, []any{e}) }
	many := make([]any, manifest.Fanout+1)
	for i := range many {
		many[i] = []any{hash, hash, 31, 1}
	}
	for name, c := range map[string]struct {
		node any
		ok   bool
	}{
		"good":                         {good, true},
		"good root":                    {with(4, info), true},
		"good hole":                    {entry([]byte{}, []byte{}, 0, 1), true},
		"version 2":                    {with(0, 2), false},
		"level 6":                      {with(1, 6), false},
		"negative level":               {with(1, -1), false},
		"negative order":               {with(2, -1), false},
		"a field too few":              {good[:4], false},
		"a field too many":             {append(with(0, 1), 0), false},
		"1025 entries":                 {with(3, many), false},
		"entries of null":              {with(3, nil), false},
		"a map":                        {map[string]int{"version": 1}, false},
		"leaf entry with span":         {entry(hash, hash, 31, 1, 1), false},
		"tree entry without span":      {[]any{1, 1, 0, []any{[]any{hash, hash, 31, 1}}, nil}, false},
		"short hash":                   {entry(hash[:31], hash, 31, 1), false},
		"long key":                     {entry(hash, append(hash, 0), 31, 1), false},
		"hole with key":                {entry([]byte{}, hash, 0, 1), false},
		"hole with stored bytes":       {entry([]byte{}, []byte{}, 1, 1), false},
		"hole in a directory":          {[]any{1, 1, 0, []any{[]any{[]byte{}, []byte{}, 0, 1, 1}}, nil}, false},
		"hash of zeros":                {entry(make([]byte, 32), hash, 31, 1), false},
		"no plain bytes":               {entry(hash, hash, 31, 0), false},
		"no stored bytes":              {entry(hash, hash, 0, 1), false},
		"negative size":                {entry(hash, hash, -31, 1), false},
		"size of 2^63":                 {entry(hash, hash, big, 1), false},
		"plain of 2^63":                {entry(hash, hash, 31, big), false},
		"hash as text":                 {entry(string(hash), hash, 31, 1), false},
		"size as a float":              {entry(hash, hash, 31.0, 1), false},
		"file of 2^63":                 {with(4, []any{big, "cdc", 1, 2, 3, "", []byte{}}), false},
		"unknown digest":               {with(4, []any{1, "cdc", 1, 2, 3, "md5", make([]byte, 16)}), false},
		"digest without name":          {with(4, []any{1, "cdc", 1, 2, 3, "", make([]byte, 32)}), false},
		"short digest":                 {with(4, []any{1, "cdc", 1, 2, 3, "sha256", make([]byte, 31)}), false},
		"method that is no text":       {with(4, []any{1, "\xff", 1, 2, 3, "", []byte{}}), false},
		"chunks of 2^63":               {with(4, []any{1, "cdc", 1, 2, big, "", []byte{}}), false},
		"tag":                          {with(0, cbor.Tag{Number: 55799, Content: 1}), false},
		"deeper than a tree node goes": {with(3, []any{[]any{[]any{[]any{[]any{}}}}}), false},
	} {
		raw, err := cbor.Marshal(c.node)
		if err != nil {
			t.Fatal(name, err)
		}
		if _, err := manifest.DecodeNode(raw); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Forms that a CBOR library would not write.
func TestBadEncodings(t *testing.T) {
	for name, c := range map[string]struct {
		hex string
		ok  bool
	}{
		"good":                          {"85 01 00 00 80 f6", true},
		"44: a count of 2^32":           {"85 01 00 00 9b0000000100000000 f6", false},
		"44: a count of 2^32 in it all": {"9b0000000100000000 01 00 00 80 f6", false},
		"44: a hash of 2^32 bytes":      {"85 01 00 00 81 84 5b0000000100000000 40 00 01 f6", false},
		"number longer than it need be": {"85 1801 00 00 80 f6", false},
		"array of untold length":        {"9f 01 00 00 80 f6 ff", false},
		"entries of untold length":      {"85 01 00 00 9fff f6", false},
		"bytes after the end":           {"85 01 00 00 80 f6 00", false},
		"cut off":                       {"85 01 00 00 80", false},
		"undefined for null":            {"85 01 00 00 80 f7", false},
		"nothing":                       {"", false},
	} {
		raw, err := hex.DecodeString(strings.ReplaceAll(c.hex, " ", ""))
		if err != nil {
			t.Fatal(name, err)
		}
		if _, err := manifest.DecodeNode(raw); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

var update = flag.Bool("update", false, "write the golden vectors anew")

// The vectors fix the encoded form of a leaf with a hole, of a directory, and of a root.
func TestGoldenNodes(t *testing.T) {
	root := above(manifest.TestEntry{Sealed: piece(1), Span: 1 << 40}, manifest.TestEntry{Sealed: piece(2), Span: 7})
	root.Info = &manifest.Info{Size: 1<<40 + 7, Method: "cdc", Min: 65536, Avg: 262144, Max: 1048576,
		DigestName: "blake3", Digest: bytes.Repeat([]byte{9}, 32)}
	directory := root
	directory.Info, directory.Order = nil, 2048
	var out bytes.Buffer
	for _, n := range []manifest.TestNode{leaf(2, 2), directory, root} {
		out.WriteString(hex.EncodeToString(n.Encode()) + "\n")
	}
	path := filepath.Join("testdata", "golden.txt")
	if *update {
		if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out.Bytes(), want) {
		t.Errorf("got\n%s\nwant\n%s", &out, want)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(leaf(0, 3).Encode())
	f.Add(above(manifest.TestEntry{Sealed: piece(1), Span: 5}, manifest.TestEntry{Sealed: piece(2), Span: 5}).Encode())
	f.Add([]byte{0x85, 1, 0, 0, 0x9b, 0, 0, 0, 1, 0, 0, 0, 0, 0xf6})
	root := leaf(0, 3)
	root.Info = &manifest.Info{Size: 3, Method: "cdc", Min: 65536, Avg: 262144, Max: 1048576, DigestName: "blake3",
		Digest: bytes.Repeat([]byte{9}, 32)}
	f.Add(root.Encode())
	itself := above(manifest.TestEntry{Sealed: core.Sealed{Hash: core.Hash{1}, Size: 9, Key: core.Key{1}, Plain: 9},
		Span: 5}, manifest.TestEntry{Sealed: piece(2), Span: 5})
	itself.Info = &manifest.Info{Size: 10, Method: "fixed", Min: 1, Avg: 1, Max: 1}
	f.Add(itself.Encode())
	f.Fuzz(func(t *testing.T, raw []byte) {
		n, err := manifest.DecodeNode(raw)
		if err == nil && !bytes.Equal(n.Encode(), raw) {
			t.Errorf("%x is encoded as %x", raw, n.Encode())
		}
		v := newVault()
		v.nodes[core.Hash{1}] = raw // whatever it is, walking it ends
		manifest.Walk(core.Sealed{Hash: core.Hash{1}}, v, func(manifest.Entry) error { return nil })
	})
}
