// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"github.com/bkp-tool/bkp/core"
)

// Ledger is this node's append-only log of licences and receipts, and of what ends them.
type Ledger interface {
	AppendLicense(envelope []byte) error
	AppendReceipt(envelope []byte) error
	AppendRelease(envelope []byte) error
	AppendDischarge(envelope []byte) error
	AppendAudited(envelope []byte) error // and returns when it is durable
	// AppendCountersigned enters a countersignature of the newest receipt for its licence, once.
	AppendCountersigned(envelope []byte) error
	Log
	// Durable is the newest head.
	Durable() (core.LedgerHead, error)
	// LastReceipt is the hash of the newest receipt entered for a licence, zero where there is none.
	LastReceipt(license core.LicenseID) (core.Hash, error)
	// Sync returns when everything appended before it is durable.
	Sync() error
}

// Log is what a look at the records reads of a Ledger.
type Log interface {
	// Standing is what of it stands, as far as it is durable.
	Standing() (core.Standing, error)
	// Holds is an error of core.CodeWrong where the log is not what it was at a head, or more.
	Holds(head core.LedgerHead) error
}
