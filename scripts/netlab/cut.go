// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"slices"
	"strings"
)

// cut is the links that together set a bound.
type cut []access

// access is a host's uplink or downlink, or a trunk.
type access struct {
	kind  linkKind
	host  int
	trunk string // "west>east"
	rate  mbit
}

type linkKind uint8

const (
	uplink linkKind = iota
	downlink
	trunkWay
)

// cutOf reads what package plan says that binds, but for room on disks: no byte is counted there.
func (t trial) cutOf(binding string) (c cut, err error) {
	if binding == "uplinks of all nodes together" {
		for i, h := range t.hosts {
			c = append(c, access{kind: uplink, host: i, rate: h.up})
		}
		return c, nil
	}
	for _, part := range strings.Split(binding, " and ") {
		what, names, _ := strings.Cut(part, " ")
		if what == "space" {
			continue
		}
		if part == "source uplink" {
			what, names = "uplink", t.hosts[t.source()].name
		}
		for _, name := range strings.Split(names, ", ") {
			i := slices.IndexFunc(t.hosts, func(h host) bool { return h.name == name })
			switch {
			case strings.TrimSuffix(what, "s") == "trunk" && t.trunk > 0:
				c = append(c, access{kind: trunkWay, trunk: name, rate: t.trunk})
			case i >= 0 && strings.TrimSuffix(what, "s") == "uplink":
				c = append(c, access{kind: uplink, host: i, rate: t.hosts[i].up})
			case i >= 0 && strings.TrimSuffix(what, "s") == "downlink":
				c = append(c, access{kind: downlink, host: i, rate: t.hosts[i].down})
			default:
				return nil, fmt.Errorf("no counter for %q", binding)
			}
		}
	}
	return c, nil
}

// source is the host that the bound takes for the source: of a fetch, one of them.
func (t trial) source() int {
	if t.fetch {
		return 1
	}
	return 0
}

// waits says whether some of it cannot be used before a host has something to pass on.
func (c cut) waits(t trial) bool {
	return !t.fetch && slices.ContainsFunc(c, func(a access) bool { return a.kind == uplink && a.host != t.source() })
}

// rate is bytes a second.
func (c cut) rate() (sum float64) {
	for _, a := range c {
		sum += float64(a.rate.rate())
	}
	return sum
}

// passed is how many bytes of whole frames have passed the cut by a sample.
func (c cut) passed(s sample) (sum int64) {
	for _, a := range c {
		switch a.kind {
		case uplink:
			sum += s.all[a.host].Sent
		case downlink:
			sum += s.all[a.host].Received
		case trunkWay:
			sum += s.trunks[a.trunk]
		}
	}
	return sum
}

// times is how often a frame from one host to another passes the cut.
func (c cut) times(t trial, from, to int) (n float64) {
	for _, a := range c {
		switch a.kind {
		case uplink:
			if a.host == from {
				n++
			}
		case downlink:
			if a.host == to {
				n++
			}
		case trunkWay:
			if a.trunk == t.hosts[from].zone+">"+t.hosts[to].zone {
				n++
			}
		}
	}
	return n
}
