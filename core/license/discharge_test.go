// SPDX-License-Identifier: Apache-2.0

package license_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/license"
)

func aDischarge() core.Discharge {
	return core.Discharge{
		Why: core.WhyLost, Owner: core.ID{1}, Task: core.TaskID{1}, Segment: 2,
		Runs: []core.Range{{Start: 3, Length: 2}}, Note: "a disk died",
		Time: 1_800_000_000,
	}
}

func TestDischarge(t *testing.T) {
	envelope, err := license.SignDischarge(aDischarge(), target)
	if err != nil {
		t.Fatal(err)
	}
	d, err := license.OpenDischarge(envelope)
	if err != nil || d.Node != target.ID() || d.Why != core.WhyLost || d.Runs[0] != (core.Range{Start: 3, Length: 2}) {
		t.Errorf("%+v, %v", d, err)
	}
	for at := range envelope {
		bad := bytes.Clone(envelope)
		bad[at] ^= 1
		if got, err := license.OpenDischarge(bad); err == nil && got.Node != target.ID() {
			t.Fatalf("with byte %d flipped it is the word of %s", at, got.Node)
		}
	}
}

func TestDischargeRefuses(t *testing.T) {
	for words, spoil := range map[string]func(d *core.Discharge){
		"why is":               func(d *core.Discharge) { d.Why = "bored" },
		"owner or task":        func(d *core.Discharge) { d.Owner = core.ID{} },
		"segment is negative":  func(d *core.Discharge) { d.Segment = -1 },
		"note has 1001 bytes":  func(d *core.Discharge) { d.Note = strings.Repeat("x", 1001) },
		"time 0 is not a date": func(d *core.Discharge) { d.Time = 0 },
		"empty, out of order": func(d *core.Discharge) {
			d.Runs = []core.Range{{Start: 3, Length: 1},
				{Start: 2, Length: 1}}
		},
		"past run 4095": func(d *core.Discharge) { d.Runs = []core.Range{{Start: 4095, Length: 2}} },
	} {
		d := aDischarge()
		spoil(&d)
		if _, err := license.SignDischarge(d, target); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v", words, err)
		}
	}
}

func FuzzOpenDischarge(f *testing.F) {
	envelope, err := license.SignDischarge(aDischarge(), target)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(envelope)
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, envelope []byte) {
		if d, err := license.OpenDischarge(envelope); err == nil && d.Node.IsZero() {
			t.Error("it is nobody's word")
		}
	})
}
