// SPDX-License-Identifier: Apache-2.0

// Package durable makes bytes survive a power loss. It is the only room that creates, renames, removes or syncs files
// below a data directory; floors_test.go holds the others to it.
//
// What a call promises when it returns nil:
//
//	File.Sync      the bytes and the length of this file; not its name
//	SyncDir        the names in one directory, those that went included
//	Replace        bytes and name, all or nothing; who reads meets the old content or the new one
//	MkdirAll       the directory, and every parent that was made for it
//	DB.Update      one transaction
//
// Create, Rename, Link, Remove and the writes of a File promise nothing before the sync that follows. The order of two
// things that no sync lies between is the disk's.
//
// A failed sync is a property of the file: the kernel tells of lost pages once, so that a second sync that succeeds
// means nothing (Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020). Such a file is
// poisoned: it takes no write, is not synced again and not renamed, and every further call on it returns the first
// error. A directory whose sync failed is poisoned for as long as the process lives, and a database is closed for good.
// What was written since the last sync that succeeded must be written anew, elsewhere.
//
// Some file systems cannot sync directories and say so (EINVAL, ENOTSUP): that is told once and accepted.
//
// The recording twin, durabletest.Recorder, watches the same calls through internal/tap and builds every state that a
// power loss may leave behind.
package durable
