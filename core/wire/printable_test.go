// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/bkp-tool/bkp/core"
)

// BAD-INPUT 75: line breaks, escapes and marks of direction in whatever a peer says that is shown.
func TestWordsOfPeersPrint(t *testing.T) {
	evil := "all well\nlevel=ERROR \x1b[2J\u202egpj.exe"
	task := core.TaskID{1}
	for _, m := range []Message{
		StateReport{Query: 1, Labels: map[string]string{evil: evil}, Degraded: []string{evil},
			Links:    []LinkReport{{ID: core.ID{1}, Address: evil, Labels: map[string]string{"a": evil}}},
			Accounts: []core.Account{{Name: evil}}},
		TaskRefuse{Task: task, Code: core.ReasonLicense, Reason: evil},
		StorageRefuse{Flow: 1, Code: core.ReasonBusy, Reason: evil},
		GainRefuse{Flow: 1, Code: core.ReasonBusy, Reason: evil},
		TransmissionAbort{Flow: 1, Code: core.ReasonStopped, Reason: evil},
		RefOK{Query: 1, Code: core.ReasonInternal, Reason: evil},
		RefReport{Query: 1, Code: core.ReasonInternal, Reason: evil},
		ReleaseDone{Query: 1, Code: core.ReasonInternal, Reason: evil},
		AuditRefuse{Query: 1, Code: core.ReasonBusy, Reason: evil},
	} {
		data, err := Encode(m)
		if err != nil {
			t.Fatalf("%s: %v", m.Type(), err)
		}
		got, err := Decode(data)
		if err != nil {
			t.Fatalf("%s: %v", m.Type(), err)
		}
		shown, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		for _, bad := range []string{`\n`, `\u001b`, "\u202e"} {
			if strings.Contains(strings.ReplaceAll(string(shown), `\\`, ""), bad) {
				t.Errorf("%s: %q in %s", m.Type(), bad, shown)
			}
		}
	}
}
