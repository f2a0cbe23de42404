// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strconv"

	"github.com/bkp-tool/bkp/cmd/bkp/command"
	"github.com/bkp-tool/bkp/cmd/bkp/line"
	"github.com/bkp-tool/bkp/core/plan"
	"github.com/urfave/cli/v2"
)

// objectiveFlags are understood by every command that plans.
func objectiveFlags() []cli.Flag {
	return []cli.Flag{
		line.Text("objective", "", "make `WHAT` small first: time, cost (the strategy's order of nodes) or blend "+
			"(default: as the strategy asks, else time)"),
		line.Text("blend", "0.5", "with --objective blend, let time weigh `W`, from 0 to 1, and cost the rest"),
		line.Text("deadline", "", "let no node receive for longer than `SPAN`: seconds, or 90m"),
	}
}

// objective reads objectiveFlags; a deadline of 0 is none.
func objective(c *command.Call) (objective string, blend, deadline float64, err error) {
	switch objective = c.String("objective"); objective {
	case "", plan.ObjectiveTime, plan.ObjectiveCost:
	case plan.ObjectiveBlend:
		if blend, err = strconv.ParseFloat(c.String("blend"), 64); err != nil || !(blend >= 0 && blend <= 1) {
			return "", 0, 0, line.UsageError("--blend %s: want a number from 0 to 1", c.String("blend"))
		}
	default:
		return "", 0, 0, line.UsageError("--objective %s: want %s, %s or %s", objective, plan.ObjectiveTime,
			plan.ObjectiveCost, plan.ObjectiveBlend)
	}
	if c.Given("blend") && objective != plan.ObjectiveBlend {
		return "", 0, 0, line.UsageError("--blend is for --objective %s", plan.ObjectiveBlend)
	}
	text := c.String("deadline")
	if text == "" {
		return objective, blend, 0, nil
	}
	if deadline, err = strconv.ParseFloat(text, 64); err == nil {
		if !(deadline > 0 && deadline < 1e12) {
			return "", 0, 0, line.UsageError("--deadline %s: want seconds above 0", text)
		}
		return objective, blend, deadline, nil
	}
	span, err := c.Span("deadline")
	return objective, blend, span.Seconds(), err
}
