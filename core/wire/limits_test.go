// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/bkp-tool/bkp/core"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// fixed is what reading any message may take beside MaxGrowth for each of its bytes: what is free, the message itself,
// its error, the library's own.
const fixed = FreeMemory + 16<<10

// allocated is how many bytes f allocates.
func allocated(f func()) int {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int(after.TotalAlloc - before.TotalAlloc)
}

// crowds calls each with messages of about n bytes that a form allows but for their number of items: each list and each
// table in it filled with the shortest items there are, and each list of things that hold another with things that hold
// one.
func crowds(f *form, n int, head, tail string, each func(string)) {
	fill := func(item string, sep string) {
		each(head + strings.Repeat(item+sep, max(1, (n-len(head)-len(tail))/len(item+sep))) + item + tail)
	}
	switch {
	case f.members != nil:
		for _, name := range slices.Sorted(maps.Keys(f.members)) {
			comma := ""
			if len(head) > 1 && head[len(head)-1] != '{' {
				comma = ","
			}
			crowds(f.members[name].form, n, fmt.Sprintf("%s%s%q:", head, comma, name), tail, each)
		}
	case f.table:
		var entries []string
		for i := range n / 8 {
			entries = append(entries, fmt.Sprintf(`"%x":""`, i))
		}
		each(head + "{" + strings.Join(entries, ",") + "}" + tail)
	case f.item != nil:
		head, tail = head+"[", "]"+tail
		for _, item := range []string{`{}`, `""`, `0`, `"YQ=="`, `[]`} {
			fill(item, ",")
		}
		for name, m := range f.item.members {
			switch {
			case m.table:
				fill(fmt.Sprintf(`{%q:{"":""}}`, name), ",")
			case m.item != nil:
				fill(fmt.Sprintf(`{%q:[{}]}`, name), ",")
				crowds(m.form, n, fmt.Sprintf("%s{%q:", head, name), "}"+tail, each)
			}
		}
	}
}

// BAD-INPUT 57: a message of `{},{},…` cost 130 times its size. No message, however it is made, costs more than
// MaxGrowth times.
func TestCrowdedMessages(t *testing.T) {
	// the first message of a type makes what the library keeps for all of them
	for _, m := range slices.Concat(samples(), grown()) {
		if data, err := Encode(m); err == nil {
			Decode(data)
		}
	}
	worst, count := 0.0, 0 // without the weighing it is 93
	for name, c := range codecs {
		for _, n := range []int{4 << 10, min(c.bytes/2, 256<<10)} {
			crowds(c.form, n, fmt.Sprintf(`{"type":%q`, name), "}", func(message string) {
				data := []byte(message)
				var err error
				took := allocated(func() { _, err = Decode(data) })
				count++
				worst = max(worst, float64(took-fixed)/float64(len(data)))
				if took > MaxGrowth*len(data)+fixed {
					t.Errorf("%.60s… of %d bytes takes %d bytes: %v", message, len(data), took, err)
				}
			})
		}
	}
	t.Logf("%d messages, the worst takes %.1f times its size", count, worst)
	if count < 200 {
		t.Errorf("only %d messages were tried", count)
	}
}

// The largest honest messages are far from the bounds that keep the others out.
func TestLargeHonestMessages(t *testing.T) {
	id := core.ID{1}
	var report StateReport
	for range 500 {
		report.Links = append(report.Links, LinkReport{ID: id, Address: "10.0.0.1:8001",
			Labels: map[string]string{"zone": "a"}, Ahead: core.Forecast{{Rate: 1}}})
		report.Accounts = append(report.Accounts, core.Account{Name: "up"})
	}
	var want Want
	want.Task = core.TaskID{1}
	task := StorageTask{Task: core.TaskID{1}, Alias: "a", Version: 1, License: []byte("l")}
	begin := TransmissionBegin{Chunks: slices.Repeat([]core.Chunk{{Size: 1}}, MaxRunChunks)}
	gain := GainApply{Owner: id, Rate: 1}
	for i := range core.SegmentRuns {
		if i%2 == 0 {
			want.Had = append(want.Had, core.Range{Start: i, Length: 1})
		}
		task.Files = append(task.Files, core.File{Name: "a", Type: core.TypeFile, Size: 1})
		task.Locations = append(task.Locations, core.Span{Node: id, From: id, Start: i, Length: 1})
		gain.Runs = append(gain.Runs, GainRun{})
	}
	for range 64 * 64 {
		task.Bandwidth = append(task.Bandwidth, BandwidthRow{From: id, To: id})
	}
	hello := grown()[0].(Hello)
	hello.Labels = map[string]string{"a": "b", "c": "d", "e": "", "f": "", "g": "", "h": "", "i": "", "j": "", "k": "",
		"l": ""}
	labels := StateReport{Labels: map[string]string{}}
	for i := range maxLabels {
		labels.Labels[string(rune('0'+i))] = ""
	}
	for _, m := range []Message{report, want, task, begin, gain, hello, labels} {
		data, err := Encode(m)
		if err != nil {
			t.Errorf("%s: %v", m.Type(), err)
			continue
		}
		s, err := codecs[m.Type()].scan(data, newest)
		if growth := float64(s.weight-FreeMemory) / float64(len(data)); err != nil || growth > MaxGrowth*3/4 {
			t.Errorf("%s of %d bytes: %v; it weighs %.1f times its size", m.Type(), len(data), err, growth)
		}
		took := allocated(func() { _, err = Decode(data) })
		if err != nil || took > MaxGrowth*len(data)+fixed {
			t.Errorf("%s of %d bytes takes %d, %v", m.Type(), len(data), took, err)
		}
	}
}

// twin says as slowly and plainly as possible what the scanner says while it walks: whether v, JSON as any program
// reads it, is of a form, and what is left of it without the members that are skipped.
func twin(v any, f *form, d Dialect) (left any, skipped int, err error) {
	switch v := v.(type) {
	case map[string]any:
		if f.members == nil && !f.table {
			return nil, 0, errors.New("an object")
		}
		kept := map[string]any{}
		for name, value := range v {
			form := f.item
			if m := f.members[name]; m != nil && d.knows(m.since) {
				form = m.form
			} else if f.members != nil {
				if m == nil && d.skips {
					skipped++
					continue
				}
				return nil, 0, fmt.Errorf("unknown %s", name)
			}
			in, more, err := twin(value, form, d)
			if err != nil {
				return nil, 0, err
			}
			kept[name] = in
			skipped += more
		}
		if f.table && len(v) > f.most {
			return nil, 0, errors.New("too many")
		}
		return kept, skipped, nil
	case []any:
		if f.item == nil || f.table || len(v) > f.most {
			return nil, 0, errors.New("a list, or too many")
		}
		kept := []any{}
		for _, item := range v {
			in, more, err := twin(item, f.item, d)
			if err != nil {
				return nil, 0, err
			}
			kept = append(kept, in)
			skipped += more
		}
		return kept, skipped, nil
	case nil:
		return nil, 0, errNull
	}
	return v, 0, nil
}

// FuzzScan holds the scanner against its slow twin, and against the memory that it promises.
func FuzzScan(f *testing.F) {
	for _, m := range slices.Concat(samples(), spare(), grown()) {
		data, err := Encode(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, true)
		f.Add(bytes.Replace(data, []byte(`,"`), []byte(`,"x":[{}],"`), 1), true)
		f.Add(bytes.Replace(data, []byte(`,"`), []byte(`,"x":{"type":[1,2]} , "y":"\"","`), 3), true)
	}
	f.Add([]byte(`{"type":"STATE_REPORT","links":[{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}]}`), false)
	f.Add([]byte(` { "x" : null , "type" : "HELLO" , "labels" : { "a" : "" } } `), true)
	f.Fuzz(func(t *testing.T, data []byte, skips bool) {
		d := newest
		d.skips = skips
		var err error
		var skipped int
		if took := allocated(func() { _, skipped, err = d.Decode(data) }); took > MaxGrowth*len(data)+fixed {
			t.Errorf("%s takes %d bytes: %v", data, took, err)
		}
		name, typeErr := typeOf(data)
		c := codecs[name]
		if plain(data) != nil || typeErr != nil || c == nil || len(data) > c.bytes {
			if c == nil && skips && skipped == 1 {
				return
			}
			if err == nil {
				t.Fatalf("%s was decoded", data)
			}
			return
		}
		s, err := c.scan(data, d)
		heavy := err != nil && strings.Contains(err.Error(), "can pay for")
		var value any
		// no JSON, or a name twice; the scanner may leave both to the unmarshaller
		if json.Unmarshal(data, &value) != nil {
			if err == nil && json.Unmarshal(s.kept(), &value) == nil && s.skipped == 0 {
				t.Fatalf("%s is no JSON, but what is left of it is", data)
			}
			return
		}
		left, skipped, twinErr := twin(value, c.form, d)
		switch {
		case heavy:
		case (err == nil) != (twinErr == nil):
			t.Fatalf("%s: the scanner says %v, its twin %v", data, err, twinErr)
		case err == nil:
			var kept any
			if err := json.Unmarshal(s.kept(), &kept); err != nil || s.skipped != skipped ||
				!reflect.DeepEqual(kept, left) {
				t.Fatalf("of %s is left %s, %d skipped, %v; want %v, %d", data, s.kept(), s.skipped, err, left, skipped)
			}
		}
	})
}

// FuzzPlain: what is plain is no deeper than it says, told by a reader that counts as it goes.
func FuzzPlain(f *testing.F) {
	f.Add([]byte(strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth)))
	f.Add([]byte(strings.Repeat(`{"[":`, MaxDepth+1)))
	f.Add([]byte(`"\\"[`))
	f.Fuzz(func(t *testing.T, data []byte) {
		err := plain(data)
		if err == nil && !utf8.Valid(data) {
			t.Fatalf("%q is plain", data)
		}
		d := jsontext.NewDecoder(bytes.NewReader(data), jsontext.AllowDuplicateNames(true))
		for {
			if _, readErr := d.ReadToken(); readErr != nil {
				if errors.Is(readErr, io.EOF) && err != nil && d.StackDepth() == 0 &&
					!strings.Contains(err.Error(), "deeper") {
					t.Fatalf("%q is JSON, and not plain: %v", data, err)
				}
				return
			}
			if d.StackDepth() > MaxDepth {
				if err == nil {
					t.Fatalf("%q is %d deep and plain", data, d.StackDepth())
				}
				return
			}
		}
	})
}
