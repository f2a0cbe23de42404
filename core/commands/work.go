// SPDX-License-Identifier: Apache-2.0

package commands

import (
	"slices"
	"sync"
	"time"

	"github.com/bkp-tool/bkp/core/control"
)

// work is the commands under way that move bytes, for whoever looks at the node. Any goroutine may use it.
type work struct {
	mu   sync.Mutex
	rows []*control.WorkRow
}

// begin notes a command: whoever is told of its progress from now on is told by the function that begin returns, and
// the second function ends it.
func (w *work) begin(command, name string, version int,
	status func(control.Status)) (row *control.WorkRow, told func(control.Status), end func()) {
	row = &control.WorkRow{Command: command, Name: name, Version: version, Began: time.Now()}
	w.mu.Lock()
	w.rows = append(w.rows, row)
	w.mu.Unlock()
	told = func(s control.Status) {
		if !s.Warning && s.Plan == nil && s.Asked == nil {
			w.mu.Lock()
			row.Status = s
			w.mu.Unlock()
		}
		status(s)
	}
	return row, told, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.rows = slices.DeleteFunc(w.rows, func(r *control.WorkRow) bool { return r == row })
	}
}

// list is the commands under way, the oldest first.
func (w *work) list() []control.WorkRow {
	w.mu.Lock()
	defer w.mu.Unlock()
	rows := make([]control.WorkRow, 0, len(w.rows))
	for _, r := range w.rows {
		rows = append(rows, *r)
	}
	return rows
}

// others is what the node moves beside one command, and when that is foretold to end.
func (w *work) others(but *control.WorkRow, now time.Time) (busy []control.Busy) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.rows {
		if r == but {
			continue
		}
		b := control.Busy{Command: r.Command, Name: r.Name, Version: r.Version}
		if r.Predicted > 0 {
			b.EndsS = max(0, r.Predicted-r.Seconds)
		}
		busy = append(busy, b)
	}
	return busy
}
