// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/bkp-tool/bkp/core"
)

// A node whose key was rotated goes on with its log: heads of both keys are its own, here and in a bundle elsewhere.
func TestLogOfARotatedNode(t *testing.T) {
	dir := filled(t)
	before, err := reader(t, dir).Head()
	if err != nil {
		t.Fatal(err)
	}
	rotated := node
	for rotation := range byte(2) {
		if rotated, err = rotated.Rotate(bytes.NewReader(bytes.Repeat([]byte{50 + rotation}, 32))); err != nil {
			t.Fatal(err)
		}
		l, err := Open(dir, rotated)
		if err != nil {
			t.Fatalf("open with the new key: %v", err)
		}
		add(t, l, KindLicense, licence(t, 40+rotation))
		if err := l.Sync(); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	r := reader(t, dir)
	head, err := r.Head()
	if err != nil || head.Node() != node.ID() || head.Check() != nil || core.PublicKey(head.Key).Rotations() != 2 {
		t.Fatalf("newest head %+v, %v", head, err)
	}
	if got, err := r.Verify(before, head); err != nil || got.Node != node.ID() || len(got.Problems) > 0 {
		t.Errorf("%+v, %v", got, err)
	}
	data := exported(t, dir)
	if got, err := verifyBundle(data, before, head); err != nil || got.Node != node.ID() || got.Size != 7 ||
		len(got.Problems) > 0 {
		t.Errorf("the bundle: %+v, %v", got, err)
	}
	for n := 0; n < len(data); n += 13 {
		changed := bytes.Clone(data)
		changed[n] ^= 1
		if _, err := verifyBundle(changed); core.CodeOf(err) != core.CodeWrong {
			t.Fatalf("byte %d of %d changed: %v", n, len(data), err)
		}
		if _, err := verifyBundle(data[:n]); core.CodeOf(err) != core.CodeWrong {
			t.Fatalf("cut at byte %d of %d: %v", n, len(data), err)
		}
	}
	if err := os.Remove(filepath.Join(dir, "key")); err != nil {
		t.Fatal(err)
	}
	if l, err := Open(dir, rotated); err != nil { // the key file is made again
		t.Error(err)
	} else {
		l.Close()
	}
	if _, err := Open(dir, stranger); core.CodeOf(err) != core.CodeRefused {
		t.Errorf("another node's key: %v", err)
	}
}
