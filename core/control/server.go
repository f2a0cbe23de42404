// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bkp-tool/bkp/core"
)

//go:generate go test -run TestOpenAPI -update .

//go:embed openapi.json
var openAPI []byte

// host is the name that requests go to; any other was meant for something else.
const host = "bkp"

// maxArgs bounds the arguments of a command: a plan of a large network may be among them.
const maxArgs = 64 << 20

// stopPatience is how long callers have, once the node stops, to read how their commands ended.
const stopPatience = 2 * time.Second

// Serve answers commands at l until ctx is done: the cause ends those under way. It returns once all have ended.
func Serve(ctx context.Context, l net.Listener, n Node) {
	var conns sync.WaitGroup
	s := &http.Server{
		Handler:           newHandler(ctx, n),
		ReadHeaderTimeout: 10 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          log.New(io.Discard, "", 0),
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				conns.Add(1)
			case http.StateClosed, http.StateHijacked:
				conns.Done()
			case http.StateActive, http.StateIdle:
			}
		},
	}
	s.SetKeepAlivesEnabled(false) // one request a connection: hanging up ends nothing else
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		<-ctx.Done()
		patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopPatience)
		defer cancel()
		if s.Shutdown(patience) != nil {
			_ = s.Close()
		}
	}()
	_ = s.Serve(olderCallers{l}) // it ends with the listener
	<-stopped
	conns.Wait()
}

// handler answers requests; ctx is that of the node.
type handler struct {
	ctx     context.Context
	node    Node
	streams meetings
}

func newHandler(ctx context.Context, n Node) http.Handler {
	h := &handler{ctx: ctx, node: n}
	mux := http.NewServeMux()
	mux.HandleFunc("/v1/{command}", h.command)
	mux.HandleFunc("/v1/streams/{stream}", h.stream)
	mux.HandleFunc("/openapi.json", func(w http.ResponseWriter, r *http.Request) {
		if !allows(w, r, http.MethodGet) {
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(openAPI)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		refuse(w, http.StatusNotFound, core.Fail(core.CodeUsage, "nothing is at %.80q", r.URL.Path))
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Host != host:
			refuse(w, http.StatusMisdirectedRequest, core.WithHint(core.Fail(core.CodeRefused,
				"the node answers to the host %s, not %.80q", host, r.Host), "ask for http://%s/", host))
		case len(r.Header["Origin"]) > 0:
			refuse(w, http.StatusForbidden, core.Fail(core.CodeRefused, "the node answers no page in a browser"))
		default:
			mux.ServeHTTP(w, r)
		}
	})
}

// refuse answers a request of which nothing was carried out.
func refuse(w http.ResponseWriter, status int, err error) {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_ = (&lineWriter{to: w}).write(lineError, exitErrorOf(err))
}

const contentType = "application/jsonl"

// allows refuses other methods.
func allows(w http.ResponseWriter, r *http.Request, methods ...string) bool {
	if slices.Contains(methods, r.Method) {
		return true
	}
	w.Header()["Allow"] = methods
	refuse(w, http.StatusMethodNotAllowed, core.Fail(core.CodeUsage, "%s wants %s, not %.20q", r.URL.Path,
		strings.Join(methods, " or "), r.Method))
	return false
}

// command carries out one command. With status 200 it was begun, and the last line says how it ended.
func (h *handler) command(w http.ResponseWriter, r *http.Request) {
	if !allows(w, r, http.MethodPost) {
		return
	}
	c, err := commandOf(r.PathValue("command"))
	if err != nil {
		refuse(w, http.StatusNotFound, err)
		return
	}
	args, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxArgs))
	if _, over := errors.AsType[*http.MaxBytesError](err); over {
		refuse(w, http.StatusRequestEntityTooLarge,
			core.Fail(core.CodeUsage, "arguments: more than %s", core.Size(maxArgs)))
		return
	}
	if err != nil {
		return // the caller has gone
	}
	carryOut, err := c.read(args)
	if err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	ctx, cancel := context.WithCancelCause(h.ctx)
	defer cancel(nil)
	defer context.AfterFunc(r.Context(), func() { cancel(errCallerGone) })()
	s, leave := stream{}, func(bool) {}
	if name := r.URL.Query().Get("stream"); name != "" {
		p, err := h.streams.claim(ctx, name)
		if err != nil {
			refuse(w, http.StatusNotFound, err)
			return
		}
		defer context.AfterFunc(ctx, func() { p.breakOff(context.Cause(ctx)) })()
		s, leave = p.stream(), p.leave
	}
	w.Header().Set("Content-Type", contentType)
	answer := &lineWriter{to: w}
	ended := make(chan struct{})
	go func() { // on a goroutine of its own: net/http would recover a panic, and the node go on with what it broke
		defer close(ended)
		result, err := carryOut(ctx, h.node, s, answer.status)
		leave(counts(err))
		answer.end(result, err)
	}()
	<-ended
}

var errCallerGone = errors.New("the caller went away")

// stream carries the bytes of a file for the command that names it: out with GET, in with POST.
func (h *handler) stream(w http.ResponseWriter, r *http.Request) {
	if !allows(w, r, http.MethodGet, http.MethodPost) {
		return
	}
	p := newPipe(r.Method == http.MethodPost)
	defer p.breakOff(errCallerGone)
	defer context.AfterFunc(r.Context(), func() { p.breakOff(errCallerGone) })()
	if err := h.streams.offer(r.Context(), r.PathValue("stream"), p); err != nil {
		refuse(w, http.StatusNotFound, err)
		return
	}
	if p.in {
		_, err := io.CopyBuffer(p.writer, r.Body, make([]byte, copySize))
		if err != nil {
			err = fmt.Errorf("read the stream: %w", err)
		}
		_ = p.writer.CloseWithError(err) // nil: it ends here
		// net/http would read what the command did not want.
		_ = http.NewResponseController(w).SetReadDeadline(time.Unix(1, 0))
		w.WriteHeader(http.StatusNoContent)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.WriteHeader(http.StatusOK) // now, lest a client asks again where it breaks off without a byte
	_ = http.NewResponseController(w).Flush()
	if err := copyOut(w, p.reader); err != nil {
		panic(http.ErrAbortHandler) // so that the end of a broken stream differs from that of a whole one
	}
}
