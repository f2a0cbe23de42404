// SPDX-License-Identifier: Apache-2.0

package render

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/olekukonko/tablewriter/pkg/twwidth"
)

// progress shows how far long work has come. Calls come one at a time.
type progress interface {
	show(control.Status)
	interrupt(print func()) // prints without leaving half a bar behind
	end()
}

// Status shows how far a command has come; warnings always appear.
func (con *Console) Status(s control.Status) {
	if con.progress == nil {
		con.progress = con.newProgress()
	}
	if s.Warning && !con.JSON {
		con.interrupt(func() { con.tell("warning: " + s.Text) })
		return
	}
	if s.Phase == control.PhaseOpen && !con.JSON {
		con.Say("%s", s.Text)
		return
	}
	con.progress.show(s)
}

func (con *Console) newProgress() progress {
	mode := con.Mode
	if mode == "auto" {
		switch {
		case con.JSON:
			mode = "json"
		case con.Quiet || !IsTerminal(con.Stderr):
			mode = "none"
		default:
			mode = "bar"
		}
	}
	switch mode {
	case "json":
		return &jsonProgress{w: con.objects()}
	case "plain":
		return &plainProgress{w: con.Stderr}
	case "bar":
		return &lineProgress{w: con.Stderr, width: con.width(con.Stderr)}
	}
	return noProgress{}
}

func (con *Console) interrupt(print func()) {
	if con.progress == nil {
		print()
		return
	}
	con.progress.interrupt(print)
}

func (con *Console) EndProgress() {
	if con.progress != nil {
		con.progress.end()
		con.progress = nil
	}
}

type noProgress struct{}

func (noProgress) show(control.Status)    {}
func (noProgress) interrupt(print func()) { print() }
func (noProgress) end()                   {}

// jsonProgress writes status objects, at most one a second within a phase; warnings and texts all.
type jsonProgress struct {
	w     io.Writer
	phase string
	last  time.Time
}

func (p *jsonProgress) show(s control.Status) {
	if s.Phase == p.phase && s.Text == "" && time.Since(p.last) < time.Second {
		return
	}
	p.phase, p.last = s.Phase, time.Now()
	_ = writeObject(p.w, "status", s)
}
func (p *jsonProgress) interrupt(print func()) { print() }
func (p *jsonProgress) end()                   {}

// plainProgress writes a line every few seconds, for logs.
type plainProgress struct {
	w     io.Writer
	phase string
	last  time.Time
}

func (p *plainProgress) show(s control.Status) {
	if s.Phase == p.phase && s.Text == "" && time.Since(p.last) < 5*time.Second {
		return
	}
	p.phase, p.last = s.Phase, time.Now()
	fmt.Fprintln(p.w, cleanLines(statusLine(s)))
}
func (p *plainProgress) interrupt(print func()) { print() }
func (p *plainProgress) end()                   {}

// statusLine is progress in a line: what, how much, how fast, how long it still takes, and what sets the time.
func statusLine(s control.Status) string {
	words := []string{s.Phase + ":"}
	if s.Done > 0 || s.Total > 0 {
		words = append(words, s.Done.String())
	}
	if s.Total > 0 {
		words[len(words)-1] += fmt.Sprintf(" of %s (%.0f %%)", s.Total, 100*float64(s.Done)/float64(s.Total))
	}
	if s.Seconds > 0 && s.Done > 0 {
		rate := float64(s.Done) / s.Seconds
		words = append(words, core.Rate(rate).String())
		if left := float64(s.Total-s.Done) / rate; s.Total > s.Done && left >= 1 {
			words = append(words, Seconds(left).String()+" left")
		}
	}
	if s.Binding != "" {
		words = append(words, "bound by "+s.Binding)
	}
	if s.Text != "" {
		words = append(words, s.Text)
	}
	return words[0] + " " + strings.Join(words[1:], ", ")
}

// lineProgress draws one line on a terminal, over and over; it is erased before anything else is printed and at the
// end. Nothing draws but the caller's own calls.
type lineProgress struct {
	w     io.Writer
	width int
	phase string
	last  time.Time
	drawn bool
}

// typed is the columns that are left free for what a terminal shows of a key, as ^C: without them the line would wrap.
const typed = 3

// redraw is how often the line is drawn at most.
const redraw = 100 * time.Millisecond

func (p *lineProgress) show(s control.Status) {
	if s.Phase == p.phase && time.Since(p.last) < redraw {
		return
	}
	p.phase, p.last, p.drawn = s.Phase, time.Now(), true
	text := cleanLines(statusLine(s))
	if room := p.width - typed; p.width > 0 && twwidth.Width(text) > room {
		text = twwidth.Truncate(text, max(1, room), "…")
	}
	fmt.Fprint(p.w, "\r"+text+eraseToEnd)
}

// eraseToEnd erases a line from the cursor on (ECMA-48 EL).
const eraseToEnd = "\x1b[K"

func (p *lineProgress) interrupt(print func()) {
	p.end()
	print()
}

func (p *lineProgress) end() {
	if p.drawn {
		fmt.Fprint(p.w, "\r"+eraseToEnd)
		p.drawn = false
	}
}

// Phase shows the progress of one phase of known size.
func (con *Console) Phase(name string, total core.Size) func(done core.Size) {
	began := time.Now()
	return func(done core.Size) {
		con.Status(control.Status{Phase: name, Done: done, Total: total, Seconds: time.Since(began).Seconds()})
	}
}
