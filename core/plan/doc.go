// SPDX-License-Identifier: Apache-2.0

// Package plan decides which nodes keep what of a job, from whom each gets it, and how long that will take.
//
// It is pure: the same request gives the same plan, in the daemon and in a simulation. It computes with classes of runs
// and with spans, never run by run, so a million runs on a thousand nodes take a fraction of a second.
//
// # Who keeps what
//
// A strategy prices the candidates (BatchOf is the question, CheckScores checks the answer); Place decides:
//
//  1. Who keeps all runs of a class already keeps them for this task too, the cheapest holders first. It costs nothing.
//  2. Every other candidate has a cap: its free space, what the strategy lets it keep, and, when the objective is time, what
//     it can receive within Slack times the bound. Time is the objective unless the user or the strategy names another.
//  3. Quotas: the cheapest node is filled to its cap, then the next. Nodes of the same cost share in
//     proportion to their weights, as all do when the strategy gives no costs; without weights of its own, a node
//     weighs what it can receive and, for more than one copy, pass on. Where the strategy spreads copies over zones, a zone
//     takes at most so many copies of the class.
//  4. The circle (package wrap): the runs of a class stand in a ring, which is walked once for each copy. The nodes stand in an order of
//     their own, by zone and then by a mix of the file's seed and their ID. Each takes the next runs up to its quota. Since
//     no quota is longer than the ring, a run never meets the same node twice; since zones are contiguous and no zone gets
//     more than its rounds, no run has too many copies in one; and there are few different sets of nodes, about one a node,
//     so few ways to lose a run. Only whole runs are given out. Where space is so tight that some find no place in their
//     turn, they go one by one to whoever has room.
//
// If copies are left over, there is no plan but an error that says which node lacks how much. Copies are never fewer
// than asked for; a strategy may want more, and then they are as many as it wants. Where several classes compete for
// room, a flow over all of them finds it, or the error names the cut that is full. Where the cheapest nodes are too
// slow together, ObjectiveTime forgets their costs; ObjectiveBlend weighs plans of many lengths; a deadline holds for
// all.
//
// Several strategies make one answer in Combine.
//
// On up to a hundred nodes, where that comes to more than the least time, all of it is computed at once: package fluid
// finds ways (trees, or paths for shards) in the least time, within a little of it at the least cost or as near as can
// be to the quotas, and the runs are cut over those (compute). A deadline is met at the least cost the same way;
// Frontier is several.
//
// # Who sends
//
// Runs that the same nodes are to keep form a stretch. In pieces of about 1/256 of the job, the source sends to one of
// them and that one to the next, or the source to both: each piece takes the way on which the senders, links and trunks
// that it needs are done soonest, counting what they were given before. So an idle uplink is used before a busy one,
// without looking for an optimum. Nodes that can pass on most, or are nearest, come first when the ways are alike. A
// node sends only runs that it is to keep; and only where the snapshot has a link.
//
// # How long
//
// All flows then share the accounts by weighted max-min fairness (MaxMin). The slowest of them, and the fill, make the
// predicted time. The fill is how long one run alone takes to its holders, less its slowest hop, and twice that where
// ways branch. The bound is the least time in which anybody could do it, whatever the plan: the source must send what
// only it has; the copies must arrive where there is room; every copy must be sent by somebody who has it; and what has
// no room in the source's zone must cross its trunks. It is found by bisection on time. It knows no relays outside the
// candidates, so a candidate that the source has no link to gets nothing new.
//
// LeastTime is the bound for any job (a Goal: broadcast, replicas, shards, fetch) when every node may pass on anything,
// and FlowOf a flow that reaches it; package fluid computes them, exactly for up to a hundred nodes. It names what
// binds.
//
// All times are for payload: accounts count wire bytes, of which core.WireOverhead go for a byte of payload.
package plan
