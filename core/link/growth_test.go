// SPDX-License-Identifier: Apache-2.0

package link

import (
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/bkp-tool/bkp/core/link/linktest"
	"github.com/bkp-tool/bkp/core/wire"
)

// A peer of any release: what the session speaks with it, what it is sent of a message with something new, and what
// becomes of the words that it alone knows.
func TestPeersOfOtherReleases(t *testing.T) {
	const old, degraded = `{"type":"STATE_REPORT",`, `"degraded":["no disk"]`
	for _, c := range []struct {
		name     string
		version  int
		features []wire.Feature
		has      bool
		skipped  int64  // of a message and a member that are unknown here
		down     string // instead
	}{
		{"the one before", 1, nil, false, 0, "unknown message type"},
		{"this one", 2, wire.Features, true, 0, "unknown message type"},
		{"none of the features", 2, nil, false, 0, "unknown message type"},
		{"a later one", 2, append(slices.Clone(wire.Features), "later"), true, 2, ""},
		{"a later one that gave something up", 2, []wire.Feature{"later"}, false, 2, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, net *linktest.Net) {
				victim := newHost(t, net, "victim", plaintext)
				victim.serve(net)
				defer victim.close()
				r := &rogue{t: t, net: net, signer: newSigner(t), token: clusterToken, epoch: 1, v: c.version}
				r.hello = func(h *wire.Hello) { h.Features = c.features }
				r.join()
				after(0)
				s := victim.hub.Session(r.signer.ID())
				if s.Version() != c.version || s.Has(wire.FeatureDegraded) != c.has {
					t.Errorf("the session is of version %d, has degraded: %v", s.Version(), s.Has(wire.FeatureDegraded))
				}
				if err := s.Send(wire.StateReport{Degraded: []string{"no disk"}}); err != nil {
					t.Fatal(err)
				}
				_, data, err := r.control.ReadMessage()
				if got := string(data); err != nil || !strings.HasPrefix(got, old) ||
					strings.Contains(got, degraded) != c.has {
					t.Errorf("the peer is sent %s, %v", got, err)
				}
				r.text(r.control, `{"type":"LATER","x":1}`)
				r.text(r.control, `{"type":"STATE_QUERY","query":7,"x":[{}]}`)
				go r.end(r.control)
				after(time.Second)
				if c.down != "" {
					after(5 * time.Second)
					mustContain(t, "reason", victim.down(), c.down)
				} else if s.Skipped() != c.skipped || len(victim.messages) != 1 ||
					victim.messages[0] != wire.Message(wire.StateQuery{Query: 7}) {
					t.Errorf("%d skipped, %v heard", s.Skipped(), victim.messages)
				}
				for ws := range r.raw {
					ws.Close()
				}
			})
		})
	}
}

// A dialler offers all that it speaks, the newest first, and a listener takes the newest that it knows.
func TestSubprotocols(t *testing.T) {
	for _, c := range []struct{ offered, taken string }{
		{"bkp.v1", "bkp.v1"},
		{"bkp.v2", "bkp.v2"},
		{"bkp.v2, bkp.v1", "bkp.v2"},
		{"bkp.v1, bkp.v2", "bkp.v2"},
		{"bkp.v3, bkp.v2, bkp.v1", "bkp.v2"},
		{"bkp.v10", ""},
		{"bkp", ""},
	} {
		bubble(t, func(t *testing.T, network *linktest.Net) {
			victim := newHost(t, network, "victim", plaintext)
			victim.serve(network)
			defer victim.close()
			d := websocket.Dialer{NetDial: func(_, address string) (net.Conn, error) { return network.Dial(address) },
				Subprotocols: strings.Split(c.offered, ", ")}
			ws, _, err := d.Dial("ws://victim:8001"+path, nil)
			taken := ""
			if err == nil {
				taken = ws.Subprotocol()
				ws.Close()
			}
			if taken != c.taken {
				t.Errorf("of %s the listener takes %q; want %q", c.offered, taken, c.taken)
			}
		})
	}
	if offered := strings.Join(subprotocols, ", "); offered != "bkp.v2, bkp.v1" {
		t.Errorf("a dialler offers %s", offered)
	}
}
