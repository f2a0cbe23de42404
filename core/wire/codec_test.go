// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/bkp-tool/bkp/core"
)

var update = flag.Bool("update", false, "rewrite testdata/golden; of a vector that was there before, only where no release has written it")

func TestGolden(t *testing.T) {
	seen := map[string]bool{}
	for _, m := range samples() {
		seen[m.Type()] = true
		got, err := Encode(m)
		if err != nil {
			t.Errorf("%s: %v", m.Type(), err)
			continue
		}
		golden(t, m, got, filepath.Join("testdata", "golden", m.Type()+".json"))
	}
	for _, m := range grown() {
		seen[m.Type()] = true
		got, err := Encode(m)
		if err != nil {
			t.Errorf("%s: %v", m.Type(), err)
			continue
		}
		golden(t, m, got, filepath.Join("testdata", "golden", "v2", m.Type()+".json"))
	}
	for name := range codecs {
		if !seen[name] {
			t.Errorf("%s has no golden vector", name)
		}
	}
}

// golden holds a message against its vector.
func golden(t *testing.T, m Message, got []byte, path string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, append(got, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(append(got, '\n'), want) {
		t.Errorf("%s is encoded as\n%s, its golden vector is\n%s", m.Type(), got, want)
	}
	back, err := Decode(want)
	if err != nil || !reflect.DeepEqual(back, m) {
		t.Errorf("the golden %s decodes to\n%+v, %v; want\n%+v", m.Type(), back, err, m)
	}
}

func TestRoundTrip(t *testing.T) {
	for _, m := range spare() {
		data, err := Encode(m)
		if err != nil {
			t.Errorf("%s: %v", m.Type(), err)
			continue
		}
		back, err := Decode(data)
		if err != nil || !reflect.DeepEqual(back, m) {
			t.Errorf("%s came back as %+v, %v; want %+v", data, back, err, m)
		}
	}
	m := StateQuery{Query: 7}
	byValue, _ := Encode(m)
	byPointer, err := Encode(&m)
	if err != nil || !bytes.Equal(byValue, byPointer) {
		t.Errorf("by pointer %s, %v; by value %s", byPointer, err, byValue)
	}
	if want := `{"type":"STATE_QUERY","query":7}`; string(byValue) != want {
		t.Errorf("encoded %s; want %s: zero values are left out", byValue, want)
	}
}

func TestDecodeStrictly(t *testing.T) {
	deep := func(n int) string { return strings.Repeat(`[`, n) + strings.Repeat(`]`, n) }
	for _, c := range []struct{ name, data, words string }{
		{"OK", `{"type":"STATE_QUERY","query":7}`, ""},
		{"OK: type last", `{"query":7,"type":"STATE_QUERY"}`, ""},
		{"OK: space around", " {\n\"type\":\t\"STATE_QUERY\", \"query\":7}\n", ""},
		{"OK: escapes", `{"type":"STATE_QUERY","quer\u0079":7}`, ""},
		{"22 unknown type", `{"type":"GIVE_ME"}`, "unknown message type"},
		{"22 type in lower case", `{"type":"state_query","query":7}`, "unknown message type"},
		{"no type", `{"query":7}`, "no type"},
		{"type is a number", `{"type":7}`, "not a string"},
		{"15 duplicate member", `{"type":"STATE_QUERY","query":7,"query":7}`, "duplicate"},
		{"15 duplicate by an escape", `{"type":"STATE_QUERY","query":7,"quer\u0079":7}`, "duplicate"},
		{"15 duplicate type", `{"type":"STATE_QUERY","query":7,"type":"RELEASE"}`, "duplicate"},
		{"16 wrong case", `{"type":"STATE_QUERY","QUERY":7}`, "unknown"},
		{"16 Go's name", `{"type":"STATE_QUERY","Query":7}`, "unknown"},
		{"unknown member", `{"type":"STATE_QUERY","query":7,"x":1}`, "unknown"},
		{"17 trailing value", `{"type":"STATE_QUERY","query":7}{}`, "after top-level value"},
		{"17 trailing brace", `{"type":"STATE_QUERY","query":7}}`, "invalid"},
		{"null member", `{"type":"STATE_QUERY","query":null}`, "null"},
		{"28 nesting 10,000 deep", `{"type":"STATE_QUERY","query":` + deep(10000) + `}`, "deeper than 16"},
		{"28 nesting 17 deep", deep(17), "deeper than 16"},
		{"28 OK for depth: 16 deep, but no object", deep(16), "not a JSON object"},
		{"28 brackets in a string nest nothing", `{"type":"TASK_REFUSE","task":"01000000000000000000000000000000","segment":0,"code":1,"reason":"` + strings.Repeat(`[\"`, 99) + `"}`, ""},
		{"20 over the limit", `{"type":"STATE_QUERY","query":7}` + strings.Repeat(" ", MaxMessage),
			"4194304 are allowed"},
		{"invalid UTF-8", "{\"type\":\"STATE_QUERY\",\"query\":7,\"\xff\":1}", "UTF-8"},
		{"half a surrogate", `{"type":"TASK_REFUSE","reason":"\ud800"}`, "surrogate"},
		{"21 number beyond 64 bits", `{"type":"STATE_QUERY","query":18446744073709551616}`, "query"},
		{"a fraction for a count", `{"type":"STATE_QUERY","query":7.5}`, "query"},
		{"a string for a number", `{"type":"STATE_QUERY","query":"7"}`, "query"},
		{"upper-case hex", `{"type":"TASK_AGREE","task":"AA000000000000000000000000000000","segment":0,"predicted_s":1,"have":""}`, "lower-case"},
		{"infinite float", `{"type":"TASK_AGREE","task":"aa000000000000000000000000000000","segment":0,"predicted_s":1e999,"have":""}`, "predicted_s"},
		{"base64 with a line break", `{"type":"RELEASE","query":1,"envelope":"ZW\n4="}`, "envelope"},
		{"empty", ``, "not a JSON object"},
		{"cut short", `{"type":"STATE_QUERY","query":7`, "EOF"},
		{"cut in a string", `{"type":"STATE_Q`, "EOF"},
		{"cut in an escape", `{"type":"STATE_Q\`, "EOF"},
		{"an array", `["STATE_QUERY"]`, "not a JSON object"},
	} {
		m, err := Decode([]byte(c.data))
		if c.words == "" {
			if err != nil || m == nil {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		if err == nil || m != nil || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %+v, %v; want an error that says %q", c.name, m, err, c.words)
		}
	}
	if _, err := Decode([]byte(`{"type":"GIVE_ME"}`)); !errors.Is(err, ErrUnknownType) {
		t.Errorf("an unknown type is not told apart: %v", err)
	}
}

func TestEncodeRefusesWhatIsTooLarge(t *testing.T) {
	if _, err := Encode(Release{Envelope: make([]byte, maxSigned+1)}); err == nil {
		t.Error("an envelope over its bound was encoded")
	}
	if _, err := Encode(StorageTask{
		Task: core.TaskID{1}, Alias: "a", Version: 1, Files: []core.File{{Name: "a.1.0", Type: core.TypeFile, Size: 1}},
		License: make([]byte, MaxMessage),
	}); err == nil || !strings.Contains(err.Error(), "4194304 are allowed") {
		t.Errorf("a message over the limit: %v", err)
	}
	// The largest run there may be still fits.
	begin := TransmissionBegin{Transfer: 1, Chunks: make([]core.Chunk, MaxRunChunks)}
	for i := range begin.Chunks {
		begin.Chunks[i].Size = core.MaxRun / MaxRunChunks
	}
	if _, err := Encode(begin); err != nil {
		t.Errorf("a run of %d chunks: %v", MaxRunChunks, err)
	}
}

func FuzzDecode(f *testing.F) {
	for _, m := range slices.Concat(samples(), spare(), grown()) {
		data, err := Encode(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Decode(data)
		if err != nil {
			return
		}
		again, err := Encode(m)
		if err != nil {
			t.Fatalf("%s decodes to %+v, which cannot be encoded: %v", data, m, err)
		}
		back, err := Decode(again)
		if err != nil {
			t.Fatalf("%s is encoded as %s, which does not decode: %v", data, again, err)
		}
		// Compared as bytes, since what was left out and what is empty are written alike.
		if third, err := Encode(back); err != nil || !bytes.Equal(third, again) {
			t.Fatalf("%s is encoded as %s, then as %s, %v", data, again, third, err)
		}
	})
}

func FuzzParseData(f *testing.F) {
	f.Add(append(AppendDataHeader(nil, Data{Transfer: 1, Chunk: 2, Offset: 3}), "bytes"...))
	f.Fuzz(func(t *testing.T, message []byte) {
		d, err := ParseData(message)
		if err != nil {
			return
		}
		if again := append(AppendDataHeader(nil, d), d.Bytes...); !bytes.Equal(again, message) {
			t.Fatalf("%x came back as %x", message, again)
		}
	})
}

func TestDataGolden(t *testing.T) {
	d := Data{Transfer: 0x0123456789abcdef, Chunk: 0x7ead, Offset: 0x00c0ffee, Bytes: []byte("bytes")}
	want := "01" + "efcdab8967452301" + "ad7e0000" + "eeffc000" + hex.EncodeToString(d.Bytes)
	got := append(AppendDataHeader(nil, d), d.Bytes...)
	if hex.EncodeToString(got) != want {
		t.Errorf("data message %x; want %s", got, want)
	}
	if back, err := ParseData(got); err != nil || !reflect.DeepEqual(back, d) {
		t.Errorf("it parses to %+v, %v", back, err)
	}
}

func TestDataBounds(t *testing.T) {
	for _, c := range []struct {
		name string
		d    Data
		ok   bool
	}{
		{"one byte", Data{Bytes: make([]byte, 1)}, true},
		{"none", Data{}, false},
		{"largest", Data{Bytes: make([]byte, MaxData)}, true},
		{"larger", Data{Bytes: make([]byte, MaxData+1)}, false},
		{"end of the largest chunk", Data{Offset: MaxStored - 5, Bytes: make([]byte, 5)}, true},
		{"beyond it", Data{Offset: MaxStored - 4, Bytes: make([]byte, 5)}, false},
		{"offset that would wrap", Data{Offset: 1<<32 - 1, Bytes: make([]byte, 5)}, false},
		{"last chunk", Data{Chunk: MaxRunChunks - 1, Bytes: make([]byte, 5)}, true},
		{"chunk after it", Data{Chunk: MaxRunChunks, Bytes: make([]byte, 5)}, false},
	} {
		if _, err := ParseData(append(AppendDataHeader(nil, c.d), c.d.Bytes...)); (err == nil) != c.ok {
			t.Errorf("%s: %v; want it accepted: %v", c.name, err, c.ok)
		}
	}
}

// The vectors were computed with Python's hmac and hashlib from the description in doc.go.
func TestProofVector(t *testing.T) {
	dialler, listener := core.ID{1}, core.ID{2}
	binding := PlainBinding(core.Hash{3}, core.Hash{4})
	for side, want := range map[string]string{
		SideDial:   "04e02a11fb26e95224dc371b794b6ee63ad26f898666672ce9939f043bbc7b34",
		SideListen: "d4204ec9c1dd2ed2d6b64a6c11d32233eeaa3d481261af083fdfb6f353c5098d",
	} {
		if got := hex.EncodeToString(Proof([]byte("token"), side, binding, dialler, listener)); got != want {
			t.Errorf("proof of %q = %s; want %s", side, got, want)
		}
	}
	good := Proof([]byte("token"), SideDial, binding, dialler, listener)
	for name, ok := range map[string]bool{
		"the same":        CheckProof(good, []byte("token"), SideDial, binding, dialler, listener),
		"!another token":  CheckProof(good, []byte("Token"), SideDial, binding, dialler, listener),
		"!the other side": CheckProof(good, []byte("token"), SideListen, binding, dialler, listener),
		"!other nonces": CheckProof(good, []byte("token"), SideDial, PlainBinding(core.Hash{3}, core.Hash{5}),
			dialler, listener),
		"!turned around": CheckProof(good, []byte("token"), SideDial, binding, listener, dialler),
		"!no token at all": CheckProof(Proof(nil, SideDial, binding, dialler, listener), nil, SideDial, binding,
			dialler, listener),
		"!no proof": CheckProof(nil, []byte("token"), SideDial, binding, dialler, listener),
	} {
		if ok == strings.HasPrefix(name, "!") {
			t.Errorf("%s: accepted = %v", name, ok)
		}
	}
}

// BenchmarkDecode reads a small message of every transfer, and the largest of every segment.
func BenchmarkDecode(b *testing.B) {
	task := StorageTask{Task: core.TaskID{1}, Alias: "mzxw6", Version: 1, License: []byte("licence")}
	for i := range core.SegmentRuns {
		task.Files = append(task.Files, core.File{Name: "mzxw6.1.0", Type: core.TypeFile, Order: i,
			Hash: core.Hash{byte(i)}, Size: 4 << 20})
	}
	apply := StorageApply{Flow: 1, Task: core.TaskID{1}, Filename: "mzxw6.1.0", Size: 9, Rate: 9,
		Runs: []core.Range{{Start: 0, Length: 2}, {Start: 5, Length: 1}}}
	for _, m := range []Message{apply, task} {
		data, err := Encode(m)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(m.Type(), func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Decode(data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
