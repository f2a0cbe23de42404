// SPDX-License-Identifier: Apache-2.0

// Package shipment is the folder in which what a node is to keep of a version travels on a disk.
//
//	bkp-shipment.NODE.TASK/   what one node is to keep of one task
//	    N.list              segment N: its runs with their chunks, which of them NODE is to keep, the owner's licence
//	    N/RUN               the stored bytes of a run: its chunks, one behind the other
//
// N and RUN count from 0. A list is a version.Record as CBOR, whose spans are NODE's, then the public key of the node
// that is the source, and its signature: what a source says over the wire is as much its word. Runs may be missing.
// All bytes are sealed; what else a list tells is what a target is told over the wire.
//
// The package names and reads, and touches no file. Parse holds what needs no context; whether the licence holds, and
// the node wants the runs, is judged as where a peer offers them.
package shipment
