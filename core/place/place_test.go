// SPDX-License-Identifier: Apache-2.0

package place

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/license"
	"github.com/bkp-tool/bkp/core/plan/saved"
	"github.com/bkp-tool/bkp/core/version"
)

// place places what args say, and keeps the warnings.
func (w *town) place(ctx context.Context, args Args) (Result, error) {
	return w.Place(ctx, args, func(s Status) {
		if s.Warning {
			w.told = append(w.told, s.Text)
		}
	})
}

// record is the one record of the newest ref.
func (w *town) record() version.Record {
	w.t.Helper()
	newest := version.Newest(w.refs)
	if len(newest.Body.Records) != 1 {
		w.t.Fatalf("the ref has %d records", len(newest.Body.Records))
	}
	r, err := version.NewReader(w.t.Context(), &w.store).Record(newest.Body.Records[0])
	check(w.t, err)
	return r
}

// unclaimed wants no chunk in staging to be claimed.
func (w *town) unclaimed() {
	w.t.Helper()
	pinned := w.Pins.Pinned()
	for hash := range w.store.chunks {
		if pinned.Has(hash) {
			w.t.Errorf("chunk %s is still claimed", hash)
		}
	}
}

// rest wants nothing to be claimed, and no task under way.
func (w *town) rest() {
	w.t.Helper()
	w.unclaimed()
	if len(w.inboxes) > 0 {
		w.t.Errorf("tasks under way: %v", slices.Collect(maps.Keys(w.inboxes)))
	}
}

func TestPlacementLeavesRecordsAndRefs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, "b", "c")
		w.named("c").old = true
		w.split("disk.img", 1, 0, 40)
		forged, err := license.SignReceipt(core.Receipt{License: core.LicenseID{1}, Task: core.TaskID{1},
			Runs: []core.Range{{Length: 40}}, RetainUntil: 1, Time: 1}, w.named("b"))
		check(t, err)
		time.AfterFunc(500*time.Millisecond, func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.inboxes["task"].Receipt(w.named("b").ID(), forged)
		})
		r, err := w.place(t.Context(), Args{Replicas: 2})
		check(t, err)
		rec := w.record()
		for run := range rec.Runs {
			if got := rec.Holders(run); len(got) != 2 {
				t.Errorf("run %d is on record at %d nodes", run, len(got))
			}
		}
		if rec.Task != r.Task || rec.Source != w.Node || w.licenses != 1 || w.receipts != 2 || !r.Ended {
			t.Errorf("record of task %s and source %s; %d licences, %d receipts, ended %v", rec.Task,
				rec.Source.Short(), w.licenses, w.receipts, r.Ended)
		}
		for _, p := range w.peers {
			last, err := version.Open(w.owner, p.got[len(p.got)-1])
			check(t, err)
			wantRefs := 2
			if p.old {
				wantRefs = 1
			}
			if len(p.records) != 1 || len(p.got) != wantRefs || (last.Ref.V == 1) != p.old {
				t.Errorf("%s was given %d records and %d refs, the last of version %d", p.name, len(p.records),
					len(p.got), last.Ref.V)
			}
			stored, err := w.store.Get(t.Context(), last.Body.Records[0].Hash, nil)
			check(t, err)
			if !bytes.Equal(stored, p.records[0]) {
				t.Errorf("%s was given another record than is here", p.name)
			}
		}
		if newest := version.Newest(w.refs); !newest.Away || w.swept != 1 || r.LetGo != 42 {
			t.Errorf("away %v, swept %d times, %s went", newest.Away, w.swept, r.LetGo)
		}
		w.rest()
	})
}

func TestPlacementThatFails(t *testing.T) {
	var other version.Found
	for _, test := range []struct {
		name     string
		setup    func(w *town)
		args     Args
		code     core.Code
		says     string
		released string // who is asked to let go
	}{
		{"no copies", func(*town) {}, Args{}, core.CodeUsage, "0 replicas", ""},
		{"nothing to place", func(w *town) { w.refs = nil }, Args{Replicas: 1}, core.CodeNoName, "not placed yet", ""},
		{"no such name", func(*town) {}, Args{Name: "x", Replicas: 1}, core.CodeNoName, "no version of it", ""},
		{"no such version", func(*town) {}, Args{Name: "disk.img", Version: 7, Replicas: 1}, core.CodeNoName,
			"no version 7", ""},
		{"nobody is there", func(w *town) { w.named("b").away, w.named("c").away = true, true }, Args{Replicas: 1},
			core.CodeRedundant, "no peer is connected (wss://nobody:8001: connection refused)", ""},
		{"too few are there", func(w *town) { w.named("b").away = true }, Args{Replicas: 2}, core.CodeRedundant,
			"2 replicas", ""},
		{"one refuses", func(w *town) { w.named("b").refuses = core.ReasonLicense }, Args{Replicas: 2},
			core.CodeRedundant, "b:8001 lacks 43.9 KiB (b:8001: so it says)", "c"},
		{"all refuse", func(w *town) { w.named("b").refuses, w.named("c").refuses = core.ReasonLicense, core.ReasonLicense },
			Args{Replicas: 2}, core.CodeRefused, "refused segment 0: so it says", ""},
		{"one is silent", func(w *town) { w.named("b").silent = true }, Args{Replicas: 2}, core.CodeRedundant,
			"it did not answer within 20s", "b c"},
		{"a chunk is lost", func(w *town) { w.lose(1) }, Args{Replicas: 2}, core.CodeRedundant,
			"1 chunks (1.03 KiB) are neither on this machine nor at a connected peer", ""},
		{"another is running", func(w *town) { w.inboxes[w.owner.Alias("disk.img")] = NewInbox() }, Args{Replicas: 2},
			core.CodeBusy, "another placement of it is running", ""},
		{"peers have other content", func(w *town) { w.named("b").refs = []version.Found{other} }, Args{Replicas: 2},
			core.CodeFailed, "another machine split it", ""},
		{"the strategy is gone", func(w *town) {
			w.Strategy = func(context.Context, string) (core.Strategy, io.Closer, error) {
				return nil, nil, core.Fail(core.CodePlugin, "no such strategy")
			}
		}, Args{Replicas: 2}, core.CodePlugin, "no such strategy", ""},
		{"nobody takes the ref", func(w *town) { w.named("b").noRefs, w.named("c").noRefs = true, true },
			Args{Replicas: 2}, core.CodeRedundant, "no target took the ref", ""},
		{"no receipts come", func(w *town) { w.named("b").signs = -1 }, Args{Replicas: 2}, core.CodeRedundant,
			"b:8001 lacks", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newTown(t, "b", "c")
				w.split("disk.img", 1, 50, 60)
				other = w.refs[0]
				w.refs = nil
				w.split("disk.img", 1, 0, 40)
				test.setup(w)
				_, err := w.place(t.Context(), test.args)
				if core.CodeOf(err) != test.code || !strings.Contains(fmt.Sprint(err), test.says) {
					t.Errorf("%v (code %d), want code %d that says %q", err, core.CodeOf(err), test.code, test.says)
				}
				var released []string
				for _, p := range w.peers {
					if len(p.released) > 0 {
						released = append(released, p.name)
					}
				}
				if got := strings.Join(released, " "); got != test.released {
					t.Errorf("asked to let go: %q, want %q", got, test.released)
				}
				if w.inboxes[w.owner.Alias("disk.img")] = nil; test.says != "lacks" && w.swept > 0 {
					t.Error("staging was swept")
				}
			})
		})
	}
}

// TestDryRunSaysNothingToAnybody: but for questions.
func TestDryRunSaysNothingToAnybody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, "b", "c")
		w.named("b").degraded = []string{"its disk is slow"}
		w.split("disk.img", 1, 0, 40)
		var saved *saved.Plan
		r, err := w.Place(t.Context(), Args{Replicas: 2, DryRun: true, Show: true}, func(s Status) {
			if s.Plan != nil {
				saved = s.Plan
			}
			if s.Warning {
				w.told = append(w.told, s.Text)
			}
		})
		check(t, err)
		if w.licenses > 0 || r.Ended || r.Plan == nil || saved == nil || len(r.Standing.Segments) != 1 {
			t.Errorf("%d licences, ended %v, plan %v, told %v", w.licenses, r.Ended, r.Plan, saved)
		}
		if len(w.told) != 1 || !strings.Contains(w.told[0], "b:8001) is degraded: its disk is slow") {
			t.Errorf("told %q", w.told)
		}
		given, err := w.place(t.Context(), Args{Plan: saved})
		check(t, err)
		if given.Args.Replicas != 2 || given.Version.Body.Name != "disk.img" || w.licenses != 1 {
			t.Errorf("the plan was carried out as %+v", given.Args)
		}
	})
}

func TestStoppedPlacement(t *testing.T) {
	for _, test := range []struct {
		after time.Duration
		kept  bool
	}{{700 * time.Millisecond, false}, {1200 * time.Millisecond, true}, {2 * time.Second, true}} { // c signs at 1.5 s
		synctest.Test(t, func(t *testing.T) {
			w := newTown(t, "b", "c")
			w.split("disk.img", 1, 0, 40)
			w.named("b").signs = time.Minute
			w.named("c").signs = 1500 * time.Millisecond
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(test.after, func() { cancel(errors.New("enough")) })
			_, err := w.place(ctx, Args{Replicas: 2})
			if err == nil || !strings.Contains(err.Error(), "stopped: enough") {
				t.Errorf("after %s: %v", test.after, err)
			}
			noted := len(version.Newest(w.refs).Body.Records) > 0
			if noted != test.kept || (len(w.named("b").released) > 0) == test.kept {
				t.Errorf("after %s: noted %v, released %v", test.after, noted, w.named("b").released)
			}
			w.rest()
		})
	}
}
