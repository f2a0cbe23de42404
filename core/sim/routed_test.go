// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"testing"
	"time"
)

// TestCopiesTakeTheDetourThatThePlanTakes: a trunk of 1 MB/s leads from the source's zone to the next, and one of 16 MB/s
// by way of a third, whose node has no room. Copies go that way, as planned, though nobody on it keeps them.
func TestCopiesTakeTheDetourThatThePlanTakes(t *testing.T) {
	top, err := Read([]byte(`{"schema": "bkp-topology/1", "name": "detour", "file": {"bytes": 100000000},
		"nodes": [
			{"id": "n0", "up": 40000000, "down": 40000000, "zone": "a"},
			{"id": "n1", "up": 40000000, "down": 40000000, "zone": "b"},
			{"id": "n2", "up": 40000000, "down": 40000000, "zone": "c", "space": 0}],
		"mesh": {"bw": null},
		"trunks": [
			{"from_zone": "a", "to_zone": "b", "bw": 1000000},
			{"from_zone": "a", "to_zone": "c", "bw": 16000000},
			{"from_zone": "c", "to_zone": "b", "bw": 16000000}],
		"source": "n0", "redundancy": {"mode": "replicas", "r": 1}}`), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := Run(top, Config{Runs: 200, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	if r.UndeliveredBytes > 0 || r.Ratio > 1.1 {
		t.Errorf("took %.1f s where %.1f are needed, and %s are missing", r.MakespanS, r.BoundS, r.UndeliveredBytes)
	}
}
