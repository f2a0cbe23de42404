// SPDX-License-Identifier: Apache-2.0

// Package ledger is a node's verifiable log of licences, receipts, and what ends them.
//
// # The log
//
// Entries are signed envelopes, numbered from 0 and only ever added. Over them stands a Merkle tree as in RFC 6962
// (Certificate Transparency; golang.org/x/mod/sumdb/tlog): a leaf is the hash of an entry's kind and envelope. Its
// root, signed by the node's key together with the number of entries, is a [SignedHead]. Whoever holds an older head
// can tell for ever whether entries below it were changed, reordered or cut: [Reader.Verify] recomputes the tree and
// compares it with every head the log ever signed, and with any that the caller brings from elsewhere. Only the latter
// show a log whose heads were cut along with its entries, which is why peers keep each other's.
//
// # Files
//
//	entries   "bkp ledger v1\n", then a record for each entry:
//	          length of envelope (uint32 LE) ‖ kind ‖ envelope ‖ checksum (uint32 LE)
//	          checksum = CRC-32C over number (uint64 LE) ‖ all of the record before it
//	          kind = 1 licence, 2 receipt, 3 release, 4 expired, 5 lost, 6 audit, 7 countersigned
//	heads     a record of 145 bytes for each signed head:
//	          version (1) ‖ entries (uint64 LE) ‖ length of the file entries (uint64 LE) ‖ root (32) ‖ public key (32) ‖ signature (64)
//	          signed is "bkp ledger head v1\n" ‖ entries in decimal ‖ "\n" ‖ root in hex ‖ "\n"
//	hashes    the tree's hashes, 32 bytes each, in tlog's order   (made again from entries when wrong)
//	offsets   where each record begins, uint64 LE                 (made again from entries when wrong)
//	key       the node's public key (core.PublicKey) where it was rotated: heads have its last key
//	lock      held by the one writer
//
// Kinds from 3 on came later: an earlier bkp, which knows 1 and 2, takes an entry of another kind for one that
// is not whole. It refuses to open the log for writing where that is its last entry, or where it has to read all; it
// never cuts one that a head was signed for.
//
// # Bundles
//
// [Reader.Export] writes a log in one stream, which [VerifyBundle] checks wherever it was taken to:
//
//	"bkp ledger bundle v1\n" ‖ the newest head's record ‖ the records of entries, as above; and behind the entries that
//	it reaches to each head, as a record of kind 255 whose envelope is the head's record, and whose checksum is over the
//	number of the entry that comes next
//
// In version 2, of a node whose key was rotated, the length of its public key (uint16 LE) and that key stand before
// the newest head. A bundle ends with the head that it begins with, so that whatever is cut off is missed.
//
// # What stands
//
// A receipt is the node's word that it keeps runs. It stands until the owner's release of its task, or the node's own
// word that the time is over or that the bytes are lost; each of these is in the log, durably, before bytes go.
// [Reader.Standing] is what is left: it must be found among the holdings and in the packs.
//
// A countersignature ends nothing: it is the word of the owner's side that the newest receipt for a licence came, and
// with it those that the receipt follows. So whoever has the log sees that the owner knows what the node keeps.
//
// # Order
//
// A ledger is one node's. Where several coordinators, or parties, need one order they have an engine ([Engine], a plugin)
// keep it: scopes of entries that are only ever appended, by compare and swap. [Order] is what bkp enters there, and how
// whoever reads it judges what stands there, for an engine does not look into entries and anybody may append some:
//
//	heads                         signed heads of all nodes' ledgers: a node whose heads get smaller, or differ, was cut or
//	                              rewritten, and a head that stands there can be held against the node's log for ever
//	version/OWNER/ALIAS/VERSION   bookings: who coordinates the version, in which term, and which licences it is about to sign
//
// The coordinator is who booked last, in the highest term; a booking in the same term or in a lower one says nothing, unless
// the owner handed the version over to its node in that very term. A licence counts where its id is booked by who coordinates
// the version now, and a node that has the order accepts no other ([Order.Verify]). So of two coordinators that see to one
// version, each sure to be the only one, no node takes anything from the one that was outrun, whether it knows of it or not.
// Bodies stay in the ledgers: an engine learns IDs of owners and nodes, aliases and numbers.
//
// # Writing
//
// [Log.Append] only fills memory; [Log.Sync] is the barrier: entries are on disk, then a head over them. Syncs
// that wait together share one. After a crash [Open] keeps every whole entry, cuts the torn one behind them, and signs
// a head over what is left. It refuses to go on where entries are missing or differ that a head was signed
// for: a crash cannot do that. Readers need no lock and see what the newest head covers. Memory does not grow with
// the log, but in Verify, which remembers about 120 bytes for each licence and 40 for each receipt of another node.
package ledger
