// SPDX-License-Identifier: Apache-2.0

// Package spread decides which runs travel next, from whom and to whom, and how fast.
//
// Events come in and actions go out; nothing here acts, waits, or knows a clock or a source of chance but those that it
// is given. core/sim and core/node drive it.
//
//	transfer.go  a task under way: its segments, zones, and the nodes that take part
//	progress.go  what one node has, lacks and is being sent
//	engine.go    what one node sends: events wake it, Next says what to do
//	sender.go    the way to one target: what is under way on it, and what came of its flow
//	pick.go      whom to send to, and which run
//	route.go     the runs that the plan has go each way, and their order
//	inbound.go   what the plan has come to a node from each other, and whose its downlink is
//	share.go     how much of the uplink, when to raise a lease and when to lower it
//	relay.go     passing on what is not kept
//	quota.go     a fetch in which holders push: who gives how much of which part
//	set.go       sets of runs
//	download.go  a fetch: which holder is asked for which runs
package spread
