// SPDX-License-Identifier: Apache-2.0

package place

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/audit"
	"github.com/bkp-tool/bkp/core/chunk"
	"github.com/bkp-tool/bkp/core/key"
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

// TestOthersKeepWhatOneDoesNot: who refuses, is silent or goes away at the offer gets nothing, and the placement goes on
// with the others, as long as they have room; who has less room than it said has what it has room for.
func TestOthersKeepWhatOneDoesNot(t *testing.T) {
	for _, test := range []struct {
		name  string
		setup func(w *town, b *peer)
		says  string
		least time.Duration // until it is done
		runs  int           // that b keeps
	}{
		{"it refuses", func(_ *town, b *peer) { b.refuses = core.ReasonLicense }, "so it says", 0, 0},
		{"it is silent", func(_ *town, b *peer) { b.silent = true }, "it did not answer within 20s", 20 * time.Second, 0},
		{"it goes away", func(w *town, b *peer) {
			b.silent = true
			time.AfterFunc(100*time.Millisecond, func() {
				w.mu.Lock()
				defer w.mu.Unlock()
				b.away = true
				w.inboxes["task"].Gone(b.ID())
			})
		}, "it went away", 10 * time.Second, 0},
		{"it has less room", func(w *town, b *peer) {
			time.AfterFunc(15*time.Millisecond, func() { // after it told its state
				w.mu.Lock()
				defer w.mu.Unlock()
				b.free = 95 * core.KiB // some of which its record takes
			})
		}, "it is full", 0, 4},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newTown(t, "b", "c", "d")
				w.split("disk.img", 1, 0, 160)
				test.setup(w, w.named("b"))
				began := time.Now()
				r, err := w.place(t.Context(), Args{Replicas: 2})
				check(t, err)
				kept := map[core.ID]int{}
				for run := range w.record().Runs {
					holders := w.record().Holders(run)
					for _, id := range holders {
						kept[id]++
					}
					if len(holders) != 2 {
						t.Errorf("run %d is at %d nodes", run, len(holders))
					}
				}
				if took := time.Since(began); took < test.least || took > test.least+5*time.Second {
					t.Errorf("it took %s", took)
				}
				if got := kept[w.named("b").ID()]; got != test.runs || !strings.Contains(strings.Join(w.told, " "), test.says) {
					t.Errorf("b keeps %d runs, want %d; told %q", got, test.runs, w.told)
				}
				for _, p := range w.peers {
					if got := r.Standing.Barred[p.ID()] != ""; got != (p.name == "b" && test.runs == 0) {
						t.Errorf("%s is barred: %v", p.name, got)
					}
				}
				w.rest()
			})
		})
	}
}

// lose takes a chunk of content out of staging.
func (w *town) lose(i int) {
	before := maps.Clone(w.store.chunks)
	clear(w.store.chunks)
	w.split("scratch", 1, i, i+1)
	w.refs = w.refs[:len(w.refs)-1]
	for hash := range w.store.chunks {
		delete(before, hash)
	}
	w.store.chunks = before
}

// TestLaterVersionOfAnotherMachine: a lower number is placed beside a version that this node placed, and not beside one
// of another machine, which it would never be newer than.
func TestLaterVersionOfAnotherMachine(t *testing.T) {
	for _, foreign := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newTown(t, "b", "c")
			sealer, err := chunk.NewSealer(chunk.NewSecrets(w.owner.DedupSecret), chunk.LevelDefault)
			check(t, err)
			source := w.Node
			if foreign {
				source = core.ID{9}
			}
			sealed, stored, err := version.Record{Task: core.TaskID{7}, Source: source}.Seal(sealer)
			check(t, err)
			w.store.chunks[sealed.Hash] = stored
			w.split("disk.img", 4, 50, 60)
			later := w.refs[0]
			w.refs = nil
			later.At, later.Body.Records = w.named("b").ID(), []core.Sealed{sealed}
			w.named("b").refs = []version.Found{later}
			w.split("disk.img", 3, 0, 40)
			if _, err := w.place(t.Context(), Args{Replicas: 2}); (err != nil) != foreign {
				t.Errorf("another machine placed version 4: %v; version 3: %v", foreign, err)
			}
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

func TestOthersTakeOver(t *testing.T) {
	for name, test := range map[string]func(w *town, p *peer){
		"it goes away": func(w *town, p *peer) {
			w.mu.Lock()
			defer w.mu.Unlock()
			p.away = true
			w.inboxes["task"].Gone(p.ID())
		},
		"it keeps nothing": func(w *town, p *peer) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.inboxes["task"].Fails(p.ID(), "it fails to keep what it is sent")
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newTown(t, "b", "c", "d")
				w.split("disk.img", 1, 0, 40)
				lost := w.named("b")
				lost.signs = -1
				time.AfterFunc(500*time.Millisecond, func() { test(w, lost) })
				r, err := w.place(t.Context(), Args{Replicas: 2})
				check(t, err)
				rec := w.record()
				for run := range rec.Runs {
					if got := rec.Holders(run); len(got) != 2 || slices.Contains(got, lost.ID()) {
						t.Errorf("run %d is on record at %v", run, got)
					}
				}
				if w.licenses != 2 || w.tables != 1 || !r.Standing.Dealt || len(w.told) == 0 {
					t.Errorf("%d licences; told %q", w.licenses, w.told)
				}
				if asked := len(lost.released) > 0; asked == lost.away {
					t.Errorf("it was asked to let go: %v, and is away: %v", asked, lost.away)
				}
				w.rest()
			})
		})
	}
}

// TestJoinerIsHeard: a peer that comes while the data moves is asked for its state, once.
func TestJoinerIsHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, "b", "c")
		w.split("disk.img", 1, 0, 40)
		w.named("b").signs = 5 * time.Second
		time.AfterFunc(time.Second, func() {
			w.join("d", rand.NewChaCha8([32]byte{2}))
			w.join("e", rand.NewChaCha8([32]byte{3}), func(p *peer) { p.mute = true })
		})
		r, err := w.place(t.Context(), Args{Replicas: 2})
		check(t, err)
		if len(r.Survey.Nodes) != 4 || r.Survey.Address(w.named("d").ID()) != "d:8001" ||
			!slices.ContainsFunc(w.told, func(s string) bool { return strings.HasPrefix(s, "d:8001 (") }) {
			t.Errorf("%d nodes, told %q", len(r.Survey.Nodes), w.told)
		}
		if got := w.named("e").asked; got != 1 {
			t.Errorf("one that says nothing was asked %d times", got)
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

// TestSecondVersionSendsWhatIsNew: and the first, placed again, stays where it is.
func TestSecondVersionSendsWhatIsNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, "b", "c")
		w.split("disk.img", 1, 0, 40)
		first, err := w.place(t.Context(), Args{Replicas: 2})
		check(t, err)
		w.split("disk.img", 2, 0, 44)
		second, err := w.place(t.Context(), Args{Replicas: 2})
		check(t, err)
		got := second.Content
		if second.Version.Ref.Version != 2 || got.NewBytes > 8*core.KiB || got.Bytes < 40*core.KiB {
			t.Errorf("version %d sends %s of %s", second.Version.Ref.Version, got.NewBytes, got.Bytes)
		}
		again, err := w.place(t.Context(), Args{Name: "disk.img", Version: 1, Replicas: 2})
		check(t, err)
		if again.Content.NewBytes != 0 {
			t.Errorf("version 1 sends %s again", again.Content.NewBytes)
		}
		for _, p := range w.peers {
			if again.Task != first.Task || len(p.released) > 0 {
				t.Errorf("%s let go of %v; the task was %s, and is %s", p.name, p.released, first.Task, again.Task)
			}
		}
	})
}

// TestPlacementBeforeStaysInForce: one that reaches fewer copies does not take its place.
func TestPlacementBeforeStaysInForce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, "b", "c")
		w.split("disk.img", 1, 0, 40)
		first, err := w.place(t.Context(), Args{Replicas: 2, KeepLocal: true})
		check(t, err)
		w.named("c").signs = -1
		w.Node = core.ID{9} // a machine that took the identity over
		if _, err = w.place(t.Context(), Args{Name: "disk.img", Replicas: 2}); core.CodeOf(err) != core.CodeRedundant {
			t.Errorf("placed again: %v", err)
		}
		if got := w.record().Task; got != first.Task || w.swept > 0 ||
			!strings.Contains(strings.Join(w.told, " "), "stays in force") {
			t.Errorf("on record is task %s, want %s; told %q", got, first.Task, w.told)
		}
	})
}

// TestLostCopiesAreBroughtBack: what is to be sent from here and is here no more comes from who has it: chunks of a run
// that nobody has whole, and runs that their holders have no link to send over.
func TestLostCopiesAreBroughtBack(t *testing.T) {
	for _, test := range []struct {
		name    string
		first   int  // chunk of the second version
		apart   bool // the peers have no links to each other
		brought [2]int
	}{{"in part", 1, false, [2]int{1, 1}}, {"no link", 0, true, [2]int{1, 4}}, {"neither", 0, false, [2]int{}}} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newTown(t, "b", "c")
				w.apart = test.apart
				w.named("c").away = true
				w.split("disk.img", 1, 0, 2000) // so many that a run has some
				_, err := w.place(t.Context(), Args{Replicas: 1})
				check(t, err)
				w.split("disk.img", 2, test.first, 2000)
				_, err = w.place(t.Context(), Args{Replicas: 1})
				check(t, err)
				w.refs = slices.DeleteFunc(w.refs, func(r version.Found) bool { return r.Ref.Version == 1 })
				w.named("c").away = false
				w.lose(1)
				dry, err := w.place(t.Context(), Args{Name: "disk.img", Replicas: 2, DryRun: true})
				check(t, err)
				if w.brought[0] > 0 {
					t.Errorf("%d runs were brought to be told about", w.brought[0])
				}
				w.Sweep = func(context.Context) (core.Collected, error) {
					w.unclaimed()
					return core.Collected{}, nil
				}
				r, err := w.place(t.Context(), Args{Name: "disk.img", Replicas: 2})
				check(t, err)
				if w.brought != test.brought || r.Content.NewBytes != dry.Content.NewBytes {
					t.Errorf("runs and chunks brought back: %d, want %d; %s sent anew", w.brought, test.brought,
						r.Content.NewBytes)
				}
				w.rest()
			})
		})
	}
}

func TestWindowsOfABackup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, "b", "c")
		windows, err := w.Windows(t.Context(), Args{Name: "disk.img", Replicas: 2}, func(Status) {})
		check(t, err)
		var chunks []core.Chunk
		for i := range 10 {
			data := content(i)
			c := core.Chunk{Hash: chunk.Hash(data), Size: core.Size(len(data))}
			chunks = append(chunks, c)
			check(t, windows.Keep(c, core.Hash{}, data))
		}
		placed, err := windows.Place(t.Context(), 1, &w.store, chunks)
		check(t, err)
		if len(placed.Records) != 1 || windows.Sent() != 20*core.KiB || windows.Covered(chunks[0].Hash) {
			t.Errorf("%d records, sent %s, covered already %v", len(placed.Records), windows.Sent(),
				windows.Covered(chunks[0].Hash))
		}
		resumed, err := w.Windows(t.Context(), Args{Name: "disk.img", Replicas: 2}, func(Status) {})
		check(t, err)
		check(t, resumed.Taken(t.Context(), placed.Records))
		for _, c := range chunks {
			if !resumed.Covered(c.Hash) {
				t.Errorf("chunk %s is not covered by the window that was taken over", c.Hash)
			}
		}
		if err := resumed.Taken(t.Context(), []core.Sealed{{Hash: core.Hash{77}}}); err == nil {
			t.Error("records that are gone were taken over")
		}
		w.named("c").signs = -1
		if _, err := resumed.Place(t.Context(), 1, &w.store, []core.Chunk{{Hash: core.Hash{99}, Size: 5}}); err == nil {
			t.Error("a window with one copy was placed")
		}
		if len(w.named("b").released) != 1 {
			t.Errorf("b was asked to let go of %v, want the window that fell short", w.named("b").released)
		}
		windows.Release()
		resumed.Release()
		w.rest()
	})
}

// TestBytesThatStay: why the bytes of a version are still on this machine.
func TestBytesThatStay(t *testing.T) {
	for _, test := range []struct {
		name  string
		args  Args
		setup func(w *town)
		swept int
		says  string
	}{
		{"they are to stay", Args{KeepLocal: true}, func(*town) {}, 0, ""},
		{"holders are bound for a day", Args{Retain: 86400}, func(*town) {}, 0, "its holders keep it until"},
		{"no ref can be written", Args{}, func(w *town) { w.Refs = noAway{w} }, 0, "read-only"},
		{"others may need some", Args{}, func(w *town) {
			w.Sweep = func(context.Context) (core.Collected, error) {
				return core.Collected{Waiting: 5 * core.KiB}, nil
			}
		}, 0, "5.00 KiB stay on this machine"},
		{"staging is busy", Args{}, func(w *town) {
			w.Sweep = func(context.Context) (core.Collected, error) { return core.Collected{}, errors.New("busy") }
		}, 0, "until bkp gc: busy"},
		{"they go", Args{}, func(*town) {}, 1, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newTown(t, "b")
			w.split("disk.img", 1, 0, 4)
			test.setup(w)
			test.args.Replicas = 1
			r, err := w.place(t.Context(), test.args)
			check(t, err)
			if told := strings.Join(r.Warnings, " "); w.swept != test.swept || !strings.Contains(told, test.says) ||
				told != "" && test.says == "" {
				t.Errorf("%s: swept %d times, told %q", test.name, w.swept, told)
			}
		})
	}
}

// noAway is refs on a disk that takes nothing more.
type noAway struct{ Refs }

func (noAway) SetAway(string, int, bool) error { return errors.New("read-only") }

// TestStrategyRaisesReplicas: what has fewer copies than it wants is sent again, also by a backup.
func TestStrategyRaisesReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, "b", "c")
		w.split("disk.img", 1, 0, 40)
		_, err := w.place(t.Context(), Args{Replicas: 1})
		check(t, err)
		once := w.Strategy
		w.Strategy = func(ctx context.Context, name string) (core.Strategy, io.Closer, error) {
			s, closer, err := once(ctx, name)
			return careful{s}, closer, err
		}
		r, err := w.place(t.Context(), Args{Name: "disk.img", Replicas: 1})
		check(t, err)
		if r.Args.Replicas != 2 || len(w.record().Holders(0)) != 2 || r.Plan.Raised == "" {
			t.Errorf("%d replicas, on record at %d nodes", r.Args.Replicas, len(w.record().Holders(0)))
		}
		windows, err := w.Windows(t.Context(), Args{Name: "other.img", Replicas: 1}, func(Status) {})
		check(t, err)
		c := core.Chunk{Hash: chunk.Hash(content(50)), Size: 1024}
		check(t, windows.Keep(c, core.Hash{}, content(50)))
		_, err = windows.Place(t.Context(), 1, &w.store, []core.Chunk{c})
		check(t, err)
		if windows.Sent() != 2048 {
			t.Errorf("sent %s of a window of 1 KiB", windows.Sent())
		}
		windows.Release()
	})
}

// careful is a strategy that wants two copies.
type careful struct{ core.Strategy }

func (s careful) Score(ctx context.Context, b core.Batch) (core.Scores, error) {
	scores, err := s.Strategy.Score(ctx, b)
	scores.Redundancy = core.Redundancy{Replicas: 2, Why: "one burns"}
	return scores, err
}

// TestTargetIsAskedForReceiptsThatItOwes: as it comes back, the placement says what it waits for.
func TestTargetIsAskedForReceiptsThatItOwes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, "b")
		w.split("disk.img", 1, 0, 40)
		b := w.named("b")
		b.signs = 5 * time.Second
		w.split("disk.img", 1, 0, 40)
		gone := func(away bool) func() {
			return func() {
				w.mu.Lock()
				defer w.mu.Unlock()
				if b.away = away; away {
					w.inboxes["task"].Gone(b.ID())
				} else {
					w.inboxes["task"].Came(b.ID())
				}
			}
		}
		time.AfterFunc(time.Second, gone(true))
		time.AfterFunc(3*time.Second, gone(false))
		_, err := w.place(t.Context(), Args{Replicas: 1})
		check(t, err)
		if len(b.wants) != 1 || len(b.wants[0].Wanted) != 1 || b.wants[0].Wanted[0].Length < 40 {
			t.Errorf("it was asked for %+v", b.wants)
		}
	})
}

// TestPick: which version is meant.
func TestPick(t *testing.T) {
	ref := func(number int, created int64, placed bool) version.Found {
		f := version.Found{Ref: key.Ref{Version: number, Created: created}}
		if placed {
			f.Body.Records = make([]core.Sealed, 1)
		}
		return f
	}
	refs := []version.Found{ref(1, 30, true), ref(2, 10, false), ref(3, 20, true), ref(1, 20, false)}
	for _, test := range []struct {
		name   string
		number int
		want   int64 // created
	}{{"", 0, 20}, {"x", 0, 20}, {"x", 2, 10}, {"", 2, 10}, {"x", 9, 0}, {"", 3, 0}} {
		got, err := pick(refs, test.name, test.number,
			func(r version.Found) bool { return len(r.Body.Records) == 0 })
		if got.Ref.Created != test.want || (err != nil) != (test.want == 0) {
			t.Errorf("%q@%d: created %d, %v; want %d", test.name, test.number, got.Ref.Created, err, test.want)
		}
	}
}

// TestReceiptAloneIsNoCopy: who signs without having the bytes, has lost them, or does not answer is given up by name.
// Others take over where there are any; else nothing of it counts, and nothing goes from this machine.
func TestReceiptAloneIsNoCopy(t *testing.T) {
	for name, test := range map[string]struct {
		setup func(*peer)
		words string
	}{
		"signs and keeps nothing": {func(p *peer) { p.liar = true }, "it gave receipts for what it does not have"},
		"has lost them":           {func(p *peer) { p.forgets = true }, "it gave receipts for what it does not have"},
		"does not answer":         {func(p *peer) { p.deaf = true }, "it does not prove what it gave receipts for"},
		"is old and sends nothing": {func(p *peer) { p.old, p.deaf = true, true },
			"it does not prove what it gave receipts for"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newTown(t, "b", "c", "d")
				for _, p := range w.peers {
					p.free = core.MiB
				}
				test.setup(w.named("b"))
				w.split("disk.img", 1, 0, 200)
				r, err := w.place(t.Context(), Args{Replicas: 2})
				check(t, err)
				if told := strings.Join(w.told, "\n"); !strings.Contains(told, "b:8001") ||
					!strings.Contains(told, test.words) {
					t.Errorf("told: %s", told)
				}
				if got := r.Standing.Counting(); got != 2 || w.swept != 1 {
					t.Errorf("%d copies count after others took over, swept %d times", got, w.swept)
				}
				for run := range w.record().Runs {
					if slices.Contains(w.record().Holders(run), w.named("b").ID()) {
						t.Fatalf("b is on record for run %d", run)
					}
				}
			})
			synctest.Test(t, func(t *testing.T) {
				w := newTown(t, "b", "c")
				test.setup(w.named("b"))
				w.split("disk.img", 1, 0, 200)
				r, err := w.place(t.Context(), Args{Replicas: 2})
				if core.CodeOf(err) != core.CodeRedundant || !strings.Contains(err.Error(), test.words) ||
					!strings.Contains(err.Error(), "b:8001") {
					t.Errorf("nobody can take over: %v", err)
				}
				if w.swept > 0 || r.LetGo > 0 || version.Newest(w.refs).Away {
					t.Error("bytes went from this machine on the word of who has none")
				}
			})
		})
	}
}

// TestOldTargetProvesBySending: who speaks version 1 sends the chunks that are drawn, once it was met.
func TestOldTargetProvesBySending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, "b", "c")
		w.named("c").old, w.named("c").far = true, true
		w.split("disk.img", 1, 0, 200)
		r, err := w.place(t.Context(), Args{Replicas: 2})
		check(t, err)
		if w.brought[1] < audit.Enough/2 || w.brought[1] > audit.Enough || w.named("b").audits != 1 || r.Standing.Counting() != 2 {
			t.Errorf("%d chunks were sent, %d audits answered, %d copies count", w.brought[1], w.named("b").audits,
				r.Standing.Counting())
		}
	})
}

// TestCopyWithoutRefIsNone: a target that has all the bytes and did not take the ref is no copy. It is asked for a while.
func TestCopyWithoutRefIsNone(t *testing.T) {
	for _, after := range []time.Duration{3 * time.Second, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			w := newTown(t, "b", "c")
			w.named("b").noRefs = true
			w.split("disk.img", 1, 0, 40)
			time.AfterFunc(after, func() {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.named("b").noRefs = false
			})
			_, err := w.place(t.Context(), Args{Replicas: 2})
			if after < refPatience {
				check(t, err)
				return
			}
			if core.CodeOf(err) != core.CodeRedundant || !strings.Contains(err.Error(), "1 of 2 copies count") ||
				w.swept > 0 {
				t.Errorf("without the ref at b: %v, swept %d times", err, w.swept)
			}
		})
	}
}
