// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"testing"

	"github.com/bkp-tool/bkp/core"
)

func TestEstimate(t *testing.T) {
	var e Estimate
	at := int64(1_000_000)
	carried := func(rate core.Rate, times int) {
		for range times {
			at++
			e.Carried(Sample{at, rate})
		}
	}
	atLeast := func(rate core.Rate, times int) {
		for range times {
			at++
			e.AtLeast(Sample{at, rate})
		}
	}
	want := func(what string, low core.Rate, meanFrom, meanTo core.Rate) {
		t.Helper()
		if e.Low() != low || e.Mean() < meanFrom || e.Mean() > meanTo {
			t.Errorf("%s: low %d, mean %d; want %d, %d to %d", what, e.Low(), e.Mean(), low, meanFrom, meanTo)
		}
		if again := recall(e.Samples()); again.Low() != e.Low() || len(again.Samples()) != len(e.Samples()) {
			t.Errorf("%s: recalled, it says %d of %d samples", what, again.Low(), len(again.Samples()))
		}
	}
	want("nothing seen", 0, 0, 0)
	atLeast(50, 100)
	want("only lower bounds: the link may carry anything", 0, 0, 0)
	carried(100, enough-1)
	want("too little seen", 0, 100, 100)
	carried(100, 1)
	want("enough seen", 100, 100, 100)
	atLeast(60, 100)
	want("lower bounds below it say nothing", 100, 100, 100)
	carried(1, 2)
	want("a reader that slept twice", 100, 60, 70)
	carried(100, 30)
	carried(20, 8)
	want("a link that is slower a quarter of the time", 100, 20, 40)
	carried(20, 1)
	want("and a little more", 20, 20, 40)
	atLeast(90, 24)
	want("lower bounds above it raise it, as the link recovers", 90, 80, 100)
	carried(200, enough-1)
	want("a burst", 90, 120, 200)
	carried(200, 1)
	want("no burst, but more than there was", 200, 150, 200)
	at += int64(MaxAge.Seconds()) + 60
	carried(30, 1)
	want("what is old counts no more", 0, 30, 30)
	if len(e.Samples()) != 1 {
		t.Errorf("%d samples are left", len(e.Samples()))
	}
	if e := recall([]Sample{{1, -5}, {2, 0}}); len(e.Samples()) != 0 {
		t.Error("samples that cannot be were recalled")
	}
}
