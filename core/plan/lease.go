package plan

import (
	"time"

	"github.com/bkp-tool/bkp/core"
)

// Sideways is among how many flows a sender shares its uplink while more receivers wait: while one applies the other sends.
const Sideways = 2

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
