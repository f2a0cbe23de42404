// SPDX-License-Identifier: Apache-2.0

package shipment

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/license"
	"github.com/bkp-tool/bkp/core/version"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// scene is a source, its owner, and the list of a segment of three runs, of which the node is to keep the first and the
// last.
type scene struct {
	owner, source *key.Signer
	name          Name
	license       core.License
	record        version.Record
}

func newScene(t testing.TB) *scene {
	s := &scene{owner: key.SignerFromSeed([32]byte{1}), source: key.SignerFromSeed([32]byte{2})}
	s.name = Name{Node: key.SignerFromSeed([32]byte{3}).ID(), Task: core.TaskID{4}}
	s.record = version.Record{Task: s.name.Task, Number: 5, Source: s.source.ID(),
		Spans: []core.Span{{Node: s.name.Node, Length: 1}, {Node: s.name.Node, Start: 2, Length: 1}}}
	for i := range 3 {
		data := bytes.Repeat([]byte{byte(i)}, 100)
		r := version.Run{Task: s.name.Task, Used: core.FullBitmap(1)}
		r.Chunks = []core.Chunk{{Hash: chunk.Hash(data), Size: 100}}
		r.File = core.File{Name: fmt.Sprintf("a.1/%d", i), Type: core.TypeFile, Order: i,
			Hash: chunk.RunHash(r.Chunks), Size: 100}
		s.record.Runs = append(s.record.Runs, r)
	}
	now := time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC).Unix()
	s.license = core.License{V: 1, ID: core.LicenseID{6}, Task: s.name.Task, Segment: 5,
		TaskSource: core.TaskSource{Owner: s.owner.ID(), Node: s.source.ID()}, Targets: []core.ID{s.name.Node},
		Op: "store", Root: core.Hash{7}, MaxBytes: 200, MaxRuns: 2, NotBefore: now, Expires: now + 1,
		RetainUntil: now + 1,
		Key:         s.owner.Public(), Alias: "abc", Version: 1}
	return s
}

func (s *scene) encode(t testing.TB) []byte {
	t.Helper()
	var err error
	s.record.License, err = license.Sign(s.license, s.owner)
	check(t, err)
	data, err := Encode(s.name, s.record, s.source)
	check(t, err)
	return data
}

func TestListReadsAsItWasWritten(t *testing.T) {
	s := newScene(t)
	l, err := Parse(s.name, 5, s.encode(t))
	check(t, err)
	if !reflect.DeepEqual(l.Record, s.record) || l.License.ID != s.license.ID {
		t.Errorf("read %+v", l)
	}
	var runs []int
	l.Each(func(run int) { runs = append(runs, run) })
	if !reflect.DeepEqual(runs, []int{0, 2}) {
		t.Errorf("runs %v", runs)
	}
}

// A source whose key was rotated, however often, is the same source.
func TestListOfARotatedSource(t *testing.T) {
	s := newScene(t)
	for rotation := range core.MaxRotations {
		var err error
		s.source, err = s.source.Rotate(bytes.NewReader(bytes.Repeat([]byte{byte(100 + rotation)}, 32)))
		check(t, err)
		if _, err := Parse(s.name, 5, s.encode(t)); err != nil {
			t.Fatalf("rotated %d times: %v", rotation+1, err)
		}
	}
	whole := s.encode(t)
	for i := 0; i < len(whole); i += 41 {
		data := bytes.Clone(whole)
		data[i] ^= 1
		if _, err := Parse(newScene(t).name, 5, data); core.CodeOf(err) != core.CodeWrong {
			t.Fatalf("with another bit in byte %d of %d: %v", i, len(whole), err)
		}
	}
}

// TestListIsItsSourcesWord: nothing in a list can be changed on the way, nor can it be given out as one for another
// node, task or segment, or in another's name.
func TestListIsItsSourcesWord(t *testing.T) {
	whole := newScene(t).encode(t)
	for i := range whole {
		data := bytes.Clone(whole)
		data[i] ^= 1
		if _, err := Parse(newScene(t).name, 5, data); core.CodeOf(err) != core.CodeWrong {
			t.Fatalf("with another bit in byte %d of %d: %v", i, len(whole), err)
		}
	}
	for _, c := range []struct {
		want   string
		change func(s *scene, n *Name, segment *int)
	}{
		{"not signed by its source", func(s *scene, _ *Name, _ *int) { s.source = s.owner }},
		{"not signed by its source", func(_ *scene, n *Name, _ *int) { n.Node = core.ID{9} }},
		{"is of segment 5", func(_ *scene, n *Name, _ *int) { n.Task = core.TaskID{9} }},
		{"is of segment 5", func(_ *scene, _ *Name, segment *int) { *segment = 6 }},
		{"licence of another", func(s *scene, _ *Name, _ *int) { s.license.Segment = 4 }},
		{"licence of another", func(s *scene, _ *Name, _ *int) { s.license.Task = core.TaskID{9} }},
		{"licence of another", func(s *scene, _ *Name, _ *int) { s.license.TaskSource.Node = core.ID{9} }},
		{"of which version", func(s *scene, _ *Name, _ *int) { s.license.Alias, s.license.Version = "", 0 }},
		{"nothing for the node", func(s *scene, _ *Name, _ *int) { s.record.Spans = nil }},
		{"of another node, or out of order", func(s *scene, _ *Name, _ *int) { s.record.Spans[1].Node = core.ID{9} }},
		{"of another node, or out of order", func(s *scene, _ *Name, _ *int) { s.record.Spans[0].Start = 2 }},
		{"behind reused", func(s *scene, _ *Name, _ *int) { s.record.Runs[0].Task = core.TaskID{9} }},
		{"has 3 runs and 1 stripes", func(s *scene, _ *Name, _ *int) {
			s.record.Stripes = []core.Stripe{{Data: []int{0}, Parity: []int{1}}}
		}},
	} {
		s, segment := newScene(t), 5
		n := s.name
		c.change(s, &n, &segment)
		_, err := Parse(n, segment, s.encode(t))
		if core.CodeOf(err) != core.CodeWrong || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v; want %q", err, c.want)
		}
	}
}

func TestNames(t *testing.T) {
	n := newScene(t).name
	if got, ok := ParseName(n.String()); !ok || got != n {
		t.Errorf("%s is read as %v, %v", n, got, ok)
	}
	for _, name := range []string{"", "bkp-shipment.", n.String() + "0", strings.ToUpper(n.String()),
		strings.Replace(n.String(), ".", "/", 2), "x" + n.String()} {
		if got, ok := ParseName(name); ok {
			t.Errorf("%q is read as %v", name, got)
		}
	}
	for name, want := range map[string]int{"0.list": 0, "12.list": 12, "-1.list": -1, "012.list": -1, "+1.list": -1,
		"1": -1} {
		if got, ok := ParseListFile(name); ok != (want >= 0) || ok && got != want {
			t.Errorf("%q is read as %d, %v", name, got, ok)
		}
	}
}

// FuzzParse: whatever stands on a disk is a list of its source's for this node, or refused.
func FuzzParse(f *testing.F) {
	s := newScene(f)
	whole := s.encode(f)
	f.Add(whole)
	f.Add(whole[:len(whole)-1])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := Parse(s.name, 5, data)
		if err != nil {
			if core.CodeOf(err) != core.CodeWrong {
				t.Fatalf("%v", err)
			}
			return
		}
		if again, err := Encode(s.name, l.Record, s.source); err != nil || !bytes.Equal(again, data) {
			t.Fatalf("%x is read as %+v, which is written as %x, %v", data, l, again, err)
		}
	})
}
