// SPDX-License-Identifier: Apache-2.0

package input

import (
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/bkp-tool/bkp/core"
)

func TestRangesThatChanged(t *testing.T) {
	two := []core.Range{{Start: 0, Length: 4096}, {Start: 8192, Length: 1}}
	for text, want := range map[string][]core.Range{
		"": nil, " \n": nil, "# nothing\n": nil, "[]": nil,
		"0 4096\n8192 1\n":          two,
		"\n 0\t4096\r\n#\n\n8192 1": two,
		` [{"offset":0,"length":4096},` + "\n" + `{"offset":8192,"length":1,"exists":"true"}]` + "\n": two,
	} {
		if got, err := ParseRanges(strings.NewReader(text)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %v, %v; want %v", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"0":                                  "line 1: want OFFSET LENGTH",
		"0 1\n1 2 3":                         "line 2: want OFFSET LENGTH",
		"0 4K":                               "line 1",
		"-1 5":                               "neither may be less than 0",
		"1 -5":                               "neither may be less than 0",
		"9223372036854775807 1":              "no file is as large",
		"99999999999999999999 1":             "out of range",
		"{}":                                 "line 1",
		`[{"offset":0}]`:                     "range 0: want offset and length",
		`[{"start":0,"length":1,"depth":0}]`: "unknown field",
		`[{"offset":0,"length":1}`:           "EOF",
		`[{"offset":0,"length":1}] x`:        "something follows",
		`[{"offset":1e30,"length":1}]`:       "range 0",
	} {
		if got, err := ParseRanges(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v; want %q", text, got, err, want)
		}
	}
}

func FuzzParseRanges(f *testing.F) {
	for _, seed := range []string{"0 4096\n", `[{"offset":0,"length":4096}]`, "#", "[", "1 9223372036854775806",
		`<superblock data_block_size="128"><diff><right_only begin="1" length="2"/></diff></superblock>`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		list, _ := ParseRanges(strings.NewReader(text))
		for _, e := range list {
			if e.Start < 0 || e.Length < 0 || e.Start > math.MaxInt-e.Length {
				t.Fatalf("%+v", e)
			}
		}
	})
}
