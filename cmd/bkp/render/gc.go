// SPDX-License-Identifier: Apache-2.0

package render

import (
	"fmt"
	"strings"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
)

// Collection is what a collection came to.
type Collection struct {
	control.GCResult
	LeftoversFreed core.Size `json:"leftovers_freed"` // of windows of killed backups
}

// Draw shows what was freed, and who keeps the rest from being freed.
func (s Collection) Draw(t *Table) {
	t.Header("", "freed", "kept")
	t.Row("staged", s.StagingFreed, s.StagingKept)
	t.Row("for others", s.HoldingsFreed, s.HoldingsKept)
	if s.LeftoversFreed > 0 {
		t.Row("leftovers", s.LeftoversFreed, core.Size(0))
	}
	if copied := s.Staging.Rewritten + s.Holdings.Rewritten; copied > 0 {
		t.Line("%s were copied, out of packs that were small, half dead or damaged", copied)
	}
	for _, c := range []core.Collected{s.Staging, s.Holdings} {
		if c.Waiting > 0 {
			t.Line("%s must wait%s", c.Waiting, waitsFor(c.Writers))
		}
		if c.Locked > 0 {
			t.Line("%s are locked in the bucket, the first until %s, all until %s", c.Locked,
				c.LockedUntil.Local().Format(time.DateTime), c.AllLockedUntil.Local().Format(time.DateTime))
		}
	}
}

// waitsFor names the processes that may build on what nothing else needs.
func waitsFor(writers []core.Writer) string {
	if len(writers) == 0 {
		return " for the next gc: somebody wrote meanwhile"
	}
	var names []string
	for _, w := range writers {
		names = append(names, fmt.Sprintf("process %d (epoch %d, since %s)", w.PID, w.Epoch,
			w.Since.Format(time.DateTime)))
	}
	return " until these have ended, and for a gc after that: " + strings.Join(names, ", ")
}
