// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// placed is what bkp place --json says last, as far as it is needed here.
type placed struct {
	Bytes      int64   `json:"bytes"`
	Runs       int     `json:"runs"`
	PredictedS float64 `json:"predicted_s"`
	FillS      float64 `json:"fill_s"`
	BoundS     float64 `json:"bound_s"`
	Seconds    float64 `json:"seconds"`
	Placements []struct {
		Node    string  `json:"node"`
		Bytes   int64   `json:"bytes"`
		Seconds float64 `json:"seconds"`
	} `json:"placements"`
	Flows []struct {
		From  string `json:"from"`
		To    string `json:"to"`
		Bytes int64  `json:"bytes"`
		Rate  int64  `json:"rate"`
	} `json:"flows"`
	Warnings []string `json:"warnings"`
}

// fetched is what bkp fetch --json says last.
type fetched struct {
	Seconds float64 `json:"seconds"`
	Sources []struct {
		Node  string `json:"node"`
		Bytes int64  `json:"bytes"`
	} `json:"sources"`
}

const bkpPort = 8001

func (r *rig) data(h host) string { return filepath.Join(r.dir, h.name) }

func (r *rig) bkpDoes(ctx context.Context) error {
	if err := os.WriteFile(r.token(), []byte("a token for hosts that only the lab reaches"), 0o600); err != nil {
		return err
	}
	first := r.hosts[0]
	if _, err := r.bkpTells(ctx, first, r.data(first), "split", r.file, "--name", "file"); err != nil {
		return err
	}
	if r.fetch {
		if err := r.bkpFetches(ctx); err != nil {
			return err
		}
		return r.simulate(ctx)
	}
	if err := r.net.shape(); err != nil {
		return err
	}
	if err := r.knowTrunk(r.data(first)); err != nil {
		return err
	}
	if err := r.nodesUp(ctx, r.data(first), true); err != nil {
		return err
	}
	if err := r.learnDelays(ctx, r.data(first)); err != nil {
		return err
	}
	act := func(sample) error { return nil }
	switch {
	case r.signal != 0:
		act = r.signalAt(0.4)
	case r.part > 0:
		act = r.partAt(0.3, r.part)
	}
	p, err := r.place(ctx, act)
	if err == nil {
		err = r.balance(p)
	}
	if err != nil {
		return err
	}
	return r.simulate(ctx)
}

// knowTrunk tells the source what it cannot see: how much passes between the sites.
func (r *rig) knowTrunk(data string) error {
	if r.trunk == 0 {
		return nil
	}
	text := ""
	for _, way := range [][2]string{{"west", "east"}, {"east", "west"}} {
		text += fmt.Sprintf("[[trunk]]\nfrom = %q\nto = %q\nrate = %q\n", way[0], way[1], r.trunk.flag())
	}
	return os.WriteFile(filepath.Join(data, "config.toml"), []byte(text), 0o600)
}

func (r *rig) token() string { return filepath.Join(r.dir, "token") }

// nodesUp starts a node on every host and waits until each has met all others.
func (r *rig) nodesUp(ctx context.Context, firstData string, limited bool) error {
	for i, h := range r.hosts {
		dir := r.data(h)
		if i == 0 {
			dir = firstData
		}
		if _, err := r.start(h, r.bkp, r.nodeArgs(i, dir, limited)...); err != nil {
			return err
		}
	}
	for i, h := range r.hosts {
		dir := r.data(h)
		if i == 0 {
			dir = firstData
		}
		err := eventually(ctx, h.name+" to meet the others", func() (bool, error) {
			if err := r.ended(); err != nil {
				return false, err
			}
			out, err := exec.Command(r.bkp, "health", "--json", "--data", dir).Output()
			var up struct {
				ID    string
				Peers int
			}
			ok := err == nil && json.Unmarshal(out, &up) == nil && up.Peers >= r.neighbours(i)
			if ok {
				r.ids[up.ID] = h.name
			}
			return ok, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// nodeArgs is the command line of the node on host i: each dials those before it.
func (r *rig) nodeArgs(i int, dir string, limited bool) []string {
	h := r.hosts[i]
	args := []string{"node", "start", "--data", dir, "--listen", fmt.Sprintf("%s:%d", address(i), bkpPort),
		"--token-file", r.token(), "--capacity", r.capacity(h), "--label", "name=" + h.name}
	var peers []string
	for j := range i { // nothing but the hosts' own links limits a link
		if !r.meets(i, j) {
			continue
		}
		peers = append(peers, fmt.Sprintf("wss://%s:%d-1Gbit", address(j), bkpPort))
	}
	if len(peers) > 0 {
		args = append(args, "--peers", strings.Join(peers, ","))
	}
	if limited && h.up > 0 {
		args = append(args, "--uplink", h.up.flag())
	}
	if limited && h.down > 0 {
		args = append(args, "--downlink", h.down.flag())
	}
	if h.zone != "" {
		args = append(args, "--label", "zone="+h.zone)
	}
	if *trace {
		args = append(args, "--trace", dir+".trace")
	}
	return args
}

// descriptions is how much more room than for a part of the file a host has that is to keep so much: what describes the
// part is charged too, and what a chunk is sealed in.
const descriptions = 1.01

// capacity is what a host's node offers.
func (t trial) capacity(h host) string {
	if part, limited := t.room[h.name]; limited {
		return fmt.Sprintf("%.0f", descriptions*part*float64(fileBytes()))
	}
	return "4GiB"
}

// place has the first host place the file, looks on, and checks that every replica is receipted.
func (r *rig) place(ctx context.Context, act func(sample) error) (p passage, err error) {
	args := []string{"place", "file", "--replicas", fmt.Sprint(r.replicas), "--objective", "time"}
	if r.strategy != "" {
		args = append(args, "--strategy", r.strategy)
	}
	p, err = r.follow(ctx, r.data(r.hosts[0]), act, args...)
	if err != nil {
		return p, err
	}
	var said placed
	if err := json.Unmarshal(p.said.last, &said); err != nil {
		return p, fmt.Errorf("bkp place said %q: %w", p.said.last, err)
	}
	r.figure.given(r.trial, moving(p.samples))
	return p, r.judge(said)
}

// dump writes what each host had sent and received beside the traces, a line a sample: seconds, then both in bytes for
// every host; and then what each connection carried.
func (r *rig) dump(p passage) error {
	var b strings.Builder
	for _, s := range p.samples {
		fmt.Fprintf(&b, "%.2f", s.at.Sub(p.said.began).Seconds())
		for _, h := range s.all {
			fmt.Fprintf(&b, " %d %d", h.Sent, h.Received)
		}
		b.WriteByte('\n')
	}
	for _, s := range p.sockets {
		fmt.Fprintf(&b, "%+v\n", s)
	}
	return os.WriteFile(filepath.Join(r.dir, "samples"), []byte(b.String()), 0o600)
}

// judge takes what bkp said of a placement into the figure, and refuses one with less than was asked for.
func (r *rig) judge(p placed) error {
	f := r.figure
	f.Seconds, f.Predicted, f.Fill, f.PlanBound, f.Runs = p.Seconds, p.PredictedS, p.FillS, p.BoundS, p.Runs
	r.runs = p.Runs
	var kept, payload int64
	for _, x := range p.Placements {
		f.host(r.ids[x.Node]).Seconds = x.Seconds
		if r.victim == "" || r.ids[x.Node] != r.victim {
			kept += x.Bytes
		}
	}
	for _, w := range p.Flows {
		f.Flows = append(f.Flows, flowFigure{r.ids[w.From], r.ids[w.To], w.Bytes, w.Rate})
	}
	for _, h := range f.Hosts {
		payload += h.Payload
	}
	f.Moved = float64(payload) / float64(p.Bytes*int64(r.replicas))
	if p.Bytes < fileBytes() || kept < p.Bytes*int64(r.replicas) {
		return fmt.Errorf("%d bytes are kept, %d replicas of %d were asked for", kept, r.replicas, p.Bytes)
	}
	return nil
}

// bkpFetches has the first host place the file on all others, without limits, and then, as a new machine with the
// identity, fetch it over the shaped links.
func (r *rig) bkpFetches(ctx context.Context) error {
	first := r.hosts[0]
	if err := r.nodesUp(ctx, r.data(first), false); err != nil {
		return err
	}
	if _, err := r.place(ctx, func(sample) error { return nil }); err != nil {
		return err
	}
	r.stop()
	*r.figure = figure{Case: r.name, Who: r.figure.Who, Bound: r.figure.Bound, Binding: r.figure.Binding}
	identity, fresh, output := filepath.Join(r.dir, "identity"), r.data(first)+"-fresh", filepath.Join(r.dir, "fetched")
	out, err := exec.CommandContext(ctx, r.bkp, "key", "export", "--data", r.data(first)).Output()
	if err != nil {
		return fmt.Errorf("export the identity: %w", err)
	}
	if err := os.WriteFile(identity, out, 0o600); err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, r.bkp, "key", "import", identity, "--data",
		fresh).CombinedOutput(); err != nil {
		return fmt.Errorf("import the identity: %w: %s", err, out)
	}
	if err := r.net.shape(); err != nil {
		return err
	}
	if err := r.nodesUp(ctx, fresh, true); err != nil {
		return err
	}
	if err := r.learnDelays(ctx, fresh); err != nil {
		return err
	}
	p, err := r.follow(ctx, fresh, func(sample) error { return nil }, "fetch", "file", "-o", output)
	if err != nil {
		return err
	}
	var f fetched
	if err := json.Unmarshal(p.said.last, &f); err != nil {
		return fmt.Errorf("bkp fetch said %q: %w", p.said.last, err)
	}
	r.figure.Seconds = f.Seconds
	return errors.Join(r.balance(p), equal(r.file, output))
}

// bkpTells runs a bkp command on a host and listens to what it says.
func (r *rig) bkpTells(ctx context.Context, h host, data string, args ...string) (heard hearing, err error) {
	err = r.runTo(ctx, h, &heard, r.bkp, append(args, "--data", data, "--json", "--progress", "json")...)
	if err != nil {
		err = fmt.Errorf("%w: %s", err, heard.last)
	}
	return heard, err
}

// equal compares two files byte for byte.
func equal(a, b string) error {
	began := time.Now()
	if out, err := exec.Command("cmp", a, b).CombinedOutput(); err != nil {
		return fmt.Errorf("what arrived is something else: %s (%s)", out, time.Since(began))
	}
	return nil
}
