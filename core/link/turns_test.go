// SPDX-License-Identifier: Apache-2.0

package link

import (
	"strings"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/link/linktest"
	"github.com/bkp-tool/bkp/core/wire"
)

// holding has a host hold every message, and returns how one after another is let go.
func (n *host) holding() (release func()) {
	held := make(chan func(), 1000)
	n.onMessage = func(s *Session) { held <- s.Hold() }
	return func() { (<-held)() }
}

// TestMessagesInHandAreBounded: what a peer asks for at once is carried out a few at a time, by count and by bytes, and
// goes on when one has ended; where none ends for long the session does.
func TestMessagesInHandAreBounded(t *testing.T) {
	task := wire.StorageTask{Task: core.TaskID{1}, Alias: "abc", Version: 1, License: make([]byte, 60<<10), Files: make([]core.File, 4096)}
	for i := range task.Files {
		task.Files[i] = core.File{Name: "abc.1.0", Type: core.TypeFile, Order: i, Size: 1, Hash: core.Hash{1}}
	}
	data, err := wire.Encode(task)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		m    wire.Message
		most int
	}{
		{"small", wire.StateQuery{Query: 1}, maxTurns},
		{"large", task, maxTurnBytes/len(data) + 1}, // the last one may pass the bound
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, net *linktest.Net) {
				a, b := newHost(t, net, "a", nil), newHost(t, net, "b", nil)
				defer a.close()
				defer b.close()
				release := b.holding()
				b.serve(net)
				a.hub.Dial(b.peer("wss"))
				after(time.Second)
				for range c.most + 3 {
					if err := a.to(b).Send(c.m); err != nil {
						t.Fatal(err)
					}
				}
				heard := func(want int) {
					t.Helper()
					after(2 * time.Second)
					if got := len(b.messages); got != want {
						t.Errorf("%d messages are in hand, want %d", got, want)
					}
				}
				heard(c.most)
				release()
				heard(c.most + 1)
				release()
				heard(c.most + 2)
				after(budgetWait)
				if !strings.Contains(b.down(), "has not ended") {
					t.Errorf("none ended for %v, and the session ended with %q", budgetWait, b.down())
				}
			})
		})
	}
}

// TestHeldTwice: a message is in hand until everybody who holds it has let go.
func TestHeldTwice(t *testing.T) {
	turns := newTurns()
	m := turns.begin(100)
	m.hold()
	m.release()
	if turns.open != 1 || turns.bytes != 100 {
		t.Errorf("%d open, %d bytes; want 1 and 100", turns.open, turns.bytes)
	}
	m.release()
	if turns.open != 0 || turns.bytes != 0 {
		t.Errorf("%d open, %d bytes; want none", turns.open, turns.bytes)
	}
}
