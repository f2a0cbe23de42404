// SPDX-License-Identifier: Apache-2.0

package render

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// A full disk refuses every run: the log says so once, and once a minute how often.
func TestAWarningThatRepeatsIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := slog.New(newRepeats(slog.NewTextHandler(&out,
			&slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Key == slog.TimeKey {
					return slog.Attr{}
				}
				return a
			}})))
		for i := range 500 {
			err := fmt.Errorf("put chunk %064x: %d KiB more would leave too little: %w", i, 100+i, syscall.ENOSPC)
			log.Warn("run refused", "from", "peer-a", "run", fmt.Sprintf("alias.1.%d", i), "error", err)
			time.Sleep(10 * time.Millisecond)
		}
		log.Warn("run refused", "from", "peer-b", "run", "alias.1.0", "error", syscall.ENOSPC)
		log.Warn("run refused", "from", "peer-a", "run", "alias.1.0", "error", syscall.EIO)
		log.With("with", "more").Error("run refused", "from", "peer-a", "run", "alias.1.0", "error", syscall.EIO)
		for range 3 {
			log.Info("peer up", "peer", "peer-a")
		}
		time.Sleep(3 * time.Minute)
		log.Warn("run refused", "from", "peer-a", "run", "alias.2.7", "error",
			fmt.Errorf("put chunk 8: %w", syscall.EIO))
		var got []string
		for line := range strings.Lines(out.String()) {
			from, _, _ := strings.Cut(line[strings.Index(line, "msg="):], " error=")
			if _, more, ok := strings.Cut(line, " more_like_it="); ok {
				from += " and " + strings.TrimSpace(more)
			}
			got = append(got, strings.TrimSpace(from))
		}
		want := []string{
			`msg="run refused" from=peer-a run=alias.1.0`,
			`msg="run refused" from=peer-b run=alias.1.0`,
			`msg="run refused" from=peer-a run=alias.1.0`,
			`msg="run refused" with=more from=peer-a run=alias.1.0`,
			`msg="peer up" peer=peer-a`, `msg="peer up" peer=peer-a`, `msg="peer up" peer=peer-a`,
			`msg="run refused" from=peer-a run=alias.1.499 and 498`,
			`msg="run refused" from=peer-a run=alias.2.7`,
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}
