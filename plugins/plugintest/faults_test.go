// SPDX-License-Identifier: Apache-2.0

package plugintest_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/ledger/ledgertest"
	"github.com/bkp-tool/bkp/plugins/plugintest"
)

// faulty is a strategy that keeps every rule, but for what is put in the place of one of its parts.
type faulty struct {
	info      core.StrategyInfo
	score     func(core.Batch) (core.Scores, error)
	configure error
}

func sound() *faulty {
	return &faulty{info: core.StrategyInfo{Name: "sound", Version: "1", Summary: "keeps every rule", Deterministic: true,
		Settings: []core.Setting{{Key: "least", Type: "integer", Default: "1", About: "what is least"}}}}
}

func (f *faulty) Describe(context.Context) (core.StrategyInfo, error) { return f.info, nil }

func (f *faulty) Configure(context.Context, []byte) error { return f.configure }

func (f *faulty) Score(_ context.Context, b core.Batch) (core.Scores, error) {
	if f.score != nil {
		return f.score(b)
	}
	return core.Scores{PlaceCost: make([]float64, b.Nodes.Len())}, nil
}

// costs is a column in which the first entry is x.
func costs(b core.Batch, x float64) core.Scores {
	s := core.Scores{PlaceCost: make([]float64, b.Nodes.Len())}
	if b.Nodes.Len() > 0 {
		s.PlaceCost[0] = x
	}
	return s
}

// The suite finds each fault by its own rule, says what is wrong, and there is a fault for every rule.
func TestStrategyFaultsAreFound(t *testing.T) {
	t.Parallel()
	var clock atomic.Int64
	var busy sync.Mutex
	faults := []struct {
		name, rule, says string
		plant            func(*faulty)
	}{
		{"no name", "describes itself", "want lower-case letters", func(f *faulty) { f.info.Name = "" }},
		{"no version", "describes itself", "no version", func(f *faulty) { f.info.Version = "" }},
		{"needs what there is not", "describes itself", `"colour"`, func(f *faulty) { f.info.Needs = []string{"colour"} }},
		{"leans on a first candidate", "answers where there are no candidates", "no candidates", func(f *faulty) {
			f.score = func(b core.Batch) (core.Scores, error) {
				if b.Nodes.Len() == 0 {
					return core.Scores{}, errors.New("no candidates")
				}
				return costs(b, 0), nil
			}
		}},
		{"prices below nothing", "answers in the right shape", "place_cost[0] is negative", func(f *faulty) {
			f.score = func(b core.Batch) (core.Scores, error) { return costs(b, -1), nil }
		}},
		{"one entry too few", "answers in the right shape", "entries for", func(f *faulty) {
			f.score = func(b core.Batch) (core.Scores, error) {
				return core.Scores{Allow: make([]bool, max(b.Nodes.Len(), 2)-1)}, nil
			}
		}},
		{"writes on the question", "answers in the right shape", "changed the batch", func(f *faulty) {
			f.score = func(b core.Batch) (core.Scores, error) {
				if len(b.Nodes.Free) > 0 {
					b.Nodes.Free[0]++
				}
				return costs(b, 0), nil
			}
		}},
		{"prices by the clock", "answers the same question alike", "then", func(f *faulty) {
			f.score = func(b core.Batch) (core.Scores, error) { return costs(b, float64(clock.Add(1))), nil }
		}},
		{"thinks for long", "answers for a thousand candidates in time", "more than 1s", func(f *faulty) {
			f.score = func(b core.Batch) (core.Scores, error) {
				if b.Nodes.Len() == 1000 {
					time.Sleep(1100 * time.Millisecond)
				}
				return costs(b, 0), nil
			}
		}},
		{"one at a time", "answers several at once", "busy", func(f *faulty) {
			f.score = func(b core.Batch) (core.Scores, error) {
				if !busy.TryLock() {
					return core.Scores{}, errors.New("busy")
				}
				defer busy.Unlock()
				time.Sleep(time.Millisecond)
				return costs(b, 0), nil
			}
		}},
		{"refuses what it lists", "takes its settings", "refuses the defaults", func(f *faulty) {
			f.configure = errors.New("not that")
		}},
	}
	var planted []string
	for _, c := range faults {
		planted = append(planted, c.rule)
		f := sound()
		c.plant(f)
		found(t, c.name, c.rule, c.says, func(tell func(plugintest.Rule)) { plugintest.StrategyRules(t.Context(), f, tell) })
	}
	plugintest.StrategyRules(t.Context(), sound(), func(r plugintest.Rule) { covered(t, r, planted) })
}

// found checks that the suite finds a fault, by the rule that was broken.
func found(t *testing.T, name, rule, says string, run func(tell func(plugintest.Rule))) {
	t.Helper()
	broken := map[string]string{}
	run(func(r plugintest.Rule) {
		if r.Err != nil {
			broken[r.Name] = r.Err.Error()
		}
	})
	if !strings.Contains(broken[rule], says) || broken[rule] == "" {
		t.Errorf("%s: want %q of rule %q, found %v", name, says, rule, broken)
	}
}

// covered checks that who is sound keeps a rule, and that there is a fault which breaks it.
func covered(t *testing.T, r plugintest.Rule, planted []string) {
	t.Helper()
	if r.Err != nil {
		t.Errorf("who keeps every rule breaks %q: %v", r.Name, r.Err)
	}
	if !slices.Contains(planted, r.Name) {
		t.Errorf("no fault is planted for the rule %q", r.Name)
	}
}

// judge is a verifier that keeps every rule, but for what is put in the place of one of its parts.
type judge struct {
	info      core.VerifierInfo
	verify    func(core.VerifyRequest) (core.Verdict, error)
	configure error
}

func fair() *judge {
	return &judge{info: core.VerifierInfo{Name: "fair", Version: "1", Summary: "keeps every rule",
		Settings: []core.Setting{{Key: "least", Type: "integer", Default: "1", About: "what is least"}}}}
}

func (j *judge) Describe(context.Context) (core.VerifierInfo, error) { return j.info, nil }

func (j *judge) Configure(context.Context, []byte) error { return j.configure }

func (j *judge) Verify(_ context.Context, r core.VerifyRequest) (core.Verdict, error) {
	if j.verify != nil {
		return j.verify(r)
	}
	return core.Verdict{OK: true}, nil
}

func TestVerifierFaultsAreFound(t *testing.T) {
	t.Parallel()
	var count atomic.Int64
	var busy sync.Mutex
	other := plugintest.Other.ID.String()
	faults := []struct {
		name, rule, says string
		plant            func(*judge)
	}{
		{"a summary of two lines", "describes itself", "want one line", func(j *judge) { j.info.Summary = "a\nb" }},
		{"another verdict each time", "judges a licence, twice alike", "and then", func(j *judge) {
			j.verify = func(core.VerifyRequest) (core.Verdict, error) {
				return core.Verdict{OK: count.Add(1)%2 == 0, Reason: "odd"}, nil
			}
		}},
		{"refuses without a reason", "judges one signed by somebody else", "without a reason", func(j *judge) {
			j.verify = func(r core.VerifyRequest) (core.Verdict, error) {
				return core.Verdict{OK: !bytes.Contains(r.Envelope, []byte(other))}, nil
			}
		}},
		{"falls over what is no licence", "does not fall over a licence that is none", "judged nothing", func(j *judge) {
			j.verify = func(r core.VerifyRequest) (core.Verdict, error) {
				if !bytes.HasPrefix(r.Envelope, []byte("{")) {
					return core.Verdict{}, errors.New("no envelope")
				}
				return core.Verdict{OK: true}, nil
			}
		}},
		{"writes on the question", "judges a licence, twice alike", "has changed", func(j *judge) {
			j.verify = func(r core.VerifyRequest) (core.Verdict, error) {
				if len(r.Payload) > 0 {
					r.Payload[0]++
				}
				return core.Verdict{OK: true}, nil
			}
		}},
		{"one at a time", "judges several at once", "busy", func(j *judge) {
			j.verify = func(core.VerifyRequest) (core.Verdict, error) {
				if !busy.TryLock() {
					return core.Verdict{}, errors.New("busy")
				}
				defer busy.Unlock()
				time.Sleep(time.Millisecond)
				return core.Verdict{OK: true}, nil
			}
		}},
		{"refuses what it lists", "takes its settings", "refuses the defaults", func(j *judge) {
			j.configure = errors.New("not that")
		}},
	}
	var planted []string
	for _, c := range faults {
		planted = append(planted, c.rule)
		j := fair()
		c.plant(j)
		found(t, c.name, c.rule, c.says, func(tell func(plugintest.Rule)) { plugintest.VerifierRules(t.Context(), j, tell) })
	}
	plugintest.VerifierRules(t.Context(), fair(), func(r plugintest.Rule) { covered(t, r, planted) })
}

// bell is a notifier that keeps every rule, but for what is put in the place of one of its parts.
type bell struct {
	info      core.NotifierInfo
	notify    func(context.Context, core.Event) error
	configure error
	dead      atomic.Bool
}

func ringing() *bell {
	return &bell{info: core.NotifierInfo{Name: "clear", Version: "1", Summary: "keeps every rule",
		Settings: []core.Setting{{Key: "url", Type: "string", Default: `""`, About: "where it tells"}}}}
}

func (b *bell) Describe(context.Context) (core.NotifierInfo, error) {
	if b.dead.Load() {
		return b.info, errors.New("its process is gone")
	}
	return b.info, nil
}

func (b *bell) Configure(context.Context, []byte) error { return b.configure }

func (b *bell) Notify(ctx context.Context, e core.Event) error {
	if b.notify != nil {
		return b.notify(ctx, e)
	}
	return errors.New("no URL is set") // which is no fault
}

// dies has a notifier die over what it is told.
func (b *bell) dies() error {
	b.dead.Store(true)
	return errors.New("its process ended")
}

func TestNotifierFaultsAreFound(t *testing.T) {
	t.Parallel()
	faults := []struct {
		name, rule, says string
		plant            func(*bell)
	}{
		{"a summary of two lines", "describes itself", "want one line", func(b *bell) { b.info.Summary = "a\nb" }},
		{"a default of another type", "describes itself", "url", func(b *bell) { b.info.Settings[0].Default = "1" }},
		{"refuses what it lists", "takes its settings", "refuses the defaults", func(b *bell) {
			b.configure = errors.New("not that")
		}},
		{"dies where nobody is meant", "is told an event of each kind", "told repaired: its process ended", func(b *bell) {
			b.notify = func(_ context.Context, e core.Event) error {
				if e.Peer.IsZero() && e.What == core.EventRepaired {
					return b.dies()
				}
				return nil
			}
		}},
		{"waits for somebody", "is told an event of each kind", "told audit-failed: no answer within 5s", func(b *bell) {
			b.notify = func(ctx context.Context, e core.Event) error {
				if e.What == core.EventAuditFailed {
					<-ctx.Done()
				}
				return ctx.Err()
			}
		}},
		{"dies over what it does not know", "is told an event that there is not yet", "its process ended", func(b *bell) {
			b.notify = func(_ context.Context, e core.Event) error {
				if !slices.Contains(core.Events, e.What) {
					return b.dies()
				}
				return nil
			}
		}},
		{"one at a time", "is told several at once", "its process ended", func(b *bell) {
			var busy sync.Mutex
			b.notify = func(context.Context, core.Event) error {
				if !busy.TryLock() {
					return b.dies()
				}
				defer busy.Unlock()
				time.Sleep(time.Millisecond)
				return nil
			}
		}},
	}
	var planted []string
	for _, c := range faults {
		planted = append(planted, c.rule)
		synctest.Test(t, func(t *testing.T) {
			b := ringing()
			c.plant(b)
			found(t, c.name, c.rule, c.says, func(tell func(plugintest.Rule)) { plugintest.NotifierRules(t.Context(), b, tell) })
		})
	}
	plugintest.NotifierRules(t.Context(), ringing(), func(r plugintest.Rule) { covered(t, r, planted) })
}

// engine is one that keeps every rule, but for what is put in the place of one of its parts.
type engine struct {
	ledgertest.Engine
	summary string
	append  func(e *engine, scope string, after int64, entry []byte) (core.Appended, error)
	read    func(e *engine, scope string, after int64, limit int) ([][]byte, error)
}

func (e *engine) Describe(context.Context) (core.EngineInfo, error) {
	return core.EngineInfo{Name: "sound", Version: "1", Summary: e.summary}, nil
}

func (e *engine) Append(ctx context.Context, scope string, after int64, entry []byte) (core.Appended, error) {
	if e.append != nil {
		return e.append(e, scope, after, entry)
	}
	return e.Engine.Append(ctx, scope, after, entry)
}

func (e *engine) Read(ctx context.Context, scope string, after int64, limit int) ([][]byte, error) {
	if e.read != nil {
		return e.read(e, scope, after, limit)
	}
	return e.Engine.Read(ctx, scope, after, limit)
}

// blind appends wherever the scope ends.
func blind(e *engine, scope string, _ int64, entry []byte) (core.Appended, error) {
	for after := int64(0); ; {
		a, err := e.Engine.Append(context.Background(), scope, after, entry)
		if after = a.Entries; a.OK || err != nil {
			return a, err
		}
	}
}

func TestEngineFaultsAreFound(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	faults := []struct {
		name, rule, says string
		plant            func(*engine)
	}{
		{"no summary", "describes itself", "want one line", func(e *engine) { e.summary = "" }},
		{"has something from the start", "a scope begins empty, and takes its first entry", "it has", func(e *engine) {
			e.read = func(*engine, string, int64, int) ([][]byte, error) { return nil, errors.New("it has no such scope") }
		}},
		{"appends without comparing", "an entry is taken behind the number that there is only", "one behind", func(e *engine) {
			e.append = blind
		}},
		{"newest first", "reads what was appended, in its order and from anywhere", "not [", func(e *engine) {
			e.read = func(e *engine, scope string, after int64, limit int) ([][]byte, error) {
				got, err := e.Engine.Read(ctx, scope, after, limit)
				slices.Reverse(got)
				return got, err
			}
		}},
		{"texts only", "takes any bytes, and 256 KiB of them", "no text", func(e *engine) {
			e.append = func(e *engine, scope string, after int64, entry []byte) (core.Appended, error) {
				if !utf8.Valid(entry) {
					return core.Appended{}, errors.New("no text")
				}
				return e.Engine.Append(ctx, scope, after, entry)
			}
		}},
		{"all at once", "returns less than was asked for where that is much", "want at most", func(e *engine) {
			e.read = func(e *engine, scope string, after int64, limit int) (all [][]byte, err error) {
				for len(all) < limit {
					got, err := e.Engine.Read(ctx, scope, after+int64(len(all)), 1)
					if err != nil || len(got) == 0 {
						return all, err
					}
					all = append(all, got...)
				}
				return all, nil
			}
		}},
		{"one order for what is below", "scopes are apart", "it has", func(e *engine) {
			e.append = func(e *engine, scope string, after int64, entry []byte) (core.Appended, error) {
				scope, _, _ = strings.Cut(scope, "/")
				return e.Engine.Append(ctx, scope, after, entry)
			}
		}},
		{"compares, then appends", "of several at once one is taken", "told that theirs is the first", func(e *engine) {
			e.append = func(e *engine, scope string, after int64, entry []byte) (core.Appended, error) {
				got, err := e.Engine.Read(ctx, scope, 0, 100)
				if err != nil || int64(len(got)) != after {
					return core.Appended{Entries: int64(len(got))}, err
				}
				time.Sleep(time.Millisecond)
				_, err = blind(e, scope, 0, entry)
				return core.Appended{OK: true, Entries: after + 1}, err
			}
		}},
		{"forgets one of many", "those who try again are all taken, in one order", "entry", func(e *engine) {
			var count atomic.Int32
			e.read = func(e *engine, scope string, after int64, limit int) ([][]byte, error) {
				got, err := e.Engine.Read(ctx, scope, after, limit)
				if after == 0 && len(got) > 6 && count.Add(1) > 0 {
					got = got[1:]
				}
				return got, err
			}
		}},
	}
	var planted []string
	for _, c := range faults {
		planted = append(planted, c.rule)
		synctest.Test(t, func(t *testing.T) {
			e := &engine{summary: "keeps every rule"}
			c.plant(e)
			found(t, c.name, c.rule, c.says, func(tell func(plugintest.Rule)) { plugintest.EngineRules(t.Context(), e, tell) })
		})
	}
	sound := &engine{summary: "keeps every rule"}
	plugintest.EngineRules(ctx, sound, func(r plugintest.Rule) { covered(t, r, planted) })
}
