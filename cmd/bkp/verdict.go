// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"

	"github.com/bkp-tool/bkp/cmd/bkp/render"
	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
)

// verifyProblem is one of them, and the code that it alone would end the command with.
type verifyProblem struct {
	code core.Code
	text string
}

// sum puts together what is wrong, whatever it was found by.
func (v *verifying) sum() {
	s := &v.summary
	s.Versions = len(v.rows)
	if v.refs != nil {
		v.add(core.CodeWrong, "%v", v.refs)
	}
	for i := range v.rows {
		x := &v.rows[i]
		name := render.Versioned(x.Name, x.Version)
		s.Read += x.Read
		s.Wrong += x.Wrong
		if x.Wrong > 0 {
			v.add(core.CodeWrong, "%s: %s wrong on this machine", name, x.Wrong)
		}
		if e := x.Elsewhere; e != nil {
			s.Read += e.Read
			x.Damaged = append(withoutMissing(x.Damaged), e.Damaged...) // what is missing here was looked for there
			v.elsewhere(name, e)
			e.Damaged = nil
			continue
		}
		s.Missing += x.Missing
		if x.Missing > 0 {
			v.add(core.CodeRedundant, "%s: %s missing%s", name, x.Missing, because(x.Problem))
		} else if x.Problem != "" {
			v.add(core.CodeRedundant, "%s: %s", name, x.Problem)
		}
	}
	for _, d := range s.Records {
		v.add(core.CodeWrong, "%s", d.Text)
	}
	if n := len(s.Damage); n > 0 {
		v.add(core.CodeWrong, "%s in the stores of this machine", render.Counted(n, "damaged place"))
	}
}

// elsewhere adds what the peers that keep it were found to lack.
func (v *verifying) elsewhere(name string, r *control.VerifyResult) {
	s := &v.summary
	var nowhere, wrong core.Size
	lacking := map[core.ID]core.Size{}
	for _, h := range r.Damaged {
		switch {
		case h.Wrong:
			wrong += h.Length
		case h.Node.IsZero():
			nowhere += h.Length
		default:
			lacking[h.Node] += h.Length
		}
	}
	s.Missing += nowhere
	s.Wrong += wrong
	if nowhere > 0 {
		v.add(core.CodeRedundant, "%s: %s can be had from nowhere", name, nowhere)
	}
	if wrong > 0 {
		v.add(core.CodeWrong, "%s: %s wrong at peers", name, wrong)
	}
	for _, h := range r.Holders {
		if len(h.Degraded) > 0 {
			v.add(core.CodeRedundant, "%s: %s %s is degraded: %s", name, h.Node.Short(), h.Address,
				strings.Join(h.Degraded, ", "))
		}
		switch {
		case lacking[h.Node] > 0:
			v.add(core.CodePartial, "%s: %s %s lacks %s", name, h.Node.Short(), h.Address, lacking[h.Node])
		case h.Problem != "":
			v.add(core.CodePartial, "%s: the copy at %s cannot be told: %s", name, h.Node.Short(), h.Problem)
		}
	}
}

func (v *verifying) add(code core.Code, format string, args ...any) {
	v.problems = append(v.problems, verifyProblem{code, fmt.Sprintf(format, args...)})
}

func because(problem string) string {
	if problem == "" {
		return ""
	}
	return " (" + problem + ")"
}

func withoutMissing(damage []core.Damaged) (wrong []core.Damaged) {
	for _, h := range damage {
		if h.Wrong {
			wrong = append(wrong, h)
		}
	}
	return wrong
}

// failure is the error that what was found comes to: wrong bytes weigh more than missing ones, and those more than
// copies that are missing while all bytes can be had.
func (v *verifying) failure() error {
	if len(v.problems) == 0 {
		return nil
	}
	code := core.CodePartial
	var texts []string
	for _, p := range v.problems {
		code = max(code, p.code)
		if len(texts) < 5 {
			texts = append(texts, p.text)
		}
	}
	if more := len(v.problems) - len(texts); more > 0 {
		texts = append(texts, fmt.Sprintf("and %d more", more))
	}
	if len(v.summary.Records) > 0 && len(v.rows) == 0 {
		return core.WithHint(core.Fail(code, "verify: %s", strings.Join(texts, "; ")), "stop the node that keeps "+
			"it, and: bkp node repair --data %s", string(v.Dir))
	}
	return core.WithHint(core.Fail(code, "verify: %s", strings.Join(texts, "; ")),
		"where the file is still there, split it again: what is damaged here is stored anew, and bkp gc drops the "+
			"damaged; else bkp fetch brings what a peer still has, and with --partial all but the holes")
}
