// SPDX-License-Identifier: Apache-2.0

package sim_test

import (
	"fmt"
	"time"

	"github.com/bkp-tool/bkp/core/sim"
)

// Three machines of 10 MB/s each get a file of 1 GB from one that sends 10 MB/s: whoever has a run passes it on.
func Example() {
	network, err := sim.Read([]byte(`{
		"schema": "bkp-topology/1",
		"name": "four alike",
		"file": {"bytes": 1000000000, "chunk_bytes": 1000000},
		"nodes": [
			{"id": "source", "up": 10000000, "down": 10000000},
			{"id": "a", "up": 10000000, "down": 10000000},
			{"id": "b", "up": 10000000, "down": 10000000},
			{"id": "c", "up": 10000000, "down": 10000000}],
		"mesh": {"bw": null},
		"source": "source",
		"redundancy": {"mode": "broadcast"}
	}`), time.Time{})
	if err != nil {
		panic(err)
	}
	r, err := sim.Run(network, sim.Config{Runs: 1000, Seed: 1})
	if err != nil {
		panic(err)
	}
	fmt.Printf("at least %.0f s, by %s; within 2 %% of that: %v\n", r.BoundS, r.Binding, r.Ratio < 1.02)
	// Output: at least 100 s, by source uplink; within 2 % of that: true
}
