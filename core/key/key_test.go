// SPDX-License-Identifier: Apache-2.0

package key_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
)

var update = flag.Bool("update", false, "write golden files anew (a stored format changes: raise its version)")

// golden compares got with a file of testdata.
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

// wantError checks that err says what it should; "" wants none.
func wantError(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("unexpected error: %v", err)
	case want != "" && err == nil:
		t.Errorf("no error, want %q", want)
	case want != "" && !strings.Contains(err.Error(), want):
		t.Errorf("error %q, want %q in it", err, want)
	}
}

// signer is the key pair of a seed of one repeated byte.
func signer(b byte) *key.Signer { return key.SignerFromSeed([32]byte(bytes.Repeat([]byte{b}, 32))) }

// owner is the owner of testdata/owner.json; its key pair is signer(1).
func owner(t testing.TB) *key.Owner {
	t.Helper()
	o, err := key.ParseOwner(read(t, "owner.json"), "")
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// payloadOf is what an envelope says: a fuzzer signs what it makes of it.
func payloadOf(t testing.TB, envelope []byte) []byte {
	t.Helper()
	var e struct{ Payload []byte }
	if err := json.Unmarshal(envelope, &e); err != nil || len(e.Payload) == 0 {
		t.Fatalf("no payload in %s: %v", envelope, err)
	}
	return e.Payload
}

var node, task = signer(2), core.TaskID{1, 2, 3}
