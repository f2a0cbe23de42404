// SPDX-License-Identifier: Apache-2.0

package plugintest

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"github.com/zeebo/blake3"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/plugins/contract"
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

// Verifier runs the suite: besides the author's cases, the verifier gives the same verdict twice, a reason with every
// refusal, leaves the question as it was, stands questions from many goroutines, and does not fall over a licence that
// is none.
func Verifier(t *testing.T, v core.Verifier, cases ...Case) {
	t.Helper()
	if d, ok := v.(core.VerifierDescriber); ok {
		t.Run("describes itself", func(t *testing.T) {
			info, err := d.Describe(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if info.Version == "" && info.Summary == "" {
				t.Skip("says nothing, as it may")
			}
			described(t, info.Name, info.Version, info.Summary)
			if err := contract.CheckSettings(info.Settings); err != nil {
				t.Error(err)
			}
		})
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			if c.Config != "" {
				if err := v.(core.Configurer).Configure(t.Context(), []byte(c.Config)); err != nil {
					t.Fatalf("Configure: %v", err)
				}
			}
			verdict := verify(t, v, c.Request)
			if verdict.OK != c.OK || !c.OK && c.Code != "" && verdict.Code != c.Code {
				t.Errorf("verdict %+v, want ok %v, code %q", verdict, c.OK, c.Code)
			}
			if again := verify(t, v, c.Request); again != verdict {
				t.Errorf("verdict %+v, and then %+v", verdict, again)
			}
		})
	}
	t.Run("licences that are none", func(t *testing.T) {
		whole := Request(Owner, nil)
		for _, broken := range [][]byte{nil, {}, []byte("null"), []byte("[]"), []byte(`{"payload":1}`),
			whole.Envelope[:len(whole.Envelope)/2],
			bytes.Repeat([]byte("["), 10_000), bytes.Repeat([]byte{0xff}, 100)} {
			req := whole
			req.Envelope, req.Payload = broken, broken
			verify(t, v, req)
		}
	})
	t.Run("many at once", func(t *testing.T) {
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() { verify(t, v, Request(Owner, nil)) })
		}
		all.Wait()
	})
}

func verify(t *testing.T, v core.Verifier, req core.VerifyRequest) core.Verdict {
	before := req
	before.Envelope, before.Payload = bytes.Clone(req.Envelope), bytes.Clone(req.Payload)
	verdict, err := v.Verify(t.Context(), req)
	if err != nil {
		t.Errorf("Verify: %v", err)
	}
	if !reflect.DeepEqual(before, req) {
		t.Error("Verify changed the request it was given")
	}
	if !verdict.OK && verdict.Reason == "" {
		t.Errorf("refused without a reason: %+v", verdict)
	}
	return verdict
}
