// SPDX-License-Identifier: Apache-2.0

package key

import (
	"bytes"
	"encoding/base64"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"github.com/bkp-tool/bkp/core"
)

// MaxEnvelope bounds the bytes of an envelope that is opened.
const MaxEnvelope = 1 * core.MiB

// Envelope signs payload under its type and returns the DSSE envelope, always the same for the same payload.
func (s *Signer) Envelope(payloadType string, payload []byte) ([]byte, error) {
	envelope, err := json.Marshal(dsse.Envelope{
		PayloadType: payloadType,
		Payload:     base64.StdEncoding.EncodeToString(payload),
		Signatures: []dsse.Signature{{
			KeyID: s.id.String(),
			Sig:   base64.StdEncoding.EncodeToString(s.Sign(dsse.PAE(payloadType, payload))),
		}},
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("encode envelope of %s: %w", payloadType, err)
	case core.Size(len(envelope)) > MaxEnvelope:
		return nil, fmt.Errorf("envelope of %s: %d bytes, at most %d are allowed", payloadType, len(envelope),
			MaxEnvelope)
	}
	return envelope, nil
}

// OpenEnvelope returns the payload of an envelope of the wanted type, bearing one good signature.
//
// key says whose signature is wanted. It is given the payload before anything about it is proven,
// normally to read the public key that it carries; what that key may do is for the caller to check afterwards.
func OpenEnvelope(envelope []byte, payloadType string, key func(payload []byte) ([]byte,
	error)) (payload []byte, err error) {
	if core.Size(len(envelope)) > MaxEnvelope {
		return nil, fmt.Errorf("envelope: %d bytes, at most %d are allowed", len(envelope), MaxEnvelope)
	}
	var e dsse.Envelope
	if err := json.Unmarshal(envelope, &e, strict); err != nil {
		return nil, fmt.Errorf("envelope: %w", err)
	}
	if e.PayloadType != payloadType {
		return nil, fmt.Errorf("envelope: payload type is %q, want %q", e.PayloadType, payloadType)
	}
	if len(e.Signatures) != 1 {
		return nil, fmt.Errorf("envelope: %d signatures, want exactly one", len(e.Signatures))
	}
	if payload, err = e.DecodeB64Payload(); err != nil {
		return nil, fmt.Errorf("envelope: payload: %w", err)
	}
	pub, err := key(payload)
	if err != nil {
		return nil, err
	}
	return payload, verify(e, payload, pub)
}

// isType reports whether an envelope says that it is of a type; nothing about it is proven.
func isType(envelope []byte, payloadType string) bool {
	var e dsse.Envelope
	return core.Size(len(envelope)) <= MaxEnvelope && json.Unmarshal(envelope, &e, strict) == nil &&
		e.PayloadType == payloadType
}

// verify checks the only signature of e over payload.
func verify(e dsse.Envelope, payload, key []byte) error {
	pub, err := core.ParsePublicKey(key)
	if err != nil {
		return fmt.Errorf("envelope: %w", err)
	}
	if want := IDOf(pub).String(); e.Signatures[0].KeyID != want {
		return fmt.Errorf("envelope: keyid is %q, but the payload's key is that of %s", e.Signatures[0].KeyID, want)
	}
	sig, err := base64.StdEncoding.DecodeString(e.Signatures[0].Sig)
	if err != nil {
		return fmt.Errorf("envelope: signature: %w", err)
	}
	if !pub.Verify(dsse.PAE(e.PayloadType, payload), sig) {
		return fmt.Errorf("envelope: the signature of %s does not fit", IDOf(pub))
	}
	return nil
}

// sameSpelling refuses an envelope that says the same in other bytes. It is for envelopes that others
// point to by hash: else anyone could pass on a copy that nothing points to.
func sameSpelling(envelope []byte) error {
	var e dsse.Envelope
	if err := json.Unmarshal(envelope, &e, strict); err != nil {
		return fmt.Errorf("envelope: %w", err)
	}
	for _, s := range []*string{&e.Payload, &e.Signatures[0].Sig} {
		raw, err := base64.StdEncoding.DecodeString(*s)
		if err != nil {
			return fmt.Errorf("envelope: not in its one spelling: %w", err)
		}
		*s = base64.StdEncoding.EncodeToString(raw)
	}
	again, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("envelope: %w", err)
	}
	if !bytes.Equal(again, envelope) {
		return fmt.Errorf("envelope: not in its one spelling")
	}
	return nil
}

// strict is how JSON is read here: beyond the package's own rules (exact names, no duplicates, one value,
// valid UTF-8) unknown names are refused.
var strict = json.RejectUnknownMembers(true)
