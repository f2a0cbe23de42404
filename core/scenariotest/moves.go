// SPDX-License-Identifier: Apache-2.0

package scenariotest

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bkp-tool/bkp/core"
)

// Moves is a placement on a network as a scenario of core/spread/testdata/moves tells it. Real nodes and the simulator
// carry the same files out, and what they decide is held against the same words. The lines:
//
//	node NAME UPLINK DOWNLINK [PEER-RATE,...]   the first has the file; PEERs stand before
//	place RUNS COPIES                           of 16 KiB each
//	lose NAME SPAN                              it is gone after that time
//	order                                       tell in which order runs are sent
//
// Then ---- and who sent whom how much of the file, or which runs in which order.
type Moves struct {
	Nodes  []MovesNode
	Runs   int
	Copies int
	Lose   string
	After  time.Duration
	order  bool // Said tells it
}

// MovesNode is a node and its links to those before.
type MovesNode struct {
	Name             string
	Up, Down         core.Rate
	Links            []core.LinkState // From is an index of Moves.Nodes; To is not set
	Uplink, Downlink string           // as they are written
	Peers            string           // the links, as a peer list without addresses has them
}

// Line takes a line in.
func (m *Moves) Line(words []string) (err error) {
	switch words[0] {
	case "node":
		n := MovesNode{Name: words[1], Uplink: words[2], Downlink: words[3]}
		if len(words) > 4 {
			n.Peers = words[4]
		}
		up, err1 := core.ParseSize(words[2])
		down, err2 := core.ParseSize(words[3])
		n.Up, n.Down = core.Rate(up), core.Rate(down)
		for peer := range strings.SplitSeq(n.Peers, ",") {
			name, rate, _ := strings.Cut(peer, "-")
			at := slices.IndexFunc(m.Nodes, func(n MovesNode) bool { return n.Name == name })
			if size, err := core.ParseSize(rate); at >= 0 && err == nil {
				n.Links = append(n.Links, core.LinkState{From: at, Rate: core.Rate(size)})
			}
		}
		m.Nodes, err = append(m.Nodes, n), cmp.Or(err1, err2)
	case "place":
		m.Runs, err = strconv.Atoi(words[1])
		if err == nil {
			m.Copies, err = strconv.Atoi(words[2])
		}
	case "lose":
		m.Lose = words[1]
		m.After, err = time.ParseDuration(words[2])
	case "order":
		m.order = true
	default:
		err = fmt.Errorf("no word %q", words[0])
	}
	return err
}

// Link is a sender's name and a receiver's.
type Link [2]string

// Said tells what was sent over each link, in order; of all runs, how many of which belong to the file.
func (m *Moves) Said(sent map[Link][]int) string {
	var out strings.Builder
	for _, l := range slices.SortedFunc(maps.Keys(sent), func(a, b Link) int { return slices.Compare(a[:], b[:]) }) {
		runs := slices.DeleteFunc(slices.Clone(sent[l]), func(run int) bool { return run >= m.Runs })
		if m.order {
			fmt.Fprintf(&out, "%s to %s: %s\n", l[0], l[1], inOrder(runs))
		} else if part := 100 * float64(len(runs)) / float64(m.Runs); part >= movesStep/2 {
			fmt.Fprintf(&out, "%s to %s: %.0f %%\n", l[0], l[1], movesStep*math.Round(part/movesStep))
		}
	}
	return out.String()
}

// movesStep is to how many hundredths of a file shares are told: which of two that could both send a run are first is
// left to chance.
const movesStep = 10.0

// inOrder writes runs that follow each other as one.
func inOrder(runs []int) string {
	var parts []string
	for i := 0; i < len(runs); {
		end := i + 1
		for end < len(runs) && runs[end] == runs[end-1]+1 {
			end++
		}
		part := strconv.Itoa(runs[i])
		if end > i+1 {
			part += "-" + strconv.Itoa(runs[end-1])
		}
		parts, i = append(parts, part), end
	}
	return strings.Join(parts, " ")
}
