// SPDX-License-Identifier: Apache-2.0

//go:build linux && amd64

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// A node of a world.
type node struct {
	started chan int // its process, once
	ended   chan struct{}
	traced  bool
	outcome outcome
	err     error
}

// start starts the node and waits until it is ready.
func (w *world) start(data string) {
	w.begins(data)
	if !w.ready(data, 0, limit) {
		w.wrong("the node of %s does not become ready", data)
	}
}

func (w *world) begins(data string) {
	args := w.nodeArgs(data)
	out := w.append("$ bkp " + strings.Join(args, " ") + " &")
	c := exec.Command(w.bkp, args...)
	c.Env, c.Dir, c.Stdout, c.Stderr = w.environ(), w.path(""), out, out
	n := w.add(data)
	go func() {
		defer close(n.ended)
		defer out.Close()
		if n.err = c.Start(); n.err != nil {
			return
		}
		n.started <- c.Process.Pid
		c.Wait()
		n.outcome.code = c.ProcessState.ExitCode()
	}()
}

// startTraced starts the node that something befalls; it may never become ready.
func (w *world) startTraced(data string) {
	r, done := w.prepared(w.nodeArgs(data))
	n := w.add(data)
	n.traced = true
	r.started = func(pid int) { n.started <- pid }
	go func() {
		defer close(n.ended)
		defer done()
		n.outcome, n.err = w.thread.trace(w.ctx, r)
	}()
}

func (w *world) add(data string) *node {
	n := &node{started: make(chan int, 1), ended: make(chan struct{})}
	w.nodes[data] = n
	return n
}

// end sends the node a signal and waits until it has ended.
func (n *node) end(by syscall.Signal, within time.Duration) bool {
	select {
	case pid := <-n.started:
		n.started <- pid
		// where it has ended just now, another process of that number would have to be there already
		syscall.Kill(pid, by)
	case <-n.ended:
	}
	select {
	case <-n.ended:
		return true
	case <-time.After(within):
		return false
	}
}

// stop ends a node as a person would, and judges how it ended.
func (w *world) stop(data string) outcome {
	n := w.nodes[data]
	ended := n.end(syscall.SIGTERM, limit/2)
	if !ended {
		n.end(syscall.SIGKILL, limit)
	}
	delete(w.nodes, data)
	switch code := n.outcome.code; {
	case !ended:
		w.wrong("the node of %s does not stop", data)
	case n.err != nil:
		w.wrong("the node of %s: %v", data, n.err)
	case n.traced:
		w.judge(n.outcome, w.nodeArgs(data))
	case code != 0:
		w.wrong("the node of %s was asked to stop and ended with %d", data, code)
	}
	return n.outcome
}

func (w *world) stopAll() {
	for data := range w.nodes {
		w.stop(data)
	}
}

// kill ends what a point that went wrong has left running.
func (w *world) kill() {
	for data, n := range w.nodes {
		n.end(syscall.SIGKILL, limit)
		delete(w.nodes, data)
	}
}

// nodeArgs name two verifiers, the fewest that a node starts with: each is a process of its own, which costs as much as
// all else that a node does here.
func (w *world) nodeArgs(data string) []string {
	var peers []string
	for _, other := range peersOf[data] {
		peers = append(peers, w.address(other)+"-200MiB")
	}
	listen := strings.TrimPrefix(w.address(data), "wss://")
	return []string{"node", "start", "--data", data, "--listen", listen, "--token-file", "token", "--capacity", "1GiB",
		"--peers", strings.Join(peers, ","), "--verifiers", "signature,targets"}
}

// peersOf is whom each node dials. mid, which coordinates, is in some scenes only.
var peersOf = map[string][]string{"src": {"dst"}, "dst": {"src"}, "mid": {"src", "dst"}}

// names is the nodes of the scene.
func (w *world) names() []string {
	if w.mid {
		return []string{"src", "dst", "mid"}
	}
	return []string{"src", "dst"}
}

func (w *world) address(data string) string {
	return fmt.Sprint("wss://127.0.0.1:", w.ports[map[string]int{"src": 0, "dst": 1, "mid": 2}[data]])
}

// ready waits until nothing is wrong with the node and it has met so many peers.
func (w *world) ready(data string, peers int, within time.Duration) bool {
	return w.answers(data, within, func(s status) bool { return s.Ready && s.Peers >= peers })
}

// met waits until the node has met its peer, whatever may be wrong with it.
func (w *world) met(data string, within time.Duration) bool {
	return w.answers(data, within, func(s status) bool { return s.Peers > 0 })
}

// A status is part of what a node says of itself.
type status struct {
	Ready    bool
	Peers    int
	Reserved int64 // room that is promised
}

// answers asks the node until its answer is the wanted one; false where the node ends before, or time does.
func (w *world) answers(data string, within time.Duration, wanted func(status) bool) bool {
	ctx, cancel := context.WithTimeout(w.ctx, within)
	defer cancel()
	for ctx.Err() == nil {
		if s, err := w.ask(ctx, data); err == nil && wanted(s) {
			return true
		}
		select {
		case <-w.nodes[data].ended:
			return false
		case <-time.After(20 * time.Millisecond):
		}
	}
	return false
}

// ask asks at the node's socket: a command that asks is a process, and a sweep would spend most of its time on those.
func (w *world) ask(ctx context.Context, data string) (s status, err error) {
	socket := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(w.path(data), "node.sock"))
	}}
	question, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://bkp/v1/status", strings.NewReader("{}"))
	if err != nil {
		return s, err
	}
	answer, err := socket.RoundTrip(question)
	if err != nil {
		return s, err
	}
	defer answer.Body.Close()
	return s, json.NewDecoder(answer.Body).Decode(&s)
}

// freePorts finds ports that nobody listens at, below those that the system lends to whoever dials.
func freePorts(n int) (ports []int) {
	for len(ports) < n {
		port := 20000 + rand.IntN(12000)
		if l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port)); err == nil {
			l.Close()
			ports = append(ports, port)
		}
	}
	return ports
}
