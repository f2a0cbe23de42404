// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/scenariotest"
)

// TestScenarios reads testdata/*.txt: lines that describe a network and a job, then ---- and the expected plan, to the
// next empty line. What one block says stays said for those below it, until "reset". The words:
//
//	node NAME [source] free= total= up= down= delay= zone=     a node; rates without a value are unlimited
//	link A B RATE     mesh RATE     no-link A B     trunk A B RATE
//	runs 100x4MiB,1x1MiB [held=A,B]     adds a class of runs; "no-runs" removes all
//	replicas N     objective time|cost|-     strategy-objective time|cost|-     strategy seed|nearest|most-free|-     spread N|-     owns-first|-
//	cost|weight|quota|allow|first A=… B=…     a column of scores (others: 0, or true); alone, it is empty again
//	place     prints the plan     place brief     only who keeps what, and the times
func TestScenarios(t *testing.T) {
	scenariotest.Each(t, "testdata/*.txt", func(t *testing.T, file string) {
		w := &world{}
		scenariotest.Play(t, file, w.line, func() string { defer w.printed.Reset(); return w.printed.String() })
	})
}

// world is what a scenario has said so far.
type world struct {
	Request
	columns   map[string]map[string]string // cost, weight, … → node → value
	strategy  string
	objective string // the strategy's
	printed   strings.Builder
}

func (w *world) line(words []string) error {
	if w.columns == nil {
		w.columns, w.Replicas = map[string]map[string]string{}, 2
	}
	var err error
	switch args := words[1:]; words[0] {
	case "reset":
		*w = world{}
	case "node":
		err = w.node(args)
	case "link":
		err = w.link(args[0], args[1], args[2])
	case "mesh":
		for _, a := range w.Snapshot.Nodes {
			for _, b := range w.Snapshot.Nodes {
				if a.ID != b.ID {
					err = w.link(a.Labels["name"], b.Labels["name"], args[0])
				}
			}
		}
	case "no-link":
		from, to := w.index(args[0]), w.index(args[1])
		w.Snapshot.Links = slices.DeleteFunc(w.Snapshot.Links,
			func(l core.LinkState) bool { return l.From == from && l.To == to })
	case "trunk":
		rate, e := core.ParseRate(args[2])
		w.Snapshot.Trunks, err = append(w.Snapshot.Trunks, core.TrunkState{From: args[0], To: args[1], Rate: rate}), e
	case "runs":
		err = w.runs(args)
	case "no-runs":
		w.Classes = nil
	case "replicas":
		w.Replicas, err = strconv.Atoi(args[0])
	case "objective":
		w.Objective = strings.Trim(args[0], "-")
	case "strategy-objective":
		w.objective = strings.Trim(args[0], "-")
	case "strategy":
		w.strategy = strings.Trim(args[0], "-")
	case "owns-first":
		w.Info.OwnsFirstHolder = len(args) == 0
	case "cost", "weight", "quota", "allow", "first", "spread":
		w.columns[words[0]] = map[string]string{}
		for _, arg := range args {
			name, value, _ := strings.Cut(arg, "=")
			w.columns[words[0]][name] = value
		}
	case "place":
		w.place(len(args) > 0)
	default:
		err = fmt.Errorf("unknown word %q", words[0])
	}
	return err
}

func (w *world) node(args []string) (err error) {
	n := core.NodeState{Labels: map[string]string{"name": args[0]}, Free: core.TiB}
	copy(n.ID[:], args[0])
	for _, arg := range args[1:] {
		key, value, _ := strings.Cut(arg, "=")
		switch key {
		case "source":
			w.Snapshot.Source = len(w.Snapshot.Nodes)
		case "free":
			if n.Free = 0; value != "0" {
				n.Free, err = core.ParseSize(value)
			}
		case "total":
			n.Total, err = core.ParseSize(value)
		case "up":
			n.Up, err = core.ParseRate(value)
		case "down":
			n.Down, err = core.ParseRate(value)
		case "zone":
			n.Zone = value
		case "delay":
			d, e := time.ParseDuration(value)
			n.Delay, err = d.Seconds(), e
		default:
			err = fmt.Errorf("unknown word %q", key)
		}
		if err != nil {
			return err
		}
	}
	n.Total = max(n.Total, n.Free)
	w.Snapshot.Nodes = append(w.Snapshot.Nodes, n)
	return nil
}

func (w *world) link(from, to, rate string) (err error) {
	l := core.LinkState{From: w.index(from), To: w.index(to)}
	if rate != "-" {
		l.Rate, err = core.ParseRate(rate)
	}
	w.Snapshot.Links = append(w.Snapshot.Links, l)
	return err
}

func (w *world) index(name string) int {
	return slices.IndexFunc(w.Snapshot.Nodes, func(n core.NodeState) bool { return n.Labels["name"] == name })
}

func (w *world) runs(args []string) error {
	var c Class
	for part := range strings.SplitSeq(args[0], ",") {
		count, text, _ := strings.Cut(part, "x")
		n, err := strconv.Atoi(count)
		if err != nil {
			return err
		}
		size, err := core.ParseSize(text)
		if err != nil {
			return err
		}
		c.Runs = append(c.Runs, slices.Repeat([]core.Size{size}, n)...)
	}
	for _, arg := range args[1:] {
		for name := range strings.SplitSeq(strings.TrimPrefix(arg, "held="), ",") {
			c.Holders = append(c.Holders, w.index(name))
		}
	}
	w.Classes = append(w.Classes, c)
	return nil
}

// scores fills the columns, by a strategy or as the scenario says.
func (w *world) scores() (s core.Scores) {
	batch, index := BatchOf(w.Snapshot, w.Classes, w.Replicas)
	s = priced(w.strategy, batch)
	for row, i := range index {
		name := w.Snapshot.Nodes[i].Labels["name"]
		number := func(column string, to *[]float64) {
			if len(w.columns[column]) > 0 {
				*to = slices.Grow(*to, len(index))[:len(index)]
				(*to)[row], _ = strconv.ParseFloat(w.columns[column][name], 64)
			}
		}
		number("cost", &s.PlaceCost)
		number("weight", &s.TargetWeight)
		number("first", &s.FirstHolderWeight)
		if len(w.columns["allow"]) > 0 {
			s.Allow = append(s.Allow, w.columns["allow"][name] != "no")
		}
		if len(w.columns["quota"]) > 0 {
			quota := core.Size(math.MaxInt64)
			if text, ok := w.columns["quota"][name]; ok {
				quota, _ = core.ParseSize(text)
			}
			s.QuotaCap = append(s.QuotaCap, quota)
		}
	}
	for number := range w.columns["spread"] {
		s.Spread.Level = "zone"
		s.Spread.Max, _ = strconv.Atoi(number)
	}
	return s
}

// priced is what the shipped strategies say, in a line each: enough to see the planner follow different orders.
func priced(strategy string, b core.Batch) (s core.Scores) {
	if strategy == "" {
		return s
	}
	for i := range b.Nodes.Len() {
		seconds := 0.0
		if b.Nodes.Link[i] > 0 {
			seconds = 1 / float64(b.Nodes.Link[i]) * float64(core.MiB)
		}
		used := 1 - float64(b.Nodes.Free[i])/float64(b.Nodes.Total[i])
		switch strategy {
		case "seed":
			s.PlaceCost = append(s.PlaceCost, seconds+b.Nodes.Delay[i]+used)
		case "nearest":
			s.PlaceCost = append(s.PlaceCost, b.Nodes.Delay[i])
		case "most-free":
			s.TargetWeight = append(s.TargetWeight, float64(b.Nodes.Free[i]))
		}
	}
	return s
}

func (w *world) place(brief bool) {
	w.Scores = w.scores()
	w.Scores.Objective = cmp.Or(w.objective, w.Scores.Objective)
	p, err := Place(w.Request)
	out := &w.printed
	if err != nil {
		fmt.Fprintf(out, "code %d: %v\n", core.CodeOf(err), err)
		if hint := core.HintOf(err); hint != "" {
			fmt.Fprintf(out, "hint: %s\n", hint)
		}
		return
	}
	name := func(i int) string { return w.Snapshot.Nodes[i].Labels["name"] }
	for _, row := range p.Nodes {
		fmt.Fprintf(out, "%s keeps %s in %d runs: %s\n", name(row.Node), row.Bytes, row.Runs, row.Explain)
		if !brief {
			fmt.Fprintf(out, "    first run after %.3g s, last after %.3g s\n", row.First, row.Finish)
		}
	}
	for _, r := range p.Refused {
		fmt.Fprintf(out, "%s keeps nothing: %s\n", name(r.Node), r.Reason)
	}
	if !brief {
		for c, spans := range p.Classes {
			fmt.Fprintf(out, "class %d:", c)
			for _, s := range spans {
				from := "from " + name(s.From)
				if s.From == s.Node {
					from = "held"
				}
				fmt.Fprintf(out, " %s %d-%d %s;", name(s.Node), s.Start, s.End()-1, from)
			}
			fmt.Fprintln(out)
		}
		for _, f := range p.Flows {
			rate := "unlimited"
			if f.Rate > 0 {
				rate = f.Rate.String()
			}
			fmt.Fprintf(out, "%s to %s: %s at %s\n", name(f.From), name(f.To), f.Bytes, rate)
		}
	}
	fmt.Fprintf(out, "predicted %.4g s, %.3g of it fill; bound %.4g s by %s; ratio %.3f\n", p.PredictedS, p.FillS,
		p.BoundS, p.Binding, p.Ratio)
}
