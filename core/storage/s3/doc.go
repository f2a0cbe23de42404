// SPDX-License-Identifier: Apache-2.0

// Package s3 keeps sealed chunks in a bucket: its packs are objects.
//
//	PREFIX/packs/NAME.pack  a pack, as package pack has it, of 16 MiB; it is written once and never changed
//	PREFIX/store.json       which node writes here; another one is refused
//	DIR/packs/NAME.pack     its shadow: as long as the pack is up to its end, and a hole but for the table
//	DIR/packs/NAME.gone     a shadow of a pack that is being removed
//	DIR/packs/COMPLETE      there once all packs had their shadows
//	DIR/index, DIR/writers  as those of storage/disk, which reads shadows as it reads packs
//
// So all that a store does but to write and read packs is storage/disk's, which this package hands its packs
// (disk.OpenOn). Everything in DIR is found again from the bucket: it can be thrown away while nobody has the store
// open.
//
// # What survives
//
// Records are gathered in memory. A pack goes up when it is full or a Barrier asks for it, several at a time; its
// shadow is made when the server has said that it has it, after holding the bytes against their MD5. Barrier returns
// then. What a process that died had not sent up was never acknowledged. What it had sent up without a shadow, the next
// Open finds, which lists the bucket; uploads in parts that it left are aborted, and packs that it was removing are
// removed. A shadow without its pack is damage that somebody else did: it is said, and the chunks are not here any
// more.
//
// # Several processes
//
// As many as there are may use a store on one machine: DIR joins them. OpenRead goes by it, and asks the bucket only
// for what is read, or where DIR is lost.
//
// # Reading
//
// A chunk is one ranged request. Who reads in order is read ahead for, a megabyte at first and up to eight; many who
// want the same share a request. A request that the server has no time for is made again, for ten minutes; after that
// nothing more is acknowledged, as when a disk failed. What the server does not say is never taken for an answer: not
// for a chunk that is not here, nor for one that is damaged.
//
// # Versions
//
// A bucket that keeps versions keeps what is removed, too, behind a delete marker: nothing is freed there before a rule of
// the bucket removes versions that are not the current ones. With a Place.Lock, Unlocked too, packs are removed with all
// their versions, and what somebody put over a pack, a marker or other bytes, is taken away when the store is opened.
//
// # Locks
//
// With Place.Lock each pack is put under Object Lock, in mode COMPLIANCE: for that long nobody can remove it, whoever has
// the credentials. Names can be taken from it, as above, and come back. A pack that a Put or a Lean leaned on is locked
// anew before the next Barrier returns, so that whatever was acknowledged is locked for as long from then on; no pack is
// locked anew for another reason. A collection keeps what is locked, neither condemned nor rewritten, counts it, and
// removes it once its time has come. Until when a pack is locked the server says (DIR has nothing of it); a lock that it
// does not say it has set, on the first pack of a process, fails the Barrier.
//
// # Credentials
//
// They come from the environment, the files of the AWS tools or a machine's role; a Place has none, so that it can be
// written down and shown.
package s3
