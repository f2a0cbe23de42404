// SPDX-License-Identifier: Apache-2.0

// Package pack is the files that chunks stand in: append-only, of about 64 MiB.
//
// A pack is PACKS/NAME.open while a process writes it, PACKS/NAME.pack once it is finished, NAME being 32 random hex
// digits. All numbers are little-endian.
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
// Records are gathered in buffers of 4 MiB, which are written past the page cache, aligned and padded, where the file
// system can do that, two at a time: behind the last flush a crash may leave a gap before records that are whole. Room
// in the file is reserved before, so that a full disk refuses a record and hurts nothing else, and a little of the disk
// is left to others. Until then this process alone can read them. The block in which a flush found the records to end
// is written again with those that follow.
//
// Who writes a pack holds a lock on its file. An .open pack without a lock belongs to a process that died, perhaps
// because a sync had failed; then some of it may stand in memory alone. So it is never finished: who claims it reads it
// through, puts what is whole anew, and removes it once that is durable. A finished pack whose table is damaged gets
// another one in place. Who reads a pack that another process is writing takes what does not match its hash for not
// there yet.
package pack
