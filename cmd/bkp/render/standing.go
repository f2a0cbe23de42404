// SPDX-License-Identifier: Apache-2.0

package render

import (
	"errors"
	"fmt"
	"strings"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
)

type standingSummary struct {
	Placements int  `json:"placements"`
	Lacking    int  `json:"lacking"` // of them, fewer copies count than are wanted
	Watched    bool `json:"watched"` // a node keeps them by itself
}

// Standings lists how it is with what was placed.
func Standings(con *Console, r control.StandingResult) error {
	sum := standingSummary{Placements: len(r.Placements), Watched: r.Watched}
	for _, p := range r.Placements {
		if p.Code != core.CodeOK {
			sum.Lacking++
		}
	}
	return List(con, r.Placements, sum, func(t *Table) {
		if len(r.Placements) == 0 {
			t.Line("nothing is placed from here yet: bkp place; what is kept for others: bkp node status")
			return
		}
		t.Header("name", "copies", "at hand", "state", "until", "audited")
		for _, p := range r.Placements {
			hand := any(p.Reached)
			if !r.Watched {
				hand = "-"
			}
			t.Row(Versioned(p.Name, p.Version), fmt.Sprintf("%d of %d", p.Copies, p.Wanted), hand, p.State,
				Moment(p.Until), Moment(p.Audited))
		}
		for _, p := range r.Placements {
			if len(r.Placements) == 1 {
				drawHolders(t, p)
			}
			if c := p.Coordinator; c != nil {
				t.Line("%s: %s sees to it, and said last that %d of %d copies count", Versioned(p.Name, p.Version),
					strings.TrimSpace(c.Node.Short()+" "+c.Address), c.Copies, p.Wanted)
			}
			if p.State == control.StateShipment {
				what := Versioned(p.Name, p.Version)
				t.Line("%s: on a disk that is under way; nothing is sent until bkp place %s", what, what)
			}
			if p.Problem != "" {
				t.Line("%s: %s", Versioned(p.Name, p.Version), p.Problem)
			}
		}
	})
}

// drawHolders shows who keeps what.
func drawHolders(t *Table, p control.Standing) {
	for _, h := range p.Holders {
		text := fmt.Sprintf("%s: %d of %s", strings.TrimSpace(h.Node.Short()+" "+h.Address), h.Counting,
			Counted(h.Runs, "run"))
		if !h.Ref {
			text += ", no ref"
		}
		if h.Away > 0 {
			text += ", away since " + Cell(Moment(h.Away))
		}
		t.Line("%s", text)
	}
}

// Lacking is the error where fewer copies count than are wanted: the worst of them says how bad that is.
func Lacking(doing string, r control.StandingResult) error {
	var all []error
	code, handed := core.CodeOK, true
	for _, p := range r.Placements {
		if p.Code != core.CodeOK {
			code = max(code, p.Code)
			if c := p.Coordinator; c != nil {
				all = append(all, fmt.Errorf("%s: %s: %d of %d copies count, said %s", doing,
					Versioned(p.Name, p.Version), c.Copies, p.Wanted, c.Node.Short()))
				continue
			}
			handed = handed && p.State == control.StateShipment
			all = append(all, fmt.Errorf("%s: %s: %d of %d copies count", doing, Versioned(p.Name, p.Version),
				p.Copies, p.Wanted))
		}
	}
	if len(all) == 0 {
		return nil
	}
	err := core.WithCode(code, errors.Join(all...))
	if !r.Watched && !handed {
		return core.WithHint(err, "bkp repair has them made now; bkp node start keeps them from then on")
	}
	return err
}
