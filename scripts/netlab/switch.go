// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bufio"
	"container/heap"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// The switch joins hosts where frames take time on the way or share a thin link between two sites, which this machine's
// kernel may not be able to do. It is a process of its own, this program started with -switch, so that it runs before
// all others: every host's eth0 is a tap device whose frames it reads, holds for as long as the links would, and writes
// to the other host. A JSON order a line comes on its standard input, the counters go out after each; at the end of the
// input it ends.

// order tells the switch what its links are like from now on.
type order struct {
	Namespaces []string // first order only: open eth0 in each
	Up, Down   []mbit   // by host; 0 or none is unlimited
	Zones      []string // by host
	Trunk      mbit     // between any two zones, in each direction
	Delay      time.Duration
	Cut        bool // nothing passes from one zone to another
}

// switched is what the switch counted since it began.
type switched struct {
	Hosts   []traffic
	Trunks  map[string]int64 // frames that passed from zone to zone, in bytes: "a>b"
	Dropped int64            // frames that found a full queue
}

// queued is a link: it sends one frame after the other, and holds what it would send within its limit. Times are
// nanoseconds.
type queued struct {
	perByte float64 // 0 is unlimited
	free    int64   // when it has sent all that it has
}

// pass says when a frame of n bytes that comes at a time is through, and whether there was room for it.
func (q *queued) pass(at int64, n int) (int64, bool) {
	if q.perByte == 0 {
		return at, true
	}
	limit := max(int64(queue), int64(20*(mtu+14)*q.perByte))
	q.free = max(q.free, at)
	if q.free-at > limit {
		return 0, false
	}
	q.free += int64(float64(n) * q.perByte)
	return q.free, true
}

// frame is on its way to the stage that it reaches next.
type frame struct {
	at       int64
	seq      uint64 // frames of one time keep their order
	from, to int
	next     stage
	bytes    []byte
}

type stage uint8

const (
	trunk stage = iota // the queue between the sites, or straight on
	down               // the receiver's downlink
	out                // into the receiver's eth0
)

type frames []frame

func (h frames) Len() int { return len(h) }
func (h frames) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].seq < h[j].seq
}
func (h frames) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *frames) Push(x any)   { *h = append(*h, x.(frame)) }
func (h *frames) Pop() any     { o := *h; f := o[len(o)-1]; *h = o[:len(o)-1]; return f }

// fabric is the switch's state. Readers, one a tap, put frames in; one loop takes them through.
type fabric struct {
	mu       sync.Mutex
	start    time.Time
	taps     []*os.File
	up, down []queued
	trunks   map[string]*queued
	way      frames
	seq      uint64
	now      order
	count    switched
	wake     chan struct{} // a frame came that is due before all others
}

func runSwitch(in io.Reader, say io.Writer) error {
	f := &fabric{start: time.Now(), trunks: map[string]*queued{}, wake: make(chan struct{}, 1)}
	f.count.Trunks = map[string]int64{}
	for lines := bufio.NewScanner(in); lines.Scan(); {
		var o order
		if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
			return fmt.Errorf("an order: %w", err)
		}
		if f.taps == nil {
			if err := f.open(o.Namespaces); err != nil {
				return err
			}
		}
		f.mu.Lock()
		f.obey(o)
		err := json.NewEncoder(say).Encode(f.count)
		f.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// open makes every host's eth0 and starts to read it.
func (f *fabric) open(namespaces []string) error {
	for _, ns := range namespaces {
		t, err := openTap(ns)
		if err != nil {
			return fmt.Errorf("make eth0 in %s: %w", ns, err)
		}
		f.taps = append(f.taps, t)
	}
	n := len(namespaces)
	f.up, f.down, f.count.Hosts = make([]queued, n), make([]queued, n), make([]traffic, n)
	for i := range f.taps {
		go f.read(i) // these end with the process
	}
	go f.loop()
	return nil
}

func (f *fabric) obey(o order) {
	f.now = o
	set := func(q *queued, m mbit) {
		if q.perByte = 0; m > 0 {
			q.perByte = 8e3 / float64(m)
		}
	}
	for i := range f.taps {
		if i < len(o.Up) {
			set(&f.up[i], o.Up[i])
			set(&f.down[i], o.Down[i])
		}
	}
	for _, a := range o.Zones {
		for _, b := range o.Zones {
			if f.trunks[a+">"+b] == nil {
				f.trunks[a+">"+b] = &queued{}
			}
			set(f.trunks[a+">"+b], o.Trunk)
		}
	}
}

// between names the trunk from one host to another, if they stand in different zones.
func (f *fabric) between(from, to int) string {
	z := f.now.Zones
	if from >= len(z) || to >= len(z) || z[from] == z[to] {
		return ""
	}
	return z[from] + ">" + z[to]
}

// read takes what a host sends through its uplink. Hosts know each other's hardware addresses by their place: the last
// byte.
func (f *fabric) read(me int) {
	buf := make([]byte, 65536)
	for {
		n, err := f.taps[me].Read(buf)
		if err != nil {
			return
		}
		if n < 14 || buf[12] == 0x86 && buf[13] == 0xdd { // no IPv6 here
			continue
		}
		b := append([]byte(nil), buf[:n]...)
		at := int64(time.Since(f.start))
		f.mu.Lock()
		at, ok := f.up[me].pass(at, n)
		if !ok {
			f.count.Dropped++
			f.mu.Unlock()
			continue
		}
		f.count.Hosts[me].Sent += int64(n)
		for to := range f.taps {
			if to != me && (b[0]&1 == 1 || int(b[5]) == to+1) { // a broadcast goes to all
				f.put(frame{at: at, from: me, to: to, next: trunk, bytes: b})
			}
		}
		f.mu.Unlock()
	}
}

// put is called with the lock.
func (f *fabric) put(x frame) {
	f.seq++
	x.seq = f.seq
	heap.Push(&f.way, x)
	if f.way[0].seq == x.seq {
		select {
		case f.wake <- struct{}{}:
		default:
		}
	}
}

// loop takes every frame to its next stage when it is due.
func (f *fabric) loop() {
	timer := time.NewTimer(time.Hour)
	for {
		f.mu.Lock()
		wait := time.Hour
		for len(f.way) > 0 {
			if wait = time.Duration(f.way[0].at) - time.Since(f.start); wait > 0 {
				break
			}
			x := heap.Pop(&f.way).(frame)
			if x.next == out {
				f.mu.Unlock()
				_, _ = f.taps[x.to].Write(x.bytes) // a full queue of the host drops it, as hosts do
				f.mu.Lock()
				continue
			}
			f.forward(x)
		}
		f.mu.Unlock()
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-f.wake:
		}
	}
}

func (f *fabric) forward(x frame) {
	ok, n := true, len(x.bytes)
	switch x.next {
	case trunk:
		if name := f.between(x.from, x.to); name != "" {
			if f.now.Cut {
				return
			}
			if x.at, ok = f.trunks[name].pass(x.at, n); ok {
				f.count.Trunks[name] += int64(n)
			}
		}
		x.at += int64(f.now.Delay)
	case down:
		if x.at, ok = f.down[x.to].pass(x.at, n); ok {
			f.count.Hosts[x.to].Received += int64(n)
			f.count.Hosts[x.to].Payload += payload(x.bytes)
		}
	case out: // it has been through every queue
	}
	if !ok {
		f.count.Dropped++
		return
	}
	x.next++
	f.put(x)
}

// payload is how much of a frame TCP carries for a program.
func payload(b []byte) int64 {
	if len(b) < 54 || b[12] != 8 || b[13] != 0 || b[23] != unix.IPPROTO_TCP {
		return 0
	}
	ip := int(b[14]&15) * 4
	if len(b) < 14+ip+20 {
		return 0
	}
	return int64(int(b[16])<<8 | int(b[17]) - ip - int(b[14+ip+12]>>4)*4)
}

// openTap makes eth0 in a namespace.
func openTap(ns string) (tap *os.File, err error) {
	err = within(ns, func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		request, _ := unix.NewIfreq("eth0")
		request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
			return errors.Join(err, unix.Close(fd))
		}
		tap = os.NewFile(uintptr(fd), ns)
		return nil
	})
	return tap, err
}

// within does something in a namespace. The thread that enters it ends with the goroutine, since it stays locked.
func within(ns string, do func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		at, err := os.Open("/run/netns/" + ns)
		if err != nil {
			done <- err
			return
		}
		defer at.Close()
		if err := unix.Setns(int(at.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		done <- do()
	}()
	return <-done
}
