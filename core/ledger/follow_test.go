// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"crypto/rand"
	"fmt"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
)

// Of every two heads of a log the later follows the earlier by its proof, and of another log none does.
func TestFollows(t *testing.T) {
	signer, err := key.NewSigner(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	grow := func(what string) (l *Log, heads []SignedHead) {
		l, err := Open(t.TempDir(), signer)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 9 {
			if _, err := l.Append(KindLicense, fmt.Appendf(nil, "%s %d", what, i)); err != nil {
				t.Fatal(err)
			}
			if err := l.Sync(); err != nil {
				t.Fatal(err)
			}
			head, err := l.Head()
			if err != nil {
				t.Fatal(err)
			}
			heads = append(heads, head)
		}
		return l, heads
	}
	l, heads := grow("true")
	defer l.Close()
	other, others := grow("false")
	defer other.Close()
	for i, before := range heads {
		for j, after := range heads {
			proof, err := l.Prove(before.Size, after.Size)
			if err != nil {
				t.Fatal(err)
			}
			if err := Follows(before, after, proof); (err == nil) != (i <= j) {
				t.Errorf("from %d to %d: %v", before.Size, after.Size, err)
			}
			proof, err = other.Prove(before.Size, after.Size)
			if err != nil {
				t.Fatal(err)
			}
			if err := Follows(before, others[j], proof); core.CodeOf(err) != core.CodeWrong {
				t.Errorf("from %d to %d of another log: %v", before.Size, after.Size, err)
			}
		}
	}
}
