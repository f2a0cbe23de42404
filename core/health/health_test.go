// SPDX-License-Identifier: Apache-2.0

package health_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bkp-tool/bkp/core/health"
)

func TestHealthKeepsOneReasonForEachKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h health.Health
		h.Recover("disk")
		h.Degrade("disk", "it is slow", false)
		since := time.Now()
		time.Sleep(time.Minute)
		h.Degrade("verifier issuers", "its process is gone", true)
		h.Degrade("disk", "it is slower", false)
		want := []health.Reason{
			{Key: "verifier issuers", Text: "its process is gone", Refuses: true, Since: time.Now()},
			{Key: "disk", Text: "it is slower", Since: since},
		}
		if got := h.Reasons(); !slices.Equal(got, want) {
			t.Errorf("reasons: %v, want %v", got, want)
		}
		h.Recover("verifier issuers")
		h.Recover("disk")
		if got := h.Reasons(); len(got) > 0 {
			t.Errorf("reasons: %v, want none", got)
		}
	})
}
