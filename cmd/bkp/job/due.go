// SPDX-License-Identifier: Apache-2.0

package job

import (
	"time"

	"github.com/bkp-tool/bkp/core"
)

// State is what became of a job. Times are Unix seconds, 0 is never.
type State struct {
	Since   int64  `json:"since"`             // the job is known
	Began   int64  `json:"began,omitempty"`   // the last run
	Ended   int64  `json:"ended,omitempty"`   // below Began while it runs, or where it was cut off
	Well    int64  `json:"well,omitempty"`    // the last run that ended well
	Failed  int    `json:"failed,omitempty"`  // runs since then that did not
	Code    int    `json:"code,omitempty"`    // exit code of the last run
	Problem string `json:"problem,omitempty"` // why the last run did not end well
	Version int    `json:"version,omitempty"` // that the last good run made or found
	Bytes   int64  `json:"bytes,omitempty"`   // of that version
	Drill   *Drill `json:"drill,omitempty"`   // the last one that came to an end
}

// Drill is a restore that was tried.
type Drill struct {
	Time    int64   `json:"time"` // Unix seconds
	Version int     `json:"version"`
	Start   int64   `json:"start"` // of the bytes that were fetched
	Bytes   int64   `json:"bytes"`
	Seconds float64 `json:"seconds"`
	Nodes   int     `json:"nodes"`  // that sent something; none: all was on this machine
	Source  bool    `json:"source"` // it was compared with the file itself, byte for byte; else held against the manifest alone
}

const (
	firstRetry = 10 * time.Minute // after a run that failed; doubled each time
	lastRetry  = 4 * time.Hour
	stopRetry  = 10 * time.Second // after one that was stopped
	lateAfter  = time.Hour        // a job that is so long overdue is late
)

// Next is when a job is due: at the first tick of its clock since the last run, or since it is known. However many
// ticks were missed, one run makes up for them. A run that failed is tried again before the next tick, unless the
// command itself is wrong.
func (j Job) Next(s State) time.Time {
	last := max(s.Since, s.Began)
	next := j.schedule.Next(time.Unix(last, 0))
	if s.Failed == 0 && s.Ended >= s.Began || s.Code == int(core.CodeUsage) {
		return next
	}
	pause := firstRetry << min(max(s.Failed-1, 0), 10)
	if s.Ended < s.Began || s.Code >= int(core.CodeSignal) {
		pause = stopRetry
	}
	if again := time.Unix(max(s.Ended, s.Began), 0).Add(min(pause, lastRetry)); again.Before(next) {
		return again
	}
	return next
}

// Late reports whether a job should have run long ago.
func (j Job) Late(s State, now time.Time) bool { return now.Sub(j.Next(s)) > lateAfter }

// DrillDue reports whether a restore is to be tried.
func (j Job) DrillDue(s State, now time.Time) bool {
	return j.Drill != 0 && (s.Drill == nil || now.Sub(time.Unix(s.Drill.Time, 0)) >= j.DrillEvery)
}
