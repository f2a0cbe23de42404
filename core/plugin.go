// SPDX-License-Identifier: Apache-2.0

package core

import "context"

// Configurer is a strategy, verifier or notifier that takes configuration: a JSON object of the settings that it
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
