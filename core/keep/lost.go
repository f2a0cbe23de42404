// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"github.com/bkp-tool/bkp/core"
)

// LostHoldings stands in for a database that is lost or damaged: it knows of nothing, and takes nothing.
type LostHoldings struct{ Why error }

func (l *LostHoldings) PutSegment(core.Segment, core.Hash) (bool, error) { return false, l.Why }
func (l *LostHoldings) Bound(core.LicenseID) (core.Hash, error)          { return core.Hash{}, l.Why }
func (l *LostHoldings) HasTask(core.ID, core.TaskID) (bool, error)       { return false, l.Why }
func (l *LostHoldings) Segments() ([]core.Segment, error)                { return nil, nil }
func (l *LostHoldings) PutRuns([]core.Holding, ...core.Described) error  { return l.Why }
func (l *LostHoldings) Run(core.Hash) (core.Holding, error)              { return core.Holding{}, core.ErrNotFound }
func (l *LostHoldings) RunOf(core.ID, core.Hash) (core.Holding, error) {
	return core.Holding{}, core.ErrNotFound
}
func (l *LostHoldings) Kept(core.TaskID, int) ([]core.Holding, error)            { return nil, nil }
func (l *LostHoldings) Files(int, int) ([]core.File, error)                      { return nil, nil }
func (l *LostHoldings) FilesOf(core.ID, int, int) ([]core.File, error)           { return nil, nil }
func (l *LostHoldings) Count() (int, error)                                      { return 0, nil }
func (l *LostHoldings) OwnerBytes(core.ID) (core.Size, error)                    { return 0, l.Why }
func (l *LostHoldings) PutRef(core.HeldRef) error                                { return l.Why }
func (l *LostHoldings) Refs(core.ID) ([]core.HeldRef, error)                     { return nil, nil }
func (l *LostHoldings) PutTombstone(core.HeldTombstone) error                    { return l.Why }
func (l *LostHoldings) Tombstones(core.ID) ([]core.HeldTombstone, error)         { return nil, nil }
func (l *LostHoldings) ForgetTombstones(int64) error                             { return nil }
func (l *LostHoldings) ReleaseTask(core.ID, core.TaskID) (int, core.Size, error) { return 0, 0, l.Why }
func (l *LostHoldings) Live(func(core.Chunk)) error                              { return l.Why }
func (l *LostHoldings) Remember(core.LedgerHead) error                           { return nil }
func (l *LostHoldings) Remembered() (core.LedgerHead, bool, error) {
	return core.LedgerHead{}, true, nil
}
func (l *LostHoldings) Describe(core.Description) (core.Chunk, core.Hash, []byte, error) {
	return core.Chunk{}, core.Hash{}, nil, l.Why
}

// LostLedger stands in for a ledger that is lost or damaged: it takes nothing.
type LostLedger struct{ Why error }

func (l *LostLedger) AppendLicense([]byte) error                    { return l.Why }
func (l *LostLedger) AppendReceipt([]byte) error                    { return l.Why }
func (l *LostLedger) AppendRelease([]byte) error                    { return l.Why }
func (l *LostLedger) AppendDischarge([]byte) error                  { return l.Why }
func (l *LostLedger) AppendAudited([]byte) error                    { return l.Why }
func (l *LostLedger) LastReceipt(core.LicenseID) (core.Hash, error) { return core.Hash{}, l.Why }
func (l *LostLedger) Standing() (core.Standing, error)              { return core.Standing{}, l.Why }
func (l *LostLedger) Durable() (core.LedgerHead, error)             { return core.LedgerHead{}, l.Why }
func (l *LostLedger) Holds(core.LedgerHead) error                   { return l.Why }
func (l *LostLedger) Sync() error                                   { return nil }
