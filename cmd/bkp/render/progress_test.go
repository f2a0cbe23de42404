// SPDX-License-Identifier: Apache-2.0

package render

import (
	"bytes"
	"io"
	"strings"
	"sync"
	"testing"

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

// Nothing of a line of progress may be left in what is printed while it stands there, nor after its end.
func TestNothingOfProgressIsLeft(t *testing.T) {
	terminal := &screen{}
	p := &lineProgress{w: terminal, width: 60}
	status := control.Status{Phase: "place", Done: 12 * core.MiB, Total: 48 * core.MiB, Seconds: 3,
		Binding: "links of the source, which are slow"}
	p.show(status)
	want := "place: 12.0 MiB of 48.0 MiB (25 %), 4.00 MiB/s, 9.0 s le…"
	if got := terminal.lines(); got[0] != want {
		t.Errorf("the line is %q, want %q", got, want)
	}
	p.show(control.Status{Phase: "refs"})
	if got := terminal.lines(); got[0] != "refs:" {
		t.Errorf("of the longer line before is left %q", got)
	}
	p.interrupt(func() { _, _ = io.WriteString(terminal, "warning: it rains\n") })
	p.show(status)
	p.end()
	_, _ = io.WriteString(terminal, "Placed f@1.\n")
	if got := terminal.lines(); got[0] != "warning: it rains" || got[1] != "Placed f@1." {
		t.Errorf("the screen shows %q", got)
	}
}
