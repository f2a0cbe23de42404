// SPDX-License-Identifier: Apache-2.0

package keep

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/audit"
	"github.com/bkp-tool/bkp/core/wire"
)

// challenge draws one for what was offered, and asks it.
func (w *stage) challenge(o offered, from string, acts bool, change func(*wire.Audit)) (parts []audit.Part,
	c core.Challenge, answer string) {
	for i, p := range o.pieces {
		parts = append(parts, audit.Part{Number: i, Chunks: p.Chunks, Kept: core.FullBitmap(len(p.Chunks))})
	}
	m := wire.Audit{Query: 1, Challenge: core.Challenge{Owner: o.license.TaskSource.Owner, Task: o.Task,
		Segment: o.Segment, Nonce: core.Hash{1}, Ranges: audit.Draw(rand.New(rand.NewPCG(1, 2)), parts, 16)}}
	if change != nil {
		change(&m)
	}
	w.said()
	w.Ask(func(s *State) { s.Audit(w.id(from), acts, m) })
	return parts, m.Challenge, w.said()
}

func TestHolderProvesWhatItKeeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newStage(t, nil)
		o := w.offer(1, []string{"a:100+50", "b:30"}, nil)
		w.keep(o)
		for _, by := range []struct {
			from string
			acts bool
		}{{"source", false}, {"other", true}} {
			parts, c, answer := w.challenge(o, by.from, by.acts, nil)
			if want := fmt.Sprintf("%s hears AUDIT_PROOF %d slices", by.from, len(c.Ranges)); answer != want {
				t.Fatalf("%s, want %s", answer, want)
			}
			if err := audit.Check(c, w.proof, w.id("self"), parts); err != nil {
				t.Errorf("asked by %s: %v", by.from, err)
			}
		}
	})
}

func TestWhoMayAudit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newStage(t, nil)
		o := w.offer(1, []string{"a:100"}, nil)
		w.keep(o)
		for _, c := range []struct {
			name   string
			from   string
			acts   bool
			change func(*wire.Audit)
			want   string
		}{
			{"a stranger", "other", false, nil, "20: "},
			{"a stranger who asks for what is not here", "other", false,
				func(m *wire.Audit) { m.Task = core.TaskID{9} }, "20: "},
			{"the source, of another owner's", "source", false,
				func(m *wire.Audit) { m.Owner = w.owners["stranger"].ID() }, "20: "},
			{"who acts for another owner", "other", true,
				func(m *wire.Audit) { m.Owner = w.owners["stranger"].ID() }, "14: segment 0 of task t1 was not"},
			{"another segment", "source", true, func(m *wire.Audit) { m.Segment = 1 }, "14: "},
			{"a run that is not there", "source", true, func(m *wire.Audit) { m.Ranges[0].Run = 7 }, "14: run 7"},
			{"a chunk that is not there", "source", true, func(m *wire.Audit) { m.Ranges[0].Chunk = 1 }, "14: run 0"},
			{"between ranges", "source", true, func(m *wire.Audit) { m.Ranges[0].Offset = 5 }, "1: run 0: a range"},
			{"beyond the chunk", "source", true, func(m *wire.Audit) { m.Ranges[0].Offset = 1 << 20 }, "1: run 0"},
		} {
			_, _, answer := w.challenge(o, c.from, c.acts, c.change)
			if !strings.HasPrefix(answer, c.from+" hears AUDIT_REFUSE code "+c.want) {
				t.Errorf("%s: %s, want code %s", c.name, answer, c.want)
			}
		}
	})
}

// What is found to be lost while it is to be proved is named, and no longer claimed: it may come again.
func TestLostRunsAreNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newStage(t, nil)
		o := w.offer(1, []string{"a:100", "b:30", "c:70"}, nil)
		w.keep(o)
		w.store.Lose(o.pieces[1].Chunks...)
		_, _, answer := w.challenge(o, "source", false, nil)
		if !strings.HasPrefix(answer, "source hears AUDIT_REFUSE code 14: run 1") ||
			!strings.HasSuffix(answer, ", lost 1") {
			t.Error(answer)
		}
		if s := (&scene{stage: w}).segment(o.Task, 0); !strings.Contains(s, "has 0,2") {
			t.Errorf("it still claims: %s", s)
		}
	})
}

// One peer's challenges do not fill the node, and what they cost is bounded for all of them together.
func TestAuditsAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newStage(t, func(c *Config) { c.Capacity = 1e8 })
		var runs []string
		for i := range 16 {
			runs = append(runs, fmt.Sprintf("%c:500", 'a'+i))
		}
		o := w.offer(1, runs, nil)
		w.keep(o)
		var heard string
		for range 40 {
			_, _, said := w.challenge(o, "source", false, nil)
			heard += said + "\n"
		}
		proofs, refused := strings.Count(heard, "AUDIT_PROOF"), strings.Count(heard, "AUDIT_REFUSE code 10: ")
		if want := int(auditBurst / (16 * 500e3)); proofs != want || refused != 40-want-auditsOpen {
			t.Errorf("of 40 challenges of 8 MB each, all at once, %d are answered and %d refused", proofs, refused)
		}
		time.Sleep(time.Minute)
		if late := strings.Count(w.said(), "AUDIT_PROOF"); late != auditsOpen {
			t.Errorf("%d are answered later", late)
		}
	})
}
