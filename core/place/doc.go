// SPDX-License-Identifier: Apache-2.0

// Package place coordinates placements: what is asked of which peer, and what is done when it does not go as planned.
//
// It acts round decisions that do not. placements.Standing is where a placement stands, plain data; package delivery is told
// what happens and says what is to be done; package content says what a version consists of, package survey what the
// network can give, package stripes computes parity, and package proof has targets prove what they keep. What they and the rest need of the node is in needs.go, as interfaces. One goroutine has a placement;
// what the node's loop tells it goes through its Inbox.
//
//	place.go     the steps of a placement                choose.go    the version, and what it consists of
//	survey.go    the network                             price.go     the strategy's prices, and the plan
//	offer.go     licences, and who accepts               recall.go    what is to be sent, and is here no more
//	encode.go    the stripes of new content
//	inbox.go     what the node tells                     outbox.go    who is told later that it may let go
//	deliver.go   what delivery decides, done             publish.go   records, refs, and what is let go
//	window.go    placing a file while it is cut          remove.go    forgetting versions, and having them let go
//	prove.go     having targets prove what they keep     needs.go     what is needed of the node
//	again.go     what a record lacks, or nodes are to keep no more, placed anew
//	record.go    what is noted of it                     rebalance.go relieving nodes that are dear or nearly full
//	carryover.go records of what was placed before there were any
//	export.go    what a node is to keep, given out to be carried there on a disk
//	handover.go  versions handed over to another node, and those that were handed over to this one
//
// # Handing over
//
// A version may be handed over to a node that is always on, its coordinator, which need not be trusted with any key.
// It is first the only target, under a licence like any other, in which the owner says what version the runs are of.
// Once its copy counts the owner's node signs a handover: what is wanted, and a delegation to keep that one version
// (key.Handover, key.Delegation). The coordinator gives its receipt when both are durable as a record of its own
// (core/commands), and the owner's machine may go.
//
// What is placed already is placed anew, in a term, as it was wanted, with the coordinator as one that gets all of it
// beside. The coordinator's own task takes a higher term, so that its refs succeed the owner's with every holder, and
// looks first to who the owner's task named. The owner's node asks it how far it is, and has the others let go of the
// owner's task once enough copies count by the coordinator's. Stripes are made by the owner's node; the coordinator knows
// them by the order and the types of runs (core.StripesFrom), since it cannot read the records that list them.
//
// From then on the coordinator's keeper finds that copies lack, and carry places them as what is on record is placed
// again: under licences of its own, each with the owner's of the same runs. It cannot read or write what is sealed. So
// it leaves the owner's records and ref with every target as it was given them, and beside them a location, signed and
// in clear, of who keeps what: who fetches goes by both. What is too many it releases with the location that says so.
//
// A holder (keep/term.go) takes none of that for another name or version, for runs that the owner did not license, or
// from who is of a lower term than it served last. The owner's node takes over, as whoever the version is handed over
// to next, in the next term; it lets go of what others kept on the word of the one before.
package place
