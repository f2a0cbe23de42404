// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"fmt"
	"time"

	"github.com/bkp-tool/bkp/core"
)

// Probe is what became of runs that were sent to see what a link carries.
type Probe struct {
	Began    time.Duration   // the first run
	Arrived  []time.Duration // runs, ascending
	Size     core.Size       // of each
	Lease    core.Rate
	Capacity core.Rate     // of the link
	Held     time.Duration // the receiver was at work
}

// Probed is what a probe found.
type Probed struct {
	Bytes   core.Size
	Seconds float64
	Carried core.Rate
	AtLeast bool // more than that did not fit the lease, or the receiver was slow
}

// probeStart is the part of a probe that is left out: connections that rested begin slowly.
const probeStart = 0.25

// Figures is what a probe says.
func (p Probe) Figures() (f Probed, err error) {
	count := len(p.Arrived)
	skip := int(probeStart * float64(count))
	if count-skip < 2 {
		return f, fmt.Errorf("%d runs arrived", count)
	}
	took := (p.Arrived[count-1] - p.Arrived[skip]).Seconds()
	f.Bytes = core.Size(count) * p.Size
	f.Seconds = (p.Arrived[count-1] - p.Began).Seconds()
	f.Carried = core.Rate(core.WireOverhead * float64(count-1-skip) * float64(p.Size) / max(took, 1e-6))
	f.Carried = min(f.Carried, p.Lease)
	short := float64(f.Carried) < fellShort*float64(p.Lease)
	f.AtLeast = short && p.Held.Seconds() > atWork*f.Seconds || !short && p.Lease < p.Capacity/20*19
	return f, nil
}

// Probed lets the estimate of a link know.
func (l *Links) Probed(to core.ID, at int64, f Probed) {
	e, s := l.To(to), Sample{At: at, Rate: f.Carried}
	for range enough {
		if f.AtLeast {
			e.AtLeast(s)
		} else {
			e.Carried(s)
		}
	}
	l.dirty = true
}
