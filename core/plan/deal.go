// SPDX-License-Identifier: Apache-2.0

package plan

import "github.com/bkp-tool/bkp/core"

// Bringer is a node of which a fetch asks runs.
type Bringer struct {
	Rate   core.Rate // what it brings; 0: nobody knows yet
	Queued core.Size // asked of it and not there yet
	Delay  float64   // seconds from asking for a run to its first byte, where nothing is queued before it
}

// Piece is a run that nobody was asked for yet, and which of the bringers have it.
type Piece struct {
	Size    core.Size
	Holders []int
}

// ready is when a bringer could begin with a run that it is asked for now, in seconds.
func (b Bringer) ready() float64 { return max(b.Delay, b.Rate.Seconds(b.Queued)) }

// Deal says who should bring which of the runs that are left: each goes to who would have it there first, in the order
// given, counting what was asked for and dealt before. So a slow holder gets another run only where it brings that
// before the others would, the fastest always gets some, and all are done at about the same time. −1 is a run of which
// no holder's rate is known.
func Deal(bringers []Bringer, pieces []Piece) []int {
	ready := make([]float64, len(bringers))
	for i, b := range bringers {
		ready[i] = b.ready()
	}
	who := make([]int, len(pieces))
	for k, p := range pieces {
		first := 0.0
		who[k] = -1
		for _, i := range p.Holders {
			if bringers[i].Rate == 0 {
				continue
			}
			if ends := ready[i] + bringers[i].Rate.Seconds(p.Size); who[k] < 0 || ends < first {
				who[k], first = i, ends
			}
		}
		if i := who[k]; i >= 0 {
			ready[i] = first
		}
	}
	return who
}

// Late is a run that one holder was asked for, and when it should be there, in seconds from now.
type Late struct {
	Size core.Size
	Due  float64
}

// sooner is the part of the time that is left for a run in which another must bring it to be worth asking too.
const sooner = 0.8

// Twice is which of the runs that others were asked for a bringer without work should be asked for as well: the one
// that is due last, if it would have that there clearly sooner; else −1. What is asked for twice costs nobody anything
// but bandwidth that would stay idle.
func Twice(b Bringer, late []Late) int {
	if b.Rate == 0 {
		return -1
	}
	last := -1
	for k, l := range late {
		if last < 0 || l.Due > late[last].Due {
			last = k
		}
	}
	if last < 0 || b.ready()+b.Rate.Seconds(late[last].Size) >= sooner*late[last].Due {
		return -1
	}
	return last
}
