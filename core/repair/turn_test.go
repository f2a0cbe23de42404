// SPDX-License-Identifier: Apache-2.0

package repair

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core/scenariotest"
)

// TestTurns reads testdata/*.txt: lines about placements, then ---- and whose turn it is, to the next empty line. The
// words:
//
//	NAME copies=N reached=N [act] [until=SPAN] [failed=N] [tried=SPAN]    as it stands; said again, it changes
//	pass SPAN                                                            time goes by
func TestTurns(t *testing.T) {
	scenariotest.Each(t, "testdata/*.txt", func(t *testing.T, file string) {
		s := &script{now: time.Unix(1e9, 0)}
		scenariotest.Play(t, file, s.line, s.next)
	})
}

type script struct {
	now   time.Time
	names []string
	cases []Case
}

func (s *script) line(words []string) error {
	if words[0] == "pass" {
		span, err := time.ParseDuration(words[1])
		s.now = s.now.Add(span)
		return err
	}
	at := slices.Index(s.names, words[0])
	if at < 0 {
		at = len(s.names)
		s.names, s.cases = append(s.names, words[0]), append(s.cases, Case{})
	}
	var c Case
	for _, w := range words[1:] {
		key, value, _ := strings.Cut(w, "=")
		number, _ := strconv.Atoi(value)
		span, _ := time.ParseDuration(value)
		switch key {
		case "copies":
			c.Copies = number
		case "reached":
			c.Reached = number
		case "act":
			c.Act = true
		case "until":
			c.Until = s.now.Add(span)
		case "failed":
			c.Failed = number
		case "tried":
			c.Tried = s.now.Add(-span)
		default:
			return fmt.Errorf("%s is no word", w)
		}
	}
	s.cases[at] = c
	return nil
}

func (s *script) next() string {
	turn, wake := Next(s.now, s.cases)
	if turn < 0 {
		return fmt.Sprintf("nobody, look again after %s\n", wake.Sub(s.now))
	}
	return s.names[turn] + "\n"
}
