// SPDX-License-Identifier: Apache-2.0

package input

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/bkp-tool/bkp/core"
)

// What thin_delta 0.9.0 printed of two devices, in both of its forms: blocks of 64 KiB.
func TestWhatThinDeltaPrints(t *testing.T) {
	const block = 64 << 10
	want := []core.Range{{Start: 10 * block, Length: 5 * block}, {Start: 80 * block, Length: block},
		{Start: 81 * block, Length: 19 * block}, {Start: 200 * block, Length: 24 * block}}
	for _, name := range []string{"testdata/thin_delta.xml", "testdata/thin_delta-verbose.xml"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ParseRanges(strings.NewReader(string(text))); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, %v; want %v", name, got, err, want)
		}
		for _, end := range []string{"</superblock>", "</diff>"} {
			cut, _, _ := strings.Cut(string(text), end)
			if got, err := ParseRanges(strings.NewReader(cut)); err == nil {
				t.Errorf("%s, cut before %s: %v", name, end, got)
			}
		}
	}
}

func TestWhatThinDeltaDoesNotPrint(t *testing.T) {
	of := func(inner string) string {
		return `<superblock data_block_size="128"><diff>` + inner + `</diff></superblock>`
	}
	for text, want := range map[string]string{
		`<superblock data_block_size="128"></superblock>`:                           "0 diffs",
		`<superblock data_block_size="128"><diff/><diff/></superblock>`:             "2 diffs",
		`<superblock data_block_size="0"></superblock>`:                             "blocks of 0 sectors",
		`<superblock></superblock>`:                                                 "want data_block_size",
		`<diff><different begin="0" length="1"/></diff>`:                            "no volume is as large",
		of(`<device dev_id="1"/>`):                                                  "<device>: no word of thin_delta",
		of(`<different begin="0"/>`):                                                "want length",
		of(`<different begin="-1" length="1"/>`):                                    "no volume is as large",
		of(`<different begin="9223372036854775807" length="1"/>`):                   "no volume is as large",
		of(`<different begin="1" length="x"/>`):                                     "invalid syntax",
		of(`<same begin="1"/>`):                                                     "want length",
		`<superblock data_block_size="128"><diff><different begin="0" length="1"/>`: "EOF",
	} {
		if got, err := ParseRanges(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v; want %q", text, got, err, want)
		}
	}
}
