// SPDX-License-Identifier: Apache-2.0

package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestRequests plays testdata/requests.txt: blocks of a request (a line of method and path, header lines, the body)
// and, behind ----, its answer. Lines with # in front are comments.
func TestRequests(t *testing.T) {
	const name = "testdata/requests.txt"
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	h := newHandler(t.Context(), fakeNode{})
	var made []string
	for block := range strings.SplitSeq(strings.TrimSpace(string(raw)), "\n\n") {
		request, want, _ := strings.Cut(block+"\n", "\n----\n")
		want = strings.TrimSuffix(want, "\n")
		got := played(t, h, request)
		made = append(made, request+"\n----\n"+got)
		if got != want && !*update {
			t.Errorf("%s\n----\n%s\nwant\n%s", request, got, want)
		}
	}
	if *update {
		if err := os.WriteFile(name, []byte(strings.Join(made, "\n\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// played is the answer to a request: the status, then the body.
func played(t *testing.T, h http.Handler, request string) string {
	lines := slices.DeleteFunc(strings.Split(request, "\n"), func(l string) bool { return strings.HasPrefix(l, "#") })
	var method, path string
	if _, err := fmt.Sscan(lines[0], &method, &path); err != nil {
		t.Fatalf("%q: %v", lines[0], err)
	}
	header, body := http.Header{}, ""
	for i, l := range lines[1:] {
		if key, value, is := strings.Cut(l, ": "); is && !strings.HasPrefix(l, "{") {
			header.Add(key, value)
			continue
		}
		body = strings.Join(lines[1+i:], "\n")
		break
	}
	r := httptest.NewRequest(method, "http://"+host+path, strings.NewReader(body))
	if h := header.Get("Host"); h != "" {
		r.Host = h
	}
	r.Header = header
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	got := strings.TrimSuffix(w.Body.String(), "\n")
	if len(got) > 1000 {
		got = w.Header().Get("Content-Type") + ", more than 1000 bytes"
	}
	return fmt.Sprintf("%d %s", w.Code, http.StatusText(w.Code)) + "\n" + got
}

func TestArgumentsHaveABound(t *testing.T) {
	r := httptest.NewRequest("POST", "http://bkp/v1/status", io.LimitReader(endless{}, maxArgs+1))
	w := httptest.NewRecorder()
	newHandler(t.Context(), fakeNode{}).ServeHTTP(w, r)
	if w.Code != http.StatusRequestEntityTooLarge || !strings.Contains(w.Body.String(), `"code":2`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// endless is zeros.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// TestAStreamWaitsForItsCommand, and a command for its stream, but not for ever.
func TestAStreamWaitsForItsCommand(t *testing.T) {
	for path, want := range map[string]string{
		"/v1/streams/7":         `no command came for the stream \"7\"`,
		"/v1/fetch?stream=7":    `the stream \"7\" of the command did not come`,
		"/v1/backup?stream=7":   `the stream \"7\" of the command did not come`,
		"/v1/status?stream=7":   `the stream \"7\" of the command did not come`,
		"/v1/streams/%0a%20%ff": `no command came`,
	} {
		synctest.Test(t, func(t *testing.T) {
			h, began := newHandler(t.Context(), fakeNode{}), time.Now()
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest("POST", "http://bkp"+path, nil))
			if !strings.Contains(w.Body.String(), want) || w.Code != http.StatusNotFound {
				t.Errorf("%s: %d %s", path, w.Code, w.Body)
			}
			if took := time.Since(began); took != streamPatience {
				t.Errorf("%s: answered after %s", path, took)
			}
		})
	}
}

// TestMeetingsForgetNames: what was waited for leaves nothing behind.
func TestMeetingsForgetNames(t *testing.T) {
	var m meetings
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.claim(ctx, "a"); err == nil {
		t.Error("claimed what nobody offered")
	}
	go m.offer(t.Context(), "b", newPipe(true))
	if _, err := m.claim(t.Context(), "b"); err != nil {
		t.Error(err)
	}
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		m.mu.Lock()
		left := len(m.at)
		m.mu.Unlock()
		if left == 0 {
			return
		}
	}
	t.Error("a name is still there")
}

// FuzzRequest: whatever is asked, each line of the answer is an object, and the last one says how it ended.
func FuzzRequest(f *testing.F) {
	for name := range maps.Keys(commands) {
		f.Add(name, "{}")
	}
	f.Add("gc", `{"copies":1}`)
	f.Add("gc", `{"copies":1,"copies":2}`)
	f.Add("fetch", `{"name":"a","start":1e3}`)
	f.Add("place", `{"plan":{"schema":"x","nodes":[{"id":"zz"}]}}`)
	f.Add("..", `[`)
	f.Fuzz(func(t *testing.T, name, args string) {
		w := httptest.NewRecorder()
		r := httptest.NewRequest("POST", "http://bkp/", strings.NewReader(args))
		r.URL.Path = "/v1/" + name
		newHandler(t.Context(), anyNode{}).ServeHTTP(w, r)
		if w.Code/100 == 3 {
			return // the path has .. or // in it
		}
		ended := false
		for lines := bufio.NewScanner(bytes.NewReader(w.Body.Bytes())); lines.Scan(); {
			var l struct {
				Type string `json:"message_type"`
				Code int    `json:"code"`
			}
			if err := json.Unmarshal(lines.Bytes(), &l); err != nil || ended {
				t.Fatalf("%d %s (%v)", w.Code, w.Body, err)
			}
			ended = l.Type == lineSummary || l.Type == lineError
			if l.Type == lineError && l.Code != 2 {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
		}
		if !ended || (w.Code == http.StatusOK) == strings.Contains(w.Body.String(), lineError) {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	})
}

// anyNode carries out everything at once.
type anyNode struct{}

func (anyNode) Place(_ context.Context, a PlaceArgs, _ func(Status)) (PlaceResult, error) {
	return PlaceResult{Name: a.Name}, nil
}
func (anyNode) Fetch(_ context.Context, a FetchArgs, _ func(Status)) (FetchResult, error) {
	return FetchResult{Name: a.Name}, nil
}
func (anyNode) Open(_ context.Context, a OpenArgs, _ func(Status)) (OpenResult, error) {
	return OpenResult{Name: a.Name}, nil
}
func (anyNode) Backup(_ context.Context, a BackupArgs, _ func(Status)) (BackupResult, error) {
	return BackupResult{Name: a.Name}, nil
}
func (anyNode) Verify(context.Context, VerifyArgs, func(Status)) (r VerifyResult, _ error) {
	return r, nil
}
func (anyNode) ListPeers(context.Context, PeersArgs, func(Status)) (r PeersResult, _ error) {
	return r, nil
}
func (anyNode) Probe(context.Context, ProbeArgs, func(Status)) (r ProbeResult, _ error) {
	return r, nil
}
func (anyNode) Limit(context.Context, LimitArgs, func(Status)) (r LimitResult, _ error) {
	return r, nil
}
func (anyNode) Survey(context.Context, None, func(Status)) (r SurveyResult, _ error) { return r, nil }
func (anyNode) ListVersions(context.Context, ListArgs, func(Status)) (r ListResult, _ error) {
	return r, nil
}
func (anyNode) Remove(context.Context, RemoveArgs, func(Status)) (r RemoveResult, _ error) {
	return r, nil
}
func (anyNode) CollectPlaced(context.Context, GCArgs, func(Status)) (r GCResult, _ error) {
	return r, nil
}
func (anyNode) Status(context.Context, None, func(Status)) (r StatusResult, _ error) { return r, nil }
func (anyNode) Files(context.Context, FilesArgs, func(Status)) (r FilesResult, _ error) {
	return r, nil
}
func (anyNode) Standings(context.Context, StandingArgs, func(Status)) (r StandingResult, _ error) {
	return r, nil
}
func (anyNode) RepairPlacements(context.Context, StandingArgs, func(Status)) (r StandingResult, _ error) {
	return r, nil
}
func (anyNode) Invite(context.Context, InviteArgs, func(Status)) (r InviteResult, _ error) {
	return r, nil
}
func (anyNode) Revoke(context.Context, RevokeArgs, func(Status)) (r RevokeResult, _ error) {
	return r, nil
}
func (anyNode) Invites(context.Context, InvitesArgs, func(Status)) (r InvitesResult, _ error) {
	return r, nil
}
func (anyNode) Reload(context.Context, None, func(Status)) (r ReloadResult, _ error) {
	return r, nil
}

func (anyNode) Drain(context.Context, DrainArgs, func(Status)) (r DrainResult, _ error) {
	return r, nil
}

func (anyNode) Import(context.Context, ImportArgs, func(Status)) (r ImportResult, _ error) {
	return r, nil
}
func (anyNode) Rebalance(context.Context, RebalanceArgs, func(Status)) (r RebalanceResult, _ error) {
	return r, nil
}
func (anyNode) LookAtRecords(context.Context, None, func(Status)) (r RecordsResult, _ error) {
	return r, nil
}
