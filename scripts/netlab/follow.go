// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan"
)

// passage is what passed while a command of bkp ran.
type passage struct {
	said    hearing
	samples []sample
	sockets []socket
}

// hearing takes what a command says, a JSON object a line.
type hearing struct {
	rest, last []byte
	began      time.Time // of the job: no line came earlier than it began and took as long as the line says
}

func (h *hearing) Write(p []byte) (int, error) {
	now := time.Now()
	h.rest = append(h.rest, p...)
	for {
		line, rest, ok := bytes.Cut(h.rest, []byte("\n"))
		if !ok {
			return len(p), nil
		}
		h.hear(line, now)
		h.rest = rest
	}
}

func (h *hearing) hear(line []byte, now time.Time) {
	h.last = line
	var status struct {
		Phase   string
		Seconds float64
	}
	if json.Unmarshal(line, &status) != nil || status.Seconds <= 0 {
		return
	}
	began := now.Add(-time.Duration(status.Seconds * float64(time.Second)))
	job := status.Phase == "" || status.Phase == "place" || status.Phase == "fetch" // not to be planned, say
	if job && (h.began.IsZero() || began.Before(h.began)) {
		h.began = began
	}
}

// follow runs a command of bkp on the first host and looks on.
func (r *rig) follow(ctx context.Context, data string, act func(sample) error, args ...string) (p passage, err error) {
	sockets, err := r.net.sockets()
	if err != nil {
		return p, err
	}
	before, err := r.net.counters()
	if err != nil {
		return p, err
	}
	watching, stop := context.WithCancel(ctx)
	seen := make(chan struct{})
	var watched error
	go func() { // ends with watching, before follow does
		defer close(seen)
		p.samples, watched = r.watch(watching, before, act)
	}()
	p.said, err = r.bkpTells(ctx, r.hosts[0], data, args...)
	stop()
	<-seen
	if err := errors.Join(err, watched, r.count(before)); err != nil {
		return p, err
	}
	open, err := r.net.sockets()
	if err != nil {
		return p, err
	}
	p.sockets = since(open, sockets)
	after, err := r.net.counters() // what the sockets have counted by now
	if err != nil {
		return p, err
	}
	p.samples = append(p.samples, after.since(before))
	if *trace {
		err = r.dump(p)
	}
	return p, err
}

// balance makes the ledger of what passed, where nothing happened to the network on the way.
func (r *rig) balance(p passage) error {
	if r.signal != 0 || r.part > 0 {
		return nil
	}
	f := r.figure
	c, err := r.cutOf(f.Binding)
	if err != nil {
		return fmt.Errorf("the ledger: %w", err)
	}
	copies := r.replicas
	arrived := func(s sample) int64 { return s.received(-1) }
	j := job{seconds: f.Seconds, bound: f.Bound, rate: c.rate(), fill: f.Fill, waits: c.waits(r.trial)}
	if r.fetch {
		copies = 1
		arrived = func(s sample) int64 { return s.all[0].Received }
		network, goal := r.goal(onWire(fileBytes()))
		if j.fill, err = plan.Fill(network, goal, goal.Size/core.Size(max(1, r.runs))); err != nil {
			return err
		}
	}
	for _, s := range p.samples {
		j.usage = append(j.usage, usage{s.at.Sub(p.said.began).Seconds(), float64(c.passed(s)), float64(arrived(s))})
	}
	times := func(from, to int) float64 { return c.times(r.trial, from, to) }
	j.extra = extraOf(p.sockets, times, float64(fileBytes())*float64(copies), j.rate*j.bound)
	f.Ledger = j.ledger()
	return nil
}
