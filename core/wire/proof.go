// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"crypto/hmac"
	"crypto/sha256"

	"github.com/bkp-tool/bkp/core"
)

// The sides of a connection, as they stand in front of what each proves and signs.
const (
	SideDial   = "bkp v1 dial"
	SideListen = "bkp v1 listen"
	SideJoin   = "bkp v2 join" // the dialler's, for an invite's secret
)

// ExporterLabel names the TLS exporter whose first 32 bytes bind a proof to its wss connection.
const ExporterLabel = "EXPORTER-bkp-v1"

// BindingSize is the length of a binding over TLS. Over plaintext it is the two nonces.
const BindingSize = 32

// PlainBinding is what a proof over a ws connection is bound to: dialler nonce ‖ listener nonce.
func PlainBinding(dialler, listener core.Hash) []byte {
	return append(dialler[:], listener[:]...)
}

// ProofMessage is what each side signs with its node key, and what the token's proof covers:
// side ‖ binding ‖ dialler ID ‖ listener ID.
func ProofMessage(side string, binding []byte, dialler, listener core.ID) []byte {
	m := make([]byte, 0, len(side)+len(binding)+2*len(dialler))
	m = append(append(m, side...), binding...)
	return append(append(m, dialler[:]...), listener[:]...)
}

// Proof shows knowledge of the cluster token: HMAC-SHA256(token, ProofMessage).
func Proof(token []byte, side string, binding []byte, dialler, listener core.ID) []byte {
	mac := hmac.New(sha256.New, token)
	mac.Write(ProofMessage(side, binding, dialler, listener))
	return mac.Sum(nil)
}

// CheckProof compares in constant time.
func CheckProof(proof, token []byte, side string, binding []byte, dialler, listener core.ID) bool {
	return len(token) > 0 && hmac.Equal(proof, Proof(token, side, binding, dialler, listener))
}
