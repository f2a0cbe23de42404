// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"
)

// A ledger says where the time went that a case took beyond its bound, in parts of the bound: its rows add up to
// ratio − 1.
//
// The bound B is set by a cut: links that together carry C bytes a second, and that the bound has full all the time, so
// that W = C·B bytes pass them. Let U(t) be the bytes of whole frames that had passed the cut t seconds after the job
// began, and T when the last receipt was there. The cut was idle for ∫(1 − U'(t)/C)dt = T − U(T)/C, so that
//
//	T − B = idle time + (U(T) − W)/C
//
// and both are cut into rows. Idle time is T − U(T)/C of a stretch of time:
//
//	first            from the beginning to the first quarter of a second in which the cut ran at 90 % of C
//	idle             from there to the end of the last such
//	tail             from there until all but 64 KiB had come to where it was to go
//	barrier          from there to the last receipt
//	fill             what package plan expects for filling the pipeline, at most all of tail, from which it is taken;
//	                 where the cut has uplinks of hosts that first must get something, of first and tail in proportion
//
// Bytes beyond W take their time at C, and are those of the connections between the hosts whose way leads over the cut:
//
//	acknowledgements frames of data connections that carry nothing but one
//	headers          of the others, beyond the 66 bytes for every 1448 that W counts
//	framing          what data connections carried beyond the file's bytes: TLS, WebSocket, messages, seals
//	control          frames of control connections, whatever is in them
//	again            the file's bytes beyond those in W: sent twice, or by these where the bound has others send them.
//	                 Where the source's uplink alone is the cut, help in what else would be a tail is here
//
// Connections are read before and after the job. What passed the cut between that and its beginning counts as control;
// what passed after its end counts as again, since all was there, and as control where it is more than that.
//
// What is left is unexplained: frames that were lost behind the cut and sent again, connections that ended, and that
// the counters are not read at one moment. It alone may be negative.

// usage is how far a job had come at a moment.
type usage struct {
	at      float64 // seconds since it began
	passed  float64 // bytes through the cut, since any time before
	arrived float64 // bytes that had come to where they were to go
}

// extra is the bytes of whole frames through a cut beyond those of its bound.
type extra struct{ acknowledgements, headers, framing, control, again float64 }

// job is what a ledger is made of.
type job struct {
	seconds float64 // T
	bound   float64 // B
	rate    float64 // C, bytes a second
	fill    float64 // seconds, as planned
	waits   bool    // links of the cut cannot be used before a host has something to pass on
	usage   []usage // in order of time
	extra   extra
}

// row is a part of the time beyond the bound.
type row struct {
	Name string  `json:"name"`
	Part float64 `json:"of_bound"` // in thousandths
}

const (
	span  = 0.25     // seconds over which the use of a cut is taken
	full  = 0.9      // of its rate, from where on it counts as running
	after = 64 << 10 // bytes that may come after the last of the data: receipts and what follows them
)

// ledger is the rows that are not zero. They are whole thousandths, and add up to those of the ratio − 1.
func (j job) ledger() (rows []row) {
	if j.seconds <= 0 || j.bound <= 0 || j.rate <= 0 || len(j.usage) == 0 {
		return nil
	}
	begun, ended := j.running()
	last := max(ended, j.arrived())
	first, tail := j.idle(0, begun), j.idle(ended, last)
	late := 0.0 // of first, what may be filling
	if j.waits {
		late = first
	}
	fill := min(max(0, j.fill), late+tail)
	if fill > 0 {
		share := fill / (late + tail)
		first, tail = max(0, first-share*late), max(0, tail-share*tail)
	}
	x := j.inside()
	parts := []struct {
		name    string
		seconds float64
	}{
		{"first", first}, {"fill", fill}, {"idle", j.idle(begun, ended)}, {"tail", tail},
		{"barrier", j.idle(last, j.seconds)},
		{"acknowledgements", x.acknowledgements / j.rate}, {"headers", x.headers / j.rate},
		{"framing", x.framing / j.rate}, {"control", x.control / j.rate}, {"again", x.again / j.rate},
	}
	var names []string
	var shares []float64
	left := j.seconds/j.bound - 1
	for _, p := range parts {
		share := max(0, p.seconds) / j.bound
		names, shares, left = append(names, p.name), append(shares, share), left-share
	}
	names, shares = append(names, "unexplained"), append(shares, left)
	for i, n := range thousandths(shares) {
		if n != 0 {
			rows = append(rows, row{names[i], float64(n) / 1000})
		}
	}
	return rows
}

// inside is what of the extra bytes passed from beginning to end.
func (j job) inside() extra {
	x := j.extra
	before := j.at(0).passed - j.usage[0].passed
	after := j.usage[len(j.usage)-1].passed - j.at(j.seconds).passed
	x.control -= before + max(0, after-x.again)
	x.again -= after
	return x
}

// running is from when to when the cut ran: the beginning of the first span in which it did and the end of the last
// one. Where it never did, all of the time counts as in between.
func (j job) running() (begun, ended float64) {
	begun = -1
	for _, u := range j.usage {
		from, to := u.at, u.at+span
		if from < 0 || to > j.seconds || to > j.usage[len(j.usage)-1].at ||
			j.at(to).passed-u.passed < full*j.rate*span {
			continue
		}
		if begun < 0 {
			begun = from
		}
		ended = to
	}
	if begun < 0 {
		return 0, j.arrived()
	}
	return begun, ended
}

// arrived is when all but what comes after had come to where it was to go.
func (j job) arrived() float64 {
	all := j.at(j.seconds).arrived
	i := slices.IndexFunc(j.usage, func(u usage) bool { return u.arrived >= all-after })
	return min(max(0, j.usage[i].at), j.seconds)
}

// idle is how long the cut was idle in all from one time to another.
func (j job) idle(from, to float64) float64 {
	return max(0, to-from-(j.at(to).passed-j.at(from).passed)/j.rate)
}

// at is how far it had come, in between two samples in proportion.
func (j job) at(t float64) usage {
	i := sort.Search(len(j.usage), func(i int) bool { return j.usage[i].at >= t })
	switch {
	case i == len(j.usage):
		return j.usage[i-1]
	case i == 0:
		return j.usage[0]
	}
	a, b := j.usage[i-1], j.usage[i]
	share := (t - a.at) / (b.at - a.at)
	return usage{t, a.passed + share*(b.passed-a.passed), a.arrived + share*(b.arrived-a.arrived)}
}

// thousandths rounds shares so that they add up to their sum, rounded: each down, and as many of them up as are
// missing, those first that lost most.
func thousandths(shares []float64) []int {
	sum, whole := 0.0, 0
	rounded, order := make([]int, len(shares)), make([]int, len(shares))
	for i, s := range shares {
		sum += 1000 * s
		rounded[i], order[i] = int(math.Floor(1000*s)), i
		whole += rounded[i]
	}
	lost := func(i int) float64 { return 1000*shares[i] - float64(rounded[i]) }
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(lost(b), lost(a)) })
	for _, i := range order[:min(len(order), max(0, int(math.Round(sum))-whole))] {
		rounded[i]++
	}
	return rounded
}

// sayLedger writes rows in lines of at most 80 columns.
func sayLedger(ratio float64, binding string, rows []row) string {
	var b strings.Builder
	line := fmt.Sprintf("    %.3f beyond the bound (%s):", math.Round(1000*ratio)/1000-1, binding)
	for i, r := range rows {
		word := fmt.Sprintf(" %s %.3f", r.Name, r.Part)
		if i < len(rows)-1 {
			word += ","
		}
		if len(line)+len(word) > 80 {
			b.WriteString(line + "\n")
			line = "       "
		}
		line += word
	}
	return b.String() + line
}
