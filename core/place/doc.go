// SPDX-License-Identifier: Apache-2.0

// Package place coordinates placements: what is asked of which peer, and what is done when it does not go as planned.
//
// It acts round decisions that do not. placements.Standing is where a placement stands, plain data; package delivery is told
// what happens and says what is to be done; package content says what a version consists of, and package survey what the
// network can give. What they and the rest need of the node is in needs.go, as interfaces. One goroutine has a placement;
// what the node's loop tells it goes through its Inbox.
//
//	place.go     the steps of a placement                choose.go    the version, and what it consists of
//	survey.go    the network                             price.go     the strategy's prices, and the plan
//	offer.go     licences, and who accepts               recall.go    what is to be sent, and is here no more
//	encode.go    the parity of stripes                   mend.go      what is lost of stripes, rebuilt
//	inbox.go     what the node tells                     outbox.go    who is told later that it may let go
//	deliver.go   what delivery decides, done             publish.go   records, refs, and what is let go
//	window.go    placing a file while it is cut          remove.go    forgetting versions, and having them let go
//	prove.go     having targets prove what they keep     needs.go     what is needed of the node
//	challenge.go asking for a proof; what a record lacks placed anew
//	record.go    what is noted of it                     rebalance.go relieving nodes that are dear or nearly full
//	carryover.go records of what was placed before there were any
package place
