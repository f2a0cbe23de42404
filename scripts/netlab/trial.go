// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/bkp-tool/bkp/core"
	"github.com/bkp-tool/bkp/core/plan"
)

// mbit is bandwidth as links are sold: 10^6 bits a second, Ethernet frames counted whole. 0 is unlimited.
type mbit float64

func (m mbit) rate() core.Rate { return core.Rate(m * 1e6 / 8) }

// flag is how bkp takes it.
func (m mbit) flag() string { return fmt.Sprintf("%gMbit", float64(m)) }

// host is a machine with an access link of its own. The first of a trial is the source, or of a fetch the sink.
type host struct {
	name     string
	up, down mbit
	zone     string
}

// trial is one case: hosts, links, and what is to be done there.
type trial struct {
	name     string
	about    string
	hosts    []host
	rtt      time.Duration  // between any two hosts; 0 has the kernel shape links, without added delay
	trunk    mbit           // from zone to zone, each way; 0: there is none
	strategy string         // of bkp; empty: its default
	spread   int            // how many copies of a chunk one zone may keep; 0: any number
	fetch    bool           // the first gets the file from all others; else it gives it to them
	replicas int            // how many of the others keep each chunk
	loose    bool           // links have no limits but those that bkp is told
	chain    bool           // each host reaches the one before it and the one behind it only
	signal   syscall.Signal // that a holder gets at 40 % of the placement; 0: none
	part     time.Duration  // the sites are cut off from each other for so long at 30 % of it

	room map[string]float64 // how much of the file some hosts can keep; the others keep all that they are given
}

// others is how many hosts stand around the first.
func (t trial) others() int { return len(t.hosts) - 1 }

// star is a host of its own before receivers or senders with these uplinks.
func star(first host, down mbit, ups ...mbit) []host {
	hosts := []host{first}
	for i, up := range ups {
		hosts = append(hosts, host{name: fmt.Sprintf("n%d", i+1), up: up, down: down})
	}
	return hosts
}

func same(n int, m mbit) (all []mbit) {
	for range n {
		all = append(all, m)
	}
	return all
}

// trials are all cases, in the order in which they run.
func trials() []trial {
	source := func(up mbit) host { return host{name: "src", up: up, down: 200} }
	all := []trial{
		{name: "rep4-unequal", about: "full replication to 4 with unequal uplinks",
			hosts: star(source(80), 200, 10, 20, 40, 80), replicas: 4},
		{name: "rep4-weak", about: "full replication to 4 from a weak source",
			hosts: star(source(40), 200, same(4, 80)...), replicas: 4},
		{name: "rep4-equal", about: "full replication to 4, all equal", hosts: star(source(60), 200, same(4, 60)...),
			replicas: 4},
		{name: "rep8-unequal", about: "full replication to 8 with unequal uplinks",
			hosts: star(source(80), 200, 10, 10, 20, 20, 40, 40, 80, 80), replicas: 8},
		{name: "rep8-weak", about: "full replication to 8 from a weak source",
			hosts: star(source(40), 200, same(8, 60)...), replicas: 8},
		{name: "rep8-equal", about: "full replication to 8, all equal", hosts: star(source(50), 200, same(8, 50)...),
			replicas: 8},
		{name: "fetch4", about: "fetch from 4 unequal sources",
			hosts: star(host{name: "sink", up: 40, down: 200}, 200, 10, 20, 40, 80), fetch: true, replicas: 4},
	}
	for _, name := range []string{"rep4-unequal", "rep4-weak", "rep4-equal", "fetch4"} {
		t := all[slices.IndexFunc(all, func(t trial) bool { return t.name == name })]
		t.name, t.about, t.rtt = t.name+"-rtt40", t.about+", at RTT 40 ms", 40*time.Millisecond
		all = append(all, t)
	}
	sites := trial{name: "sites6", about: "2 replicas over 6 nodes in two sites with a thin link", trunk: 40,
		replicas: 2,
		hosts: []host{{"src", 80, 100, "west"}, {"w1", 40, 100, "west"}, {"w2", 60, 100, "west"},
			{"w3", 80, 100, "west"},
			{"e1", 40, 100, "east"}, {"e2", 60, 100, "east"}, {"e3", 80, 100, "east"}}}
	spread := sites
	spread.name, spread.about, spread.strategy, spread.spread = "sites6-spread", sites.about+", one in each",
		"zone-spread", 1
	narrow := trial{name: "narrow", about: "2 replicas: little room at home, the rest beyond a narrow trunk", trunk: 10,
		replicas: 2, room: map[string]float64{"w1": 0.6, "w2": 0.6, "w3": 0.6},
		hosts: []host{{"src", 80, 100, "west"}, {"w1", 40, 40, "west"}, {"w2", 40, 40, "west"}, {"w3", 40, 40, "west"},
			{"e1", 80, 200, "east"}}}
	cut := spread
	cut.name, cut.about, cut.part, cut.hosts = "partition", "the same, the sites cut off from each other for 8 s",
		8*time.Second, slices.Clone(sites.hosts)
	loose := all[1]
	loose.name, loose.about, loose.loose = "given", "from a weak source over links without limits, bkp told of them",
		true
	kill := trial{name: "kill", about: "2 replicas over 6 nodes, one of them killed at 40 %",
		hosts: star(source(60), 200, 20, 30, 40, 40, 50, 60), replicas: 2, signal: syscall.SIGKILL}
	silent := kill
	silent.name, silent.about, silent.signal = "silent", "the same, that one fallen silent", syscall.SIGSTOP
	return append(all, sites, spread, narrow, loose, cut, kill, silent,
		trial{name: "chain", about: "to 5 nodes in a row, each next to two others only",
			hosts: star(host{name: "src", up: 80, down: 80}, 80, same(5, 80)...), replicas: 5, chain: true})
}

// meets says whether two hosts reach each other.
func (t trial) meets(i, j int) bool { return i != j && (!t.chain || i-j == 1 || j-i == 1) }

// neighbours is how many hosts a host reaches.
func (t trial) neighbours(i int) (n int) {
	for j := range t.hosts {
		if t.meets(i, j) {
			n++
		}
	}
	return n
}

// plain says that nothing happens on the way but data.
func (t trial) plain() bool { return !t.loose && !t.chain && t.signal == 0 && t.part == 0 }

// few is what -cases core stands for: one of each kind.
const few = "rep4-unequal,rep8-equal,rep4-equal-rtt40,fetch4,chain,sites6"

// choose picks trials by name or by how their names begin.
func choose(names string) (chosen []trial, err error) {
	all := trials()
	if names == "" {
		return all, nil
	}
	for _, name := range strings.Split(names, ",") {
		if name == "core" {
			some, err := choose(few)
			if err != nil {
				return nil, err
			}
			chosen = append(chosen, some...)
			continue
		}
		before := len(chosen)
		for _, t := range all {
			if t.name == name {
				chosen = append(chosen[:before], t)
				break
			}
			if strings.HasPrefix(t.name, name) {
				chosen = append(chosen, t)
			}
		}
		if len(chosen) == before {
			return nil, fmt.Errorf("there is no case %q: -list lists them", name)
		}
	}
	return chosen, nil
}

func listTrials(all []trial) error {
	for _, t := range all {
		b, err := t.bound()
		if err != nil {
			return err
		}
		fmt.Printf("%-20s %s: %.2f s, %s\n", t.name, t.about, b.Seconds, b.Binding)
	}
	return nil
}

// full says that every other host gets the whole file.
func (t trial) full() bool { return !t.fetch && t.replicas == t.others() }

// fits says whether a tool can do what the trial asks for.
func (t trial) fits(tool string) bool {
	if !isBkp(tool) && !t.plain() {
		return false
	}
	switch tool {
	case "rsync": // every copy through the source's uplink: known before, so not where it takes long
		return t.rtt == 0 && t.full() &&
			float64(t.others())*float64(onWire(fileBytes()))/float64(t.hosts[0].up.rate()) < 120
	case "aria2":
		return t.fetch || t.full()
	}
	return true
}

func fileBytes() int64 { return int64(*mib) << 20 }

// onWire is what so many bytes of a file take on a link in the best case: TCP segments that fill an MTU of 1500, each
// in a frame of 1514 bytes (14 Ethernet, 20 IP, 32 TCP with timestamps, 1448 of the file). That is what tbf counts, and
// what an interface counts. Acknowledgements, TLS and a tool's own words are not in it: nobody gets them for nothing.
func onWire(bytes int64) int64 { return bytes * (header + segment) / segment }

// bound is the fluid bound of the trial, counted on the wire.
func (t trial) bound() (plan.Bound, error) { return t.boundOf(onWire(fileBytes())) }

func (t trial) boundOf(wire int64) (plan.Bound, error) {
	s, g := t.goal(wire)
	return plan.LeastTime(s, g)
}

// goal is the trial as package plan sees it.
func (t trial) goal(wire int64) (s core.Snapshot, g plan.Goal) {
	var others []int
	for i, h := range t.hosts {
		free := core.Size(core.TiB)
		if part, limited := t.room[h.name]; limited {
			free = core.Size(part * float64(wire))
		}
		// The bounds of package plan take a rate of the wire and a size without overhead: give back what they take off.
		s.Nodes = append(s.Nodes, core.NodeState{Address: h.name,
			Labels: map[string]string{"name": h.name}, Zone: h.zone, Free: free,
			Up:   core.Rate(float64(h.up.rate()) * core.WireOverhead),
			Down: core.Rate(float64(h.down.rate()) * core.WireOverhead)})
		if i > 0 {
			others = append(others, i)
		}
	}
	for i := range t.hosts {
		for j := range t.hosts {
			if t.chain && t.meets(i, j) {
				s.Links = append(s.Links, core.LinkState{From: i, To: j})
			}
		}
	}
	if t.trunk > 0 {
		rate := core.Rate(float64(t.trunk.rate()) * core.WireOverhead)
		for _, way := range [][2]string{{"west", "east"}, {"east", "west"}} {
			s.Trunks = append(s.Trunks, core.TrunkState{From: way[0], To: way[1], Rate: rate})
		}
	}
	g.Size = core.Size(wire)
	switch {
	case t.fetch:
		s.Source = t.source()
		g.Mode, g.Sink, g.K, g.Parts = plan.Fetch, 0, 1, []plan.Part{{Size: core.Size(wire), Holders: others}}
	case t.full():
		g.Mode, g.Targets = plan.Broadcast, others
	default:
		g.Mode, g.Replicas, g.PerZone = plan.Replicas, t.replicas, t.spread
	}
	return s, g
}

// makeFile fills the file that travels with random bytes: nothing to compress and nothing to find twice.
func makeFile(path string) error {
	var seed [32]byte
	copy(seed[:], time.Now().String())
	random, buf := rand.NewChaCha8(seed), make([]byte, 1<<20)
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	for range *mib {
		random.Read(buf)
		if _, err := f.Write(buf); err != nil {
			f.Close()
			return err
		}
	}
	return f.Close()
}
