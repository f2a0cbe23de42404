// SPDX-License-Identifier: Apache-2.0

package core

import "context"

// Configurer is a strategy or verifier that takes configuration: bytes in a form that it documents, given once before
// its first question.
type Configurer interface {
	Configure(ctx context.Context, config []byte) error
}

// VerifierInfo says what a verifier is.
type VerifierInfo struct {
	Name    string
	Version string
	Summary string
}

// VerifierDescriber is a verifier that says what it is.
type VerifierDescriber interface {
	Describe(ctx context.Context) (VerifierInfo, error)
}
