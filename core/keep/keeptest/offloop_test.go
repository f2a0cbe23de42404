// SPDX-License-Identifier: Apache-2.0

package keeptest

import (
	"fmt"
	"slices"
	"testing"
)

// complaints is a test that only listens.
type complaints struct {
	testing.TB
	heard []string
}

func (c *complaints) Errorf(format string, args ...any) {
	c.heard = append(c.heard, fmt.Sprintf(format, args...))
}

func loop(event func()) { event() }

// A call below the loop is seen, however deep, and named once; one beside it is not.
func TestOffLoopSeesCallsOnTheLoop(t *testing.T) {
	c := &complaints{TB: t}
	s := &Store{Watch: NewOffLoop(c, loop)}
	ask := func() { s.Used(t.Context()) }
	ask()
	done := make(chan bool)
	loop(func() {
		ask()
		ask()
		go func() { s.Barrier(t.Context()); close(done) }()
	})
	<-done
	if want := []string{"Used is asked on the loop"}; !slices.Equal(c.heard, want) {
		t.Errorf("heard %q, want %q", c.heard, want)
	}
}
