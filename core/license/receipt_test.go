// SPDX-License-Identifier: Apache-2.0

package license_test

import (
	"encoding/base64"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/license"
)

// word is a target's second receipt for the licence of valid.
func word() core.Receipt {
	return core.Receipt{
		License: core.LicenseID{1}, Task: core.TaskID{2}, Segment: 3,
		Runs: []core.Range{{Start: 0, Length: 2}, {Start: 5, Length: 1}}, Bytes: 900,
		RetainUntil: noon.AddDate(1, 0, 0).Unix(), Previous: core.Hash{8}, Time: noon.Unix(),
	}
}

func TestSignOpenReceipt(t *testing.T) {
	envelope, err := license.SignReceipt(word(), target)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "receipt.json", envelope)
	golden(t, "receipt.hash", []byte(license.ReceiptHash(envelope).String()+"\n"))
	got, err := license.OpenReceipt(envelope)
	want := word()
	want.V, want.Target, want.Key = 1, target.ID(), target.Public()
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\n got %+v\nwant %+v", err, got, want)
	}
}

func TestSignReceiptRefuses(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*core.Receipt)
		rule   string
	}{
		{"no licence", func(r *core.Receipt) { r.License = core.LicenseID{} }, license.RuleField},
		{"no task", func(r *core.Receipt) { r.Task = core.TaskID{} }, license.RuleField},
		{"no runs", func(r *core.Receipt) { r.Runs = nil }, license.RuleField},
		{"18 negative bytes", func(r *core.Receipt) { r.Bytes = -1 }, license.RuleBounds},
		{"18 no bytes", func(r *core.Receipt) { r.Bytes = 0 }, ""},
		{"18 negative segment", func(r *core.Receipt) { r.Segment = -1 }, license.RuleBounds},
		{"no time", func(r *core.Receipt) { r.Time = 0 }, license.RuleBounds},
		{"nothing to retain", func(r *core.Receipt) { r.RetainUntil = 0 }, license.RuleBounds},
		{"an empty range", func(r *core.Receipt) { r.Runs = []core.Range{{Start: 1}} }, license.RuleBounds},
		{"a negative range", func(r *core.Receipt) { r.Runs = []core.Range{{Start: -1, Length: 1}} },
			license.RuleBounds},
		{"ranges that overlap", func(r *core.Receipt) {
			r.Runs = []core.Range{{Start: 0, Length: 2},
				{Start: 1, Length: 1}}
		}, license.RuleBounds},
		{"ranges that touch", func(r *core.Receipt) {
			r.Runs = []core.Range{{Start: 0, Length: 2},
				{Start: 2, Length: 1}}
		}, ""},
		{"the last run of a segment", func(r *core.Receipt) { r.Runs = []core.Range{{Start: 4095, Length: 1}} }, ""},
		{"one run past it", func(r *core.Receipt) { r.Runs = []core.Range{{Start: 4095, Length: 2}} },
			license.RuleBounds},
		{"a range that overflows", func(r *core.Receipt) { r.Runs = []core.Range{{Start: 1, Length: 1<<63 - 1}} },
			license.RuleBounds},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := word()
			tc.change(&r)
			_, err := license.SignReceipt(r, target)
			wantRule(t, err, tc.rule)
		})
	}
}

func TestOpenReceiptRefuses(t *testing.T) {
	good := string(read(t, "receipt.json"))
	_, payload, _ := strings.Cut(good, `"payload":"`)
	payload, _, _ = strings.Cut(payload, `"`)
	raw, err := base64.StdEncoding.DecodeString(payload)
	if err != nil {
		t.Fatal(err)
	}
	envelope := func(old, new string) string {
		if !strings.Contains(string(raw), old) {
			t.Fatalf("%q is not in %s", old, raw)
		}
		e, err := target.Envelope(license.ReceiptType, []byte(strings.Replace(string(raw), old, new, 1)))
		if err != nil {
			t.Fatal(err)
		}
		return string(e)
	}
	for _, tc := range []struct{ name, envelope, rule string }{
		{"as signed", good, ""},
		{"2 one bit of the signature flipped", flipSignature(good), license.RuleSignature},
		{"14 a licence", string(sign(t, valid(), owner)), license.RuleType},
		{"for another target", envelope(target.ID().String(), other.ID().String()), license.RuleIssuer},
		{"15 duplicate key", envelope(`"v":1`, `"v":1,"v":1`), license.RuleDuplicate},
		{"16 RUNS for runs", envelope(`"runs"`, `"RUNS"`), license.RuleName},
		{"16 START for start", envelope(`"start"`, `"START"`), license.RuleName},
		{"17 trailing JSON", envelope(string(raw), string(raw)+"{}"), license.RuleTrailing},
		{"18 overflowing bytes", envelope(`"bytes":900`, `"bytes":9223372036854775808`), license.RuleBounds},
		{"another version", envelope(`"v":1`, `"v":2`), license.RuleVersion},
		{"spelled with a blank", strings.Replace(good, ",", ", ", 1), license.RuleEnvelope},
		{"spelled with a newline in its base64", strings.Replace(good, `"payload":"`, `"payload":"\n`, 1),
			license.RuleEnvelope},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := license.OpenReceipt([]byte(tc.envelope))
			wantRule(t, err, tc.rule)
		})
	}
}

func FuzzOpenReceipt(f *testing.F) {
	f.Add([]byte(`{"v":1,"license":"01000000000000000000000000000000","runs":[{"start":0,"length":1}],"bytes":1}`))
	var good struct{ Payload []byte }
	if err := json.Unmarshal(read(f, "receipt.json"), &good); err != nil || len(good.Payload) == 0 {
		f.Fatal(err)
	}
	f.Add(good.Payload)
	f.Fuzz(func(t *testing.T, payload []byte) {
		envelope, err := target.Envelope(license.ReceiptType, payload)
		if err != nil {
			t.Skip()
		}
		r, err := license.OpenReceipt(envelope)
		if err != nil {
			return
		}
		if _, err := license.SignReceipt(r, target); err != nil || r.Target != target.ID() {
			t.Errorf("opened, but cannot be signed: %v", err)
		}
	})
}
