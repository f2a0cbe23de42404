// SPDX-License-Identifier: Apache-2.0

// Package place coordinates placements: what is asked of which peer, and what is done when it does not go as planned.
//
// It acts round a decision that does not. placements.Standing is where a placement stands, plain data; Watch is told
// what happens and says what is to be done. What they and the rest need of the node is in needs.go, as interfaces. One
// goroutine has a placement; what the node's loop tells it goes through its Inbox.
//
//	place.go     the steps of a placement                content.go   new runs, and runs that peers have already
//	choose.go    the version, and what it consists of    settle.go    what core/reconcile is told, and its answer
//	survey.go    the network                             price.go     the strategy's prices, and the plan
//	cut.go       segments of the content                 carryover.go records of what was placed before there were any
//	offer.go     licences, and who accepts               recall.go    what is to be sent, and is here no more
//	inbox.go     what the node tells                     outbox.go    who is told later that it may let go
//	watch.go     while the data moves: what is to be     deal.go      copies dealt anew: a target was lost, it runs
//	             done                                                 late, or somebody joined
//	deliver.go   doing it                                publish.go   records, refs, and what is let go
//	window.go    placing a file while it is cut          remove.go    forgetting versions, and having them let go
//	prove.go     having targets prove what they keep     needs.go     what is needed of the node
//	challenge.go asking for a proof; what a record lacks placed anew
//	record.go    what is noted of it                     rebalance.go relieving nodes that are dear or nearly full
package place
