// SPDX-License-Identifier: Apache-2.0

package render

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
	"github.com/schollz/progressbar/v3"
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
		return &barProgress{w: con.Stderr}
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

func statusLine(s control.Status) string {
	text := s.Phase + ": " + s.Done.String()
	if s.Total > 0 {
		text += " of " + s.Total.String()
	}
	if s.Seconds > 0 && s.Done > 0 {
		text += ", " + core.Rate(float64(s.Done)/s.Seconds).String()
	}
	if s.Text != "" {
		text += ", " + s.Text
	}
	return text
}

// barProgress draws a bar on a terminal.
type barProgress struct {
	w     io.Writer
	phase string
	total core.Size
	bar   *progressbar.ProgressBar
	line  *barLine // on which it is drawn
}

// barLine is the line of a terminal on which a bar is drawn, also by a goroutine of the bar's own, which goes on for a
// moment after its end. Nothing is drawn while something else is printed there, nor after the end.
type barLine struct {
	mu    sync.Mutex
	w     io.Writer
	drawn bool
	ended bool
}

func (l *barLine) Write(text []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return len(text), nil
	}
	l.drawn = true
	return l.w.Write(text)
}

// interrupt erases the line and lets something be printed in its place.
func (l *barLine) interrupt(print func(), end bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.drawn && !l.ended {
		fmt.Fprint(l.w, "\r\x1b[K") // to the start of the line, and erase to its end (ECMA-48 EL)
	}
	l.ended = end
	print()
}

func (p *barProgress) show(s control.Status) {
	if p.bar == nil || s.Phase != p.phase || s.Total != p.total {
		p.end()
		total := int64(s.Total)
		if total == 0 {
			total = -1 // a spinner
		}
		p.phase, p.total, p.line = s.Phase, s.Total, &barLine{w: p.w}
		p.bar = progressbar.NewOptions64(total,
			progressbar.OptionSetWriter(p.line), progressbar.OptionSetDescription(s.Phase),
			progressbar.OptionShowBytes(true), progressbar.OptionShowTotalBytes(true),
			progressbar.OptionUseIECUnits(true),
			progressbar.OptionSetWidth(24), progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionSetPredictTime(true), progressbar.OptionClearOnFinish())
	}
	if s.Text != "" {
		p.bar.Describe(s.Phase + " (" + core.Printable(s.Text) + ")")
	}
	_ = p.bar.Set64(int64(s.Done)) // a bar that cannot be drawn is no reason to stop
}

func (p *barProgress) interrupt(print func()) {
	if p.bar == nil {
		print()
		return
	}
	p.line.interrupt(print, false)
}

func (p *barProgress) end() {
	if p.bar != nil {
		p.line.interrupt(func() {}, true)
		_ = p.bar.Finish() // ends its goroutine
		p.bar = nil
	}
}

// Phase shows the progress of one phase of known size.
func (con *Console) Phase(name string, total core.Size) func(done core.Size) {
	began := time.Now()
	return func(done core.Size) {
		con.Status(control.Status{Phase: name, Done: done, Total: total, Seconds: time.Since(began).Seconds()})
	}
}
