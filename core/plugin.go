// SPDX-License-Identifier: Apache-2.0

package core

import "context"

// Configurer is a strategy, verifier, notifier or engine that takes configuration: a JSON object of the settings that it
// describes, given once before its first question.
type Configurer interface {
	Configure(ctx context.Context, config []byte) error
}

// VerifierInfo says what a verifier is.
type VerifierInfo struct {
	Name     string
	Version  string
	Summary  string
	Settings []Setting
}

// Setting is one key of the configuration of a plugin.
type Setting struct {
	Key     string `json:"key"`
	Type    string `json:"type"`              // of its value in JSON: string, integer, number, boolean, array or object
	Default string `json:"default,omitempty"` // in JSON: what holds where it is not given
	About   string `json:"about"`             // one line for a person: what it means, in which unit
}

// VerifierDescriber is a verifier that says what it is.
type VerifierDescriber interface {
	Describe(ctx context.Context) (VerifierInfo, error)
}

// What a notifier is told of.
const (
	EventPlaced      = "placed"       // a version has its copies
	EventCopiesLost  = "copies-lost"  // a version has fewer than it shall have
	EventAuditFailed = "audit-failed" // a node lacks what it signed for
	EventRepaired    = "repaired"     // a version has its copies again
	EventJobFailed   = "job-failed"   // a job of config.toml did not end well
)

// Events are all of them.
var Events = []string{EventPlaced, EventCopiesLost, EventAuditFailed, EventRepaired, EventJobFailed}

// Event is what happened that people want to hear of without asking.
type Event struct {
	What    string `json:"what"`
	Time    int64  `json:"time"`              // Unix seconds
	Node    ID     `json:"node"`              // that tells it
	Subject string `json:"subject,omitempty"` // NAME@VERSION, or the name of a job
	Text    string `json:"text"`              // a sentence for people
	Peer    ID     `json:"peer,omitzero"`     // the node that it is about
	Copies  int    `json:"copies,omitempty"`  // that count now
	Wanted  int    `json:"wanted,omitempty"`  // that shall; 0: it is not about copies
}

// Notifier tells people, or other programs, what has happened. It runs in a process of its own; see plugins.
type Notifier interface {
	Describe(ctx context.Context) (NotifierInfo, error)
	Notify(ctx context.Context, e Event) error
}

// NotifierInfo says what a notifier is.
type NotifierInfo struct {
	Name     string
	Version  string
	Summary  string
	Settings []Setting
}

// MaxEngineEntry bounds an entry of an engine: etcd takes 1.5 MiB at once, CometBFT 1 MiB, and both want it small.
const MaxEngineEntry = 256 * KiB

// Engine keeps one order of what several nodes append to it. It runs in a process of its own; see plugins. Entries
// stand in scopes, each of which is an order of its own, numbered from 1.
type Engine interface {
	Describe(ctx context.Context) (EngineInfo, error)
	// Append adds an entry to a scope that has after entries; where it has another number nothing is added. What was
	// added stands for ever, and later reads of all nodes have it. After an error it may stand there all the same.
	Append(ctx context.Context, scope string, after int64, entry []byte) (Appended, error)
	// Read returns the entries of a scope behind the first so many, in their order: at most limit, fewer where they are
	// long, none at the end. What any node appended before is among them.
	Read(ctx context.Context, scope string, after int64, limit int) ([][]byte, error)
}

// Appended is what an Append came to.
type Appended struct {
	OK      bool
	Entries int64 // where OK the number of the entry, else how many the scope has
}

// EngineInfo says what an engine is.
type EngineInfo struct {
	Name     string
	Version  string
	Summary  string
	Settings []Setting
}
