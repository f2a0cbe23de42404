// SPDX-License-Identifier: Apache-2.0

package core

import "context"

// Configurer is a strategy or verifier that takes configuration: a JSON object of the settings that it describes, given
// once before its first question.
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

// Setting is one key of the configuration of a strategy or verifier.
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
