// SPDX-License-Identifier: Apache-2.0

package license_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/license"
)

var update = flag.Bool("update", false, "write golden files anew (a stored format changes: raise its version)")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want := read(t, name); !bytes.Equal(got, want) {
		t.Errorf("%s:\n got %s\nwant %s", name, got, want)
	}
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// The cast: the seed of each is one repeated byte.
var (
	owner    = signer(1)
	source   = signer(2)
	target   = signer(3)
	other    = signer(4) // another target
	spare    = signer(5)
	carrier  = signer(6)
	stranger = signer(7)
)

func signer(b byte) *key.Signer { return key.SignerFromSeed([32]byte(bytes.Repeat([]byte{b}, 32))) }

var noon = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// valid is a licence from noon for a day, with everything in it.
func valid() core.License {
	return core.License{
		ID:          core.LicenseID{1},
		Task:        core.TaskID{2},
		Segment:     3,
		TaskSource:  core.TaskSource{Owner: owner.ID(), Node: source.ID()},
		Targets:     []core.ID{target.ID(), other.ID()},
		Spares:      []core.ID{spare.ID()},
		Carriers:    []core.ID{target.ID(), carrier.ID()},
		Op:          license.OpStore,
		Root:        core.Hash{4},
		MaxBytes:    1000,
		MaxRuns:     10,
		NotBefore:   noon.Unix(),
		Expires:     noon.AddDate(0, 0, 1).Unix(),
		RetainUntil: noon.AddDate(1, 0, 0).Unix(),
	}
}

func sign(t testing.TB, l core.License, s license.Signer) []byte {
	t.Helper()
	envelope, err := license.Sign(l, s)
	if err != nil {
		t.Fatal(err)
	}
	return envelope
}

// wantRule checks that err is a refusal by the given rule that carries an exit code; "" wants no error.
func wantRule(t *testing.T, err error, rule string) {
	t.Helper()
	refusal, ok := errors.AsType[*license.Refusal](err)
	switch {
	case rule == "" && err != nil:
		t.Errorf("unexpected error: %v", err)
	case rule != "" && (!ok || refusal.Rule != rule):
		t.Errorf("error %#v (%v), want rule %q", err, err, rule)
	case rule != "" && (core.CodeOf(err) != core.CodeRefused || refusal.Code == 0 || refusal.Reason == ""):
		t.Errorf("exit code %d, wire code %d, reason %q", core.CodeOf(err), refusal.Code, refusal.Reason)
	}
}

func TestSignOpen(t *testing.T) {
	envelope := sign(t, valid(), owner)
	golden(t, "license.json", envelope)
	l, payload, who, err := license.Open(envelope)
	if err != nil {
		t.Fatal(err)
	}
	want := valid()
	want.V, want.Key = 1, owner.Public()
	if !reflect.DeepEqual(l, want) || who != owner.ID() {
		t.Errorf("signed by %s:\n got %+v\nwant %+v", who, l, want)
	}
	golden(t, "license.payload.json", payload)
}

// Bad inputs in the envelope. The numbers are those of the list of bad inputs.
func TestOpenRefusesEnvelope(t *testing.T) {
	good := string(sign(t, valid(), owner))
	signature := good[strings.Index(good, `{"keyid"`):strings.Index(good, "]")]
	strangers := string(sign(t, valid(), stranger))
	receipt, err := license.SignReceipt(word(), target)
	if err != nil {
		t.Fatal(err)
	}
	with := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("%q is not in %s", old, good)
		}
		return strings.Replace(good, old, new, 1)
	}
	for _, tc := range []struct{ name, envelope, rule string }{
		{"as signed", good, ""},
		{"with white space", "\n " + with(`,"signatures"`, `, "signatures"`) + "\n", ""},
		{"1 unsigned", with(signature, ""), license.RuleUnsigned},
		{"1 signed twice", with(signature, signature+","+signature), license.RuleUnsigned},
		{"1 an empty signature", with(signature, signature[:strings.Index(signature, `"sig"`)]+`"sig":""}`),
			license.RuleSignature},
		{"2 one bit of the signature flipped", flipSignature(good), license.RuleSignature},
		{"3 a stranger in the owner's name", strings.Replace(strangers, stranger.ID().String(), owner.ID().String(), 1),
			license.RuleSignature},
		{"14 a receipt", string(receipt), license.RuleType},
		{"14 a receipt called a licence", strings.Replace(string(receipt), license.ReceiptType, license.Type, 1),
			license.RuleName},
		{"15 duplicate key", with(`{"payloadType"`, `{"payloadType":"x","payloadType"`), license.RuleDuplicate},
		{"16 a name in capitals", with(`"signatures"`, `"SIGNATURES"`), license.RuleName},
		{"17 trailing JSON", good + `{}`, license.RuleTrailing},
		{"17 trailing rubbish", good + `x`, license.RuleTrailing},
		{"20 one byte over the limit", good + strings.Repeat(" ", int(license.MaxEnvelope)+1-len(good)),
			license.RuleEnvelope},
		{"20 exactly the limit", good + strings.Repeat(" ", int(license.MaxEnvelope)-len(good)), ""},
		{"28 nesting 10,000 deep", strings.Repeat(`{"signatures":[`, 10000), license.RuleName},
		{"payload is not base64", with(`"payload":"`, `"payload":"!`), license.RuleEnvelope},
		{"an array", `[]`, license.RuleField},
		{"half of it", good[:len(good)/2], license.RuleJSON},
		{"nothing", "", license.RuleJSON},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, _, _, err := license.Open([]byte(tc.envelope))
			wantRule(t, err, tc.rule)
		})
	}
}

// flipSignature flips the lowest bit of the signature's first byte.
func flipSignature(envelope string) string {
	at := strings.Index(envelope, `"sig":"`) + len(`"sig":"`)
	raw, err := base64.StdEncoding.DecodeString(envelope[at : at+88])
	if err != nil {
		panic(err)
	}
	raw[0] ^= 1
	return envelope[:at] + base64.StdEncoding.EncodeToString(raw) + envelope[at+88:]
}

// Bad inputs in the payload; each is well signed by the owner.
func TestOpenRefusesPayload(t *testing.T) {
	good := string(read(t, "license.payload.json"))
	pub := base64.StdEncoding.EncodeToString(owner.Public())
	targets := `"targets":["` + target.ID().String() + `","` + other.ID().String() + `"]`
	for _, tc := range []struct{ name, old, new, rule string }{
		{"as signed", "", "", ""},
		{"2 one bit of a digit flipped", `"segment":3`, `"segment":2`, ""}, // signed anew: another licence
		{"4 small-order public key", pub, base64.StdEncoding.EncodeToString(make([]byte, 32)), license.RuleKey},
		{"4 the other point of order 4", pub, base64.StdEncoding.EncodeToString(append(make([]byte, 31), 0x80)),
			license.RuleKey},
		{"4 a short key", pub, base64.StdEncoding.EncodeToString(make([]byte, 31)), license.RuleKey},
		{"4 no key", pub, "", license.RuleKey},
		{"9 a number for a target", targets, `"targets":[1]`, license.RuleWildcard},
		{"8 empty targets", targets, `"targets":[]`, license.RuleNoTargets},
		{"8 targets null", targets, `"targets":null`, license.RuleNoTargets},
		{"8 no targets", targets + ",", "", license.RuleNoTargets},
		{"9 wildcard target", targets, `"targets":["*"]`, license.RuleWildcard},
		{"9 empty target", targets, `"targets":[""]`, license.RuleWildcard},
		{"9 wildcard within an ID", targets, `"targets":["` + target.ID().String()[:51] + `*"]`, license.RuleWildcard},
		{"9 wildcard spare", `"spares":["` + spare.ID().String(), `"spares":["*`, license.RuleWildcard},
		{"9 wildcard carrier", carrier.ID().String(), `*`, license.RuleWildcard},
		{"a target twice", other.ID().String(), target.ID().String(), license.RuleField},
		{"15 duplicate key", `"op":"store"`, `"op":"store","op":"store"`, license.RuleDuplicate},
		{"15 duplicate key within task_source", `"owner":`, `"owner":"","owner":`, license.RuleDuplicate},
		{"16 TARGETS for targets", `"targets"`, `"TARGETS"`, license.RuleName},
		{"16 TARGETS beside targets", `"targets"`, `"TARGETS":["*"],"targets"`, license.RuleName},
		{"17 trailing JSON", good, good + `{}`, license.RuleTrailing},
		{"18 negative max_bytes", `"max_bytes":1000`, `"max_bytes":-1`, license.RuleBounds},
		{"18 max_bytes zero", `"max_bytes":1000`, `"max_bytes":0`, ""},
		{"18 max_bytes of 1 PiB", `"max_bytes":1000`, `"max_bytes":1125899906842624`, ""},
		{"18 max_bytes of 1 PiB and a byte", `"max_bytes":1000`, `"max_bytes":1125899906842625`, license.RuleBounds},
		{"18 max_bytes of 2^63", `"max_bytes":1000`, `"max_bytes":9223372036854775808`, license.RuleBounds},
		{"18 max_bytes of 2^64 and 1000", `"max_bytes":1000`, `"max_bytes":18446744073709552616`, license.RuleBounds},
		{"18 max_bytes of 1e3", `"max_bytes":1000`, `"max_bytes":1e3`, license.RuleBounds},
		{"18 max_bytes a string", `"max_bytes":1000`, `"max_bytes":"1000"`, license.RuleField},
		{"18 negative max_runs", `"max_runs":10`, `"max_runs":-1`, license.RuleBounds},
		{"18 max_runs of a full segment", `"max_runs":10`, `"max_runs":4096`, ""},
		{"18 max_runs over a full segment", `"max_runs":10`, `"max_runs":4097`, license.RuleBounds},
		{"18 negative segment", `"segment":3`, `"segment":-3`, license.RuleBounds},
		{"no date to begin", `"not_before":1793534400`, `"not_before":0`, license.RuleBounds},
		{"expires before it begins", `"expires":1793620800`, `"expires":1793534399`, license.RuleBounds},
		{"expires as it begins", `"expires":1793620800`, `"expires":1793534400`, ""},
		{"expires in the year 10000", `"expires":1793620800`, `"expires":253402300800`, license.RuleBounds},
		{"nothing to retain", `"retain_until":1825070400`, `"retain_until":0`, license.RuleBounds},
		{"another version", `"v":1`, `"v":2`, license.RuleVersion},
		{"another op", `"op":"store"`, `"op":"*"`, license.RuleField},
		{"no id", `"id":"01`, `"id":"00`, license.RuleField},
		{"a long id", `"id":"01`, `"id":"0001`, license.RuleField},
		{"no task", `"task":"02`, `"task":"00`, license.RuleField},
		{"no root", `"root":"04`, `"root":"00`, license.RuleField},
		{"no owner", `"owner":"` + owner.ID().String(), `"owner":"`, license.RuleField},
		{"no source", `"node":"` + source.ID().String(), `"node":"`, license.RuleField},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if !strings.Contains(good, tc.old) {
				t.Fatalf("%q is not in %s", tc.old, good)
			}
			envelope, err := owner.Envelope(license.Type, []byte(strings.Replace(good, tc.old, tc.new, 1)))
			if err != nil {
				t.Fatal(err)
			}
			_, _, _, err = license.Open(envelope)
			wantRule(t, err, tc.rule)
		})
	}
}

func TestSignRefusesWhatOpenRefuses(t *testing.T) {
	l := valid()
	l.Targets = nil
	_, err := license.Sign(l, owner)
	wantRule(t, err, license.RuleNoTargets)
	l = valid()
	for i := range 20000 {
		l.Spares = append(l.Spares, core.ID{1, byte(i), byte(i >> 8)})
	}
	l.Spares = l.Spares[1:]
	_, err = license.Sign(l, owner)
	wantRule(t, err, license.RuleEnvelope)
}

// 2: whatever bit is flipped, a licence says what was signed, or nothing.
func TestOpenNeverSaysOtherThanWasSigned(t *testing.T) {
	good := sign(t, valid(), owner)
	want, _, _, _ := license.Open(good)
	rapid.Check(t, func(t *rapid.T) {
		bit := rapid.IntRange(0, len(good)*8-1).Draw(t, "bit")
		flipped := bytes.Clone(good)
		flipped[bit/8] ^= 1 << (bit % 8)
		if got, _, _, err := license.Open(flipped); err == nil && !reflect.DeepEqual(got, want) {
			t.Fatalf("bit %d: %+v", bit, got)
		}
	})
}

func FuzzOpenEnvelope(f *testing.F) {
	f.Add(read(f, "license.json"))
	f.Add(read(f, "receipt.json"))
	f.Fuzz(func(t *testing.T, envelope []byte) {
		l, payload, _, err := license.Open(envelope)
		if err == nil && !bytes.Equal(payload, read(t, "license.payload.json")) {
			t.Errorf("a forgery: %+v", l)
		}
		if _, ok := errors.AsType[*license.Refusal](err); err != nil && !ok {
			t.Errorf("no refusal: %v", err)
		}
	})
}

// The fuzzer's payloads are well signed, so that it gets behind the signature.
func FuzzOpenPayload(f *testing.F) {
	f.Add(read(f, "license.payload.json"))
	f.Fuzz(func(t *testing.T, payload []byte) {
		envelope, err := owner.Envelope(license.Type, payload)
		if err != nil {
			t.Skip()
		}
		l, _, who, err := license.Open(envelope)
		if err != nil {
			return
		}
		if who != owner.ID() || l.MaxBytes < 0 || len(l.Targets) == 0 {
			t.Errorf("%+v", l)
		}
		again, err := license.Sign(l, owner)
		if err != nil {
			t.Fatalf("opened, but cannot be signed: %v", err)
		}
		if l2, _, _, err := license.Open(again); err != nil || !reflect.DeepEqual(l, l2) {
			t.Errorf("signed again: %v\n%+v\n%+v", err, l, l2)
		}
	})
}
