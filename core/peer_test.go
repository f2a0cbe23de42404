// SPDX-License-Identifier: Apache-2.0

package core

import (
	"strings"
	"testing"
)

const peerID = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaba"

func TestParsePeer(t *testing.T) {
	id, err := ParseID(peerID)
	if err != nil {
		t.Fatal(err)
	}
	for entry, want := range map[string]Peer{
		"ws://192.168.255.246:8001-102400": {Scheme: "ws", Host: "192.168.255.246", Port: 8001,
			Rate: 100 * Rate(MiB)},
		"wss://host:8002": {Scheme: "wss", Host: "host", Port: 8002},
		"wss://" + peerID + "@host:8002-20MiB": {Scheme: "wss", ID: id, Host: "host", Port: 8002,
			Rate: 20 * Rate(MiB)},
		"wss://" + id.Grouped() + "@h:1-8Mbit":  {Scheme: "wss", ID: id, Host: "h", Port: 1, Rate: 1e6},
		"wss://my-long-host.Example-Site.org:9": {Scheme: "wss", Host: "my-long-host.example-site.org", Port: 9},
		"ws://a-b:65535-1.5MiB":                 {Scheme: "ws", Host: "a-b", Port: 65535, Rate: 3 << 19},
		"ws://[2001:DB8::7]:8001-1":             {Scheme: "ws", Host: "2001:db8::7", Port: 8001, Rate: 1024},
		"ws://[fe80::1%en-0]:8001-1kbit":        {Scheme: "ws", Host: "fe80::1%en-0", Port: 8001, Rate: 125},
	} {
		got, err := ParsePeer(entry)
		if err != nil || got != want {
			t.Errorf("ParsePeer(%q) = %+v, %v; want %+v", entry, got, err, want)
		}
		if again, err := ParsePeer(got.String()); err != nil || again != got {
			t.Errorf("%q written as %q reads %+v, %v", entry, got, again, err)
		}
	}
}

// Bad input 53: every way to get a peer list wrong has words of its own and is a usage error.
func TestPeerListRefuses(t *testing.T) {
	for list, words := range map[string]string{
		"ws://h:8001-":                     "missing",
		"ws://h:8001-0":                    "above zero",
		"ws://h:8001--5":                   "above zero",
		"ws://h:8001-0.0001":               "above zero",
		"ws://h:8001-99999999999999999999": "too large",
		"ws://h:8001-1e300":                "too large",
		"ws://h:8001-fast":                 "not a number",
		"ws://h:8001-NaN":                  "not a number",
		"ws://h:8001-Inf":                  "too large",
		"ws://h:8001-20MiB-5":              "not a number",
		"ws://h:0":                         `port "0"`,
		"ws://h:65536":                     `port "65536"`,
		"ws://h:-1":                        `port ""`,
		"ws://h:080":                       `port "080"`,
		"ws://h:http":                      `port "http"`,
		"ws://h":                           "no port",
		"ws://[::1]":                       "no port",
		"ws://:8001":                       "no host",
		"ws://fe80::1:8001":                "brackets",
		"ws://[127.0.0.1]:8001":            "brackets",
		"ws://[::1:8001":                   "brackets",
		"ws://h/bkp:8001":                  "cannot stand",
		"ws://h:8001/bkp":                  `port "8001/bkp"`,
		"h:8001":                           "no scheme",
		"http://h:8001":                    `"http"`,
		"wss://nobody@h:8001":              "not an ID",
		"ws://h:8001,":                     "entry 2",
		"ws://a:1,ws://b:1,wss://A:1-5":    "entry 3: address a:1 stands twice",
		"ws://[::1]:1,ws://[0:0::1]:1":     "stands twice",
		"wss://" + peerID + "@a:1,wss://" + peerID + "@b:1": "stands twice",
	} {
		_, err := ParsePeers(list)
		if err == nil || !strings.Contains(err.Error(), words) || CodeOf(err) != CodeUsage {
			t.Errorf("ParsePeers(%q) = %v (code %d); want a usage error that says %q", list, err, CodeOf(err), words)
		}
	}
	if peers, err := ParsePeers(" \n"); peers != nil || err != nil {
		t.Errorf("an empty list = %v, %v; want no peers", peers, err)
	}
	if peers, err := ParsePeers("ws://a:1-5, ws://a:2"); len(peers) != 2 || err != nil {
		t.Errorf("two nodes on one host = %v, %v; want two peers", peers, err)
	}
}

// Bad input 53: a peer list that names the node itself.
func TestRefuseSelf(t *testing.T) {
	self, _ := ParseID(peerID)
	for _, c := range []struct {
		peer, listen string
		self         bool
	}{
		{"wss://" + peerID + "@elsewhere:9", ":8001", true},
		{"ws://localhost:8001", ":8001", true},
		{"ws://127.0.0.1:8001", "0.0.0.0:8001", true},
		{"ws://[::1]:8001", "[::]:8001", true},
		{"ws://10.0.0.7:8001", "10.0.0.7:8001", true},
		{"ws://localhost:8001", "127.0.0.1:8001", true},
		{"ws://127.0.0.1:8001", "localhost:8001", true},
		{"ws://127.0.0.1:8002", ":8001", false},
		{"ws://10.0.0.8:8001", ":8001", false},
		{"ws://127.0.0.2:8001", "127.0.0.1:8001", false},
		{"ws://127.0.0.1:8001", "", false},
	} {
		p, err := ParsePeer(c.peer)
		if err != nil {
			t.Fatal(err)
		}
		err = RefuseSelf([]Peer{p}, self, c.listen)
		if (err != nil) != c.self {
			t.Errorf("peer %s of a node listening at %q: %v; want itself = %v", c.peer, c.listen, err, c.self)
		}
	}
}

func FuzzParsePeers(f *testing.F) {
	f.Add("ws://192.168.255.246:8001-102400,wss://" + peerID + "@host:8002-20MiB")
	f.Add("wss://[fe80::1%en-0]:8001-1kbit")
	f.Fuzz(func(t *testing.T, list string) {
		peers, err := ParsePeers(list)
		if err != nil {
			return
		}
		for _, p := range peers {
			if p.Port < 1 || p.Port > 65535 || p.Rate < 0 || p.Host == "" {
				t.Fatalf("%q: accepted %+v", list, p)
			}
			again, err := ParsePeer(p.String())
			if err != nil || again != p {
				t.Fatalf("%q: %+v written as %q reads %+v, %v", list, p, p, again, err)
			}
		}
	})
}
