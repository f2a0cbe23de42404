// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"reflect"
	"strings"
	"testing"

	"github.com/bkp-tool/bkp/core"
)

// What was recorded is read back; what does not fit together, or is nothing, is refused.
func TestAsked(t *testing.T) {
	nodes := core.NodeColumns{ID: []string{"a", "b"}, Free: []core.Size{1, 2}, Delay: []float64{1, 2}}
	asked := []core.Asked{
		{Strategy: "seed", Batch: core.Batch{Nodes: nodes}, Scores: core.Scores{PlaceCost: []float64{1, 2}}},
		{Strategy: "seed", Batch: core.Batch{Nodes: nodes}},
	}
	text, err := EncodeAsked(asked)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := DecodeAsked(text); err != nil || !reflect.DeepEqual(got, asked) {
		t.Errorf("%+v, %v", got, err)
	}
	for bad, words := range map[string]string{
		"":                            "question 1: EOF",
		string(text) + "{\"what\":1}": "question 3: json: unknown field",
		string(text[:len(text)-5]):    "question 2: unexpected EOF",
		strings.Replace(string(text), "[1,2]}", "[1,2,3]}", 1): "question 1: ",
	} {
		if _, err := DecodeAsked([]byte(bad)); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%q: %v, want %s", bad, err, words)
		}
	}
}
