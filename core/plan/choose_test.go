// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"math"
	"slices"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"pgregory.net/rapid"
)

func TestChoose(t *testing.T) {
	idle := func(r Receiver) Receiver { // nothing limits it, and it has something already
		if r.Free == 0 {
			r.Free, r.Nominal = 100, 100
		}
		return r
	}
	for _, c := range []struct {
		name          string
		stage         Stage
		free, nominal core.Rate
		receivers     []Receiver
		want          int
	}{
		{"nobody wants anything", Filling, 100, 100, nil, -1},
		{"the uplink is given away", Filling, 5, 100, []Receiver{{Crit: 1}}, -1},
		{"who needs longest comes first", Filling, 100, 100, []Receiver{{Crit: 1}, {Crit: 3}, {Crit: 2}}, 1},
		{"a busy one is passed over", Filling, 100, 100, []Receiver{{Crit: 9, Nominal: 100, Free: 19}, {Crit: 1}}, 1},
		{"a fifth is enough", Filling, 100, 100, []Receiver{{Crit: 9, Nominal: 100, Free: 20}, {Crit: 1}}, 0},
		{"no overtaking: it waits for the wide one", Filling, 10, 100,
			[]Receiver{{Crit: 9, Nominal: 100, Free: 100}, {Crit: 1, Nominal: 20, Free: 20}}, -1},
		{"it waits for most of a fair part", Filling, 10, 100, []Receiver{{Crit: 9, Fair: 25}}, -1},
		{"most of a fair part is enough", Filling, 18, 100, []Receiver{{Crit: 9, Fair: 25}}, 0},
		{"an uplink without a limit", Filling, 1000, 0, []Receiver{{Crit: 1}}, 0},
		{"a source goes by first copies, not by need", Spreading, 100, 100,
			[]Receiver{{Crit: 9, First: 1}, {Crit: 1, First: 2}}, 1},
		{"D'Hondt counts what was given", Spreading, 100, 100,
			[]Receiver{{First: 300, Given: 99}, {First: 200, Given: 49}}, 1},
		{"the empty-handed come first, the nearest before others", Spreading, 100, 100,
			[]Receiver{{First: 9}, {Empty: true, Near: 2}, {Empty: true, Near: 1}}, 2},
		{"shards: nobody can do anything with a first copy", Spreading, 100, 100, []Receiver{{Crit: 1}, {Crit: 3}}, 1},
		{"beyond a trunk all need as long: who can pass on most", Filling, 100, 100,
			[]Receiver{{Crit: 3, First: 5}, {Crit: 3, First: 8}}, 1},
	} {
		for i := range c.receivers {
			c.receivers[i] = idle(c.receivers[i])
		}
		if got := Choose(c.stage, c.free, c.nominal, c.receivers); got != c.want {
			t.Errorf("%s: chose %d, want %d", c.name, got, c.want)
		}
	}
}

// TestFirstCopiesAreProportional is what D'Hondt's rule is for: whatever the weights, nobody is more than a run for
// each receiver from its share.
func TestFirstCopiesAreProportional(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const runs, size = 500, 1000.0
		weights := rapid.SliceOfN(rapid.Float64Range(1e5, 1e7), 2, 8).Draw(t, "weights")
		receivers := make([]Receiver, len(weights))
		sum := 0.0
		for i, w := range weights {
			receivers[i] = Receiver{Free: 1, Nominal: 1, First: w}
			sum += w
		}
		for range runs {
			receivers[Choose(Spreading, 1, 1, receivers)].Given += size
		}
		for i, w := range weights {
			share := w / sum * runs
			if got := receivers[i].Given / size; math.Abs(got-share) > float64(len(weights)) {
				t.Fatalf("receiver %d of %v got %v runs, its share is %.1f", i, weights, got, share)
			}
		}
	})
}

func TestWeightsAndParts(t *testing.T) {
	got := FirstWeights([]core.Rate{105, 0, 1050}, []core.Size{1000, 1000, 10}, 3, 5)
	if want := []float64{500, 2000, 20}; !slices.EqualFunc(got, want,
		func(a, b float64) bool { return math.Abs(a-b) < 1e-6 }) {
		t.Errorf("first weights %v, want %v", got, want)
	}
	share, given := []float64{600, 300, 0}, []float64{0, 0, 0}
	var order []int
	for range 6 {
		c := ChoosePart(share, given, []bool{true, true, false})
		order = append(order, c)
		given[c] += 100
	}
	if want := []int{0, 1, 0, 0, 1, 0}; !slices.Equal(order, want) {
		t.Errorf("parts in the order %v, want %v", order, want)
	}
	if c := ChoosePart(share, given, []bool{false, false, false}); c != -1 {
		t.Errorf("of nothing it chose part %d", c)
	}
	if crit := Crit(100, 10, 900, 30); crit != 30 {
		t.Errorf("crit across a trunk %v, want 30", crit)
	}
}
