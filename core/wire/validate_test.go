// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/bkp-tool/bkp/core"
)

// changed is the sample of M's type with one thing different.
func changed[M bounded](t *testing.T, change func(*M)) bounded {
	t.Helper()
	for _, m := range samples() {
		if m, ok := m.(M); ok {
			change(&m)
			return m
		}
	}
	t.Fatalf("no sample of %T", *new(M))
	return nil
}

// Both sides of every boundary: what is refused says the field, what is just inside passes.
func TestBounds(t *testing.T) {
	type c = []struct {
		name  string
		m     bounded
		words string // "" is accepted
	}
	full := make([]core.File, core.SegmentRuns)
	for i := range full {
		full[i] = core.File{Name: "a.1.0", Type: core.TypeFile, Size: 1}
	}
	for _, c := range (c{
		{"29 rate 1", changed(t, func(m *StorageApply) { m.Rate = 1 }), ""},
		{"29 rate 0", changed(t, func(m *StorageApply) { m.Rate = 0 }), "rate"},
		{"29 rate -1", changed(t, func(m *StorageApply) { m.Rate = -1 }), "rate"},
		{"29 rate at the limit", changed(t, func(m *StorageApply) { m.Rate = maxAmount }), ""},
		{"29 rate over it", changed(t, func(m *StorageApply) { m.Rate = maxAmount + 1 }), "rate"},
		{"29 granted rate 0", changed(t, func(m *StorageAgree) { m.Rate = 0 }), "rate"},
		{"29 rate 0 to fetch", changed(t, func(m *GainApply) { m.Rate = 0 }), "rate"},
		{"29 rate -1 granted to fetch", changed(t, func(m *GainAgree) { m.Rate = -1 }), "rate"},
		{"lease 0", changed(t, func(m *StorageAgree) { m.Lease = 0 }), "lease"},
		{"negative bandwidth", changed(t, func(m *BandwidthCoordination) { m.Size = -1 }), "size"},
		{"no figure", changed(t, func(m *BandwidthCoordination) { m.Size = 0 }), ""},
		{"21 size 2^63-1", changed(t, func(m *StorageApply) { m.Size = math.MaxInt64 }), "size"},
		{"negative size", changed(t, func(m *StorageApply) { m.Size = -1 }), "size"},
		{"21 run of 2^63-1 bytes", changed(t, func(m *StorageTask) { m.Files[0].Size = math.MaxInt64 }), "file: size"},
		{"empty run", changed(t, func(m *StorageTask) { m.Files[0].Size = 0 }), "file: size"},
		{"run with a path for a name", changed(t, func(m *StorageTask) { m.Files[0].Name = "../x" }), "file: name"},
		{"unknown file type", changed(t, func(m *StorageTask) { m.Files[0].Type = "link" }),
			"neither file nor directory"},
		{"33 alias ../x", changed(t, func(m *StorageTask) { m.Alias = "../x" }), "alias"},
		{"alias .hidden", changed(t, func(m *StorageTask) { m.Alias = ".hidden" }), "alias"},
		{"no alias", changed(t, func(m *StorageTask) { m.Alias = "" }), "alias"},
		{"version 0", changed(t, func(m *StorageTask) { m.Version = 0 }), "version"},
		{"no runs", changed(t, func(m *StorageTask) { m.Files, m.Reused, m.Locations = nil, nil, nil }), "no runs"},
		{"a full segment", changed(t, func(m *StorageTask) { m.Files, m.Reused = full, nil }), ""},
		{"one run more", changed(t, func(m *StorageTask) { m.Files = full }), "entries"},
		{"span beyond the runs", changed(t, func(m *StorageTask) { m.Locations[0].Length = 4 }), "backup_location"},
		{"span that overflows", changed(t, func(m *StorageTask) {
			m.Locations[0].Start,
				m.Locations[0].Length = math.MaxInt, 2
		}), "backup_location"},
		{"span of nothing", changed(t, func(m *StorageTask) { m.Locations[0].Length = 0 }), "backup_location"},
		{"ranges that touch", changed(t, func(m *StorageApply) {
			m.Runs = []core.Range{{Start: 0, Length: 2},
				{Start: 2, Length: 1}}
		}), ""},
		{"ranges that overlap", changed(t, func(m *StorageApply) {
			m.Runs = []core.Range{{Start: 0, Length: 2},
				{Start: 1, Length: 1}}
		}), "overlaps"},
		{"ranges backwards", changed(t, func(m *StorageApply) {
			m.Runs = []core.Range{{Start: 5, Length: 1},
				{Start: 1, Length: 1}}
		}), "overlaps"},
		{"range to the segment's end", changed(t, func(m *StorageApply) {
			m.Runs = []core.Range{{Start: 4095,
				Length: 1}}
		}), ""},
		{"range beyond it", changed(t, func(m *StorageApply) { m.Runs = []core.Range{{Start: 4095, Length: 2}} }),
			"leaves the segment"},
		{"range that overflows", changed(t, func(m *StorageApply) {
			m.Runs = []core.Range{{Start: math.MaxInt,
				Length: math.MaxInt}}
		}), "leaves the segment"},
		{"negative range", changed(t, func(m *StorageApply) { m.Runs = []core.Range{{Start: -1, Length: 2}} }), "runs"},
		{"chunk of 0 bytes", changed(t, func(m *TransmissionBegin) { m.Chunks[0].Size = 0 }), "chunk 0"},
		{"largest chunk", changed(t, func(m *TransmissionBegin) { m.Chunks = []core.Chunk{{Size: MaxStored}} }), ""},
		{"larger chunk", changed(t, func(m *TransmissionBegin) { m.Chunks = []core.Chunk{{Size: MaxStored + 1}} }),
			"chunk 0"},
		{"run at its limit", changed(t, func(m *TransmissionBegin) {
			m.Chunks = []core.Chunk{{Size: core.MaxRun - 1},
				{Size: 1}}
		}), ""},
		{"run over it", changed(t, func(m *TransmissionBegin) {
			m.Chunks = []core.Chunk{{Size: core.MaxRun},
				{Size: 1}}
		}), "a run of"},
		{"44 run of too many chunks", changed(t, func(m *TransmissionBegin) {
			m.Chunks = make([]core.Chunk,
				MaxRunChunks+1)
		}), "entries"},
		{"run without chunks", changed(t, func(m *TransmissionBegin) { m.Chunks = nil }), "chunks is empty"},
		{"COMPLETE of nothing", changed(t, func(m *TransmissionComplete) { m.Received = false }),
			"neither received nor"},
		{"COMPLETE of both", changed(t, func(m *TransmissionComplete) { m.Receipt = []byte("x") }), "or both"},
		{"refusal without a code", changed(t, func(m *TaskRefuse) { m.Code = 0 }), "code is missing"},
		{"negative code", changed(t, func(m *TransmissionAbort) { m.Code = -1 }), "code"},
		{"a book for a reason", changed(t, func(m *TaskRefuse) { m.Reason = strings.Repeat("x", maxText+1) }),
			"reason"},
		{"negative wait", changed(t, func(m *StorageRefuse) { m.RetryS = -1 }), "retry_s"},
		{"endless lease", changed(t, func(m *StorageAgree) { m.ExpiresS = math.Inf(1) }), "expires_s"},
		{"prediction that is no number", changed(t, func(m *TaskAgree) { m.PredictedS = math.NaN() }), "predicted_s"},
		{"negative page", changed(t, func(m *StateQuery) { m.After = -1 }), "after"},
		{"endless page", changed(t, func(m *StateQuery) { m.Limit = maxList + 1 }), "limit"},
		{"task of zeros", changed(t, func(m *TaskAgree) { m.Task = core.TaskID{} }), "task"},
		{"short key", changed(t, func(m *Hello) { m.Key = m.Key[:31] }), "key"},
		{"unknown channel", changed(t, func(m *Hello) { m.Channel = "side" }), "channel"},
		{"no epoch", changed(t, func(m *Hello) { m.Epoch = 0 }), "epoch"},
		{"no nonce", changed(t, func(m *Hello) { m.Nonce = core.Hash{} }), "nonce"},
		{"time before 1970", changed(t, func(m *Hello) { m.Time = -1 }), "time"},
		{"nameless label", changed(t, func(m *Hello) { m.Labels = map[string]string{"": "x"} }), "label"},
		{"short proof", changed(t, func(m *Auth) { m.Proof = m.Proof[:31] }), "proof"},
		{"no proof", changed(t, func(m *Auth) { m.Proof = nil }), ""},
		{"short signature", changed(t, func(m *Auth) { m.Signature = m.Signature[:63] }), "signature"},
		{"piece at the record's end", changed(t, func(m *RefPut) { m.Size, m.Offset = 10, 4 }), ""},
		{"piece beyond it", changed(t, func(m *RefPut) { m.Size, m.Offset = 10, 5 }), "leaves its record"},
		{"piece before it", changed(t, func(m *RefPut) { m.Offset = -1 }), "leaves its record"},
		{"ref and record at once", changed(t, func(m *RefPut) { m.Ref = []byte("x") }), "or both"},
	}) {
		err := c.m.Validate()
		switch {
		case c.words == "" && err != nil:
			t.Errorf("%s: %v; want it accepted", c.name, err)
		case c.words != "" && (err == nil || !strings.Contains(err.Error(), c.words)):
			t.Errorf("%s: %v; want an error that says %q", c.name, err, c.words)
		}
	}
}

// A number that is far below zero or near the top is never fine anywhere: whatever field of whatever message holds it.
func TestNoWildNumbers(t *testing.T) {
	// unsigned, the asker's own
	free := map[string]bool{"Query": true, "Flow": true, "Lease": true, "Transfer": true, "Epoch": true}
	var walk func(path string, v reflect.Value, check func(string))
	walk = func(path string, v reflect.Value, check func(string)) {
		switch v.Kind() {
		case reflect.Struct:
			for i := range v.NumField() {
				walk(path+"."+v.Type().Field(i).Name, v.Field(i), check)
			}
		case reflect.Slice:
			if v.Type().Elem().Kind() != reflect.Uint8 && v.Len() > 0 {
				walk(path+"[0]", v.Index(0), check)
			}
		case reflect.Int, reflect.Int64:
			old := v.Int()
			for _, wild := range []int64{-1, math.MinInt64, math.MaxInt64} {
				v.SetInt(wild)
				check(path)
			}
			v.SetInt(old)
		case reflect.Float64:
			old := v.Float()
			for _, wild := range []float64{-1, math.NaN(), math.Inf(1)} {
				v.SetFloat(wild)
				check(path)
			}
			v.SetFloat(old)
		case reflect.Uint64:
			if name := path[strings.LastIndexByte(path, '.')+1:]; !free[name] {
				t.Errorf("%s: is it the asker's own number?", path)
			}
		}
	}
	for _, m := range slices.Concat(samples(), spare(), grown()) {
		v := reflect.New(reflect.TypeOf(m)).Elem()
		v.Set(reflect.ValueOf(m))
		walk(m.Type(), v, func(path string) {
			if v.Interface().(bounded).Validate() == nil {
				t.Errorf("%s: a wild number is accepted", path)
			}
		})
	}
}
