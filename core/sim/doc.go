// SPDX-License-Identifier: Apache-2.0

// Package sim runs placements and fetches on a virtual network: the real planner, accounts and flows, on virtual time.
//
// A Topology (bkp-topology/1) gives nodes, links, trunks and a job. Run cuts the file into runs, has core/plan decide
// who keeps what, and then lets every node act as a real one does: core/spread says what it sends to whom, it applies
// for a lease through core/task, and its receiver grants it from core/account. Each run takes
// size·core.WireOverhead/rate seconds. Nothing else takes time, no disk and no word, but for the delays of nodes. So a
// makespan is what the decisions cost, and no more.
//
// Where nodes have a delay, all that passes between two of them is on its way for the larger of theirs. As real nodes
// do then, they ask ahead for some round trips' worth of runs and keep a lease for longer; and TCP's window grows from
// its first size where a link was still.
//
// What nodes know of each other is what hints tell them in a real network, at once: who has and expects which run, what
// is free at a receiver, how many copies there are. A trunk's account is shared by all its senders.
//
// Estimates and truth are two snapshots. With Config.Error the planner sees rates that are off by a random part;
// accounts hold the true ones. After ten seconds the planner hears what was measured. Where the placement is about to
// end late all the same, as plan.Pace tells a real coordinator, it moves what is not on its way yet, by how fast nodes
// were seen to receive.
//
// A node that is lost goes without a word. After fifteen seconds, three pings, the others notice; the source then finds
// new places for what it kept. Without the source nothing is planned anew, and the others go on with what they want.
// The bound is then this: in a broadcast or a fetch, the moment of the loss, and what could not have been done by then
// at the bound of the whole network, at the bound of what is left of it (a link that is cut is gone like a node); where
// lost copies are made anew, the bound of what is left, for all.
//
// Rates may follow calendars. Accounts change when these say so: leases shrink with them as between real nodes, and
// grow with them, as with a real flow's next run. The planner knows the calendars and counts with mean rates; so does
// the bound, over the least time for which it is one. Where a window of one account opens while another's on the same
// way is shut, and no link joins them, it is loose.
//
// Everything happens on one queue, in the order of time and then of cause, and all chance comes from Config.Seed: the
// same question has the same answer, byte for byte.
package sim
