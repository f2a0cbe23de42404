// SPDX-License-Identifier: Apache-2.0

package link

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/link/linktest"
	"github.com/bkp-tool/bkp/core/wire"
)

// What a dialler is told when it may not come in, or will not go there: the words and the exit code that its user sees.
func TestDialRefusals(t *testing.T) {
	for _, c := range []struct {
		name           string
		dialler, other func(*Config)
		peer           func(*core.Peer, *host)
		words, hint    string
		code           core.Code
	}{
		{name: "30 plaintext where wss is required", dialler: plaintext, peer: ws,
			words: "the peer takes wss:// only", hint: "write wss://", code: core.CodeRefused},
		{name: "30 plaintext not allowed here", peer: ws,
			words: "plaintext ws:// is not allowed here", hint: "--insecure-plaintext", code: core.CodeRefused},
		{name: "31 another key than the peer list names",
			peer:  func(p *core.Peer, _ *host) { p.ID = core.ID{7} },
			words: "expected node a4aaaaaa", code: core.CodeRefused},
		{name: "31 unpinned key", dialler: noToken,
			words: "is not pinned here and showed no cluster token", code: core.CodeRefused},
		{name: "31 listener's key is unpinned", other: func(c *Config) { noToken(c); c.Admit = func(Peer) error { return nil } },
			words: "is not pinned here and showed no cluster token", code: core.CodeRefused},
		{name: "wrong token", dialler: func(c *Config) { c.Token = []byte("another") },
			words: "has another cluster token", code: core.CodeRefused},
		{name: "no token anywhere", dialler: noToken, other: noToken,
			words: "this node has no cluster token to admit it by", code: core.CodeRefused},
		{name: "Admit's reason",
			other: func(c *Config) {
				noToken(c)
				c.Admit = func(Peer) error { return core.Fail(core.CodeRefused, "not on Sundays") }
			},
			words: "not on Sundays", code: core.CodeRefused},
		{name: "itself", peer: func(p *core.Peer, _ *host) { p.Host = "a" },
			words: "this node itself", code: core.CodeFailed},
		{name: "nobody there", peer: func(p *core.Peer, _ *host) { p.Port = 9 },
			words: "connection refused", code: core.CodeFailed},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, net *linktest.Net) {
				a, b := newHost(t, net, "a", c.dialler), newHost(t, net, "b", c.other)
				a.serve(net)
				b.serve(net)
				p := b.peer("wss")
				if c.peer != nil {
					c.peer(&p, b)
				}
				a.hub.Dial(p)
				after(time.Minute)
				err := a.hub.Diallers()[0].Err
				if err == nil || core.CodeOf(err) != c.code {
					t.Fatalf("dialler's reason: %v, code %d; want code %d", err, core.CodeOf(err), c.code)
				}
				mustContain(t, "reason", err.Error(), c.words)
				mustContain(t, "hint", core.HintOf(err), c.hint)
				if n := a.log.count("peer down"); n != 1 {
					t.Errorf("logged %d times; want once", n)
				}
				if n := b.log.count("connection refused"); n > 1 {
					t.Errorf("the listener logged it %d times; want once at most", n)
				}
				a.close()
				b.close()
				if len(a.ups)+len(b.ups) > 0 {
					t.Error("a session came of it")
				}
			})
		})
	}
}

func plaintext(c *Config)      { c.Plaintext = true }
func noToken(c *Config)        { c.Token = nil }
func ws(p *core.Peer, _ *host) { p.Scheme = "ws" }

// pins is a set of pinned nodes.
type pins map[core.ID]string

func (p pins) Known(id core.ID) bool { _, ok := p[id]; return ok }
func (p pins) Pin(id core.ID, addr string) error {
	if addr != "" || !p.Known(id) {
		p[id] = addr
	}
	return nil
}

func (p pins) Follow(core.PublicKey) error { return nil }

func TestWhoIsAdmitted(t *testing.T) {
	t.Run("the token pins both", func(t *testing.T) {
		bubble(t, func(t *testing.T, net *linktest.Net) {
			pa, pb := pins{}, pins{}
			a, b := newHost(t, net, "a", func(c *Config) { c.Pins = pa }),
				newHost(t, net, "b", func(c *Config) { c.Pins = pb })
			b.serve(net)
			a.hub.Dial(b.peer("wss"))
			after(time.Second)
			if pa[b.id()] != "b:8001" || pb[a.id()] != "a:8001" {
				t.Errorf("a pinned %v, b pinned %v", pa, pb)
			}
			if a.to(b).Peer().Pinned {
				t.Error("a node met for the first time counts as pinned before")
			}
			a.close()
			b.close()
		})
	})
	t.Run("a pin needs no token", func(t *testing.T) {
		bubble(t, func(t *testing.T, net *linktest.Net) {
			pa, pb := pins{}, pins{}
			a := newHost(t, net, "a", func(c *Config) { noToken(c); c.Pins = pa })
			b := newHost(t, net, "b", func(c *Config) { c.Pins = pb })
			pa[b.id()], pb[a.id()] = "elsewhere:8001", "elsewhere:8001"
			b.serve(net)
			a.hub.Dial(b.peer("wss"))
			after(time.Second)
			if p := b.to(a).Peer(); p.Token || !p.Pinned {
				t.Errorf("b's peer: %+v; want pinned, without token", p)
			}
			if pa[b.id()] != "b:8001" || pb[a.id()] != "a:8001" {
				t.Errorf("a pinned %v, b pinned %v: not where they were met last", pa, pb)
			}
			a.close()
			b.close()
		})
	})
	t.Run("an ID in the peer list is a pin, and Admit hears delegations", func(t *testing.T) {
		bubble(t, func(t *testing.T, net *linktest.Net) {
			a := newHost(t, net, "a", func(c *Config) {
				noToken(c)
				c.Delegations = func() [][]byte { return [][]byte{[]byte("a may write")} }
			})
			asked := make(chan Peer, 9)
			b := newHost(t, net, "b", func(c *Config) { c.Admit = func(p Peer) error { asked <- p; return nil } })
			b.serve(net)
			p := b.peer("wss")
			p.ID = b.id()
			a.hub.Dial(p)
			after(time.Second)
			a.to(b)
			if p := <-asked; len(asked) != 0 || p.ID != a.id() || len(p.Delegations) != 1 ||
				string(p.Delegations[0]) != "a may write" {
				t.Errorf("Admit was asked about %+v, and %d times more", p, len(asked))
			}
			a.close()
			b.close()
		})
	})
}

// Nothing is said to a node whose key is not the one that the peer list names, and nothing more to oneself.
func TestDiallerKeepsQuiet(t *testing.T) {
	for _, c := range []struct {
		name     string
		host     string
		id       core.ID
		attempts int // at most
	}{
		{"another key", "b", core.ID{7}, 100},
		{"itself", "a", core.ID{}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *linktest.Net) {
				attempts, heard := 0, 0
				a := newHost(t, n, "a", func(c *Config) {
					dial := c.Dial
					c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
						attempts++
						return dial(ctx, network, address)
					}
				})
				b := newHost(t, n, "b", func(c *Config) { c.Trace = func(string, core.ID, wire.Message) { heard++ } })
				a.serve(n)
				b.serve(n)
				a.hub.Dial(core.Peer{Scheme: "wss", Host: c.host, Port: 8001, ID: c.id})
				after(time.Minute)
				a.close()
				b.close()
				if attempts == 0 || attempts > c.attempts {
					t.Errorf("%d attempts; want 1 to %d", attempts, c.attempts)
				}
				if heard > 0 {
					t.Errorf("the wrong node heard %d messages; want none", heard)
				}
			})
		})
	}
}
