// SPDX-License-Identifier: Apache-2.0

// Package tap is where core/durable's recording twin listens. Nobody outside core/durable can set it.
package tap

import "sync/atomic"

// Kind is what is done.
type Kind string

const (
	Create   Kind = "create"   // an empty file under a new name
	Write    Kind = "write"    // Data at Offset
	Truncate Kind = "truncate" // to Size; also what Allocate grows a file to
	Sync     Kind = "sync"
	Rename   Kind = "rename"   // Path to To
	Exchange Kind = "exchange" // Path and To
	Link     Kind = "link"     // Path to To
	Remove   Kind = "remove"
	Mkdir    Kind = "mkdir"
	SyncDir  Kind = "syncdir"
	Commit   Kind = "commit" // of a database: Pages
	Opened   Kind = "opened" // a file that was there is open for writing
)

// Op is one operation on what a disk keeps. Paths are as the caller gave them.
type Op struct {
	Kind   Kind
	File   uint64 // which open file, where Path may be a name that it no longer has; 0: none
	Path   string
	To     string
	Offset int64
	Size   int64
	Data   []byte // borrowed: whoever keeps it copies it
	Pages  []Page
	Synced bool // Commit: the pages were synced before a meta page was written, and that one after
}

// Page is a stretch of a database file as a commit left it.
type Page struct {
	Offset int64
	Data   []byte
	Meta   bool
}

// Tap watches operations. Both are called on the goroutine that acts, and may be called by many at once.
type Tap interface {
	// Before may refuse the operation, which then fails with the error and is not done.
	Before(Op) error
	// After is told of what succeeded, before the caller is.
	After(Op)
}

var current atomic.Pointer[Tap]

// Set installs a tap; nil takes it away.
func Set(t Tap) {
	if t == nil {
		current.Store(nil)
		return
	}
	current.Store(&t)
}

// On reports whether somebody listens.
func On() bool { return current.Load() != nil }

// Do runs act between Before and After of the tap, if there is one.
func Do(op Op, act func() error) error {
	if err := Ask(op); err != nil {
		return err
	}
	err := act()
	if err == nil {
		Done(op)
	}
	return err
}

// Ask is the tap's word on what is about to be done.
func Ask(op Op) error {
	if t := current.Load(); t != nil {
		return (*t).Before(op)
	}
	return nil
}

// Done tells the tap what was done.
func Done(op Op) {
	if t := current.Load(); t != nil {
		(*t).After(op)
	}
}
