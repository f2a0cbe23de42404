// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"cmp"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
)

// Sideways is among how many receivers a sender divides its uplink: few, so that a run is soon through, but more than
// one or two, since TCP begins small again on a way that was left for a moment.
const Sideways = 4

// TooMuch is how many times its fair part a lease may be where others wait: what is above that is given back.
const TooMuch = 1.1

// Fair is how much of a sender's uplink a receiver should have beside others that it serves, and beside those of the
// waiting that are due most, Sideways in all where so many want it: a part in proportion to what they can do with first
// copies while a source spreads them, and to how urgently they have to receive after that. Whoever weighs less than
// half of the mean counts as that, so that no run is on its way for long. None gets more than its Nominal: what that
// leaves is the others'. One that has nothing yet gets half of the uplink for its first run, unless it is alone.
func Fair(stage Stage, up core.Rate, own Receiver, served, waiting []Receiver) core.Rate {
	if own.Empty && len(served)+len(waiting) > 0 {
		return Least(up/2, own.Nominal)
	}
	planned := func(r Receiver) bool { return r.Planned > 0 }
	if stage == Filling && (planned(own) || slices.ContainsFunc(served, planned) || slices.ContainsFunc(waiting, planned)) {
		stage = Guided
	}
	waiting = slices.SortedFunc(slices.Values(waiting), func(a,
		b Receiver) int {
		return cmp.Compare(b.weight(stage), a.weight(stage))
	})
	room := max(0, Sideways-1-len(served))
	all := slices.Concat(served, waiting[:min(len(waiting), room)], []Receiver{own})
	last, full, left := len(all)-1, make([]bool, len(all)), float64(up)
	for {
		weights, whole := weigh(stage, all, full)
		again := false
		for i, r := range all {
			if !full[i] && r.Nominal > 0 && left*weights[i] > float64(r.Nominal)*whole {
				full[i], again = true, true
			}
		}
		if full[last] {
			return own.Nominal
		}
		if !again {
			return core.Rate(left * weights[last] / whole)
		}
		left = float64(up)
		for i, r := range all {
			if full[i] {
				left -= float64(r.Nominal)
			}
		}
	}
}

// weigh is in proportion to what the parts of those are that take part, and the sum of that.
func weigh(stage Stage, receivers []Receiver, but []bool) (weights []float64, whole float64) {
	weights = make([]float64, len(receivers))
	sum, count := 0.0, 0.0
	for i, r := range receivers {
		if !but[i] {
			sum, count = sum+r.weight(stage), count+1
		}
	}
	for i, r := range receivers {
		if but[i] {
			continue
		}
		if weights[i] = max(r.weight(stage), sum/count/2); sum == 0 {
			weights[i] = 1
		}
		whole += weights[i]
	}
	return weights, whole
}

func (r Receiver) weight(stage Stage) float64 {
	switch stage {
	case Spreading:
		return r.First
	case Guided:
		return max(0, r.Planned-r.Sent)
	case Filling:
	}
	return r.Crit
}

// Least is the smallest of some rates of which 0 is unlimited.
func Least(rates ...core.Rate) (least core.Rate) {
	for _, r := range rates {
		if r > 0 && (least == 0 || r < least) {
			least = r
		}
	}
	return least
}

// A batch is what one application asks for: enough for some round trips, and little, so that bandwidth changes hands
// often. A lease is kept for a while, and some round trips, since each change costs two.
const (
	batchTime, batchTrips   = 500 * time.Millisecond, 10
	steadyTime, steadyTrips = 2 * time.Second, 25
	firstTrips              = 12
)

// Batch is how many bytes a sender asks for at a time at most, for a lease of this rate. It asks for more when half of
// them are left.
func Batch(rate core.Rate, roundTrip time.Duration) core.Size {
	return core.Size(float64(rate) * (batchTime + batchTrips*roundTrip).Seconds())
}

// FirstBatch is how many bytes the first application to who has nothing yet asks for at most: what the lease carries
// while TCP's window grows. With a run where a round trip is long, the uplink of a source would stand still for most of
// the time until everybody has one.
func FirstBatch(rate core.Rate, roundTrip time.Duration) core.Size {
	return core.Size(float64(rate) * (firstTrips * roundTrip).Seconds())
}

// Keeps reports whether a sender keeps the lease that it has held for some time, though it would choose another
// receiver now. Not where that one has nothing yet, or its part of a source's first copies is in arrears.
func Keeps(stage Stage, own, other Receiver, held, roundTrip time.Duration) bool {
	if stage == Spreading && other.Due() > 2*own.Due() {
		return false
	}
	return !other.Empty && held <= steadyTime+steadyTrips*roundTrip
}
