// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/bkp-tool/bkp/core"
)

// late is a message of a later release, as an engineer would add it.
type late struct {
	Query uint64     `json:"query"`
	Rows  []lateRow  `json:"rows,omitempty" most:"reasons"`
	Own   string     `json:"own,omitempty" wire:"degraded"`
	Runs  core.Range `json:"runs,omitzero"`
}

type lateRow struct {
	Name string `json:"name"`
	Why  string `json:"why,omitempty" wire:"degraded"`
}

func (late) Type() string    { return "LATE" }
func (late) Validate() error { return nil }

// withLate has LATE among the messages for one test.
func withLate(t *testing.T) {
	register[late](since(FeatureRefs2))
	t.Cleanup(func() { delete(codecs, "LATE") })
}

func TestAgree(t *testing.T) {
	for _, c := range []struct {
		version       int
		theirs        []Feature
		has           string
		skips         bool
		knowsVersion2 bool
	}{
		{1, nil, "", false, false},
		{1, []Feature{FeatureDegraded, "later"}, "", false, false},
		{2, nil, "", false, true},
		{2, []Feature{FeatureDegraded}, "degraded", false, true},
		{2, []Feature{FeatureRefs2, FeatureDegraded, FeatureRefs2}, "refs2 degraded", false, true},
		{2, []Feature{"later", FeatureRefs2}, "refs2", true, true},
	} {
		d := Agree(c.version, c.theirs)
		var has []string
		for _, f := range d.features {
			has = append(has, string(f))
			if !d.Has(f) {
				t.Errorf("%d, %v: lists %s and has it not", c.version, c.theirs, f)
			}
		}
		if got := strings.Join(has, " "); got != c.has || d.skips != c.skips || d.knows(inVersion2) != c.knowsVersion2 {
			t.Errorf("%d, %v: %+v", c.version, c.theirs, d)
		}
	}
}

// What one side says, and what the other has of it: in each dialect the same message, less what that does not know.
func TestTrim(t *testing.T) {
	withLate(t)
	rows := []lateRow{{"a", "x"}, {"b", ""}}
	said := late{Query: 1, Rows: rows, Own: "y"}
	both, one := Agree(2, Features), Agree(2, []Feature{FeatureRefs2})
	for _, c := range []struct {
		d    Dialect
		m    Message
		want string // "" is refused
	}{
		{both, said, `{"type":"LATE","query":1,"rows":[{"name":"a","why":"x"},{"name":"b"}],"own":"y"}`},
		{one, said, `{"type":"LATE","query":1,"rows":[{"name":"a"},{"name":"b"}]}`},
		{one, &said, `{"type":"LATE","query":1,"rows":[{"name":"a"},{"name":"b"}]}`},
		{Agree(2, []Feature{FeatureDegraded}), said, ""},
		{V1, said, ""},
		{V1, StateQuery{Query: 7}, `{"type":"STATE_QUERY","query":7}`},
	} {
		data, err := c.d.Encode(c.m)
		if string(data) != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%+v: %s, %v; want %s", c.d, data, err, c.want)
			continue
		}
		if err != nil {
			continue
		}
		back, skipped, err := c.d.Decode(data)
		if trimmed := c.d.Trim(c.m); err != nil || skipped > 0 || !reflect.DeepEqual(back, trimmed) {
			t.Errorf("%s comes back as %+v, %d skipped, %v; want %+v", data, back, skipped, err, trimmed)
		}
	}
	if rows[0].Why != "x" || said.Own != "y" {
		t.Error("the sender's own message was changed")
	}
}

// Version 1 writes what it has always written, whatever the message carries besides.
func TestVersion1IsFrozen(t *testing.T) {
	for _, m := range samples() {
		old, err := V1.Encode(m)
		now, _ := Encode(m)
		if err != nil || string(old) != string(now) {
			t.Errorf("%s in version 1: %s, %v; its golden vector is %s", m.Type(), old, err, now)
		}
	}
	for _, m := range grown() {
		data, _ := Encode(m)
		if codecs[m.Type()].since != "" {
			_, said := V1.Encode(m)
			if _, _, err := V1.Decode(data); said == nil || !errors.Is(err, ErrUnknownType) {
				t.Errorf("in version 1 there is %s: it is said with %v and read with %v", m.Type(), said, err)
			}
			continue
		}
		if _, _, err := V1.Decode(data); err == nil || !strings.Contains(err.Error(), "unknown member") {
			t.Errorf("in version 1 %s is read: %v", data, err)
		}
		old, err := V1.Encode(m)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := V1.Decode(old); err != nil || len(old) >= len(data) {
			t.Errorf("in version 1 %s is written as %s, %v", m.Type(), old, err)
		}
	}
}

// Unknown words: an error, unless they may belong to a feature that only the other side has.
func TestUnknownWords(t *testing.T) {
	later := Agree(2, []Feature{"later"})
	for _, c := range []struct {
		d       Dialect
		data    string
		skipped int
		left    string // of the message; "" is nothing
		words   string // of the error
	}{
		{Agree(2, Features), `{"type":"LATER"}`, 0, "", "unknown message type"},
		{Agree(2, Features), `{"type":"STATE_QUERY","query":7,"later":1}`, 0, "", "unknown member"},
		{later, `{"type":"LATER","x":[{},{"y":null}]}`, 1, "", ""},
		{later, `{"type":"STATE_QUERY","query":7,"later":1}`, 1, `{"type":"STATE_QUERY","query":7}`, ""},
		{later, `{"later":[1,{"a":null}] , "type":"STATE_QUERY","query":7}`, 1, `{"type":"STATE_QUERY","query":7}`, ""},
		{later, `{ "a":1 , "b":"}" , "type":"STATE_QUERY" , "c":{} ,"query":7, "d":[]}`, 4,
			`{"type":"STATE_QUERY","query":7}`, ""},
		{later, `{"type":"STATE_QUERY","query":7,"lat\u0065r":"\ud834\udd1e"}`, 1, `{"type":"STATE_QUERY","query":7}`,
			""},
		{later, `{"type":"BANDWIDTH_COORDINATION","size":1,"x":{"size":9}}`, 1,
			`{"type":"BANDWIDTH_COORDINATION","size":1}`, ""},
		{later, `{"type":"STORAGE_APPLY","flow":1,"task":"01000000000000000000000000000000","segment":0,"filename":"a","size":1,"rate":1,"runs":[{"x":0,"start":0,"length":1,"y":0}]}`, 2,
			`{"type":"STORAGE_APPLY","flow":1,"task":"01000000000000000000000000000000","segment":0,"filename":"a","size":1,"rate":1,"runs":[{"start":0,"length":1}]}`, ""},
		{later, `{"type":"STATE_QUERY","query":7,"later":tru}`, 0, "", "invalid JSON"},
		{later, `{"type":"STATE_QUERY","query":7,"later":"\ud800"}`, 0, "", "invalid JSON"},
		{later, `{"type":"STATE_QUERY","query":7,"later":1,}`, 0, "", "invalid JSON"},
		{later, `{"type":"STATE_QUERY","query":null,"later":1}`, 0, "", "null"},
		{later, `{"type":"STATE_REPORT","degraded":["x"]}`, 0, "", "unknown member"}, // it lists only "later"
	} {
		m, skipped, err := c.d.Decode([]byte(c.data))
		if c.words != "" {
			if err == nil || !strings.Contains(err.Error(), c.words) || m != nil {
				t.Errorf("%s: %+v, %v; want an error that says %q", c.data, m, err, c.words)
			}
			continue
		}
		left := ""
		if m != nil {
			data, _ := c.d.Encode(m)
			left = string(data)
		}
		if err != nil || skipped != c.skipped || left != c.left {
			t.Errorf("%s: %s, %d skipped, %v; want %s, %d", c.data, left, skipped, err, c.left, c.skipped)
		}
	}
}

// A HELLO says itself whether what is unknown in it may be skipped.
func TestHelloOfLaterRelease(t *testing.T) {
	m := grown()[0].(Hello)
	hello := func(change func(*Hello), more string) []byte {
		h := m
		change(&h)
		data, err := Encode(h)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Appendf(nil, "%s%s}", data[:len(data)-1], more)
	}
	lists := func(f ...Feature) func(*Hello) { return func(h *Hello) { h.Features = f } }
	for _, c := range []struct {
		name    string
		version int
		data    []byte
		words   string
	}{
		{"as it is", 2, hello(lists(Features...), ""), ""},
		{"more, of a later feature", 2, hello(lists(FeatureDegraded, "later"), `,"x":1`), ""},
		{"more, of none", 2, hello(lists(FeatureDegraded), `,"x":1`), "no unknown feature"},
		{"features in version 1", 1, hello(lists(FeatureDegraded), ""), "unknown member"},
		{"more in version 1", 1, hello(lists(), `,"x":1`), "unknown member"},
		{"too many features", 2, hello(lists(), `,"features":["a"`+strings.Repeat(`,"a"`, maxFeatures)+`]`),
			"more than 64 items"},
		{"a feature that is no word", 2, hello(lists(), `,"features":["a b"]`), "features"},
		{"a long feature", 2, hello(lists(), `,"features":["`+strings.Repeat("a", maxWord+1)+`"]`), "features"},
		{"something else", 2, []byte(`{"type":"STORAGE_TASK","file":[{},{},{}]}`), "STORAGE_TASK before HELLO"},
		{"something unknown", 2, []byte(`{"type":"LATER"}`), "unknown message type"},
		{"too long", 2, append(hello(lists(), ""), make([]byte, MaxHello)...), "are allowed"},
	} {
		_, err := DecodeHello(c.version, c.data)
		if (err == nil) != (c.words == "") || err != nil && !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %v; want %q", c.name, err, c.words)
		}
	}
}

// What no message may have is told to who adds it, before anything runs.
func TestRegisterRefuses(t *testing.T) {
	for _, v := range []any{
		struct {
			A []int `json:"a"`
		}{},
		struct {
			A map[string]string `json:"a" most:"everything"`
		}{},
		struct {
			A int `json:"a" wire:"later"`
		}{},
		struct {
			A *int `json:"a"`
		}{},
		struct{ A int }{},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%T became a form", v)
				}
			}()
			formOf(reflect.TypeOf(v), "")
		}()
	}
}

// Inside RELAY version 1 is written as ever, and a type of message that came later is read by who knows it.
func TestInsideRelay(t *testing.T) {
	for _, m := range append(samples(), grown()...) {
		want := m
		if codecs[m.Type()].since == "" {
			want = V1.Trim(m)
		}
		data, err := inRelay(m).Encode(m)
		if err != nil {
			t.Fatal(err)
		}
		if old, _ := V1.Encode(want); codecs[m.Type()].since == "" && string(old) != string(data) {
			t.Errorf("%s inside RELAY: %s", m.Type(), data)
		}
		if back, err := openInRelay(data); err != nil || !reflect.DeepEqual(back, want) {
			t.Errorf("%s comes out of RELAY as %+v, %v", data, back, err)
		}
	}
}
