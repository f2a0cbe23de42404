// SPDX-License-Identifier: Apache-2.0

package key_test

import (
	"bytes"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/bkp-tool/bkp/core/key"
)

const word = "application/vnd.bkp.test+json"

func keyOf(s *key.Signer) func([]byte) ([]byte, error) {
	return func([]byte) ([]byte, error) { return s.Public(), nil }
}

func TestEnvelope(t *testing.T) {
	envelope := must[[]byte](t)(signer(1).Envelope(word, []byte(`{"v":1}`)))
	golden(t, "envelope.json", envelope)
	payload, err := key.OpenEnvelope(envelope, word, keyOf(signer(1)))
	if err != nil || string(payload) != `{"v":1}` {
		t.Errorf("%s, %v", payload, err)
	}
}

// The numbers are those of the list of bad inputs.
func TestOpenEnvelopeRefuses(t *testing.T) {
	good := string(must[[]byte](t)(signer(1).Envelope(word, []byte(`{"v":1}`))))
	other := string(must[[]byte](t)(signer(2).Envelope(word, []byte(`{"v":1}`))))
	signature := good[strings.Index(good, `{"keyid"`):strings.Index(good, "]")]
	with := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("%q is not in %s", old, good)
		}
		return strings.Replace(good, old, new, 1)
	}
	small := func([]byte) ([]byte, error) { return make([]byte, 32), nil }
	for _, tc := range []struct {
		name, envelope string
		key            func([]byte) ([]byte, error)
		want           string
	}{
		{"as signed", good, nil, ""},
		{"white space around it", " " + good + "\n", nil, ""},
		{"1 unsigned", with(signature, ""), nil, "0 signatures"},
		{"1 signed twice", with(signature, signature+","+signature), nil, "2 signatures"},
		{"2 one bit of the payload flipped", with(`"eyJ2`, `"eyJ3`), nil, "does not fit"},
		{"2 one bit of the signature flipped", with(`"sig":"`, `"sig":"A`), nil, "signature"},
		{"3 signed by another key", other, nil, "keyid"},
		{"3 signed by another key in this one's name", strings.Replace(other, signer(2).ID().String(),
			signer(1).ID().String(), 1), nil, "does not fit"},
		{"4 small-order public key", good, small, "small order"},
		{"14 another payload type", with(word, key.ReleaseType), nil, "payload type is"},
		{"15 duplicate key", with(`{"payloadType"`, `{"payloadType":"x","payloadType"`), nil, "duplicate"},
		{"16 a name in capitals", with(`"payloadType"`, `"PAYLOADTYPE"`), nil, "unknown"},
		{"17 trailing JSON", good + `{}`, nil, "after top-level value"},
		{"not JSON", "bkp", nil, "envelope"},
		{"nothing", "", nil, "envelope"},
		{"payload is not base64", with(`"eyJ2`, `"!yJ2`), nil, "payload"},
		{"one byte over the limit", good + strings.Repeat(" ", int(key.MaxEnvelope)+1-len(good)), nil, "at most"},
		{"exactly the limit", good + strings.Repeat(" ", int(key.MaxEnvelope)-len(good)), nil, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.key == nil {
				tc.key = keyOf(signer(1))
			}
			_, err := key.OpenEnvelope([]byte(tc.envelope), word, tc.key)
			wantError(t, err, tc.want)
		})
	}
}

func TestEnvelopeTooLongToOpenIsNotMade(t *testing.T) {
	_, err := signer(1).Envelope(word, make([]byte, key.MaxEnvelope))
	wantError(t, err, "at most")
}

// Whatever bit is flipped, an envelope says what was signed, or nothing.
func TestOpenEnvelopeNeverSaysOtherThanWasSigned(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		said := rapid.SliceOfN(rapid.Byte(), 0, 100).Draw(t, "payload")
		envelope, err := signer(1).Envelope(word, said)
		if err != nil {
			t.Fatal(err)
		}
		bit := rapid.IntRange(0, len(envelope)*8-1).Draw(t, "bit")
		envelope[bit/8] ^= 1 << (bit % 8)
		heard, err := key.OpenEnvelope(envelope, word, keyOf(signer(1)))
		if err == nil && !bytes.Equal(heard, said) {
			t.Fatalf("signed %q, opened %q", said, heard)
		}
	})
}

func FuzzOpenEnvelope(f *testing.F) {
	f.Add(read(f, "envelope.json"))
	f.Add([]byte(`{"payloadType":"` + word + `","payload":"","signatures":[{"keyid":"","sig":""}]}`))
	f.Fuzz(func(t *testing.T, envelope []byte) {
		payload, err := key.OpenEnvelope(envelope, word, keyOf(signer(1)))
		if err == nil && string(payload) != `{"v":1}` {
			t.Errorf("a forgery: %q", envelope)
		}
	})
}
