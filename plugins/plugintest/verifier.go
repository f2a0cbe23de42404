// SPDX-License-Identifier: Apache-2.0

package plugintest

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"github.com/zeebo/blake3"

	"github.com/bkp-tool/bkp/core"
)

// The parties of Request's licence, with fixed keys.
var (
	Owner  = party("owner")  // whose files they are; it signs
	Source = party("source") // presents the licence
	Node   = party("node")   // is asked to keep runs: a target
	Spare  = party("spare")
	Other  = party("other") // not in the licence
)

// Now is when Request's licence is presented: a Monday, 12:00 UTC, in the middle of its hour.
var Now = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// Party is one who signs.
type Party struct {
	ID  core.ID
	Key ed25519.PrivateKey
}

func party(name string) Party {
	seed := blake3.Sum256([]byte("plugintest " + name))
	key := ed25519.NewKeyFromSeed(seed[:])
	return Party{ID: blake3.Sum256(key.Public().(ed25519.PublicKey)), Key: key}
}

// Public is the raw public key.
func (p Party) Public() []byte { return p.Key.Public().(ed25519.PublicKey) }

// Seal signs a payload as a DSSE envelope.
func (p Party) Seal(payloadType string, payload []byte) []byte {
	envelope, err := json.Marshal(dsse.Envelope{
		PayloadType: payloadType,
		Payload:     base64.StdEncoding.EncodeToString(payload),
		Signatures: []dsse.Signature{{KeyID: p.ID.String(),
			Sig: base64.StdEncoding.EncodeToString(ed25519.Sign(p.Key, dsse.PAE(payloadType, payload)))}},
	})
	if err != nil {
		panic(err)
	}
	return envelope
}

// Request asks Node to judge a licence of 1 GiB, signed by Owner and presented by Source, a member of the cluster
// token. Where change is not nil it alters the licence before signer signs.
func Request(signer Party, change func(*core.License)) core.VerifyRequest {
	l := core.License{
		V: 1, ID: core.LicenseID{1}, Task: core.TaskID{2},
		TaskSource: core.TaskSource{Owner: Owner.ID, Node: Source.ID},
		Targets:    []core.ID{Node.ID}, Spares: []core.ID{Spare.ID},
		Op: "store", Root: core.Hash{3}, MaxBytes: core.GiB, MaxRuns: 256,
		NotBefore:   Now.Add(-30 * time.Minute).Unix(),
		Expires:     Now.Add(30 * time.Minute).Unix(),
		RetainUntil: Now.AddDate(1, 0, 0).Unix(),
		Key:         signer.Public(),
	}
	if change != nil {
		change(&l)
	}
	payload, err := json.Marshal(l)
	if err != nil {
		panic(err)
	}
	return core.VerifyRequest{
		Envelope: signer.Seal("application/vnd.bkp.license.v1+json", payload), Payload: payload, Op: "store",
		Node: Node.ID, Peer: Source.ID, TokenMember: true, AddedBytes: l.MaxBytes, Now: Now.Unix(),
	}
}

// Case is a question to a verifier and the verdict it must give.
type Case struct {
	Name    string
	Config  string // given before the question where it is not empty; it stays for the cases that follow
	Request core.VerifyRequest
	OK      bool
	Code    string // of a refusal, where it matters
}

// Verifier runs the suite as subtests, one a rule, and then the author's own cases.
func Verifier(t *testing.T, v core.Verifier, cases ...Case) {
	t.Helper()
	for _, c := range cases {
		Rule{c.Name, c.holds(t.Context(), v)}.test(t)
	}
	VerifierRules(t.Context(), v, func(r Rule) { r.test(t) })
}

func (c Case) holds(ctx context.Context, v core.Verifier) error {
	if c.Config != "" {
		if err := v.(core.Configurer).Configure(ctx, []byte(c.Config)); err != nil {
			return fmt.Errorf("configure it: %w", err)
		}
	}
	verdict, err := verify(ctx, v, c.Request)
	if err == nil && (verdict.OK != c.OK || !c.OK && c.Code != "" && verdict.Code != c.Code) {
		err = fmt.Errorf("verdict %+v, want ok %v, code %q", verdict, c.OK, c.Code)
	}
	return err
}

// VerifierRules tells of each rule whether the verifier keeps it: it describes itself, gives the same verdict twice, a
// reason with every refusal, leaves the question as it was, stands questions from many goroutines, and does not fall
// over a licence that is none.
func VerifierRules(ctx context.Context, v core.Verifier, tell func(Rule)) {
	var info core.VerifierInfo
	if d, ok := v.(core.VerifierDescriber); ok {
		var err error
		if info, err = d.Describe(ctx); err == nil && (info.Version != "" || info.Summary != "") { // it need not say anything
			err = describes(info.Name, info.Version, info.Summary, info.Settings)
		}
		tell(Rule{"describes itself", err})
	}
	_, err := verify(ctx, v, Request(Owner, nil))
	tell(Rule{"judges a licence, twice alike", err})
	_, err = verify(ctx, v, Request(Other, nil))
	tell(Rule{"judges one signed by somebody else", err})
	tell(Rule{"does not fall over a licence that is none", judgesBroken(ctx, v)})
	tell(Rule{"judges several at once", atOnce(func(int) error {
		_, err := verify(ctx, v, Request(Owner, nil))
		return err
	})})
	tell(Rule{"takes its settings", configures(ctx, v, info.Settings)})
}

func judgesBroken(ctx context.Context, v core.Verifier) error {
	whole := Request(Owner, nil)
	for _, broken := range [][]byte{nil, {}, []byte("null"), []byte("[]"), []byte(`{"payload":1}`),
		whole.Envelope[:len(whole.Envelope)/2],
		bytes.Repeat([]byte("["), 10_000), bytes.Repeat([]byte{0xff}, 100)} {
		req := whole
		req.Envelope, req.Payload = broken, broken
		if _, err := verify(ctx, v, req); err != nil {
			return fmt.Errorf("%.40q: %w", broken, err)
		}
	}
	return nil
}

// verify asks twice.
func verify(ctx context.Context, v core.Verifier, req core.VerifyRequest) (core.Verdict, error) {
	before := req
	before.Envelope, before.Payload = bytes.Clone(req.Envelope), bytes.Clone(req.Payload)
	verdict, err := v.Verify(ctx, req)
	if err != nil {
		return verdict, fmt.Errorf("judged nothing: %w", err)
	}
	if !reflect.DeepEqual(before, req) {
		return verdict, errors.New("the request it was given has changed")
	}
	if !verdict.OK && verdict.Reason == "" {
		return verdict, fmt.Errorf("refused without a reason: %+v", verdict)
	}
	if again, err := v.Verify(ctx, req); err != nil || again != verdict {
		return verdict, fmt.Errorf("verdict %+v, and then %+v (%w)", verdict, again, err)
	}
	return verdict, nil
}
