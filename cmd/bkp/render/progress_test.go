// SPDX-License-Identifier: Apache-2.0

package render

import (
	"bytes"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
)

// screen is what a terminal shows of what is written to it.
type screen struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

// lines are what is left of each line when what was erased or drawn over is gone.
func (s *screen) lines() (lines []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for line := range strings.SplitSeq(s.text.String(), "\n") {
		var shown []rune
		at := 0
		for _, part := range strings.SplitAfter(strings.ReplaceAll(line, "\x1b[K", "\x00"), "") {
			switch c := []rune(part)[0]; c {
			case '\r':
				at = 0
			case 0:
				shown = shown[:min(at, len(shown))]
			default:
				if at == len(shown) {
					shown = append(shown, ' ')
				}
				shown[at] = c
				at++
			}
		}
		lines = append(lines, strings.TrimRight(string(shown), " "))
	}
	return lines
}

// A spinner draws itself from a goroutine. Nothing of it may be left in a line that is printed while it turns, nor in
// those after its end.
func TestNothingOfABarIsLeft(t *testing.T) {
	for _, total := range []int64{0, 1 << 30} {
		terminal := &screen{}
		p := &barProgress{w: terminal}
		p.show(control.Status{Phase: "licence", Total: core.Size(total), Done: 1, Text: "segment 1"})
		time.Sleep(250 * time.Millisecond) // it turns ten times a second
		p.show(control.Status{Phase: "licence", Total: core.Size(total), Done: core.Size(total / 2)})
		if shown := terminal.lines(); !strings.Contains(shown[len(shown)-1], "licence") {
			t.Fatalf("no bar was drawn: %q of %q", shown, terminal.text.String())
		}
		p.interrupt(func() { _, _ = io.WriteString(terminal, "warning: it rains\n") })
		time.Sleep(250 * time.Millisecond)
		p.end()
		_, _ = io.WriteString(terminal, "Placed f@1")
		time.Sleep(250 * time.Millisecond)
		_, _ = io.WriteString(terminal, ".\n")
		if got := terminal.lines(); got[0] != "warning: it rains" || got[1] != "Placed f@1." {
			t.Errorf("total %d: the screen shows %q", total, got)
		}
	}
}
