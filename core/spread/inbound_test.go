// SPDX-License-Identifier: Apache-2.0

package spread

import (
	"slices"
	"testing"

	"github.com/bkp-tool/bkp/core"
)

// TestADownlinkIsDividedAsPlanned has a give d six of its runs and b two, by the plan, and c none.
func TestADownlinkIsDividedAsPlanned(t *testing.T) {
	const a, b, c, d, down = 0, 1, 2, 3, core.Rate(8 * core.MiB)
	w := newWorld(slices.Repeat([]core.Size{core.MiB}, 8))
	for _, name := range []string{"a", "b", "c", "d"} {
		w.add(name, nil, 0, down)
	}
	q := w.nodes[d].peer
	for run := range 8 {
		q.Want(w.seg, run)
		w.t.Follow(w.seg, run, min(b, run/6), d)
	}
	hold := func(when string, from int, free, want core.Rate, no bool) {
		t.Helper()
		if most, nothing := q.Most(w.now, from, down, free); nothing != no || !no && most != want {
			t.Errorf("%s, node %d may have %s (nothing: %t), want %s", when, from, most, nothing, want)
		}
	}
	hold("while nobody waits", a, down, down, false)
	hold("while nobody waits", c, down, 0, false)
	q.Granted(w.now, a, down, down, down)
	hold("where a has it all", b, 0, down/4, false)
	q.Granted(w.now, b, down, 0, down)
	hold("while b waits", a, down, down*3/4, false)
	hold("while b waits", c, 0, 0, true)
	q.Granted(w.now, b, down, down/8, down)
	hold("while b has half of its part", a, down, down*3/4, false)
	q.Granted(w.now, b, down, down/4, down)
	hold("when b has its part", a, down*3/4, down*3/4, false)
	q.Granted(w.now, b, down, 0, down)
	w.now += 2 * waitLife
	hold("when b does not ask any more", a, down, down, false)

	w.t.Takes(w.now, 2*core.WireOverhead) // seconds: half of it is planned
	hold("where the plan leaves half", c, down, down/2, false)
	w.t.Takes(w.now, core.WireOverhead)
	hold("where the plan leaves nothing", c, down, 0, true)
	w.now += 2 * freshFor
	hold("when nothing moved for long", c, down, 0, false)

	q.Granted(w.now, b, down, 0, down)
	q.Have(w.now, w.seg, 6)
	hold("when half of what b gives is there", a, down, down*6/7, false)
	q.Have(w.now, w.seg, 7)
	hold("when all of that is there", a, down, down, false)
	w.t.Anew(w.seg)
	if q.Awaits(w.nodes[a].peer) || q.due(a, down) != 0 {
		t.Error("what was planned is not forgotten")
	}
	w.t.Follow(w.seg, 0, a, d)
	if !q.Awaits(w.nodes[a].peer) || q.due(a, down) != down {
		t.Error("what is planned anew is not counted with")
	}
}
