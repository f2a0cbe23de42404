// SPDX-License-Identifier: Apache-2.0

package link

import (
	"net"
	"net/netip"
	"slices"
	"sync"

	"github.com/bkp-tool/bkp/core"
)

// strangers are the connections that have not proved themselves, the oldest first. There are never more than
// maxHandshakes: a new one takes the place of the oldest of the network that has the most. To prove oneself takes a few
// round trips, so that who means to comes through, while who only holds places loses them.
type strangers struct {
	mu  sync.Mutex
	all []*stranger
}

// stranger is one of them.
type stranger struct {
	net.Conn
	network string
	crowded bool // it lost its place
}

// errCrowded is why.
var errCrowded = refuse(core.ReasonBusy, "it lost its place: too many connections have not proved themselves")

// enter gives a connection a place, for which another may be closed.
func (s *strangers) enter(conn net.Conn) *stranger {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.all) >= maxHandshakes {
		s.drop(s.crowd())
	}
	in := &stranger{Conn: conn, network: networkOf(conn.RemoteAddr())}
	s.all = append(s.all, in)
	return in
}

// leave gives a place back, and reports whether it was lost before.
func (s *strangers) leave(in *stranger) (crowded bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.all, in); i >= 0 {
		s.all = slices.Delete(s.all, i, i+1)
	}
	return in.crowded
}

// crowd is the place of the oldest connection from the network with the most.
func (s *strangers) crowd() int {
	count := map[string]int{}
	for _, in := range s.all {
		count[in.network]++
	}
	oldest := 0
	for i, in := range s.all {
		if count[in.network] > count[s.all[oldest].network] {
			oldest = i
		}
	}
	return oldest
}

func (s *strangers) drop(i int) {
	s.all[i].crowded = true
	s.all[i].Close()
	s.all = slices.Delete(s.all, i, i+1)
}

// networkOf is the part of an address that one who has many addresses has in common: /24, or /48 of IPv6.
func networkOf(address net.Addr) string {
	at, err := netip.ParseAddrPort(address.String())
	if err != nil {
		return address.String()
	}
	ip, bits := at.Addr().Unmap(), 48
	if ip.Is4() {
		bits = 24
	}
	network, err := ip.Prefix(bits)
	if err != nil {
		return ip.String()
	}
	return network.String()
}
