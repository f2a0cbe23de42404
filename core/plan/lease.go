package plan

import (
	"cmp"
	"slices"
	"time"

	"github.com/bkp-tool/bkp/core"
)

// Sideways is among how many receivers a sender divides its uplink: few, so that a run is soon through, but more than one or two, since
// TCP begins small again on a way that was left for a moment.
const Sideways = 4

// TooMuch is how many times its fair part a lease may be where others wait: what is above that is given back.
const TooMuch = 1.1

// Fair is how much of a sender's uplink a receiver should have beside others that it serves, and beside those of the waiting that are due
// most, Sideways in all where so many want it: a part in proportion to what they can do with first copies while a source spreads them, and
// to how urgently they have to receive after that. None gets less than half of an even part, so that no run is on its way for long, nor
// more than its Nominal: what that leaves is the others'. One that has nothing yet gets half of the uplink for its first run.
func Fair(stage Stage, up core.Rate, own Receiver, served, waiting []Receiver) core.Rate {
	if own.Empty {
		return least(up/2, own.Nominal)
	}
	waiting = slices.SortedFunc(slices.Values(waiting), func(a, b Receiver) int { return cmp.Compare(b.weight(stage), a.weight(stage)) })
	room := max(0, Sideways-1-len(served))
	served = slices.Concat(served, waiting[:min(len(waiting), room)], []Receiver{own}) // own is the last
	whole, weights := 0.0, make([]float64, len(served))
	for i, r := range served {
		weights[i] = r.weight(stage)
		whole += weights[i]
	}
	for i := range weights {
		even := 1 / float64(len(served))
		if whole > 0 {
			weights[i] = max(weights[i]/whole, even/2)
		} else {
			weights[i] = even
		}
	}
	return fill(up, served, weights)
}

// weight is what a receiver's part of an uplink is in proportion to.
func (r Receiver) weight(stage Stage) float64 {
	if stage == Spreading {
		return r.First
	}
	return r.Crit
}

// fill divides a rate by weight, no more to any than its nominal rate, and returns the last one's part.
func fill(rate core.Rate, receivers []Receiver, weights []float64) core.Rate {
	full := make([]bool, len(receivers))
	for {
		left, whole := float64(rate), 0.0
		for i, r := range receivers {
			if full[i] {
				left -= float64(r.Nominal)
			} else {
				whole += weights[i]
			}
		}
		again := false
		for i, r := range receivers {
			if !full[i] && r.Nominal > 0 && left*weights[i] > float64(r.Nominal)*whole {
				full[i], again = true, true
			}
		}
		if last := len(receivers) - 1; !again && full[last] {
			return receivers[last].Nominal
		} else if !again {
			return core.Rate(left * weights[last] / whole)
		}
	}
}

// least is the smaller of two rates of which 0 is unlimited.
func least(a, b core.Rate) core.Rate {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}

// A batch is what one application asks for: enough for some round trips, and little, so that bandwidth changes hands often. A lease is
// kept for a while, and some round trips, since each change costs two.
const (
	batchTime, batchTrips   = 500 * time.Millisecond, 10
	steadyTime, steadyTrips = 2 * time.Second, 25
)

// Batch is how many bytes a sender asks for at a time at most, for a lease of this rate. It asks for more when half of them are left.
func Batch(rate core.Rate, roundTrip time.Duration) core.Size {
	return core.Size(float64(rate) * (batchTime + batchTrips*roundTrip).Seconds())
}

// Keeps reports whether a sender keeps the lease that it has held for some time, though it would choose another receiver now. Not where
// that one has nothing yet, or its part of a source's first copies is in arrears.
func Keeps(stage Stage, own, other Receiver, held, roundTrip time.Duration) bool {
	if stage == Spreading && other.Due() > 2*own.Due() {
		return false
	}
	return !other.Empty && held <= steadyTime+steadyTrips*roundTrip
}
