// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	every  = 50 * time.Millisecond
	window = 2 * time.Second // over which no link may carry more than it was given
	words  = 256 << 10       // bytes that may be anything but data
)

// sample is what all hosts had sent and received at a moment.
type sample struct {
	at     time.Time
	all    []traffic
	trunks map[string]int64 // bytes of whole frames from zone to zone: "a>b"
}

// received is how much has reached the hosts that are to keep it, but for one (-1: but for none), by the wire.
func (s sample) received(but int) (sum int64) {
	for i, h := range s.all {
		if i > 0 && i != but {
			sum += h.Received
		}
	}
	return sum
}

// since is the difference to an earlier sample.
func (s sample) since(t sample) sample {
	d := sample{at: s.at, trunks: map[string]int64{}}
	for i := range s.all {
		d.all = append(d.all, traffic{s.all[i].Sent - t.all[i].Sent, s.all[i].Received - t.all[i].Received,
			s.all[i].Payload - t.all[i].Payload})
	}
	for name, n := range s.trunks {
		d.trunks[name] = n - t.trunks[name]
	}
	return d
}

// moving is the samples from when data began to move.
func moving(all []sample) []sample {
	i := slices.IndexFunc(all, func(s sample) bool { return s.received(-1) > words })
	if i < 0 {
		return nil
	}
	return all[i:]
}

// watch reads the counters twenty times a second until the context ends, and then once more; all samples are relative
// to the first. From when data moves, act looks at each.
func (r *rig) watch(ctx context.Context, first sample, act func(sample) error) (all []sample, err error) {
	all = append(all, first.since(first))
	begun := false
	tick := time.NewTicker(every)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
		s, err := r.net.counters()
		if err != nil {
			return all, err
		}
		s = s.since(first)
		all = append(all, s)
		if begun = begun || s.received(-1) > words; begun {
			if err := act(s); err != nil {
				return all, err
			}
		}
	}
	return all, nil
}

// given holds what every link carried against what it was given, over any two seconds: the most, and of the uplinks
// that set the bound, taken together, the least while they do: from when the source has sent a fiftieth of its part,
// and the others have received as much to pass on, until all but a fiftieth of everything has passed. The source's
// alone does until it has sent as much as the file once.
func (f *figure) given(t trial, all []sample) {
	var binding []int
	for i, h := range t.hosts {
		f.carried(all, h.up, h.name+" up", func(s sample) int64 { return s.all[i].Sent })
		f.carried(all, h.down, h.name+" down", func(s sample) int64 { return s.all[i].Received })
		if i == 0 && strings.Contains(f.Binding, "source uplink") ||
			strings.Contains(f.Binding, "uplinks of all nodes") {
			binding = append(binding, i)
		}
	}
	var cap mbit
	for _, i := range binding {
		cap += t.hosts[i].up
	}
	sent := func(s sample) (sum int64) {
		for _, i := range binding {
			sum += s.all[i].Sent
		}
		return sum
	}
	if cap == 0 || len(all) == 0 {
		return
	}
	last := all[len(all)-1]
	begun := func(s sample) bool {
		return s.all[0].Sent >= last.all[0].Sent/50 &&
			!slices.ContainsFunc(binding, func(i int) bool {
				return i > 0 &&
					s.all[i].Received < last.all[i].Received/50
			})
	}
	end := sent(last) / 50 * 49
	if len(binding) == 1 {
		end = min(end, onWire(fileBytes()))
	}
	windows(all, sent, func(from, to sample, rate float64) {
		share := rate / float64(cap.rate())
		if begun(from) && sent(to) < end && (f.Least == 0 || share < f.Least) {
			f.Least, f.LeastAt = share, from.at.Sub(all[0].at).Seconds()
		}
	})
}

// carried keeps the most that any link carried.
func (f *figure) carried(all []sample, cap mbit, name string, of func(sample) int64) {
	windows(all, of, func(_, _ sample, rate float64) {
		if share := rate / float64(cap.rate()); cap > 0 && share > f.Most {
			f.Most, f.MostOf = share, name
		}
	})
}

// windows gives see the ends and the rate of every stretch of two seconds.
func windows(all []sample, of func(sample) int64, see func(from, to sample, rate float64)) {
	from := 0
	for _, to := range all {
		if passed := to.at.Sub(all[from].at); passed >= window {
			see(all[from], to, float64(of(to)-of(all[from]))/passed.Seconds())
			from++
		}
	}
}

// signalAt has the holder that got most get its signal once so much of all copies has arrived, and says what then was
// the least time still needed: what the survivors lacked, over all uplinks left, or what had not left the source yet,
// over its own.
func (r *rig) signalAt(share float64) func(sample) error {
	var first time.Time
	return func(s sample) error {
		if first.IsZero() {
			first = s.at
		}
		needed := onWire(fileBytes()) * int64(r.replicas)
		if r.victim != "" || float64(s.received(-1)) < share*float64(needed) {
			return nil
		}
		victim := 1
		for i := range s.all {
			if i > 0 && s.all[i].Received > s.all[victim].Received {
				victim = i
			}
		}
		r.victim = r.hosts[victim].name
		if err := r.running[victim].Process.Signal(r.signal); err != nil {
			return err
		}
		var ups mbit
		for i, h := range r.hosts {
			if i != victim {
				ups += h.up
			}
		}
		lacking, unsent := float64(needed-s.received(victim)), float64(onWire(fileBytes())-s.all[0].Sent)
		rest := max(lacking/float64(ups.rate()), unsent/float64(r.hosts[0].up.rate()))
		at := s.at.Sub(first).Seconds()
		r.figure.Bound, r.figure.Binding = at+rest, fmt.Sprintf("%s gone after %.1f s, then at least %.1f s", r.victim,
			at, rest)
		return nil
	}
}

// partAt cuts the sites from each other for a while, once so much of all copies has arrived.
func (r *rig) partAt(share float64, pause time.Duration) func(sample) error {
	var since time.Time
	cut := func(yes bool) error {
		_, err := r.net.joined.tell(func(o *order) { o.Cut = yes })
		return err
	}
	healed := false
	return func(s sample) error {
		needed := onWire(fileBytes()) * int64(r.replicas)
		switch {
		case since.IsZero() && float64(s.received(-1)) >= share*float64(needed):
			since = s.at
			r.figure.Bound += pause.Seconds()
			r.figure.Binding += fmt.Sprintf(", and %.0f s without a way between the sites", pause.Seconds())
			return cut(true)
		case !since.IsZero() && !healed && s.at.Sub(since) >= pause:
			healed = true
			return cut(false)
		}
		return nil
	}
}
