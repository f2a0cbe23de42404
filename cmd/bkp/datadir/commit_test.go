// SPDX-License-Identifier: Apache-2.0

package datadir

import (
	"errors"
	"strings"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/durable/durabletest"
	"github.com/bkp-tool/bkp/core/file"
	"github.com/bkp-tool/bkp/core/key"
)

// Whichever durable call of a commit fails: who is told of a failure has no version.
func TestACommitThatFailsLeavesNoVersion(t *testing.T) {
	o := newOwner(t)
	body := key.RefBody{Name: "f", Root: core.Sealed{Hash: core.Hash{1}}, Size: 7}
	failed := 0
	for n := 1; ; n++ {
		h := Dir(t.TempDir())
		calls := 0
		r := durabletest.Record(t, string(h))
		r.Fail(func(op durabletest.Op) error {
			if calls++; calls != n {
				return nil
			}
			return errors.New("the disk has a bad day")
		})
		_, err := h.commit(o, chunk.DefaultParams(chunk.MethodCDC, 7), body, file.NewReader(strings.NewReader("")))
		r.Stop()
		if calls < n {
			break
		}
		stored, listErr := h.Refs().List()
		if listErr != nil {
			t.Fatal(listErr)
		}
		if (err == nil) != (len(stored) == 1) {
			t.Errorf("call %d failed: %v, and there are %d versions", n, err, len(stored))
		}
		if err != nil {
			failed++
		}
	}
	if failed < 5 {
		t.Errorf("%d calls failed: the test watches nothing", failed)
	}
}
