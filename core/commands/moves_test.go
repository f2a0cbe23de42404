// SPDX-License-Identifier: Apache-2.0

package commands_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/commands"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/bkp-tool/bkp/core/scenariotest"
)

// TestMoves: real nodes decide what the same file says of the simulator, see TestMoves in core/sim.
func TestMoves(t *testing.T) {
	scenariotest.Each(t, "../spread/testdata/moves/*.txt", func(t *testing.T, file string) {
		virtual(t, func(t *testing.T) {
			m := &scenariotest.Moves{}
			scenariotest.Play(t, file, m.Line, func() string { return move(t, m) })
		})
	})
}

// move carries a scenario out.
func move(t *testing.T, m *scenariotest.Moves) string {
	c := newCluster(t)
	for i, n := range m.Nodes {
		c.start(n.Name, n.Peers, func(conf *commands.Config) {
			conf.Uplink, conf.Downlink = calendar(n.Uplink), calendar(n.Downlink)
			if i == 0 {
				c.owned(conf)
			}
		})
	}
	a := c.nodes[m.Nodes[0].Name]
	a.splitBy(chunk.Params{Method: chunk.MethodFixed, Min: 16 << 10, Avg: 16 << 10, Max: 16 << 10}, "disk.img", 1,
		content(1, m.Runs*16<<10))
	c.settle()
	names := map[string]string{}
	for _, n := range c.nodes {
		names[n.ID().String()] = n.name
	}
	if m.Lose != "" {
		defer time.AfterFunc(m.After, c.nodes[m.Lose].stop).Stop()
	}
	a.place(control.PlaceArgs{Replicas: m.Copies})
	for _, n := range c.nodes {
		n.stop()
	}
	sent := map[scenariotest.Link][]int{}
	for _, n := range c.nodes {
		for line := range strings.Lines(n.trace.String()) {
			var x struct {
				Dir, Peer string
				Message   struct {
					Type string
					Run  int
				}
			}
			check(t, json.Unmarshal([]byte(line), &x))
			if l := (scenariotest.Link{n.name, names[x.Peer]}); x.Dir == "sent" && x.Message.Type == "TRANSMISSION_BEGIN" {
				sent[l] = append(sent[l], x.Message.Run)
			}
		}
	}
	return m.Said(sent)
}
