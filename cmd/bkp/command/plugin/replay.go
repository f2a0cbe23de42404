// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"fmt"
	"strconv"

	"github.com/bkp-tool/bkp/cmd/bkp/command"
	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/plugins"
	"github.com/bkp-tool/bkp/plugins/contract"
	"github.com/urfave/cli/v2"
)

func replayCommand() *cli.Command {
	return command.New(command.Spec{
		Name: "replay", Args: "FILE|FOLDER RECORD", Least: 2, Most: 2,
		Usage: "ask a strategy what another one was asked, and show both answers",
		About: "RECORD was written by bkp place --record RECORD. FILE is a program bkp-strategy-NAME, FOLDER one in Python or Ruby. A " +
			"cost is what a byte costs at the node, a weight how quotas are shared; - is no opinion. Ends with 20 " +
			"where the plugin does not start or answers wrong.",
		Examples: "bkp place big.iso --dry-run --record asked.json\nbkp plugin replay ./bkp-strategy-mine asked.json",
		Do:       doReplay,
	})
}

func doReplay(ctx context.Context, c *command.Call) error {
	defer plugins.Cleanup()
	record := c.Args().Get(1)
	text, err := c.ReadInput(record)
	if err != nil {
		return line.UsageError("read what was recorded: %w", err)
	}
	asked, err := contract.DecodeAsked(text)
	if err != nil {
		return core.WithHint(line.UsageError("%s: %w", record, err),
			"bkp place NAME --dry-run --record FILE writes one")
	}
	host, n, _, drop, err := c.Plugins().Alone(c.Args().First())
	if err != nil {
		return err
	}
	defer drop()
	if n.Kind != plugins.KindStrategy {
		return line.UsageError("%s: only what strategies are asked is recorded", n)
	}
	s, err := host.Strategy(ctx, n.Name)
	if err != nil {
		return err
	}
	defer s.Close()
	var rows []replayed
	for i, a := range asked {
		scores, err := s.Score(ctx, a.Batch)
		if err != nil {
			return fmt.Errorf("question %d of %d: %w", i+1, len(asked), err)
		}
		for k, id := range a.Batch.Nodes.ID {
			rows = append(rows, replayed{Question: i + 1, Node: id, Then: opinionOf(a.Scores, k), Now: opinionOf(scores, k)})
		}
	}
	sum := replaySummary{Name: n, Questions: len(asked), Then: asked[0].Strategy}
	for _, r := range rows {
		if !r.same() {
			sum.Differ++
		}
	}
	return render.List(c.Console, rows, sum, func(t *render.Table) { drawReplay(t, rows, sum) })
}

// opinion is what a strategy says of one node; nil is nothing.
type opinion struct {
	Allow  *bool    `json:"allow,omitempty"`
	Cost   *float64 `json:"place_cost,omitempty"`
	Weight *float64 `json:"target_weight,omitempty"`
	First  *float64 `json:"first_holder_weight,omitempty"`
}

func opinionOf(s core.Scores, k int) opinion {
	return opinion{entry(s.Allow, k), entry(s.PlaceCost, k), entry(s.TargetWeight, k), entry(s.FirstHolderWeight, k)}
}

func entry[T any](column []T, k int) *T {
	if k >= len(column) {
		return nil
	}
	return &column[k]
}

// replayed is what two strategies say of a node in one question.
type replayed struct {
	Question int     `json:"question"`
	Node     string  `json:"node"`
	Then     opinion `json:"then"`
	Now      opinion `json:"now"`
}

func (r replayed) same() bool {
	return alike(r.Then.Allow, r.Now.Allow) && alike(r.Then.Cost, r.Now.Cost) && alike(r.Then.Weight, r.Now.Weight) &&
		alike(r.Then.First, r.Now.First)
}

func alike[T comparable](a, b *T) bool {
	return a == nil && b == nil || a != nil && b != nil && *a == *b
}

type replaySummary struct {
	plugins.Name
	Then      string `json:"then"` // the strategy whose answers were recorded
	Questions int    `json:"questions"`
	Differ    int    `json:"differ"` // nodes of which the two do not say the same
}

func drawReplay(t *render.Table, rows []replayed, sum replaySummary) {
	then, now := sum.Then, sum.Name.Name
	if then == now {
		then = "then"
	}
	for i, r := range rows {
		if i == 0 || rows[i-1].Question != r.Question {
			if sum.Questions > 1 {
				t.Line("question %d", r.Question)
			}
			t.Header("node", "cost "+then, "cost "+now, "weight "+then, "weight "+now)
		}
		t.Row(shortNode(r.Node), words(r.Then, r.Then.Cost), words(r.Now, r.Now.Cost), number(r.Then.Weight),
			number(r.Now.Weight))
	}
	t.Line("%s: of %d nodes %d are seen alike", render.Counted(sum.Questions, "question"), len(rows), len(rows)-sum.Differ)
}

// words is the cost of a node, or that it is not allowed at all.
func words(o opinion, cost *float64) string {
	if o.Allow != nil && !*o.Allow {
		return "not allowed"
	}
	return number(cost)
}

func number(x *float64) string {
	if x == nil {
		return "-"
	}
	return strconv.FormatFloat(*x, 'g', 4, 64)
}

func shortNode(id string) string {
	if parsed, err := core.ParseID(id); err == nil {
		return parsed.Short()
	}
	return id
}
