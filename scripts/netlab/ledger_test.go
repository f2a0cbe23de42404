// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const mb = 1e6

// stretch is a time at a use of the cut, for synthetic jobs.
type stretch struct{ seconds, use float64 }

// synthetic is a job of 100 MB over a cut of 10 MB/s, whose bound is 10 s: what passes the cut has arrived at once.
func synthetic(extra extra, fill float64, stretches ...stretch) job {
	j := job{bound: 10, rate: 10 * mb, fill: fill, extra: extra}
	passed := 0.0
	for _, s := range stretches {
		for n := int(math.Round(s.seconds / 0.05)); n > 0; n-- {
			j.usage = append(j.usage, usage{j.seconds, passed, passed})
			j.seconds, passed = j.seconds+0.05, passed+s.use*0.05*j.rate
		}
	}
	j.usage = append(j.usage, usage{j.seconds, passed, passed})
	return j
}

// after has bytes pass before the job begins.
func (j job) after(bytes float64) job {
	j.usage = slices.Insert(j.usage, 0, usage{-1, -bytes, 0})
	return j
}

// before has bytes pass after the job has ended.
func (j job) before(bytes float64) job {
	j.usage = append(j.usage, usage{j.seconds + 1, j.at(j.seconds).passed + bytes, j.at(j.seconds).arrived})
	return j
}

// passing has hosts wait for something to pass on.
func (j job) passing() job {
	j.waits = true
	return j
}

func TestLedger(t *testing.T) {
	for _, c := range []struct {
		name string
		job  job
		want string
	}{
		{"all the time full", synthetic(extra{}, 0, stretch{10, 1}), ""},
		{"one second late", synthetic(extra{}, 0, stretch{1, 0}, stretch{10, 1}), "first 0.100"},
		{"the last tenth at half the rate", synthetic(extra{}, 0, stretch{9, 1}, stretch{2, 0.5}), "tail 0.100"},
		{"3 % acknowledgements", synthetic(extra{acknowledgements: 3 * mb}, 0, stretch{10.3, 1}),
			"acknowledgements 0.030"},
		{"as late as filling takes", synthetic(extra{}, 0.5, stretch{0.5, 0}, stretch{10, 1}).passing(), "fill 0.050"},
		{"late, and not for filling", synthetic(extra{}, 0.5, stretch{0.5, 0}, stretch{10, 1}), "first 0.050"},
		{"filling at both ends", synthetic(extra{}, 0.4, stretch{0.5, 0}, stretch{9.5, 1}, stretch{1, 0.5}).passing(),
			"first 0.030 fill 0.040 tail 0.030"},
		{"never filled as long as was expected", synthetic(extra{}, 2, stretch{9.9, 1}, stretch{0.5, 0.2}),
			"fill 0.040"},
		{"a pause in between", synthetic(extra{}, 0, stretch{4, 1}, stretch{0.8, 0}, stretch{6, 1}), "idle 0.080"},
		{"never full", synthetic(extra{}, 0, stretch{12.5, 0.8}), "idle 0.250"},
		{"receipts two seconds after the last byte", synthetic(extra{}, 0, stretch{10, 1}, stretch{2, 0}),
			"barrier 0.200"},
		{"more than it had to, and nobody knows what", synthetic(extra{}, 0, stretch{10.4, 1}), "unexplained 0.040"},
		{"words before it began", synthetic(extra{control: mb}, 0, stretch{10.05, 1}).after(mb / 2), "control 0.005"},
		{"half of what was sent twice came too late", synthetic(extra{again: mb, control: mb}, 0, stretch{10.15, 1}).
			before(mb / 2), "control 0.010 again 0.005"},
		{"words after all", synthetic(extra{control: mb}, 0, stretch{10.05, 1}).before(mb / 2), "control 0.005"},
		{"less than what it is said to have carried", synthetic(extra{again: mb}, 0, stretch{10, 1}),
			"again 0.010 unexplained -0.010"},
		{"5 thousandths in three parts", synthetic(extra{headers: mb / 6, framing: mb / 6, control: mb / 6}, 0,
			stretch{10.05, 1}), "headers 0.002 framing 0.002 control 0.001"},
	} {
		var got []string
		for _, r := range c.job.ledger() {
			got = append(got, fmt.Sprintf("%s %.3f", r.Name, r.Part))
		}
		if said := strings.Join(got, " "); said != c.want {
			t.Errorf("%s: %q, want %q", c.name, said, c.want)
		}
	}
}

// TestLedgerAddsUp: whatever was measured, the rows add up to the ratio − 1, and none but the rest is negative.
func TestLedgerAddsUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		float := func(most float64, name string) float64 { return rapid.Float64Range(0, most).Draw(t, name) }
		j := job{seconds: 0.1 + float(100, "seconds"), bound: 0.1 + float(100, "bound"), rate: 1 + float(1e8, "rate"),
			fill: float(10, "fill"), waits: rapid.Bool().Draw(t, "waits"),
			extra: extra{float(1e8, "acknowledgements"), float(1e8, "headers"), float(1e8, "framing"),
				float(1e8, "control"), float(1e8, "again")}}
		u := usage{at: -float(3, "before")}
		for range rapid.IntRange(1, 60).Draw(t, "samples") {
			j.usage = append(j.usage, u)
			u.at += 0.001 + float(5, "apart")
			u.passed += float(2e7, "passed")
			u.arrived += float(2e7, "arrived")
		}
		sum := 0
		for _, r := range j.ledger() {
			n := math.Round(1000 * r.Part)
			if sum += int(n); n/1000 != r.Part || n < 0 && r.Name != "unexplained" {
				t.Fatalf("%s is %v", r.Name, r.Part)
			}
		}
		if want := 1000 * (j.seconds/j.bound - 1); math.Abs(float64(sum)-want) > 0.5+1e-6 {
			t.Fatalf("the rows add up to %d thousandths of the bound, the time is %.3f beyond it", sum, want)
		}
	})
}

// TestJobBegan: a job began before the first line that says how long it has run, by as much; planning is not the job.
func TestJobBegan(t *testing.T) {
	var h hearing
	now := time.Now()
	for _, line := range []string{`{"phase":"plan","seconds":9}`, `{"phase":"place","seconds":0.5}`,
		`{"phase":"place","text":"a warning","seconds":0}`, `{"placements":[{"seconds":8}],"seconds":0.4}`} {
		if _, err := h.Write([]byte(line[:10])); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Write([]byte(line[10:] + "\n")); err != nil {
			t.Fatal(err)
		}
	}
	early := now.Sub(h.began)
	if early < 0 || early > 500*time.Millisecond || !strings.Contains(string(h.last), "0.4") {
		t.Errorf("began %v before it was said to run for half a second; last %s", early, h.last)
	}
}

// TestLedgerFits: lines have at most 80 columns, and lose no row.
func TestLedgerFits(t *testing.T) {
	var rows []row
	for _, name := range strings.Fields("first fill idle tail barrier acknowledgements headers framing control again") {
		rows = append(rows, row{name, 0.123})
	}
	said := sayLedger(2.353, "uplinks of all nodes together", rows)
	for line := range strings.Lines(said) {
		if len(strings.TrimRight(line, "\n")) > 80 {
			t.Errorf("%d columns: %s", len(line), line)
		}
	}
	if strings.Count(said, "0.123") != len(rows) || !strings.HasPrefix(said, "    1.353 beyond the bound") {
		t.Error(said)
	}
}

// TestEveryBoundHasCounters: whatever sets the bound of a case is counted, and carries the whole file at its rate in no
// less than the bound.
func TestEveryBoundHasCounters(t *testing.T) {
	for _, c := range trials() {
		b, err := c.bound()
		if err != nil {
			t.Fatal(c.name, err)
		}
		at, err := c.cutOf(b.Binding)
		if err != nil {
			t.Fatal(c.name, err)
		}
		copies := at.rate() * b.Seconds / float64(onWire(fileBytes()))
		for _, part := range c.room { // beside what is full then
			copies += part
		}
		if math.Abs(copies-math.Round(copies)) > 1e-3 || copies < 0.5 {
			t.Errorf("%s: %s carry %.3f files within the bound", c.name, b.Binding, copies)
		}
	}
}

func TestCounted(t *testing.T) {
	c, err := trial{hosts: []host{{name: "a", up: 8, zone: "west"}, {name: "b", down: 16, zone: "east"}},
		trunk: 24}.cutOf("uplink a and downlink b and trunk west>east")
	if err != nil {
		t.Fatal(err)
	}
	s := sample{all: []traffic{{Sent: 1, Received: 10}, {Sent: 100, Received: 1000}},
		trunks: map[string]int64{"west>east": 10000, "east>west": 100000}}
	if got, rate := c.passed(s), c.rate(); got != 11001 || rate != 6*mb {
		t.Errorf("%d bytes at %v a second", got, rate)
	}
}

// TestExtra is two hosts with a control connection and one for data each way, of which one carried 1448 bytes in each
// of 1000 frames, and 2.1 % more than the file.
func TestExtra(t *testing.T) {
	const said = `ESTAB 0 0 10.99.0.1:8001 10.99.0.2:40001 bytes_sent:1000 bytes_received:900 segs_out:20 \
data_segs_out:10
ESTAB 0 0 10.99.0.1:8001 10.99.0.2:40002 bytes_sent:1450896 bytes_retrans:2896 bytes_received:30 segs_out:1003 \
data_segs_out:1002 retrans:1/2 send 6Mbps
ESTAB 0 0 10.99.0.1:8001 10.99.0.2:40003 cubic bytes_sent:0 bytes_received:0 segs_out:7
ESTAB 0 0 127.0.0.1:8001 127.0.0.1:40003 cubic bytes_sent:5 bytes_received:5 segs_out:5 data_segs_out:5
`
	all := readSockets(strings.ReplaceAll(said, "\\\n", ""), 0)
	if len(all) != 3 || len(controls(all)) != 1 || !controls(all)[all[0]] {
		t.Fatalf("%+v", all)
	}
	file := 1448000 / 1.021
	got := extraOf(all, func(from, to int) float64 { return float64(to - from) }, file, 1514000)
	want := extra{acknowledgements: 8 * 66, control: 1000 + 20*66, framing: 1514000 * (1 - 1/1.005)}
	if math.Abs(got.framing-want.framing) > 1e-6 {
		t.Errorf("framing %v, want %v", got.framing, want.framing)
	}
	if got.framing = want.framing; got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if again := since(all, all); slices.ContainsFunc(again, func(s socket) bool { return s.sent+s.segments != 0 }) {
		t.Errorf("since the same: %+v", again)
	}
}
