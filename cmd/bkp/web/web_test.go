// SPDX-License-Identifier: Apache-2.0

package web

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/control"
)

// answers is a node with a placement under way and two peers, of which one is gone.
type answers struct {
	asked map[string]int
	err   error
}

func (a *answers) Call(_ context.Context, name string, _, result any, _ func(control.Status)) error {
	a.asked[name]++
	near := control.PeerRow{ID: core.ID{1}, Address: "10.0.0.1:8001", Connected: true, Declared: 5 << 20,
		LeasedOut: 3 << 20}
	switch r := result.(type) {
	case *control.StatusResult:
		*r = control.StatusResult{ID: core.ID{9}, Health: control.HealthReady, Ready: true, Peers: 1,
			Capacity: 10 * core.GiB, Used: core.GiB, Links: []control.PeerRow{near},
			Work: []control.WorkRow{{Command: "place", Name: "<b>disk</b>", Version: 2, Began: time.Now(),
				Status: control.Status{Phase: "place", Done: core.GiB, Total: 4 * core.GiB, Seconds: 10, Predicted: 42,
					Bound: 40, Binding: "links of the source"}}}}
	case *control.StandingResult:
		r.Placements = []control.Standing{{Name: "well", Version: 1, Copies: 2, Wanted: 2, Reached: 1,
			State: control.StateWaiting}, {Name: "endangered", Version: 3, Copies: 1, Wanted: 3, Reached: 1,
			State: control.StateMending, Code: core.CodePartial}}
	case *control.PeersResult:
		gone := control.PeerRow{Address: "10.0.0.2:8001", Problem: "connection refused"}
		r.Peers = []control.PeerRow{near, gone}
	}
	return a.err
}

func page(t *testing.T) (*answers, *Server, *httptest.Server, *http.Client) {
	t.Helper()
	a := &answers{asked: map[string]int{}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(l.Addr(), Source{Caller: a,
		Versions: func() ([]control.VersionRow, error) {
			return []control.VersionRow{{Name: "well", Version: 1, Placed: true, Copies: 2, Wanted: 2, Away: true},
				{Name: "endangered", Version: 3, Placed: true, Copies: 3, Wanted: 3}}, nil // before a holder was lost
		},
		Ledger: func() ([]Entry, error) { return []Entry{{Index: 7, Kind: "receipt", By: core.ID{1}}}, nil }})
	if err != nil {
		t.Fatal(err)
	}
	srv := &httptest.Server{Listener: l, Config: &http.Server{Handler: s}}
	srv.Start()
	t.Cleanup(srv.Close)
	jar, _ := cookiejar.New(nil)
	return a, s, srv, &http.Client{Jar: jar}
}

func body(t *testing.T, c *http.Client, url string) (int, string) {
	t.Helper()
	r, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(text)
}

// The page is shown to who has the token, under its own name, and nothing else than looking is possible.
func TestOnlyWithTheToken(t *testing.T) {
	_, s, srv, c := page(t)
	for _, path := range []string{"/", "/events", "/live.js", "/?token=", "/?token=wrong"} {
		if code, text := body(t, &http.Client{}, srv.URL+path); code != http.StatusForbidden || strings.Contains(text, "well") {
			t.Errorf("without the token %s answers %d: %s", path, code, text)
		}
	}
	if code, _ := body(t, c, s.URL()); code != http.StatusOK {
		t.Errorf("with the token: %d", code)
	}
	if code, _ := body(t, c, srv.URL+"/style.css"); code != http.StatusOK {
		t.Errorf("with the cookie: %d", code)
	}
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "http://elsewhere.example/?token="+s.token, nil)
	if s.ServeHTTP(w, r); w.Code != http.StatusMisdirectedRequest {
		t.Errorf("under another name: %d", w.Code)
	}
	w, r = httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, srv.URL+"/", nil)
	if s.ServeHTTP(w, r); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("a POST: %d", w.Code)
	}
}

func TestPageTells(t *testing.T) {
	a, s, srv, c := page(t)
	_, text := body(t, c, s.URL())
	for _, want := range []string{"<strong>ready</strong>", "1.00 GiB of 10.0 GiB", "1 at risk", "1 of 3: lacks 2",
		"1 at hand: mending", "1 at hand: waiting",
		"connection refused", "the plan promised 42s, the least possible is 40s, bound by links of the source", "30s left",
		"place &lt;b&gt;disk&lt;/b&gt;@2", "receipt", `aria-label="sends 3.00 MiB/s`} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(text, "<b>disk") || strings.Contains(text, s.token) {
		t.Error("the page has a name as it is, or the token")
	}
	if strings.Index(text, "endangered@3") > strings.Index(text, "well@1") {
		t.Error("the version at risk does not come first")
	}
	before := a.asked[control.CommandStatus]
	for range 20 {
		body(t, c, srv.URL+"/")
	}
	if n := a.asked[control.CommandStatus] - before; n > 5 {
		t.Errorf("20 pages asked the node %d times", n)
	}
}

// Sections come as they change, and a node that does not answer is told of.
func TestEvents(t *testing.T) {
	a, s, srv, c := page(t)
	body(t, c, s.URL())
	r, err := c.Get(srv.URL + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	lines := bufio.NewScanner(r.Body)
	lines.Buffer(nil, 1<<20)
	next := func() (sections map[string]string) {
		for lines.Scan() {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				if err := json.Unmarshal([]byte(data), &sections); err != nil {
					t.Fatal(err)
				}
				return sections
			}
		}
		t.Fatal("the events ended")
		return nil
	}
	if first := next(); len(first) != 6 || !strings.Contains(first["versions"], "endangered") {
		t.Errorf("the first event has %d sections", len(first))
	}
	second := next()
	if _, again := second["versions"]; again {
		t.Error("what did not change comes again")
	}
	s.source.mu.Lock()
	a.err = errors.New("the socket is gone")
	s.source.mu.Unlock()
	for range 3 {
		if strings.Contains(next()["health"], "the socket is gone") {
			return
		}
	}
	t.Error("the page does not say that the node is silent")
}

func TestLoopback(t *testing.T) {
	for at, want := range map[string]bool{"127.0.0.1:0": true, "[::1]:80": true, "localhost:80": true, ":80": false,
		"0.0.0.0:80": false, "10.0.0.1:80": false, "example.org:80": false, "127.0.0.1": false} {
		if Loopback(at) != want {
			t.Errorf("%s is of this machine alone: %v", at, !want)
		}
	}
}
