// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
)

// Estimate is what a link, or a node's side, was seen to carry: its last samples. A sample tells either what the link
// carries, since nothing else held the transfer back, or the least that it carries. The zero Estimate has seen nothing.
type Estimate struct {
	samples []Sample // the oldest first
	mean    float64  // exponentially weighted, of the same samples
}

// Sample is a rate in wire bytes per second, and when it was seen.
type Sample struct {
	At   int64     `json:"at"` // Unix seconds
	Rate core.Rate `json:"rate"`
}

const (
	// window is how many samples an estimate keeps, and enough how many it takes to say something.
	window = 32
	enough = 8
	// MaxAge is how long a sample counts.
	MaxAge = 14 * 24 * time.Hour
	// newest is the weight of the newest sample in the mean.
	newest = 0.2
	// recovered is how many times the lower quartile each of the last samples is where a link carries more than it did
	// before.
	recovered = 1.25
)

// Carried notes what the link carried when nothing but the link held the transfer back.
func (e *Estimate) Carried(s Sample) {
	e.samples = slices.DeleteFunc(e.samples, func(old Sample) bool { return old.At < s.At-int64(MaxAge/time.Second) })
	if len(e.samples) >= window {
		e.samples = slices.Delete(e.samples, 0, len(e.samples)-window+1)
	}
	if len(e.samples) == 0 {
		e.mean = float64(s.Rate)
	}
	e.samples = append(e.samples, s)
	e.mean += newest * (float64(s.Rate) - e.mean)
	if last := e.samples[max(0, len(e.samples)-enough):]; !slices.ContainsFunc(last, func(s Sample) bool {
		return float64(s.Rate) < recovered*float64(e.quartile())
	}) {
		e.samples = slices.Clone(last) // the link is another than it was
	}
}

// AtLeast notes that the link carried so much and could have carried more. That is news only where the estimate says
// less.
func (e *Estimate) AtLeast(s Sample) {
	if len(e.samples) > 0 && (s.Rate > e.quartile() || float64(s.Rate) > e.mean) {
		e.Carried(s)
	}
}

// Low is the lower quartile of the samples, which a plan may count on; 0 while there are not enough.
func (e *Estimate) Low() core.Rate {
	if len(e.samples) < enough {
		return 0
	}
	return e.quartile()
}

func (e *Estimate) quartile() core.Rate {
	rates := make([]core.Rate, len(e.samples))
	for i, s := range e.samples {
		rates[i] = s.Rate
	}
	slices.Sort(rates)
	return rates[len(rates)/4]
}

// Mean is the exponentially weighted mean of the samples, in which newer ones count more; 0 without any.
func (e *Estimate) Mean() core.Rate { return core.Rate(e.mean) }

// Samples lists the samples, the oldest first.
func (e *Estimate) Samples() []Sample { return slices.Clone(e.samples) }

// recall is the estimate that those samples make. Samples that cannot be are left out.
func recall(samples []Sample) (e Estimate) {
	for _, s := range samples[max(0, len(samples)-window):] {
		if s.Rate > 0 {
			e.Carried(s)
		}
	}
	return e
}
