// SPDX-License-Identifier: Apache-2.0

// Package signature is the verifier that checks a licence's signature again, by other code than the node's.
//
// The node has opened the envelope already. This verifier has go-securesystemslib judge the DSSE envelope over the
// bytes as received, and itself follows the licence's key to the owner: the signer is the owner, or shows the owner's
// delegation with the right to write, or to keep what the owner licensed.
package signature

import (
	"bytes"
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/license"
	"github.com/zeebo/blake3"
)

const delegationType = "application/vnd.bkp.delegation.v1+json"

// New is the verifier.
func New() core.Verifier { return verifier{} }

type verifier struct{}

func (verifier) Describe(context.Context) (core.VerifierInfo, error) {
	return core.VerifierInfo{Name: "signature", Version: "1.0.0",
		Summary: "the licence is signed by the owner or a delegate"}, nil
}

func (verifier) Verify(ctx context.Context, req core.VerifyRequest) (core.Verdict, error) {
	l, payload, signer, err := license.Open(req.Envelope)
	if err != nil {
		return refused(err), nil
	}
	if !bytes.Equal(payload, req.Payload) {
		return core.Verdict{Code: "payload", Reason: "the payload is not that of the envelope"}, nil
	}
	if _, err := verified(ctx, req.Envelope, license.Type, l.Key); err != nil {
		return core.Verdict{Code: license.RuleSignature, Reason: err.Error()}, nil
	}
	if err := mayWrite(ctx, l, signer, req.Now); err != nil {
		return core.Verdict{Code: license.RuleIssuer, Reason: err.Error()}, nil
	}
	return core.Verdict{OK: true}, nil
}

func refused(err error) core.Verdict {
	if r, ok := errors.AsType[*license.Refusal](err); ok {
		return core.Verdict{Code: r.Rule, Reason: r.Reason}
	}
	return core.Verdict{Code: license.RuleEnvelope, Reason: err.Error()}
}

// mayWrite returns nil where signer may sign licences for their owner.
func mayWrite(ctx context.Context, l core.License, signer core.ID, now int64) error {
	owner := l.TaskSource.Owner
	if signer == owner {
		return nil
	}
	if len(l.Delegation) == 0 {
		return fmt.Errorf("signed by %s, which is not the owner %s and shows no delegation", signer, owner)
	}
	d, err := openDelegation(ctx, l.Delegation)
	switch {
	case err != nil:
		return fmt.Errorf("delegation to %s: %w", signer, err)
	case d.Owner != owner || idOf(d.Key) != owner:
		return fmt.Errorf("delegation to %s is not the owner's, %s", signer, owner)
	case d.Node != signer:
		return fmt.Errorf("delegation is for %s, but %s signed", d.Node, signer)
	case !slices.Contains(d.Rights, "write") && !slices.Contains(d.Rights, "keep"):
		return fmt.Errorf("delegation to %s does not give the right to write", signer)
	case now > d.Expires+int64(core.ClockSkew/time.Second):
		return fmt.Errorf("delegation to %s expired %s", signer,
			time.Unix(d.Expires, 0).UTC().Format(time.DateTime+"Z"))
	case !slices.Contains(d.Rights, "write"):
		return mayKeep(ctx, l, d)
	}
	return nil
}

// mayKeep returns nil where a coordinator signs for a version that was handed over to it, and for runs that the owner
// licensed for that.
func mayKeep(ctx context.Context, l core.License, d delegation) error {
	if l.Alias == "" || l.Alias != d.Alias || d.Version != 0 && d.Version != l.Version || l.Term != d.Term {
		return fmt.Errorf("delegation to %s is to keep another version, or of another term", d.Node)
	}
	of, _, owner, err := license.Open(l.Of)
	if err == nil {
		_, err = verified(ctx, l.Of, license.Type, of.Key)
	}
	switch {
	case err != nil:
		return fmt.Errorf("%s shows no licence of the owner: %w", d.Node, err)
	case owner != d.Owner || of.Alias != l.Alias || of.Version != l.Version || of.Segment != l.Segment || of.Root != l.Root:
		return fmt.Errorf("%s shows a licence of the owner for other runs", d.Node)
	}
	return nil
}

// delegation is what an owner signs to let a node act for it.
type delegation struct {
	V       int      `json:"v"`
	Owner   core.ID  `json:"owner"`
	Node    core.ID  `json:"node"`
	Rights  []string `json:"rights"`
	Alias   string   `json:"alias"`
	Version int      `json:"version"`
	Term    int      `json:"term"`
	Expires int64    `json:"expires"`
	Key     []byte   `json:"key"`
}

func openDelegation(ctx context.Context, envelope []byte) (d delegation, err error) {
	var e dsse.Envelope
	if err := json.Unmarshal(envelope, &e); err != nil {
		return d, err
	}
	payload, err := e.DecodeB64Payload()
	if err != nil {
		return d, err
	}
	if err := json.Unmarshal(payload, &d); err != nil {
		return d, err
	}
	_, err = verified(ctx, envelope, delegationType, d.Key)
	return d, err
}

// verified returns the payload of an envelope of that type, where its only signature is good under key.
func verified(ctx context.Context, envelope []byte, payloadType string, key []byte) ([]byte, error) {
	var e dsse.Envelope
	if err := json.Unmarshal(envelope, &e); err != nil {
		return nil, err
	}
	if e.PayloadType != payloadType {
		return nil, fmt.Errorf("payload type is %q, want %q", e.PayloadType, payloadType)
	}
	if len(e.Signatures) != 1 {
		return nil, fmt.Errorf("%d signatures, want one", len(e.Signatures))
	}
	public, err := core.ParsePublicKey(key)
	if err != nil {
		return nil, err
	}
	judge, err := dsse.NewEnvelopeVerifier(publicKey{public})
	if err != nil {
		return nil, err
	}
	_, payload, err := judge.VerifyAndDecode(ctx, &e)
	if err != nil {
		return nil, fmt.Errorf("the signature of %s does not fit: %w", idOf(key), err)
	}
	return payload, nil
}

// publicKey is a dsse.Verifier.
type publicKey struct{ core.PublicKey }

func (k publicKey) Verify(_ context.Context, data, sig []byte) error {
	if !k.PublicKey.Verify(data, sig) {
		return errors.New("bad signature")
	}
	return nil
}

func (k publicKey) KeyID() (string, error)   { return idOf(k.PublicKey).String(), nil }
func (k publicKey) Public() crypto.PublicKey { return k.Last() }

func idOf(k core.PublicKey) core.ID { return blake3.Sum256(k.First()) }
