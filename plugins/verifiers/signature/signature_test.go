// SPDX-License-Identifier: Apache-2.0

package signature_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/plugins/plugintest"
	"github.com/bkp-tool/bkp/plugins/plugintest/processtest"
	"github.com/bkp-tool/bkp/plugins/verifiers/signature"
)

// delegate signs with Source a licence of Owner under a delegation.
func delegate(d key.Delegation, signer plugintest.Party) core.VerifyRequest {
	d.V = 1
	d.Key = signer.Public()
	payload, err := json.Marshal(d)
	if err != nil {
		panic(err)
	}
	return plugintest.Request(plugintest.Source, func(l *core.License) {
		l.Delegation = signer.Seal(key.DelegationType, payload)
	})
}

func delegation(node plugintest.Party, expires time.Time, rights ...key.Right) key.Delegation {
	return key.Delegation{Owner: plugintest.Owner.ID, Node: node.ID, Rights: rights, Expires: expires.Unix()}
}

// coordinated signs with Source a licence of version 3 of a name that it keeps for Owner in term 2; of changes what
// Owner licensed.
func coordinated(change func(l, of *core.License), by plugintest.Party) core.VerifyRequest {
	alias := strings.Repeat("a", 52)
	d := key.Delegation{V: 1, Owner: plugintest.Owner.ID, Node: plugintest.Source.ID, Rights: []key.Right{key.RightKeep},
		Alias: alias, Version: 3, Term: 2, Copies: 2, Expires: plugintest.Now.Unix(), Key: plugintest.Owner.Public()}
	payload, err := json.Marshal(d)
	if err != nil {
		panic(err)
	}
	return plugintest.Request(plugintest.Source, func(l *core.License) {
		l.Alias, l.Version, l.Term, l.Delegation = alias, 3, 2, plugintest.Owner.Seal(key.DelegationType, payload)
		of := *l
		of.Term, of.Delegation = 0, nil
		change(l, &of)
		l.Of = plugintest.Request(by, func(x *core.License) {
			k := x.Key
			*x = of
			x.Key = k
		}).Envelope
	})
}

func changed(change func(*core.VerifyRequest)) core.VerifyRequest {
	req := plugintest.Request(plugintest.Owner, nil)
	change(&req)
	return req
}

var (
	skewEnd = plugintest.Now.Add(-core.ClockSkew)
	write   = delegation(plugintest.Source, plugintest.Now, key.RightWrite)
)

var cases = []plugintest.Case{
	{Name: "signed by the owner", Request: plugintest.Request(plugintest.Owner, nil), OK: true},
	{Name: "signed by a delegate", Request: delegate(write, plugintest.Owner), OK: true},
	{Name: "delegation within the skew", Request: delegate(delegation(plugintest.Source, skewEnd, key.RightWrite),
		plugintest.Owner), OK: true},
	{Name: "delegation expired", Request: delegate(delegation(plugintest.Source, skewEnd.Add(-time.Second),
		key.RightWrite), plugintest.Owner), Code: "issuer"},
	{Name: "delegation for another", Request: delegate(delegation(plugintest.Other, plugintest.Now, key.RightWrite),
		plugintest.Owner), Code: "issuer"},
	{Name: "delegation to read only", Request: delegate(delegation(plugintest.Source, plugintest.Now, key.RightRead),
		plugintest.Owner), Code: "issuer"},
	{Name: "signed by a coordinator", Request: coordinated(func(*core.License, *core.License) {}, plugintest.Owner), OK: true},
	{Name: "3 a coordinator over its own licence", Request: coordinated(func(*core.License, *core.License) {},
		plugintest.Source), Code: "issuer"},
	{Name: "3 a coordinator of another term", Request: coordinated(func(l, _ *core.License) { l.Term = 1 },
		plugintest.Owner), Code: "issuer"},
	{Name: "3 a coordinator over other runs", Request: coordinated(func(_, of *core.License) { of.Root = core.Hash{9} },
		plugintest.Owner), Code: "issuer"},
	{Name: "3 a coordinator of another version", Request: coordinated(func(l, of *core.License) {
		l.Version, of.Version = 4, 4
	}, plugintest.Owner), Code: "issuer"},
	{Name: "delegation of the delegate's own making", Request: delegate(write, plugintest.Source), Code: "issuer"},
	{Name: "3 signed by a stranger", Request: plugintest.Request(plugintest.Other, nil), Code: "issuer"},
	{Name: "1 unsigned", Request: changed(func(r *core.VerifyRequest) {
		r.Envelope = []byte(`{"payloadType":"application/vnd.bkp.license.v1+json","payload":"e30=","signatures":[]}`)
	}), Code: "unsigned"},
	{Name: "2 another's signature", Request: changed(func(r *core.VerifyRequest) {
		stranger := plugintest.Request(plugintest.Other, nil)
		_, signatures, _ := bytes.Cut(stranger.Envelope, []byte(`"signatures"`))
		payload, _, _ := bytes.Cut(r.Envelope, []byte(`"signatures"`))
		r.Envelope = append(append(bytes.Clone(payload), `"signatures"`...), signatures...)
	}), Code: "signature"},
	{Name: "4 key of small order", Request: plugintest.Request(plugintest.Owner,
		func(l *core.License) { l.Key = make([]byte, 32) }), Code: "key"},
	{Name: "14 a receipt", Request: changed(func(r *core.VerifyRequest) {
		r.Envelope = plugintest.Owner.Seal("application/vnd.bkp.receipt.v1+json", r.Payload)
	}), Code: "type"},
	{Name: "the node shows another payload", Request: changed(func(r *core.VerifyRequest) { r.Payload = []byte("{}") }),
		Code: "payload"},
}

func TestConformance(t *testing.T) { plugintest.Verifier(t, signature.New(), cases...) }

func TestConformanceAsProcess(t *testing.T) {
	processtest.Verifier(t, "./bkp-verifier-signature", cases...)
}

// Every bit of the envelope counts, or is white space and spelling around the same licence.
func TestBitFlipsNeverChangeTheLicence(t *testing.T) {
	whole := plugintest.Request(plugintest.Owner, nil)
	for i := range whole.Envelope {
		req := whole
		req.Envelope = bytes.Clone(whole.Envelope)
		req.Envelope[i] ^= 1
		verdict, err := signature.New().Verify(t.Context(), req)
		if err != nil || verdict.OK {
			t.Fatalf("byte %d: %+v, %v", i, verdict, err)
		}
	}
}
