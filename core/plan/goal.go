// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan/fluid"
)

// Goal is fluid.Goal.
type Goal = fluid.Goal

// Mode is fluid.Mode.
type Mode = fluid.Mode

// Part is fluid.Part.
type Part = fluid.Part

// Bound is fluid.Bound.
type Bound = fluid.Bound

// Fluid is fluid.Fluid.
type Fluid = fluid.Fluid

// Carried is fluid.Carried.
type Carried = fluid.Carried

// The modes of a Goal.
const (
	Broadcast = fluid.Broadcast
	Replicas  = fluid.Replicas
	Shards    = fluid.Shards
	Fetch     = fluid.Fetch

	InitialWindow = fluid.InitialWindow
)

// LeastTime is fluid.LeastTime.
func LeastTime(s core.Snapshot, g Goal) (Bound, error) { return fluid.LeastTime(s, g) }

// FlowOf is fluid.FlowOf.
func FlowOf(s core.Snapshot, g Goal) (Fluid, Bound, error) { return fluid.FlowOf(s, g) }

// Fill is fluid.Fill.
func Fill(s core.Snapshot, g Goal, run core.Size) (float64, error) { return fluid.Fill(s, g, run) }
