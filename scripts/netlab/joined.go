// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// joined is the process of the switch as the lab sees it.
type joined struct {
	cmd    *exec.Cmd
	orders io.WriteCloser
	counts *bufio.Scanner
	now    order
}

// join makes a trial's hosts and the switch between them.
func join(t trial) (*network, error) {
	var s steps
	j := &joined{}
	for _, h := range t.hosts {
		s.ip("netns add " + h.namespace())
		s.ip("-n " + h.namespace() + " link set lo up")
		j.now.Namespaces = append(j.now.Namespaces, h.namespace())
		j.now.Zones = append(j.now.Zones, h.zone)
	}
	if s.err != nil {
		return nil, s.err
	}
	n := &network{hosts: t.hosts, trial: t, joined: j}
	if err := j.start(); err != nil {
		return n, err
	}
	for i, h := range t.hosts {
		ns := h.namespace()
		s.ip(fmt.Sprintf("-n %s link set eth0 address 02:00:00:00:00:%02x", ns, i+1))
		s.ip(fmt.Sprintf("-n %s addr add %s/24 dev eth0", ns, address(i)))
		s.ip(fmt.Sprintf("-n %s link set eth0 mtu %d txqueuelen 2000 up", ns, mtu))
		s.settle(ns)
	}
	return n, s.err
}

func (j *joined) start() (err error) {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	// Before all others: what comes late out of the switch would be the lab's doing, not the link's.
	j.cmd = exec.Command("chrt", "-f", "20", self, "-switch")
	j.cmd.Stderr = os.Stderr
	j.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if j.orders, err = j.cmd.StdinPipe(); err != nil {
		return err
	}
	out, err := j.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	j.counts = bufio.NewScanner(out)
	if err := j.cmd.Start(); err != nil {
		return err
	}
	_, err = j.tell(func(*order) {})
	return err
}

// tell changes what the switch is to do and returns what it counted so far.
func (j *joined) tell(change func(*order)) (c switched, err error) {
	change(&j.now)
	if err := json.NewEncoder(j.orders).Encode(j.now); err != nil {
		return c, fmt.Errorf("tell the switch: %w", err)
	}
	if !j.counts.Scan() {
		return c, fmt.Errorf("the switch ended")
	}
	return c, json.Unmarshal(j.counts.Bytes(), &c)
}

// shape gives hosts their links and the way between them its delay.
func (j *joined) shape(t trial) error {
	_, err := j.tell(func(o *order) {
		o.Up, o.Down, o.Trunk, o.Delay = nil, nil, t.trunk, t.rtt/2
		for _, h := range t.hosts {
			o.Up, o.Down = append(o.Up, h.up), append(o.Down, h.down)
		}
	})
	return err
}

func (j *joined) close() {
	if j.cmd == nil || j.cmd.Process == nil {
		return
	}
	j.orders.Close()
	late := time.AfterFunc(3*time.Second, func() { _ = j.cmd.Process.Kill() })
	_ = j.cmd.Wait()
	late.Stop()
}
