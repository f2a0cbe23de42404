// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"testing"

	"github.com/bkp-tool/bkp/core"
	"pgregory.net/rapid"
)

func TestFair(t *testing.T) {
	need := func(seconds ...float64) (all []Receiver) {
		for _, s := range seconds {
			all = append(all, Receiver{Crit: s})
		}
		return all
	}
	for _, c := range []struct {
		name            string
		stage           Stage
		own             Receiver
		served, waiting []Receiver
		want            core.Rate
	}{
		{"alone it has all", Filling, Receiver{Crit: 1}, nil, nil, 120},
		{"by need", Filling, Receiver{Crit: 1}, need(2), need(1), 30},
		{"a source goes by what comes of it", Spreading, Receiver{First: 3, Crit: 1}, []Receiver{{First: 1, Crit: 9}},
			nil, 90},
		{"who needs little counts as half of the mean", Filling, Receiver{}, need(1), nil, 24}, // a quarter beside 1
		{"of what the others leave that cannot take much", Filling, Receiver{Crit: 3},
			[]Receiver{{Crit: 1}, {Crit: 900, Nominal: 20}}, nil, 75},
		{"who is served counts before who waits", Filling, Receiver{Crit: 1}, need(1, 1, 1), need(9, 9, 9), 30},
		{"of those that wait, whoever needs most", Filling, Receiver{Crit: 1}, need(1), need(1, 2, 2, 1), 20},
		{"what one cannot take the others have", Filling, Receiver{Crit: 1},
			[]Receiver{{Crit: 1, Nominal: 20}, {Crit: 1}}, nil, 50},
		{"no more than it can take", Filling, Receiver{Crit: 9, Nominal: 20}, need(1), nil, 20},
		{"nobody can do anything with it: alike", Spreading, Receiver{Crit: 9}, need(1, 1), nil, 40},
		{"its first run too, when it is alone", Filling, Receiver{Empty: true, Crit: 1}, nil, nil, 120},
		{"its first run is soon through", Filling, Receiver{Empty: true, Crit: 1}, need(1, 1, 1), nil, 60},
	} {
		if got := Fair(c.stage, 120, c.own, c.served, c.waiting); got < c.want-1 || got > c.want { // rounded down
			t.Errorf("%s: %d of 120, want %d", c.name, got, c.want)
		}
	}
}

// TestFairPartsAreTheWhole divides an uplink among those that are served: together they have all of it, unless they
// cannot take it.
func TestFairPartsAreTheWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const up = 1_000_000
		receivers := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Receiver {
			return Receiver{Crit: rapid.Float64Range(0, 100).Draw(t, "crit"),
				Nominal: core.Rate(rapid.SampledFrom([]int{0, 1, 1000, 300_000, 2_000_000}).Draw(t, "nominal"))}
		}), 1, Sideways).Draw(t, "receivers")
		var sum, most core.Rate
		for i, own := range receivers {
			others := append(append([]Receiver{}, receivers[:i]...), receivers[i+1:]...)
			part := Fair(Filling, up, own, others, nil)
			if own.Nominal > 0 && part > own.Nominal || part <= 0 {
				t.Fatalf("%d of %d for one that takes %d", part, up, own.Nominal)
			}
			sum, most = sum+part, most+Least(up, own.Nominal)
		}
		if want := min(up, most); sum > want || sum < want-core.Rate(len(receivers)) {
			t.Fatalf("%d of %d, want %d", sum, up, want)
		}
	})
}
