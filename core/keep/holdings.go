// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"github.com/bkp-tool/bkp/core"
)

// Holdings is the durable record of what this node keeps for tasks.
type Holdings interface {
	// PutSegment makes an accepted segment durable and binds its licence id to root; bound is false where the id
	// is bound to another root already. Putting the same segment again changes nothing.
	PutSegment(s core.Segment, root core.Hash) (bound bool, err error)
	// Bound is the root that a licence id is bound to; zero where it is new.
	Bound(id core.LicenseID) (core.Hash, error)
	Segments() ([]core.Segment, error)
	// PutRuns makes runs durable, all or none, and has descriptions live from then on.
	PutRuns(runs []core.Holding, described ...core.Described) error
	// Describe is what goes into the packs so that holdings can be found again from there: a chunk, and its id there.
	Describe(d core.Description) (c core.Chunk, id core.Hash, data []byte, err error)
	// Run finds a kept run by its hash, whatever the task.
	Run(hash core.Hash) (core.Holding, error)
	// RunOf finds a run that is kept for an owner.
	RunOf(owner core.ID, hash core.Hash) (core.Holding, error)
	// Kept is the runs kept for one segment of a task.
	Kept(task core.TaskID, segment int) ([]core.Holding, error)
	Files(after, limit int) ([]core.File, error)
	// FilesOf is Files of the runs that are kept for one owner.
	FilesOf(owner core.ID, after, limit int) ([]core.File, error)
	Count() (int, error)
	OwnerBytes(owner core.ID) (core.Size, error)
	PutRef(r core.HeldRef) error
	Refs(owner core.ID) ([]core.HeldRef, error)
	PutTombstone(x core.HeldTombstone) error
	Tombstones(owner core.ID) ([]core.HeldTombstone, error)
	// ForgetTombstones forgets those whose time is over at now, Unix seconds.
	ForgetTombstones(now int64) error
	// HasTask reports whether anything is kept for a task of the owner.
	HasTask(owner core.ID, task core.TaskID) (bool, error)
	// ReleaseTask lets go of what a task of the owner needs, and of the refs that it brought.
	ReleaseTask(owner core.ID, task core.TaskID) (runs int, bytes core.Size, err error)
	// Live calls back every chunk that must stay.
	Live(visit func(core.Chunk)) error
	// Remember notes how far the ledger is; Remembered is what it noted last, false where it never did.
	Remember(head core.LedgerHead) error
	Remembered() (head core.LedgerHead, ok bool, err error)
}
