// SPDX-License-Identifier: Apache-2.0

package fluid

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

// TestSimplexClosesTheGap: the answer keeps every limit, its duals price every column at no less than its gain, and
// both come to the same sum, which proves that nothing is better. Half of the limits are 0, so that most steps go
// nowhere.
func TestSimplexClosesTheGap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := &program{}
		rows := rapid.IntRange(1, 12).Draw(t, "rows")
		for range rows {
			p.row(rapid.SampledFrom([]float64{0, 0, 1, 1, 3, 1e-2, 1e3}).Draw(t, "limit"))
		}
		bounded := true
		for range rapid.IntRange(1, 3).Draw(t, "rounds") {
			for range rapid.IntRange(1, 10).Draw(t, "columns") {
				var terms []term
				for r := range rows {
					if v := rapid.SampledFrom([]float64{0, 0, 0, 1, 1, 2, -1, 1e-2}).Draw(t, "value"); v != 0 {
						terms = append(terms, term{r, v})
					}
				}
				p.column(rapid.SampledFrom([]float64{0, 1, 1, 2}).Draw(t, "gain"), terms)
			}
			bounded = p.maximise() && bounded
		}
		if !bounded {
			return
		}
		used, moved, gain := make([]float64, rows), make([]float64, rows), 0.0
		for col, terms := range p.cols {
			if p.value(col) < 0 || p.reduced(col) > 1e-7 {
				t.Fatalf("column %d has %v, one more gains %v", col, p.value(col), p.reduced(col))
			}
			gain += p.gain[col] * p.value(col)
			for _, c := range terms {
				used[c.row] += c.value * p.value(col)
				moved[c.row] += math.Abs(c.value) * p.value(col)
			}
		}
		worth := 0.0
		for r, limit := range p.limit {
			if used[r] > limit+1e-7*(1+moved[r]) || p.y[r] < -1e-7 {
				t.Fatalf("row %d carries %v of %v at %v", r, used[r], limit, p.y[r])
			}
			worth += p.y[r] * limit
		}
		if math.Abs(gain-worth) > 1e-6*(1+gain) {
			t.Fatalf("gains %v, the duals say %v", gain, worth)
		}
	})
}
