// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan/fluid"
)

// What package fluid knows of jobs and bounds, by the names that callers of this room use.
type (
	Goal    = fluid.Goal
	Mode    = fluid.Mode
	Part    = fluid.Part
	Bound   = fluid.Bound
	Fluid   = fluid.Fluid
	Carried = fluid.Carried
	Packing = fluid.Packing
)

// The modes of a Goal.
const (
	Broadcast = fluid.Broadcast
	Replicas  = fluid.Replicas
	Shards    = fluid.Shards
	Fetch     = fluid.Fetch

	MaxPacked     = fluid.MaxPacked
	InitialWindow = fluid.InitialWindow
)

// LeastTime is fluid.LeastTime.
func LeastTime(s core.Snapshot, g Goal) (Bound, error) { return fluid.LeastTime(s, g) }

// FlowOf is fluid.FlowOf.
func FlowOf(s core.Snapshot, g Goal) (Fluid, Bound, error) { return fluid.FlowOf(s, g) }

// Pack is fluid.Pack.
func Pack(s core.Snapshot, g Goal) (Packing, error) { return fluid.Pack(s, g) }

// Fill is fluid.Fill.
func Fill(s core.Snapshot, g Goal, run core.Size) (float64, error) { return fluid.Fill(s, g, run) }
