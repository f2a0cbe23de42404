// SPDX-License-Identifier: Apache-2.0

// Package web shows a running node to its own user's browser: how it is, which versions are at risk, its peers, what is
// under way against its plan, and the end of its ledger. It only looks: nothing can be changed from the page. It is
// served on this machine alone, and to who has the token that was drawn for it.
package web

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

//go:embed page
var files embed.FS

const (
	every  = time.Second // the page is drawn anew so often
	cookie = "bkp-web"
	most   = 32 // pages open at once
)

// Server is the page and who may see it.
type Server struct {
	token  string
	host   string // HOST:PORT, as browsers name it
	page   *template.Template
	source *watcher

	mu   sync.Mutex
	open int
}

// New draws a token for a page about a node, served at an address of this machine. The page is at URL.
func New(at net.Addr, source Source) (*Server, error) {
	page, err := template.New("page.html").Funcs(words).ParseFS(files, "page/*.html")
	if err != nil {
		return nil, fmt.Errorf("page: %w", err)
	}
	return &Server{token: rand.Text(), host: at.String(), page: page, source: &watcher{Source: source}}, nil
}

// URL is where a browser finds the page.
func (s *Server) URL() string { return "http://" + s.host + "/?token=" + s.token }

// ServeHTTP answers browsers of who has the token.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "+
		"form-action 'none'; frame-ancestors 'none'; base-uri 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	switch {
	case !s.named(r.Host): // a page elsewhere may have a name that leads here
		http.Error(w, "this page is at http://"+s.host+"/", http.StatusMisdirectedRequest)
		return
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		http.Error(w, "nothing can be changed here", http.StatusMethodNotAllowed)
		return
	}
	if given := r.URL.Query().Get("token"); given != "" && s.holds(given) {
		http.SetCookie(w, &http.Cookie{Name: cookie, Value: s.token, Path: "/", HttpOnly: true,
			SameSite: http.SameSiteStrictMode})
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return
	}
	if c, err := r.Cookie(cookie); err != nil || !s.holds(c.Value) {
		http.Error(w, "open the address that bkp web printed: it has the token", http.StatusForbidden)
		return
	}
	switch r.URL.Path {
	case "/":
		s.whole(w, r)
	case "/events":
		s.events(w, r)
	case "/style.css", "/live.js":
		http.ServeFileFS(w, r, files, "page"+r.URL.Path)
	default:
		http.NotFound(w, r)
	}
}

func (s *Server) holds(token string) bool {
	return subtle.ConstantTimeCompare([]byte(token), []byte(s.token)) == 1
}

// named tells whether a request was meant for this page: by its address, or as localhost.
func (s *Server) named(host string) bool {
	_, port, err := net.SplitHostPort(s.host)
	return host == s.host || err == nil && host == "localhost:"+port
}

func (s *Server) whole(w http.ResponseWriter, r *http.Request) {
	var b bytes.Buffer
	if err := s.page.ExecuteTemplate(&b, "page.html", s.source.look(r.Context())); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(b.Bytes())
}

// sections are the parts of the page that are drawn anew, each the template and the element of that name.
var sections = []string{"health", "work", "versions", "peers", "kept", "ledger"}

// events sends, each second, the sections that have changed, until the browser goes away.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	flusher, ok := w.(http.Flusher)
	if !ok || !s.enter() {
		http.Error(w, "too many pages are open", http.StatusServiceUnavailable)
		return
	}
	defer s.leave()
	w.Header().Set("Content-Type", "text/event-stream")
	before := map[string]string{}
	ticks := time.NewTicker(every)
	defer ticks.Stop()
	for {
		if err := s.send(r.Context(), w, before); err != nil {
			return
		}
		flusher.Flush()
		select {
		case <-ticks.C:
		case <-r.Context().Done():
			return
		}
	}
}

// send writes one event: the sections that are others than before, as JSON.
func (s *Server) send(ctx context.Context, w http.ResponseWriter, before map[string]string) error {
	now := s.source.look(ctx)
	changed := map[string]string{}
	for _, name := range sections {
		var b bytes.Buffer
		if err := s.page.ExecuteTemplate(&b, name, now); err != nil {
			return fmt.Errorf("draw %s: %w", name, err)
		}
		if text := b.String(); text != before[name] {
			before[name], changed[name] = text, text
		}
	}
	data, err := json.Marshal(changed)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "data: %s\n\n", data)
	return err
}

func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == most {
		return false
	}
	s.open++
	return true
}

func (s *Server) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open--
}

// Loopback tells whether an address is of this machine alone.
func Loopback(hostPort string) bool {
	host, _, err := net.SplitHostPort(hostPort)
	if err != nil {
		return false
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// newest is the last of a list, the newest first.
func newest[T any](rows []T, count int) []T {
	last := slices.Clone(rows[max(0, len(rows)-count):])
	slices.Reverse(last)
	return last
}
