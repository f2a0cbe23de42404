// SPDX-License-Identifier: Apache-2.0

// Package disk keeps sealed chunks on disk, and what they are kept for.
//
// # Packs
//
// Chunks stand in append-only packs of about 64 MiB: PACKS/NAME.open while a process writes it, PACKS/NAME.pack once it
// is finished, NAME being 32 random hex digits. All numbers are little-endian.
//
//	pack    header ‖ record … ‖ table
//	header  "\x89bkppak\n" (8) ‖ version 1 (1) ‖ zeros (7)
//	record  "\x89bkprec\n" (8) ‖ size of data (4) ‖ hash (32) ‖ id (32, zero where unknown) ‖ CRC-32C of these 76 bytes (4) ‖ data
//	table   row … ‖ "\x89bkptab\n" (8) ‖ number of rows (4) ‖ offset of the first row (4) ‖ BLAKE3 of the table up to here (32)
//	row     hash (32) ‖ id (32) ‖ offset of the record (4) ‖ size of its data (4), sorted by hash
//
// hash is the BLAKE3 digest of data, id names the plain content to its owner (see package chunk); the key that opens a
// chunk is never here. The table says again, in one place, what the records say: it is lost without harm.
//
// A node that keeps chunks for others also writes down, in records of its own among them, what it keeps them for: their
// holdings can be found again from the packs alone. Such a description has an id that says so, lives as long as its
// holdings, and counts like any chunk.
//
//	id      "bkp kept" (8) ‖ the first 24 bytes of its hash
//	data    "\x89bkpdsc\n" (8) ‖ version 1 (1) ‖ core.Description in CBOR: a segment and its root, runs, or a ref
//
// # What survives
//
// Records are gathered in buffers of 4 MiB, which are written past the page cache, aligned and padded, where the file
// system can do that, two at a time: behind the last barrier a crash may leave a gap before records that are whole.
// Room in the file is reserved before, so that a full disk refuses a Put and hurts nothing else, and a little of the
// disk is left to others. Until then this Store alone can read them. Barrier has all that was put before it written and
// makes it durable; only then may it be acknowledged. The block in which a barrier found the records to end is written
// again with those that follow. A Barrier also covers what was found: packs are synced before they get their final
// name, but who finished one may die before that name is durable, so that the directory is synced after every finished
// pack that came.
//
// Who writes a pack holds a lock on its file. An .open pack without a lock belongs to a process that died, perhaps
// because a sync had failed; then some of it may stand in memory alone. So the next Open never finishes it: it reads it
// through, puts what is whole anew, and removes it once that is durable. A finished pack whose table is damaged gets
// another one in place. Who reads a pack that another process is writing takes what does not match its hash for not
// there yet.
//
// # Several processes
//
// Any number may read (OpenRead). Any number may write (Open), each to packs of its own. A look-up that misses looks
// for packs that others have added meanwhile. One at a time may Sweep, while others read and write:
//
//	writers/EPOCH.PID.RANDOM  locked (shared) by who writes for as long as it lives, stopped or not
//	writers/CONDEMNED         "bkp condemned 1", the epoch, each condemned pack with the epoch of its condemnation, and the BLAKE3
//	                          of that in hex, each on a line; replaced by rename
//	writers/lock              held by a sweep
//
// A writer may find a chunk that nothing refers to any more, and refer to it only when it is done, days later. So a
// sweep condemns a pack before it removes it. Condemning begins an epoch; a writer enters under the epoch of the
// moment, and reads what is condemned after its file is there: either it leaves a condemned pack alone, or it is older
// than the condemnation and waited for. What it referred to by the time it has gone is live, and brings the pack back.
// A pack that is being written belongs to its writer, and one that was finished a moment ago is condemned at most.
//
// A pack of which half is dead is rewritten: what is live is copied into new packs and durable there before the old one
// is condemned. Readers that had it open find the new place when they miss the old one. Many small packs become one in
// the same way.
//
// # What went
//
// Away keeps notes of chunks whose bytes went since peers keep them: a store of its own, of one small record a chunk. A
// collection notes such chunks, durably, before it condemns the pack that they stand in, so that at every moment a
// split finds a chunk here or there.
//
// # Damage
//
// Who meets a record that is not what it was leaves a note: damaged/NAME.OFFSET, an empty file. Such a record counts as
// little as a condemned one: it is read only where there is no other, and who puts its chunk puts it anew. A pack is
// rewritten once all of its damaged records stand elsewhere, whatever else is in it.
//
// # The index
//
// What packs say is found again in memory while it is little, and in at most 16 merged tables on disk beside the packs,
// so that memory does not grow with the number of chunks:
//
//	index/CURRENT  "bkp index 1", the name of every table, and the BLAKE3 of that in hex, each on a line; replaced by rename
//	index/N.idx    hash row … ‖ id row … ‖ pack … ‖ fan of hashes ‖ fan of ids ‖ footer
//	hash row       hash (32) ‖ number of the pack in this table (4) ‖ offset of the record (4) ‖ size of its data (4) ‖ CRC-32C (4)
//	id row         id (32) ‖ hash (32) ‖ size (4) ‖ CRC-32C (4)
//	pack           name (16) ‖ bytes of data in it (8)
//	fan            4097 numbers (4): how many rows have a key whose first 12 bits are below 0, 1, … 4096
//	footer         "\x89bkpidx\n" ‖ version 1 ‖ zeros (7) ‖ bytes of all rows, packs, hash rows, id rows (8 each) ‖ BLAKE3 from the first pack to here (32)
//
// Rows are sorted by their key. Keys are spread evenly, so one read of 64 rows at the place that the fan and the key's
// next bits tell finds nearly every one. A writer merges what stands in memory when it is 65,536 rows or 64 packs, with
// the tables that are not much larger. The index says nothing that the packs do not say: where it is lost or any of it
// is damaged, they are read again. A row whose pack is gone stands for nothing.
package disk
