// SPDX-License-Identifier: Apache-2.0

package datadir

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/key"
	"pgregory.net/rapid"
)

// pinsAt is pins with these addresses.
func pinsAt(met map[core.ID]string) *Pins {
	p := &Pins{met: map[core.ID]pin{}}
	for id, address := range met {
		p.met[id] = pin{Address: address}
	}
	return p
}

// exportedPeers is what a new machine reads of the peers that an identity was exported with.
func exportedPeers(t rapid.TB, listed []core.Peer, met map[core.ID]string) []core.Peer {
	t.Helper()
	o, err := key.ParseOwner(testIdentity(t), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range mergePeers(listed, pinsAt(met).peers()) {
		o.Peers = append(o.Peers, p.String())
	}
	text, err := o.Marshal("")
	if err != nil {
		t.Fatal(err)
	}
	imported, err := key.ParseOwner(text, "")
	if err != nil {
		t.Fatalf("import: %v", err)
	}
	peers, err := core.ParsePeers(Remembered(imported))
	if err != nil {
		t.Fatalf("read back: %v\n%s", err, text)
	}
	return peers
}

// testIdentity is an identity without peers.
func testIdentity(t rapid.TB) []byte {
	t.Helper()
	o, err := key.NewOwner(strings.NewReader(strings.Repeat("x", 64)))
	if err != nil {
		t.Fatal(err)
	}
	text, err := o.Marshal("")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func idOf(b byte) core.ID { return core.ID{b, 1} }

func TestMergePeers(t *testing.T) {
	a, b, c := idOf(1), idOf(2), idOf(3)
	for _, tc := range []struct {
		name   string
		listed string
		met    map[core.ID]string
		want   []string
	}{
		{"a node that was met", "", map[core.ID]string{a: "a:1"}, []string{"wss://A@a:1"}},
		{"one that is listed gets the ID that it was met with", "wss://a:1-20480", map[core.ID]string{a: "a:1"},
			[]string{"wss://A@a:1-20480"}},
		{"one that took another's place", "", map[core.ID]string{a: "a:1", b: "a:1"}, []string{"wss://a:1"}},
		{"the same, and it is listed", "wss://a:1-20480", map[core.ID]string{a: "a:1", b: "a:1", c: "c:1"},
			[]string{"wss://a:1-20480", "wss://C@c:1"}},
		{"one that took the place of one that is listed by its ID", "wss://A@a:1", map[core.ID]string{b: "a:1"},
			[]string{"wss://a:1"}},
		{"one that moved", "wss://A@a:1", map[core.ID]string{a: "b:1"}, []string{"wss://a:1", "wss://A@b:1"}},
		{"two that changed places", "wss://A@a:1,wss://B@b:1", map[core.ID]string{a: "b:1", b: "a:1"},
			[]string{"wss://a:1", "wss://b:1"}},
		{"one that only dials", "", map[core.ID]string{a: "", b: "b:1"}, []string{"wss://B@b:1"}},
		{"without encryption", "ws://a:1", map[core.ID]string{a: "a:1"}, []string{"ws://a:1"}},
		{"IPv6", "", map[core.ID]string{a: "[2001:DB8::7]:8001"}, []string{"wss://A@[2001:db8::7]:8001"}},
		{"an address that no list can hold", "", map[core.ID]string{a: "[fe80::1%a,b]:1", b: "b:1"},
			[]string{"wss://B@b:1"}},
	} {
		named := strings.NewReplacer("A@", a.String()+"@", "B@", b.String()+"@", "C@", c.String()+"@")
		listed, err := core.ParsePeers(named.Replace(tc.listed))
		if err != nil {
			t.Fatal(err)
		}
		var got, want []string
		for _, p := range exportedPeers(t, listed, tc.met) {
			got = append(got, p.String())
		}
		for _, w := range tc.want {
			want = append(want, named.Replace(w))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s:\n got %v\nwant %v", tc.name, got, want)
		}
	}
}

// An identity reads back whatever was written into it: every address once, every node at most once, and whoever stands
// alone at the address where it was met last has its ID.
func TestExportedIdentityReadsBack(t *testing.T) {
	host := rapid.OneOf(
		rapid.StringMatching(`[a-zA-Z0-9_.-]{1,20}`), rapid.SampledFrom([]string{"a", "b", "127.0.0.1"}),
		rapid.StringMatching(`\[([0-9a-f]{1,4}:){7}[0-9a-f]{1,4}(%[a-z,@-]{1,5})?\]`), rapid.String())
	address := rapid.Custom(func(t *rapid.T) string {
		return host.Draw(t, "host") + ":" + fmt.Sprint(rapid.IntRange(0, 70000).Draw(t, "port"))
	})
	id := rapid.Custom(func(t *rapid.T) core.ID { return idOf(byte(rapid.IntRange(1, 12).Draw(t, "id"))) })
	rapid.Check(t, func(t *rapid.T) {
		var listed []core.Peer
		for _, at := range rapid.SliceOf(address).Draw(t, "listed") {
			entry := "wss://" + at
			if rapid.Bool().Draw(t, "named") {
				entry = "wss://" + id.Draw(t, "node").String() + "@" + at
			}
			entry += rapid.SampledFrom([]string{"", "-1", "-20MiB", "-1.5kbit"}).Draw(t, "rate")
			if with, err := core.ParsePeers(strings.Join(append(entries(listed), entry), ",")); err == nil {
				listed = with // what a configuration may hold
			}
		}
		met := rapid.MapOf(id, address).Draw(t, "met")
		got := exportedPeers(t, listed, met)
		for _, p := range listed {
			if !slices.ContainsFunc(got, func(g core.Peer) bool {
				return g.Address() == p.Address() &&
					g.Rate == p.Rate
			}) {
				t.Errorf("%s was listed and is forgotten", p)
			}
		}
		for _, p := range pinsAt(met).peers() {
			others := 0
			for _, o := range slices.Concat(listed, pinsAt(met).peers()) {
				if o.Address() == p.Address() && o.ID != p.ID && !o.ID.IsZero() {
					others++
				}
			}
			if !slices.ContainsFunc(got, func(g core.Peer) bool {
				return g.Address() == p.Address() &&
					(g.ID == p.ID) == (others == 0)
			}) {
				t.Errorf("%s, with %d others there, is not in %v", p, others, got)
			}
		}
	})
}

func entries(peers []core.Peer) (list []string) {
	for _, p := range peers {
		list = append(list, p.String())
	}
	return list
}

// A network may be large; the identity stays readable, and what was listed goes first.
func TestIdentityOfAManyPeers(t *testing.T) {
	met := map[core.ID]string{}
	for i := range 5000 {
		met[core.ID{byte(i), byte(i >> 8), 1}] = fmt.Sprintf("node-%d.example:8001", i)
	}
	listed, err := core.ParsePeers("wss://zzz.example:8001")
	if err != nil {
		t.Fatal(err)
	}
	got := exportedPeers(t, listed, met)
	if len(got) != maxRemembered || got[0].Address() != "zzz.example:8001" {
		t.Errorf("%d peers, the first %s", len(got), got[0])
	}
}

// Identities that earlier releases exported have every node that was ever met at an address.
func TestRememberedOfEarlierReleases(t *testing.T) {
	o, err := key.ParseOwner(testIdentity(t), "")
	if err != nil {
		t.Fatal(err)
	}
	o.Peers = []string{"wss://" + idOf(1).String() + "@a:1", "wss://" + idOf(2).String() + "@a:1", "nonsense",
		"wss://b:1-20480"}
	if got, want := Remembered(o), "wss://a:1,wss://b:1-20480"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestPinsRememberTheNewestAddress(t *testing.T) {
	h := Dir(t.TempDir())
	p, err := h.OpenPins(h)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{"", "a:1", "b:1", ""} {
		if err := p.Pin(idOf(1), at); err != nil {
			t.Fatal(err)
		}
	}
	again, err := h.OpenPins(h)
	if err != nil {
		t.Fatal(err)
	}
	if !again.Known(idOf(1)) || again.met[idOf(1)].Address != "b:1" {
		t.Errorf("%v", again.met)
	}
}

// A new token makes strangers of those who came by the old one; so it does of those that an earlier release pinned, of
// whom nobody knows how they came, once the token changes under this one.
func TestPinsGoWithTheirToken(t *testing.T) {
	first, second := []byte("the first token of this cluster"), []byte("the token that took its place")
	h := Dir(t.TempDir())
	old := fmt.Sprintf("{%q: %q, %q: %q}", idOf(1), "a:1", idOf(2), "")
	if err := os.WriteFile(h.Path("pins.json"), []byte(old), 0o600); err != nil {
		t.Fatal(err)
	}
	known := func(token []byte, pin ...core.ID) (who string) {
		t.Helper()
		p, err := h.OpenPins(h)
		if err == nil {
			err = p.Under(token)
		}
		for _, id := range pin {
			err = errors.Join(err, p.Pin(id, "c:1"))
		}
		if err != nil {
			t.Fatal(err)
		}
		for n := range 4 {
			if p.Known(idOf(byte(n))) {
				who += strconv.Itoa(n)
			}
		}
		return who
	}
	for k, step := range []struct {
		token []byte
		pin   []core.ID
		want  string
	}{
		{nil, nil, "12"},
		{first, []core.ID{idOf(3)}, "123"},
		{second, nil, ""},
		{second, []core.ID{idOf(2)}, "2"},
		{nil, nil, "123"},
		{first, nil, "13"},
	} {
		if got := known(step.token, step.pin...); got != step.want {
			t.Errorf("step %d: %s are known, want %s", k, got, step.want)
		}
	}
	text, err := os.ReadFile(h.Path("pins.json"))
	if err != nil || bytes.Contains(text, first) || bytes.Contains(text, second) {
		t.Errorf("the file tells a token: %s %v", text, err)
	}
}
