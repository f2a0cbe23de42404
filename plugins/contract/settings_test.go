// SPDX-License-Identifier: Apache-2.0

package contract_test

import (
	"math"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/plugins/contract"
)

func TestConfigIsHeldAgainstTheSettings(t *testing.T) {
	t.Parallel()
	settings := []core.Setting{{Key: "limit", Type: "number", About: "a limit"}, {Key: "count", Type: "integer"},
		{Key: "city", Type: "string"}, {Key: "strict", Type: "boolean"}, {Key: "hosts", Type: "array"}}
	for _, c := range []struct {
		config           contract.Config
		want, says, hint string
	}{
		{contract.Config{}, `{}`, "", ""},
		{contract.Config{"limit": int64(3), "count": int64(math.MaxInt64)}, `{"count":9223372036854775807,"limit":3}`, "", ""},
		{contract.Config{"limit": 2.5, "count": 4.0, "strict": true}, `{"count":4,"limit":2.5,"strict":true}`, "", ""},
		{contract.Config{"hosts": []any{"a"}, "city": "Bonn"}, `{"city":"Bonn","hosts":["a"]}`, "", ""},
		{contract.Config{"city": contract.Text("17"), "count": contract.Text("17"), "limit": contract.Text("1e3")},
			`{"city":"17","count":17,"limit":1000}`, "", ""},
		{contract.Config{"hosts": contract.Text(`["a"]`), "strict": contract.Text("false")},
			`{"hosts":["a"],"strict":false}`, "", ""},
		{contract.Config{"limt": 1}, "", `unknown setting "limt"`, "did you mean limit? it has limit, count, city, strict, hosts"},
		{contract.Config{"moon": 1}, "", `unknown setting "moon"`, "it has limit, count, city, strict, hosts"},
		{contract.Config{"limit": "3"}, "", "limit = 3: want a number (a limit)", ""},
		{contract.Config{"count": 1.5}, "", "count = 1.5: want an integer ()", ""},
		{contract.Config{"count": contract.Text("many")}, "", "count = many: want an integer ()", ""},
		{contract.Config{"limit": math.NaN()}, "", "limit = NaN: want a number (a limit)", ""},
	} {
		got, err := c.config.Encode(settings)
		switch {
		case err == nil && (c.says != "" || string(got) != c.want):
			t.Errorf("%v: %s, want %s%s", c.config, got, c.want, c.says)
		case err != nil && (err.Error() != c.says || core.HintOf(err) != c.hint):
			t.Errorf("%v: %v (%s), want %s (%s)", c.config, err, core.HintOf(err), c.says, c.hint)
		}
	}
	got, err := contract.Config{"a": contract.Text("1"), "b": contract.Text("x y"), "c": int64(2)}.Encode(nil)
	if want := `{"a":1,"b":"x y","c":2}`; err != nil || string(got) != want {
		t.Errorf("without a list of settings: %s %v, want %s", got, err, want)
	}
}

func TestNeeded(t *testing.T) {
	t.Parallel()
	b := core.Batch{Links: []core.BatchLink{{From: 0, To: 1}}, Nodes: core.NodeColumns{ID: []string{"a", "b"},
		Free: []core.Size{1, 2}, Delay: []float64{1, 2}, Numbers: map[string][]float64{"carbon": {3, 4}, "floor": {1, 1}}}}
	if got := contract.Needed(b, nil); got.Links != nil || got.Nodes.Free == nil || got.Nodes.Numbers["floor"] == nil {
		t.Errorf("names none: %+v", got)
	}
	got := contract.Needed(b, []string{"free", "numbers.carbon", "numbers.age", "links"})
	if n := got.Nodes; n.Free == nil || n.Delay != nil || len(n.Numbers) != 2 || n.Numbers["carbon"][1] != 4 ||
		len(n.Numbers["age"]) != 2 || len(got.Links) != 1 || len(n.ID) != 2 {
		t.Errorf("%+v", got)
	}
	if len(b.Nodes.Numbers) != 2 || b.Nodes.Delay == nil {
		t.Error("the question itself has changed")
	}
}
