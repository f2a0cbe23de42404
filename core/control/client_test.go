// SPDX-License-Identifier: Apache-2.0

package control

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bkp-tool/bkp/core"
)

// TestCallers: a node in this process and one behind a socket answer alike.
func TestCallers(t *testing.T) {
	n := fakeNode{
		fetched: func(out io.Writer) error { _, err := io.WriteString(out, "some bytes"); return err },
		backed: func(in io.Reader) error {
			got, err := io.ReadAll(in)
			return errors.Join(err, errors.New(string(got)))
		},
	}
	socket, _ := serve(t, n)
	var out bytes.Buffer
	var in strings.Reader
	for _, c := range []struct {
		command string
		args    any
		result  any
		want    string
	}{
		{CommandStatus, struct{}{}, new(StatusResult), `result {"Peers":2,"Reasons":[]}`},
		{CommandGC, GCArgs{}, new(GCResult), `records, staging 7/9 "a<b & c"!, result {"StagingFreed":9}`},
		{CommandGC, GCArgs{Copies: 1}, new(GCResult),
			`records, staging 7/9 "a<b & c"!, result {"StagingFreed":7}, 3: 2 packs stay (try again)`},
		{CommandGC, GCArgs{Copies: 2}, new(GCResult),
			`records, staging 7/9 "a<b & c"!, 14: pack 3 is damaged (bkp verify)`},
		{CommandGC, RemoveArgs{Name: "x"}, new(GCResult),
			`2: arguments: /name is not known (` + hintOtherRelease + `)`},
		{CommandGC, []int{1}, new(GCResult), `2: arguments: want a JSON object, got "[1]"`},
		{"format", None{}, new(GCResult), `2: the node knows no command "format" (` + hintOtherRelease + `)`},
		{CommandFetch, FetchArgs{Name: "disk", Output: "/x"}, new(FetchResult), `result {"Output":"/x"}`},
		{CommandFetch, FetchArgs{Name: "disk", Out: &out}, new(FetchResult), `result {"Output":"-"} some bytes`},
		{CommandBackup, BackupArgs{}, new(BackupResult), `1: no input`},
		{CommandBackup, BackupArgs{In: &in}, new(BackupResult), `1: what is read`},
		{CommandBackup, BackupArgs{In: strings.NewReader("")}, new(BackupResult), `1: `},
	} {
		for name, caller := range map[string]Caller{"here": Direct(n), "there": dialled(t, socket)} {
			out.Reset()
			in.Reset("what is read")
			var said []string
			err := caller.Call(t.Context(), c.command, c.args, c.result,
				func(s Status) { said = append(said, stated(s)) })
			if counts(err) {
				said = append(said, "result "+brief(c.result)+strings.TrimSuffix(" "+out.String(), " "))
			}
			if err != nil {
				said = append(said, failure(err))
			}
			if got := strings.Join(said, ", "); got != c.want {
				t.Errorf("%s %s %v:\n%s\nwant\n%s", name, c.command, c.args, got, c.want)
			}
		}
	}
}

func stated(s Status) string {
	text := s.Phase
	if s.Total > 0 {
		text += fmt.Sprintf(" %d/%d %q", s.Done, s.Total, s.Text)
	}
	if s.Warning {
		text += "!"
	}
	return text
}

func brief(result any) string {
	switch r := result.(type) {
	case *StatusResult:
		if r.Reasons == nil {
			return "null reasons"
		}
		return fmt.Sprintf(`{"Peers":%d,"Reasons":[]}`, r.Peers)
	case *GCResult:
		return fmt.Sprintf(`{"StagingFreed":%d}`, r.StagingFreed)
	case *FetchResult:
		return fmt.Sprintf(`{"Output":%q}`, r.Output)
	}
	return fmt.Sprint(result)
}

func failure(err error) string {
	text := fmt.Sprintf("%d: %v", core.CodeOf(err), err)
	if h := core.HintOf(err); h != "" {
		text += " (" + h + ")"
	}
	return text
}

func TestACallerMayLeaveOutStatus(t *testing.T) {
	n := fakeNode{}
	socket, _ := serve(t, n)
	for _, caller := range []Caller{Direct(n), dialled(t, socket)} {
		if err := caller.Call(t.Context(), CommandGC, GCArgs{}, new(GCResult), nil); err != nil {
			t.Error(err)
		}
	}
}

// TestHangingUpCancels: the command ends there, and the caller has the reason why it hung up.
func TestHangingUpCancels(t *testing.T) {
	n := fakeNode{removed: make(chan error, 1)}
	socket, _ := serve(t, n)
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	err := dialled(t, socket).Call(ctx, CommandRemove, RemoveArgs{}, new(RemoveResult), func(Status) { cancel(enough) })
	if !errors.Is(err, enough) {
		t.Error(err)
	}
	if cause := <-n.removed; !errors.Is(cause, errCallerGone) {
		t.Error(cause)
	}
}

// TestTheNodeStops while commands run: each says so to its caller, also where nobody reads it.
func TestTheNodeStops(t *testing.T) {
	n := fakeNode{removed: make(chan error, 2)}
	socket, stop := serve(t, n)
	deaf, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	fmt.Fprintf(deaf, "POST /v1/rm HTTP/1.1\r\nHost: bkp\r\nContent-Length: 2\r\n\r\n{}")
	began := time.Now()
	err = dialled(t, socket).Call(t.Context(), CommandRemove, RemoveArgs{}, new(RemoveResult),
		func(Status) { go stop() })
	if err == nil || err.Error() != errNodeStops.Error() {
		t.Error(err)
	}
	stop()
	if took := time.Since(began); took > stopPatience+3*time.Second {
		t.Errorf("stopped after %s", took)
	}
	for range 2 {
		if cause := <-n.removed; !errors.Is(cause, errNodeStops) {
			t.Error(cause)
		}
	}
	if err := (&Client{socket}).Call(t.Context(), CommandStatus, None{}, nil, nil); core.HintOf(err) == "" {
		t.Error(err)
	}
}

// TestAnswersThatBreakOff are no success, whatever came so far.
func TestAnswersThatBreakOff(t *testing.T) {
	const chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	chunk := func(lines string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(lines), lines) }
	for _, c := range []struct{ answer, want string }{
		{"", "the running node hung up: EOF"},
		{"HTTP/1.1 200", "the running node's answer: unexpected EOF"},
		{chunked, "the running node hung up: unexpected EOF"},
		{chunked + chunk(`{"message_type":"status","phase":"a"}`+"\n"), "the running node hung up: unexpected EOF"},
		{chunked + chunk(`{"message_type":"summary"}`+"\n"), "the running node hung up: unexpected EOF"},
		{chunked + "0\r\n\r\n", "the running node hung up: unexpected EOF"},
		{chunked + chunk(`{"message_type":"later"}`+"\n") + "0\r\n\r\n", "the running node hung up: unexpected EOF"},
		{chunked + chunk(`{"message_type":"summary","peers":"x"}`+"\n"), "the running node's result: "},
		{chunked + chunk(`{"message_type":"exit_error","code":0}`+"\n"), "the running node's error: "},
		{chunked + chunk("<html>\n"), "the running node's answer: "},
		{chunked + chunk(`{"message_type":"summary","peers":2}`+"\n") + "0\r\n\r\n", ""},
	} {
		socket := answering(t, func(conn net.Conn) {
			if _, err := conn.Read(make([]byte, 4<<10)); err == nil {
				io.WriteString(conn, c.answer)
			}
		})
		err := (&Client{socket}).Call(t.Context(), CommandStatus, None{}, new(StatusResult), nil)
		if err == nil && c.want != "" || err != nil && (c.want == "" || !strings.HasPrefix(err.Error(), c.want)) {
			t.Errorf("%q: %v, want %s", c.answer, err, c.want)
		}
	}
}

// answering has each connection to a socket served by do.
func answering(t *testing.T, do func(net.Conn)) (socket string) {
	t.Helper()
	socket = t.TempDir() + "/node.sock"
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			do(conn)
			conn.Close()
		}
	}()
	return socket
}

// TestAnyHTTPClientWill: what curl --unix-socket does.
func TestAnyHTTPClientWill(t *testing.T) {
	socket, _ := serve(t, fakeNode{
		fetched: func(out io.Writer) error { _, err := io.WriteString(out, "some bytes"); return err },
		backed:  func(in io.Reader) error { _, err := io.Copy(io.Discard, in); return err },
	})
	client := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}}}
	defer client.CloseIdleConnections()
	read := func(r *http.Response, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		return string(body)
	}
	const form = "application/x-www-form-urlencoded"
	got := read(client.Post("http://bkp/v1/status", form, strings.NewReader("{}")))
	if !strings.Contains(got, `"peers":2`) {
		t.Error(got)
	}
	fetched := make(chan string, 1)
	go func() { fetched <- read(client.Get("http://bkp/v1/streams/a7")) }()
	got = read(client.Post("http://bkp/v1/fetch?stream=a7", form, strings.NewReader(`{"name":"disk"}`)))
	if !strings.Contains(got, `"name":"disk"`) || <-fetched != "some bytes" {
		t.Error(got)
	}
	go func() { fetched <- read(client.Post("http://bkp/v1/streams/a8", form, strings.NewReader("abc"))) }()
	got = read(client.Post("http://bkp/v1/backup?stream=a8", form, strings.NewReader(`{"name":"disk"}`)))
	if !strings.Contains(got, `"name":"disk"`) || <-fetched != "" {
		t.Error(got)
	}
	go func() { // it is broken off, as nothing comes
		if r, err := client.Get("http://bkp/v1/streams/a9"); err == nil {
			r.Body.Close()
		}
		fetched <- ""
	}()
	got = read(client.Post("http://bkp/v1/backup?stream=a9", form, strings.NewReader(`{}`)))
	if <-fetched; !strings.Contains(got, `the command gives no bytes out`) {
		t.Error(got)
	}
}
