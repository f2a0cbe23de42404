// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"fmt"
	"testing"

	"github.com/bkp-tool/bkp/core/scenariotest"
)

// TestJudge reads testdata/judge/*.txt, in the words of TestScenarios, and says how the placement stands.
func TestJudge(t *testing.T) {
	scenariotest.Each(t, "testdata/judge/*.txt", func(t *testing.T, file string) {
		s := newScript()
		scenariotest.Play(t, file, s.line, s.judge)
	})
}

func (s *script) judge() string {
	v := Judge(s.Wanted, s.known, s.network(), s.now)
	out := fmt.Sprintf("%d copies, %d reached", v.Copies, v.Reached)
	for _, x := range []struct {
		is   bool
		word string
	}{{v.Lacks, "lacks"}, {v.Blind, "blind"}, {v.Act, "act"}} {
		if x.is {
			out += ", " + x.word
		}
	}
	if !v.Until.IsZero() {
		out += fmt.Sprintf(", %s more", v.Until.Sub(s.now))
	}
	return out + "\n"
}
