// SPDX-License-Identifier: Apache-2.0

package link

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
	"github.com/bkp-tool/bkp/core/link/linktest"
	"github.com/bkp-tool/bkp/core/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var clusterToken = []byte("a cluster token of many bits")

// host is a hub with a handler that keeps what it is told.
type host struct {
	t    testing.TB
	name string
	hub  *Hub
	log  *logLines

	mu       sync.Mutex
	live     map[core.ID]*Session
	ups      []*Session
	downs    []error
	messages []wire.Message
	data     []wire.Data   // with bytes of their own
	block    chan struct{} // while not nil, Data waits for it

	onMessage func(*Session) // may be nil
}

func (n *host) Up(s *Session) {
	n.keep(func() {
		n.ups = append(n.ups, s)
		if old := n.live[s.Peer().ID]; old != nil {
			n.t.Errorf("%s: a session came up before the Down of the one that it replaces", n.name)
		}
		n.live[s.Peer().ID] = s
	})
}

func (n *host) Down(s *Session, err error) {
	n.keep(func() {
		n.downs = append(n.downs, err)
		if n.live[s.Peer().ID] == s {
			delete(n.live, s.Peer().ID)
		}
	})
}

func (n *host) Message(s *Session, m wire.Message) {
	n.keep(func() { n.messages = append(n.messages, m) })
	if n.onMessage != nil {
		n.onMessage(s)
	}
}

func (n *host) Data(s *Session, d wire.Data) {
	d.Bytes = append([]byte(nil), d.Bytes...)
	n.keep(func() { n.data = append(n.data, d) })
	if n.block != nil {
		select {
		case <-n.block:
		case <-s.Done():
		}
	}
}

func (n *host) keep(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
}

// down is why the last session ended, "" if none did.
func (n *host) down() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.downs) == 0 {
		return ""
	}
	return n.downs[len(n.downs)-1].Error()
}

// logLines keeps what a hub logs.
type logLines struct {
	mu    sync.Mutex
	lines []string
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, string(p))
	return len(p), nil
}

func (l *logLines) count(words string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		if strings.Contains(line, words) {
			n++
		}
	}
	return n
}

func newSigner(t testing.TB) *key.Signer {
	t.Helper()
	s, err := key.NewSigner(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func randomEpoch() core.Epoch {
	var n core.Nonce
	rand.Read(n[:])
	return core.Epoch(n[0])<<8 | core.Epoch(n[1])<<16 | core.Epoch(n[2])<<24 | 1
}

// newHost is a hub on the network at NAME:8001, not yet listening. change may alter its configuration.
func newHost(t testing.TB, n *linktest.Net, name string, change func(*Config)) *host {
	t.Helper()
	h := &host{t: t, name: name, log: &logLines{}, live: map[core.ID]*Session{}}
	c := Config{
		Signer: newSigner(t), Epoch: randomEpoch(), Token: clusterToken, Listen: ":8001",
		Labels: map[string]string{"zone": name},
		Log:    slog.New(slog.NewTextHandler(h.log, nil)),
	}
	if n != nil {
		c.Dial = n.From(name)
	}
	if change != nil {
		change(&c)
	}
	h.hub = New(c, h)
	return h
}

// serve makes the host listen until it is closed.
func (n *host) serve(net *linktest.Net) {
	n.t.Helper()
	l, err := net.Listen(n.name + ":8001")
	if err != nil {
		n.t.Fatal(err)
	}
	go n.hub.Serve(l)
}

func (n *host) close() {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := n.hub.Close(ctx); err != nil {
		n.t.Errorf("%s: %v", n.name, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.ups) != len(n.downs) {
		n.t.Errorf("%s: %d sessions came up and %d went down", n.name, len(n.ups), len(n.downs))
	}
}

// peer is an entry for the host's address.
func (n *host) peer(scheme string) core.Peer {
	return core.Peer{Scheme: scheme, Host: n.name, Port: 8001}
}

func (n *host) id() core.ID { return n.hub.id }

// to is the session from n to another host, which must stand.
func (n *host) to(other *host) *Session {
	n.t.Helper()
	s := n.hub.Session(other.id())
	if s == nil {
		n.t.Fatalf("%s has no session with %s: %+v", n.name, other.name, n.hub.Diallers())
	}
	return s
}

// after lets virtual time pass and everything that it sets off come to rest.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// bubble runs f in a synctest bubble with a network.
func bubble(t *testing.T, f func(t *testing.T, net *linktest.Net)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, linktest.New()) })
}

func mustContain(t testing.TB, what, got, words string) {
	t.Helper()
	if !strings.Contains(got, words) {
		t.Errorf("%s = %q; want words %q", what, got, words)
	}
}

func text(format string, args ...any) string { return fmt.Sprintf(format, args...) }
