// SPDX-License-Identifier: Apache-2.0

package render

import (
	"encoding/json"
	"fmt"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/ledger"
)

// Ledger shows entries of a ledger.
func Ledger(t *Table, rows []LedgerEntry) {
	t.Header("entry", "kind", "licence", "task", "by", "runs", "bytes", "until")
	t.Spare("task", "until")
	for _, r := range rows {
		by := r.Owner
		if r.Kind == ledger.KindReceipt {
			by = r.Target
		}
		until := "-"
		if r.Until > 0 {
			until = Day(r.Until)[:len("2006-01-02")]
		}
		kind := string(r.Kind)
		if a := r.Audits; a != nil {
			kind = fmt.Sprintf("audit %d ok", a.Proved)
			if a.Failed > 0 {
				kind, by = "audit failed", r.Target
			}
		}
		license := r.License.String()
		switch {
		case r.License == core.LicenseID{}:
			license = "-"
		case t.width > 0: // whole is what bkp license revoke takes
			license = license[:8]
		}
		t.Row(r.Index, kind, license, r.Task.String()[:8], by, r.Runs, r.Bytes, until)
	}
}

// LedgerEntry is one entry of the log with what its envelope says.
type LedgerEntry struct {
	Index    int64           `json:"index"`
	Kind     ledger.Kind     `json:"kind"`
	License  core.LicenseID  `json:"license"`
	Task     core.TaskID     `json:"task"`
	Segment  int             `json:"segment"`
	Owner    core.ID         `json:"owner,omitzero"`  // of a licence
	Target   core.ID         `json:"target,omitzero"` // of a receipt, or of an audit that failed
	Runs     int             `json:"runs"`            // allowed, or received, or kept no longer: 0 is all of the task
	Bytes    core.Size       `json:"bytes"`
	Until    int64           `json:"retain_until"`
	Audits   *Audits         `json:"audits,omitempty"`
	Envelope json.RawMessage `json:"envelope"`
}

// Audits is what an entry about audits says.
type Audits struct {
	Since      int64  `json:"since"` // Unix seconds
	Proved     int    `json:"proved"`
	Unanswered int    `json:"unanswered"`
	Failed     int    `json:"failed"`
	Note       string `json:"note,omitempty"`
}
