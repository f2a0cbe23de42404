// SPDX-License-Identifier: Apache-2.0

// Package lost stands in for what a target stands on where that is lost or damaged.
package lost

import (
	"github.com/bkp-tool/bkp/core"
)

// Holdings stands in for a database that is lost or damaged: it knows of nothing, and takes nothing.
type Holdings struct{ Why error }

func (l *Holdings) PutSegment(core.Segment, core.Hash) (bool, error) { return false, l.Why }
func (l *Holdings) Bound(core.LicenseID) (core.Hash, error)          { return core.Hash{}, l.Why }
func (l *Holdings) HasTask(core.ID, core.TaskID) (bool, error)       { return false, l.Why }
func (l *Holdings) Segments() ([]core.Segment, error)                { return nil, nil }
func (l *Holdings) PutRuns([]core.Holding, ...core.Described) error  { return l.Why }
func (l *Holdings) Run(core.Hash) (core.Holding, error)              { return core.Holding{}, core.ErrNotFound }
func (l *Holdings) RunOf(core.ID, core.Hash) (core.Holding, error) {
	return core.Holding{}, core.ErrNotFound
}
func (l *Holdings) Kept(core.TaskID, int) ([]core.Holding, error)            { return nil, nil }
func (l *Holdings) Files(int, int) ([]core.File, error)                      { return nil, nil }
func (l *Holdings) FilesOf(core.ID, int, int) ([]core.File, error)           { return nil, nil }
func (l *Holdings) Count() (int, error)                                      { return 0, nil }
func (l *Holdings) OwnerBytes(core.ID) (core.Size, error)                    { return 0, l.Why }
func (l *Holdings) PutRef(core.HeldRef) error                                { return l.Why }
func (l *Holdings) Refs(core.ID) ([]core.HeldRef, error)                     { return nil, nil }
func (l *Holdings) PutTombstone(core.HeldTombstone) error                    { return l.Why }
func (l *Holdings) Tombstones(core.ID) ([]core.HeldTombstone, error)         { return nil, nil }
func (l *Holdings) ForgetTombstones(int64) error                             { return nil }
func (l *Holdings) ReleaseTask(core.ID, core.TaskID) (int, core.Size, error) { return 0, 0, l.Why }
func (l *Holdings) Live(func(core.Chunk)) error                              { return l.Why }
func (l *Holdings) Remember(core.LedgerHead) error                           { return nil }
func (l *Holdings) Remembered() (core.LedgerHead, bool, error) {
	return core.LedgerHead{}, true, nil
}
func (l *Holdings) Describe(core.Description) (core.Chunk, core.Hash, []byte, error) {
	return core.Chunk{}, core.Hash{}, nil, l.Why
}

// Ledger stands in for a ledger that is lost or damaged: it takes nothing.
type Ledger struct{ Why error }

func (l *Ledger) AppendLicense([]byte) error                    { return l.Why }
func (l *Ledger) AppendReceipt([]byte) error                    { return l.Why }
func (l *Ledger) AppendRelease([]byte) error                    { return l.Why }
func (l *Ledger) AppendDischarge([]byte) error                  { return l.Why }
func (l *Ledger) AppendAudited([]byte) error                    { return l.Why }
func (l *Ledger) AppendCountersigned([]byte) error              { return l.Why }
func (l *Ledger) LastReceipt(core.LicenseID) (core.Hash, error) { return core.Hash{}, l.Why }
func (l *Ledger) Standing() (core.Standing, error)              { return core.Standing{}, l.Why }
func (l *Ledger) Durable() (core.LedgerHead, error)             { return core.LedgerHead{}, l.Why }
func (l *Ledger) Holds(core.LedgerHead) error                   { return l.Why }
func (l *Ledger) Sync() error                                   { return nil }
