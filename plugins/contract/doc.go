// SPDX-License-Identifier: Apache-2.0

// Package contract is what bkp and a plugin agree on: how a plugin is started and named, the bounds of a message, the
// form of each question and answer, and what is checked in them. plugins/README.md says it for other languages.
package contract

import "regexp"

const (
	// ProtocolVersion is the version of package proto that this kit speaks. Host and plugin agree on one at start.
	ProtocolVersion = 1
	// CookieKey and CookieValue stand in a plugin's environment so that it can tell bkp from a person who ran it by
	// hand. They are no secret.
	CookieKey   = "BKP_PLUGIN"
	CookieValue = "b1f7c3f0a2e94d5b8c6d-bkp-plugin"

	MaxAsk    = 64 << 20 // bytes of a question: a strategy that needs links is told a million of a thousand candidates
	MaxAnswer = 4 << 20  // bytes of an answer
)

// Kind is what a plugin offers.
type Kind string

const (
	KindStrategy Kind = "strategy"
	KindVerifier Kind = "verifier"
	KindNotifier Kind = "notifier"
	KindEngine   Kind = "engine"
)

// Kinds are all of them.
var Kinds = []Kind{KindStrategy, KindVerifier, KindNotifier, KindEngine}

// KindWords names the kinds for people.
const KindWords = "strategy, verifier, notifier or engine"

// Name is a plugin by name: it lives in a file bkp-KIND-NAME, or inside bkp.
type Name struct {
	Kind Kind   `json:"kind"`
	Name string `json:"name"`
}

func (n Name) String() string { return string(n.Kind) + " " + n.Name }

// File is the name of the executable.
func (n Name) File() string { return "bkp-" + string(n.Kind) + "-" + n.Name }

var nameRule = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// ValidName reports whether a plugin may have that name: lower-case letters, digits and dashes, at most 63.
func ValidName(name string) bool { return nameRule.MatchString(name) }
