// SPDX-License-Identifier: Apache-2.0

package license

import (
	"bytes"
	"encoding/base64"
	"errors"
	"reflect"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"github.com/zeebo/blake3"

	"github.com/bkp-tool/bkp/core"
)

// Signer signs as one party; *key.Signer is one.
type Signer interface {
	ID() core.ID
	Public() core.PublicKey
	Sign(msg []byte) []byte
}

// MaxEnvelope bounds the bytes of an envelope that is opened.
const MaxEnvelope = 1 * core.MiB

// seal signs payload, a JSON value, under its type.
func seal(payloadType string, payload any, signer Signer) ([]byte, error) {
	raw, err := json.Marshal(payload)
	if err != nil {
		return nil, err
	}
	envelope, err := spell(dsse.Envelope{
		PayloadType: payloadType,
		Payload:     base64.StdEncoding.EncodeToString(raw),
		Signatures: []dsse.Signature{{
			KeyID: signer.ID().String(),
			Sig:   base64.StdEncoding.EncodeToString(signer.Sign(dsse.PAE(payloadType, raw))),
		}},
	})
	if err == nil && core.Size(len(envelope)) > MaxEnvelope {
		err = refuse(RuleEnvelope, "envelope has %d bytes, at most %d are allowed", len(envelope), MaxEnvelope)
	}
	return envelope, err
}

// spell is the one way in which seal writes an envelope.
func spell(e dsse.Envelope) ([]byte, error) { return json.Marshal(e) }

// open returns the payload of an envelope of the wanted type, with the one good signature of the key that publicKey
// finds in the payload, and that key's ID.
func open(envelope []byte, payloadType string,
	publicKey func(payload []byte) ([]byte, error)) ([]byte, core.ID, error) {
	if core.Size(len(envelope)) > MaxEnvelope {
		return nil, core.ID{}, refuse(RuleEnvelope, "envelope has %d bytes, at most %d are allowed", len(envelope),
			MaxEnvelope)
	}
	var e dsse.Envelope
	if err := parse("envelope", envelope, &e); err != nil {
		return nil, core.ID{}, err
	}
	if e.PayloadType != payloadType {
		return nil, core.ID{}, refuse(RuleType, "payload type is %q, want %q", e.PayloadType, payloadType)
	}
	switch len(e.Signatures) {
	case 0:
		return nil, core.ID{}, refuse(RuleUnsigned, "it is not signed")
	case 1:
	default:
		return nil, core.ID{}, refuse(RuleUnsigned, "it has %d signatures, want exactly one", len(e.Signatures))
	}
	payload, err := e.DecodeB64Payload()
	if err != nil {
		return nil, core.ID{}, refuse(RuleEnvelope, "payload is not base64")
	}
	pub, err := publicKey(payload)
	if err != nil {
		return nil, core.ID{}, err
	}
	signer, err := verify(e, payload, pub)
	return payload, signer, err
}

// verify checks the only signature of e over payload and returns who signed.
func verify(e dsse.Envelope, payload, pub []byte) (core.ID, error) {
	public, err := core.ParsePublicKey(pub)
	if err != nil {
		return core.ID{}, refuse(RuleKey, "%v", err)
	}
	signer := core.ID(blake3.Sum256(public.First()))
	if e.Signatures[0].KeyID != signer.String() {
		return core.ID{}, refuse(RuleSignature, "keyid is %q, but the payload's key is that of %s",
			e.Signatures[0].KeyID, signer)
	}
	sig, err := base64.StdEncoding.DecodeString(e.Signatures[0].Sig)
	if err != nil || !public.Verify(dsse.PAE(e.PayloadType, payload), sig) {
		return core.ID{}, refuse(RuleSignature, "the signature of %s does not fit", signer)
	}
	return signer, nil
}

// parse reads one JSON value strictly and says which rule a bad one breaks; what names it to people.
func parse(what string, data []byte, v any) error {
	if rest := afterFirst(data); len(rest) > 0 {
		return refuse(RuleTrailing, "%s: %d bytes follow the JSON object", what, len(rest))
	}
	err := json.Unmarshal(data, v, json.RejectUnknownMembers(true))
	if err == nil {
		return nil
	}
	return refuse(ruleOf(err), "%s: %v", what, err)
}

// ruleOf is the rule that JSON breaks which could not be read with err.
func ruleOf(err error) string {
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		return RuleDuplicate
	case errors.Is(err, json.ErrUnknownName):
		return RuleName
	}
	wrong, ok := errors.AsType[*json.SemanticError](err)
	switch {
	case !ok:
		return RuleJSON
	case isNode(wrong.JSONPointer):
		return RuleWildcard
	case wrong.JSONKind == '0' && wrong.GoType.Kind() >= reflect.Int && wrong.GoType.Kind() <= reflect.Int64:
		return RuleBounds // a number, but none that the field can hold
	}
	return RuleField
}

// isNode reports whether where is an entry of one of a licence's, or a permit's, lists of nodes.
func isNode(where jsontext.Pointer) bool {
	for _, list := range []string{"/targets/", "/spares/", "/carriers/", "/nodes/"} {
		if strings.HasPrefix(string(where), list) {
			return true
		}
	}
	return false
}

// afterFirst is what follows the first JSON value of data but white space; nothing where that value is malformed.
func afterFirst(data []byte) []byte {
	d := jsontext.NewDecoder(bytes.NewReader(data))
	if err := d.SkipValue(); err != nil {
		return nil
	}
	return bytes.TrimSpace(data[d.InputOffset():])
}
