// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
)

// socket is one end of a TCP connection between two hosts, as the kernel counts it.
type socket struct {
	from, to       int    // hosts: whose end it is, and the other's
	local, peer    string // address and port
	sent, received int64  // bytes of the stream
	segments, data int64  // that left; of which with something of the stream in them
	again, resent  int64  // bytes and segments of those, that had been sent before
}

const (
	header  = 14 + 20 + 32 // bytes of a frame that are not the stream's: Ethernet, IP, TCP with timestamps
	segment = 1514 - header
)

// sockets asks every host for its connections to the others.
func (n *network) sockets() (all []socket, err error) {
	for i, h := range n.hosts {
		out, err := exec.Command("ss", "-N", h.namespace(), "-tinOH").Output()
		if err != nil {
			return nil, fmt.Errorf("ask %s for its connections: %w", h.name, err)
		}
		all = append(all, readSockets(string(out), i)...)
	}
	return all, nil
}

// readSockets reads what ss -tinOH says in a host.
func readSockets(text string, host int) (all []socket) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 5 {
			continue
		}
		s := socket{from: host, to: hostAt(f[4]), local: f[3], peer: f[4]}
		if s.to < 0 || s.to == host {
			continue
		}
		for _, word := range f[5:] {
			name, value, _ := strings.Cut(word, ":")
			if name == "retrans" { // not acknowledged yet, and ever
				_, value, _ = strings.Cut(value, "/")
			}
			if into := map[string]*int64{"bytes_sent": &s.sent, "bytes_received": &s.received,
				"segs_out": &s.segments, "data_segs_out": &s.data, "bytes_retrans": &s.again,
				"retrans": &s.resent}[name]; into != nil {
				*into, _ = strconv.ParseInt(value, 10, 64)
			}
		}
		all = append(all, s)
	}
	return all
}

// hostAt is the place of the host with an address and a port, -1 for any other.
func hostAt(endpoint string) int {
	at, _, _ := strings.Cut(endpoint, ":")
	last, ok := strings.CutPrefix(at, subnet)
	i, err := strconv.Atoi(last)
	if !ok || err != nil {
		return -1
	}
	return i - 1
}

// since is what passed since other ends of the same connections were read.
func since(now, before []socket) (all []socket) {
	old := map[[2]string]socket{}
	for _, s := range before {
		old[[2]string{s.local, s.peer}] = s
	}
	for _, s := range now {
		o := old[[2]string{s.local, s.peer}]
		s.sent, s.received, s.again = s.sent-o.sent, s.received-o.received, s.again-o.again
		s.segments, s.data, s.resent = s.segments-o.segments, s.data-o.data, s.resent-o.resent
		all = append(all, s)
	}
	return all
}

// controls says which sockets are of control connections. bkp has one between two nodes, on which both speak, and two
// more with data one way each: so it is the one whose quieter side said most.
func controls(all []socket) map[socket]bool {
	quieter := func(s socket) int64 { return min(s.sent, s.received) }
	best := map[[2]int]socket{}
	for _, s := range all {
		if b, any := best[[2]int{s.from, s.to}]; !any || quieter(s) > quieter(b) {
			best[[2]int{s.from, s.to}] = s
		}
	}
	control := map[socket]bool{}
	for _, s := range best {
		control[s] = true
	}
	return control
}

// mostFraming is up to what part of a stream may be framing: measured 0.002, and what goes beyond was sent twice.
const mostFraming = 0.005

// extraOf sorts what passed a cut beyond the bytes of its bound, from what connections carried. needed is how many
// bytes of the file had to arrive at all hosts together, and least how many bytes of whole frames the bound has pass
// the cut. What was sent again counts once: what was lost was lost in the queue before the link, as a rule.
func extraOf(all []socket, times func(from, to int) float64, needed, least float64) (x extra) {
	control, streams, through := controls(all), 0.0, 0.0
	for _, s := range all {
		n := times(s.from, s.to)
		if control[s] {
			x.control += n * float64(s.sent-s.again+header*(s.segments-s.resent))
			continue
		}
		stream, frames := float64(s.sent-s.again), float64(s.data-s.resent)
		streams += stream
		through += n * stream
		x.acknowledgements += n * header * float64(s.segments-s.data)
		x.headers += n * header * max(0, frames-stream/segment)
	}
	framing := min(max(0, streams/needed-1), mostFraming)
	file := through / (1 + framing)
	const whole = float64(header+segment) / segment
	x.framing, x.again = (through-file)*whole, max(0, file*whole-least)
	return x
}
