// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/ledger"
)

// judged offers a segment and returns the answer.
func (w *stage) judged(o offered, from string) string {
	w.said()
	w.Ask(func(s *State) { s.Offer(w.id(from), true, o.StorageTask) })
	answer, _, _ := strings.Cut(w.said(), "\n")
	return answer
}

func TestSegmentsThatDoNotFitAreRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		from   string
		change func(*offered)
		want   string // after "source hears TASK_REFUSE code "
	}{
		{"one that fits", "source", func(*offered) {}, ""},
		{"5 expired", "source", func(o *offered) { o.license.NotBefore -= 7200; o.license.Expires -= 7200 }, "30: "},
		{"6 not yet valid", "source", func(o *offered) { o.license.NotBefore += 3000 }, "30: "},
		{"7 wrong target", "source", func(o *offered) { o.license.Targets = []core.ID{{1}} }, "30: "},
		{"11 shown by a stranger", "other", func(*offered) {}, "30: shown by other"},
		{"19 one byte over", "source", func(o *offered) { o.license.MaxBytes = 349_999 }, "30: "},
		{"one run over", "source", func(o *offered) { o.license.MaxRuns = 1 }, "30: "},
		{"another root", "source", func(o *offered) { o.license.Root = core.Hash{1} }, "30: "},
		{"another task", "source", func(o *offered) { o.Task = core.TaskID{2} },
			"30: the licence is for segment 0 of task t1"},
		{"another segment", "source", func(o *offered) { o.Segment = 3 },
			"30: the licence is for segment 0 of task t1"},
		{"a number that no task has", "source", func(o *offered) { o.Segment, o.license.Segment = 1<<31-1, 1<<31-1 },
			"2: segment 2147483647 of a task, which has at most 65536"},
		{"more than there is room for", "source", func(o *offered) {
			p := run("c:700", 2)
			o.Files, o.Locations[0].Length = append(o.Files, p.File), 3
		}, "13: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newStage(t, nil)
				answer := w.judged(w.offer(1, []string{"a:100", "b:250"}, c.change), c.from)
				if c.want == "" {
					if answer != "source hears TASK_AGREE has none" || w.ledger.Count(ledger.KindLicense) != 1 {
						t.Errorf("%s, with %d licences in the ledger", answer, w.ledger.Count(ledger.KindLicense))
					}
					return
				}
				if !strings.HasPrefix(answer, c.from+" hears TASK_REFUSE code "+c.want) {
					t.Errorf("%s, want code %s", answer, c.want)
				}
				if _, reserved, _ := w.space(); reserved != 0 || len(w.ledger.Entries()) != 0 {
					t.Errorf("%s promised, %d entries in the ledger", reserved, len(w.ledger.Entries()))
				}
				w.stop()
				w.start()
				if s := (&scene{stage: w}).segment(core.TaskID{1}, 0); s != "not known" {
					t.Errorf("after a start it is known: %s", s)
				}
			})
		})
	}
}

func TestLicenceThatIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newStage(t, nil)
		o := w.offer(1, []string{"a:100"}, nil)
		o.License = []byte("{}")
		if answer := w.judged(o, "source"); !strings.HasPrefix(answer, "source hears TASK_REFUSE code 30") {
			t.Error(answer)
		}
	})
}

// verifier says what a test has it say.
type verifier struct {
	asked   *core.VerifyRequest
	verdict core.Verdict
	err     error
	takes   time.Duration
}

func (v verifier) Verify(ctx context.Context, req core.VerifyRequest) (core.Verdict, error) {
	*v.asked = req
	select {
	case <-time.After(v.takes):
		return v.verdict, v.err
	case <-ctx.Done():
		return core.Verdict{}, ctx.Err()
	}
}

func TestVerifiersAreAskedInOrder(t *testing.T) {
	yes := core.Verdict{OK: true}
	for _, c := range []struct {
		name          string
		first, second verifier
		want          string
		asked         int
	}{
		{"both say yes", verifier{verdict: yes}, verifier{verdict: yes}, "source hears TASK_AGREE has none", 2},
		{"the first says no", verifier{verdict: core.Verdict{Reason: "not today"}}, verifier{verdict: yes},
			"source hears TASK_REFUSE code 30: verifier first: not today", 1},
		{"the second says no", verifier{verdict: yes}, verifier{verdict: core.Verdict{Reason: "too much"}},
			"source hears TASK_REFUSE code 30: verifier second: too much", 2},
		{"one fails", verifier{err: errors.New("its process is gone")}, verifier{verdict: yes},
			"source hears TASK_REFUSE code 32: verifier first failed: its process is gone", 1},
		{"one says nothing", verifier{verdict: yes, takes: 21 * time.Second}, verifier{verdict: yes},
			"source hears TASK_REFUSE code 32: verifier first failed: context deadline exceeded", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				asked := [2]core.VerifyRequest{}
				c.first.asked, c.second.asked = &asked[0], &asked[1]
				w := newStage(t, func(conf *Config) {
					conf.Verifiers = []NamedVerifier{{"first", c.first}, {"second", c.second}}
				})
				o := w.offer(1, []string{"a:100", "b:50"}, nil)
				w.Ask(func(s *State) { s.Offer(w.id("source"), false, o.StorageTask) })
				time.Sleep(verdictPatience + time.Second)
				if said := w.said(); !strings.HasPrefix(said, c.want) {
					t.Errorf("%s, want %s", said, c.want)
				}
				for i, req := range asked {
					if was := req.Node == w.id("self"); was != (i < c.asked) {
						t.Errorf("verifier %d was asked: %v", i, was)
					} else if was && (req.AddedBytes != 150_000 || req.UsedBytes != 0 || req.TokenMember) {
						t.Errorf("verifier %d was asked %+v", i, req)
					}
				}
			})
		})
	}
}

// What an owner has here already counts as used, and is not added.
func TestVerifiersHearWhatAnOwnerUses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked core.VerifyRequest
		w := newStage(t, func(c *Config) {
			c.Anyone = true
			c.Verifiers = []NamedVerifier{{"one", verifier{asked: &asked, verdict: core.Verdict{OK: true}}}}
		})
		w.keep(w.offer(1, []string{"a:100", "b:50"}, nil))
		w.judged(w.offer(2, []string{"a:100", "c:70"}, nil), "source")
		words := asked.UsedBytes - 150_000 // a licence and two lines
		if words < 600 || words > 3000 || asked.AddedBytes != 70_000 || !asked.TokenMember {
			t.Errorf("asked with %d bytes used, %d added, as a member %v", asked.UsedBytes, asked.AddedBytes,
				asked.TokenMember)
		}
	})
}

// Licences and run lists stand beside the capacity: of all owners together they have a bound of their own.
func TestWordsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newStage(t, nil)
		full := func(left core.Size) {
			w.Ask(func(s *State) { s.account(w.owners["stranger"].ID()).words = leastWords - left })
		}
		full(500) // a licence and a line are more
		o := w.offer(1, []string{"a:100"}, nil)
		if said := w.judged(o, "source"); !strings.Contains(said, "of licences and refs are kept here already") {
			t.Error(said)
		}
		w.Ask(func(s *State) {
			if owed := s.Owed(w.owners["owner"].ID()); owed != 0 {
				t.Errorf("%s are promised to who was refused", owed)
			}
		})
		full(5000)
		if said := w.judged(o, "source"); !strings.Contains(said, "TASK_AGREE") {
			t.Error(said)
		}
	})
}

// keep has a segment accepted and all its runs brought, receipted.
func (w *stage) keep(o offered) {
	w.t.Helper()
	flow := uint64(100*int(o.Task[0]) + o.Segment)
	w.judged(o, "source")
	w.apply(flow, "source", o, core.Range{Start: 0, Length: len(o.pieces)})
	for i := range o.pieces {
		check(w.t, w.bring(flow, o, i))
	}
	time.Sleep(2 * time.Second)
	w.said()
}

// A promise ends with an acceptance that does not become durable.
func TestAcceptanceThatIsNotDurableIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newStage(t, nil)
		w.ledger.Fail(errDown)
		o := w.offer(1, []string{"a:100"}, nil)
		want := "source hears TASK_REFUSE code 1: enter licence"
		if answer := w.judged(o, "source"); !strings.HasPrefix(answer, want) {
			t.Error(answer)
		}
		if _, reserved, _ := w.space(); reserved != 0 {
			t.Errorf("%s stay promised", reserved)
		}
		w.ledger.Fail(nil)
		if answer := w.judged(o, "source"); answer != "source hears TASK_AGREE has none" {
			t.Error(answer)
		}
	})
}

// Two acceptances under one licence at a time: the one that is first decides what the licence is for, before its
// segment is among the holdings.
func TestLicenceIsBoundWhileItIsAccepted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newStage(t, nil)
		a := newSegment(core.Segment{LicenseID: core.LicenseID{1}}, w.id("self"))
		for i, c := range []struct {
			root core.Hash
			free bool
		}{{core.Hash{1}, true}, {core.Hash{2}, false}, {core.Hash{1}, true}} {
			if free, err := w.target.enterLicense(a, c.root); free != c.free || err != nil {
				t.Errorf("%d: free %v, %v", i, free, err)
			}
		}
		w.target.binding.done(a.LicenseID)
		if free, _ := w.target.enterLicense(a, core.Hash{2}); free {
			t.Error("one of two is done, and the licence is free for another root")
		}
		w.target.binding.done(a.LicenseID)
		if free, _ := w.target.enterLicense(a, core.Hash{2}); !free {
			t.Error("both are done, nothing is among the holdings, and the licence is not free")
		}
	})
}

// Of two licences for a segment the one that came last counts, though it may be judged first.
func TestLicencesCountInTheOrderInWhichTheyCame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &delaying{}
		w := newStage(t, func(c *Config) { c.Verifiers = []NamedVerifier{{"slow", v}} })
		w.judged(w.offer(1, []string{"a:10", "b:10"}, func(o *offered) { o.Locations[0].Length = 1 }), "source")
		further := func(id byte, first int) offered {
			return w.offer(1, []string{"a:10", "b:10"}, func(o *offered) {
				o.license.ID = core.LicenseID{id}
				o.Locations[0].Start, o.Locations[0].Length = first, 1
			})
		}
		second, third := further(2, 0), further(3, 1)
		v.takes.Store(int64(15 * time.Second))
		w.Ask(func(s *State) { s.Offer(w.id("source"), true, second.StorageTask) })
		synctest.Wait()
		v.takes.Store(int64(time.Second))
		w.Ask(func(s *State) { s.Offer(w.id("source"), true, third.StorageTask) })
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if s := (&scene{stage: w}).segment(core.TaskID{1}, 0); !strings.Contains(s, "lacks 1,") {
			t.Errorf("the segment %s: what the last licence gave it is gone", s)
		}
	})
}

// delaying says yes after a while.
type delaying struct{ takes atomic.Int64 }

func (v *delaying) Verify(context.Context, core.VerifyRequest) (core.Verdict, error) {
	time.Sleep(time.Duration(v.takes.Load()))
	return core.Verdict{OK: true}, nil
}
