// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Every host is a network namespace with one interface, eth0. Nothing has a default route, and the bridge between them
// stands in a namespace of its own: no frame leaves the lab.
const (
	prefix = "bkplab-"
	core0  = prefix + "core" // where the bridge is
	subnet = "10.99.0."
	mtu    = 1500
	queue  = 50 * time.Millisecond // what a full queue holds at the link's rate
)

func (h host) namespace() string { return prefix + h.name }

// address is the host's, by its place in the trial.
func address(i int) string { return fmt.Sprintf("%s%d", subnet, i+1) }

// network is hosts that run.
type network struct {
	hosts  []host
	trial  trial
	joined *joined  // by the switch; nil: by a bridge of the kernel
	ports  *os.File // what the bridge's interfaces counted
}

// hostsUp makes a trial's hosts, joined by the switch where frames take time or zones share a link. Links have no
// limits yet.
func hostsUp(t trial) (*network, error) {
	if err := allow("cubic"); err != nil {
		return nil, err
	}
	if t.rtt > 0 || t.trunk > 0 {
		return join(t)
	}
	return bridge(t)
}

// bridge makes a veth pair a host, one end in the host, the other at a bridge.
func bridge(t trial) (*network, error) {
	var s steps
	s.ip("netns add " + core0)
	s.ip("-n " + core0 + " link set lo up")
	s.ip(fmt.Sprintf("-n %s link add br0 mtu %d type bridge", core0, mtu))
	s.ip("-n " + core0 + " link set br0 up")
	s.bare()
	for i, h := range t.hosts {
		ns, port := h.namespace(), fmt.Sprintf("p%d", i+1)
		s.ip("netns add " + ns)
		s.ip("-n " + ns + " link set lo up")
		s.ip(fmt.Sprintf("link add eth0 netns %s mtu %d type veth peer name %s netns %s", ns, mtu, port, core0))
		s.ip(fmt.Sprintf("-n %s link set %s mtu %d master br0 up", core0, port, mtu))
		s.ip(fmt.Sprintf("-n %s addr add %s/24 dev eth0", ns, address(i)))
		s.ip("-n " + ns + " link set eth0 up")
		// The kernel would hand over several frames as one: tbf must see what a real link sees.
		s.in(ns, "ethtool -K eth0 tso off gso off gro off")
		s.in(core0, "ethtool -K "+port+" tso off gso off gro off")
		s.settle(ns)
		for j := range t.hosts {
			if i != j && !t.meets(i, j) {
				s.ip("-n " + ns + " route add unreachable " + address(j))
			}
		}
	}
	n := &network{hosts: t.hosts, trial: t}
	if s.err == nil {
		s.err = within(core0, func() (err error) {
			n.ports, err = os.Open("/proc/thread-self/net/dev") // stays with the namespace in which it was opened
			return err
		})
	}
	return n, s.err
}

// down ends what the network has running.
func (n *network) down() {
	if n == nil {
		return
	}
	if n.joined != nil {
		n.joined.close()
	}
	if n.ports != nil {
		n.ports.Close()
	}
}

// shape gives every host its uplink, as a token bucket on its own interface, and its downlink, as one on the bridge's
// side.
func (n *network) shape() error {
	if n.trial.loose {
		return nil
	}
	if n.joined != nil {
		return n.joined.shape(n.trial)
	}
	var s steps
	for i, h := range n.hosts {
		s.bucket(h.namespace(), "eth0", h.up)
		s.bucket(core0, fmt.Sprintf("p%d", i+1), h.down)
	}
	return s.err
}

// traffic is what a host has sent and received, in bytes of whole frames, behind its token buckets.
type traffic struct {
	Sent, Received int64
	Payload        int64 // of what was received, what TCP carried; only the switch looks
}

// counters reads the bridge's interfaces, or asks the switch.
func (n *network) counters() (s sample, err error) {
	if n.joined != nil {
		c, err := n.joined.tell(func(*order) {})
		return sample{time.Now(), c.Hosts, c.Trunks}, err
	}
	out, err := io.ReadAll(io.NewSectionReader(n.ports, 0, 1<<20))
	if err != nil {
		return s, fmt.Errorf("read interface counters: %w", err)
	}
	s = sample{at: time.Now(), all: make([]traffic, len(n.hosts))}
	for line := range strings.Lines(string(out)) {
		name, rest, ok := strings.Cut(strings.TrimSpace(line), ":")
		i, err := strconv.Atoi(strings.TrimPrefix(name, "p"))
		if !ok || err != nil || i < 1 || i > len(s.all) {
			continue
		}
		f := strings.Fields(rest) // received bytes first, sent bytes ninth; the bridge receives what the host sends
		s.all[i-1].Sent, _ = strconv.ParseInt(f[0], 10, 64)
		s.all[i-1].Received, _ = strconv.ParseInt(f[8], 10, 64)
	}
	return s, nil
}

// removeHosts ends every process that is left in a namespace of the lab, and removes the namespaces.
func removeHosts() error {
	out, err := exec.Command("ip", "netns", "list").Output()
	if err != nil {
		return fmt.Errorf("list network namespaces: %w", err)
	}
	var s steps
	for line := range strings.Lines(string(out)) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		if !strings.HasPrefix(name, prefix) {
			continue
		}
		pids, _ := exec.Command("ip", "netns", "pids", name).Output()
		for _, word := range strings.Fields(string(pids)) {
			if pid, err := strconv.Atoi(word); err == nil {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		s.ip("netns del " + name)
	}
	return s.err
}

// allow lets namespaces choose a congestion control: they may only take what the first one allows.
func allow(name string) error {
	const path = "/proc/sys/net/ipv4/tcp_allowed_congestion_control"
	have, err := os.ReadFile(path)
	if err != nil || strings.Contains(string(have), name) {
		return err
	}
	return os.WriteFile(path, []byte(strings.TrimSpace(string(have))+" "+name), 0o644)
}

// steps runs commands until one fails.
type steps struct{ err error }

func (s *steps) run(name string, args ...string) {
	if s.err != nil {
		return
	}
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		s.err = fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
}

func (s *steps) ip(line string) { s.run("ip", strings.Fields(line)...) }

func (s *steps) in(ns, line string) {
	s.run("ip", append([]string{"netns", "exec", ns}, strings.Fields(line)...)...)
}

// settle has a host's TCP behave as Linux does by default, whatever this machine prefers, and learn nothing from case
// to case.
func (s *steps) settle(ns string) {
	s.in(ns, "sysctl -qw net.ipv4.tcp_congestion_control=cubic net.ipv4.tcp_no_metrics_save=1")
}

// bare has a bridge hand frames on as a switch does: where a machine filters what passes its bridges, each would pass
// its rules too.
func (s *steps) bare() {
	for _, table := range []string{"ip", "ip6", "arp"} {
		if key := "bridge-nf-call-" + table + "tables"; exists("/proc/sys/net/bridge/" + key) {
			s.in(core0, "sysctl -qw net.bridge."+key+"=0")
		}
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// bucket lets an interface send at most m: bursts of a millisecond, and at least of two frames, as a shaped line has.
func (s *steps) bucket(ns, dev string, m mbit) {
	if m == 0 {
		return
	}
	bytes := func(d time.Duration) int { return int(float64(m.rate()) * d.Seconds()) }
	burst, limit := max(bytes(time.Millisecond), 2*(mtu+100)), max(bytes(queue), 20*(mtu+100))
	s.in(ns, fmt.Sprintf("tc qdisc replace dev %s root tbf rate %gmbit burst %d limit %d", dev, float64(m), burst,
		limit))
}
