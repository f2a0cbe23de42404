// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/bkp-tool/bkp/core/plan"
)

// simulate has bkp sim do the trial on the same network, where nothing happens to it on the way; a placement with as
// many runs.
func (r *rig) simulate(ctx context.Context) error {
	if r.signal != 0 || r.part > 0 {
		return nil
	}
	topology, err := r.topology(r.delays)
	if err != nil {
		return err
	}
	text, err := json.Marshal(topology)
	if err != nil {
		return err
	}
	path := filepath.Join(r.dir, "topology.json")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return err
	}
	args := []string{"sim", path, "--objective", "time", "--json", "--data", filepath.Join(r.dir, "sim")}
	if r.figure.Runs > 0 {
		args = append(args, "--runs", strconv.Itoa(r.figure.Runs))
	}
	if r.strategy != "" {
		args = append(args, "--strategy", r.strategy)
	}
	out, err := exec.CommandContext(ctx, r.bkp, args...).Output()
	if err != nil {
		return fmt.Errorf("bkp sim: %w: %s", err, out)
	}
	var simulated struct {
		MakespanS float64 `json:"makespan_s"`
	}
	if err := json.Unmarshal(out, &simulated); err != nil {
		return fmt.Errorf("bkp sim said %q: %w", out, err)
	}
	r.figure.Simulated = simulated.MakespanS
	return nil
}

// learnDelays asks the first host's node how far the others are, and takes hosts that it does not see to be as far as
// the farthest.
func (r *rig) learnDelays(ctx context.Context, data string) error {
	out, err := exec.CommandContext(ctx, r.bkp, "peers", "--json", "--data", data).Output()
	if err != nil {
		return fmt.Errorf("bkp peers: %w", err)
	}
	r.delays = map[string]float64{}
	farthest := 0.0
	for line := range bytes.Lines(out) {
		var row struct {
			ID      string
			DelayMS float64 `json:"delay_ms"`
		}
		if err := json.Unmarshal(line, &row); err != nil {
			return fmt.Errorf("bkp peers said %q: %w", line, err)
		}
		if name := r.ids[row.ID]; name != "" {
			r.delays[name] = row.DelayMS / 1000
			farthest = max(farthest, row.DelayMS/1000)
		}
	}
	for _, h := range r.hosts[1:] {
		if _, known := r.delays[h.name]; !known {
			r.delays[h.name] = farthest
		}
	}
	return nil
}

// acknowledgements is what part of the bytes that a host receives it sends back, whatever else it sends.
const acknowledgements = 0.02

// topology is the trial as bkp sim reads it. Rates there are of the file's bytes: the headers of every frame are taken
// off, and of uplinks the acknowledgements of what comes meanwhile at the pace of the bound.
func (t trial) topology(delays map[string]float64) (map[string]any, error) {
	type object = map[string]any
	b, err := t.bound()
	if err != nil {
		return nil, err
	}
	payload := func(m mbit) any {
		if m == 0 {
			return nil
		}
		return float64(m.rate()) * float64(fileBytes()) / float64(onWire(fileBytes()))
	}
	received := mbit(float64(onWire(fileBytes())) * float64(t.replicas) / float64(t.others()) / b.Seconds /
		float64(mbit(1).rate()))
	var nodes, links []object
	var names, others []string
	for i, h := range t.hosts {
		up := h.up
		if up > 0 && i > 0 && !t.fetch {
			up = max(up/2, up-acknowledgements*received)
		}
		node := object{"id": h.name, "up": payload(up), "down": payload(h.down), "zone": h.zone, "delay": delays[h.name]}
		if part, limited := t.room[h.name]; limited {
			node["space"] = int64(part * float64(fileBytes()))
		}
		nodes = append(nodes, node)
		names = append(names, h.name)
		for j, to := range t.hosts {
			if t.chain && t.meets(i, j) {
				links = append(links, object{"from": h.name, "to": to.name})
			}
		}
	}
	others = names[1:]
	all := object{"schema": "bkp-topology/1", "name": t.name, "file": object{"bytes": fileBytes()}, "nodes": nodes,
		"source": names[0]}
	if t.chain {
		all["links"] = links
	} else {
		all["mesh"] = object{"bw": nil}
	}
	if t.trunk > 0 {
		all["trunks"] = []object{{"from_zone": "west", "to_zone": "east", "bw": payload(t.trunk)},
			{"from_zone": "east", "to_zone": "west", "bw": payload(t.trunk)}}
	}
	switch {
	case t.fetch:
		all["redundancy"] = object{"mode": plan.Fetch, "sink": names[0], "k": 1,
			"classes": []object{{"fraction": "1", "holders": others}}}
	case t.full():
		all["redundancy"] = object{"mode": plan.Broadcast}
	default:
		all["redundancy"] = object{"mode": plan.Replicas, "r": t.replicas, "max_per_zone": t.spread}
	}
	return all, nil
}
