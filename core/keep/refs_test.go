// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"testing"

	"github.com/bkp-tool/bkp/core"
)

// A peer that lists refs2 is answered with the ref as it was signed last, another with the one that it can read, where
// that came.
func TestEnvelopeThatAPeerReads(t *testing.T) {
	both := core.HeldRef{Envelope: []byte("2"), Former: []byte("1")}
	alone := core.HeldRef{Envelope: []byte("1")}
	for _, c := range []struct {
		held  core.HeldRef
		refs2 bool
		want  string
	}{{both, true, "2"}, {both, false, "1"}, {alone, true, "1"}, {alone, false, "1"}} {
		if got := envelope(c.held, c.refs2); string(got) != c.want {
			t.Errorf("refs2 %v is answered with version %s, want %s", c.refs2, got, c.want)
		}
	}
}
