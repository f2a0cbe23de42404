// SPDX-License-Identifier: Apache-2.0

// Package disk keeps sealed chunks on disk.
//
// A Store joins rooms of which each knows its own files and nothing of the others':
//
//	pack     packs/       the files that chunks stand in: appended to, finished, read, rebuilt
//	index    index/       where records stand, in memory and in tables (package table)
//	writers  writers/     who may lean on what is here, and what is condemned
//	damage   damaged/     which records are not what they were
//	collect               which packs go, and which are rewritten
//	check                 looks through all of that
//	space, files          how full the disk may become; which files stay open
//
// # What survives
//
// Barrier has all that was put before it written and makes it durable; only then may it be acknowledged. It also covers
// what was found: packs are synced before they get their final name, but who finished one may die before that name is
// durable, so that the directory is synced after every finished pack that came. What a process that died left in a pack
// of its own the next Open puts anew, and removes the pack once that is durable.
//
// # Several processes
//
// Any number may read (OpenRead). Any number may write (Open), each to packs of its own. A look-up that misses looks
// for packs that others have added meanwhile. One at a time may Collect, while others read and write.
//
// # What went
//
// Away keeps notes of chunks whose bytes went since peers keep them: a store of its own, of one small record a chunk. A
// collection notes such chunks, durably, before it condemns the pack that they stand in, so that at every moment a
// split finds a chunk here or there.
//
// # Damage
//
// Who meets a record that is not what it was leaves a note. Such a record counts as little as a condemned one: it is
// read only where there is no other, and who puts its chunk puts it anew. A pack is rewritten once all of its damaged
// records stand elsewhere, whatever else is in it.
package disk
