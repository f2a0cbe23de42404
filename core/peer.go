// SPDX-License-Identifier: Apache-2.0

package core

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Peer is one entry of a peer list: where a node is reached and what bandwidth this side gives the link.
//
//	ws://192.168.255.246:8001-102400
//	wss://NODEID@host:8002-20MiB
//	wss://[2001:db8::7]:8001
type Peer struct {
	Scheme string // "ws" or "wss"
	ID     ID     // the node expected there; zero where none is named
	Host   string // name or address, lower-case, IPv6 without its brackets
	Port   int
	Rate   Rate // what this side gives the link; 0 where none is named
}

// Address is HOST:PORT as a dialler takes it, IPv6 in brackets.
func (p Peer) Address() string {
	if strings.Contains(p.Host, ":") {
		return "[" + p.Host + "]:" + strconv.Itoa(p.Port)
	}
	return p.Host + ":" + strconv.Itoa(p.Port)
}

// String is the entry as ParsePeer reads it; the bandwidth stands in KiB per second where that is exact, else in bits.
func (p Peer) String() string {
	s := p.Scheme + "://"
	if !p.ID.IsZero() {
		s += p.ID.String() + "@"
	}
	s += p.Address()
	switch {
	case p.Rate <= 0:
	case p.Rate%Rate(KiB) == 0:
		s += "-" + strconv.FormatInt(int64(p.Rate/Rate(KiB)), 10)
	default: // kbit is 125 bytes, so three decimals write any whole number of bytes
		s += "-" + strconv.FormatFloat(float64(p.Rate)/125, 'f', 3, 64) + "kbit"
	}
	return s
}

// ParsePeers reads a comma-separated peer list. An empty list has no peers; an address or an ID that stands twice is an
// error.
func ParsePeers(list string) ([]Peer, error) {
	if strings.TrimSpace(list) == "" {
		return nil, nil
	}
	var peers []Peer
	for i, entry := range strings.Split(list, ",") {
		p, err := ParsePeer(strings.TrimSpace(entry))
		if err != nil {
			return nil, fmt.Errorf("peer list, entry %d: %w", i+1, err)
		}
		for _, q := range peers {
			switch {
			case q.Address() == p.Address():
				return nil, Fail(CodeUsage, "peer list, entry %d: address %s stands twice", i+1, p.Address())
			case q.ID == p.ID && !p.ID.IsZero():
				return nil, Fail(CodeUsage, "peer list, entry %d: node %s stands twice", i+1, p.ID.Short())
			}
		}
		peers = append(peers, p)
	}
	return peers, nil
}

// ParsePeer reads SCHEME://[NODEID@]HOST:PORT[-BANDWIDTH].
func ParsePeer(entry string) (Peer, error) {
	p, err := parsePeer(entry)
	if err != nil {
		return Peer{}, WithHint(Fail(CodeUsage, "peer %q: %w", entry, err),
			"write wss://[NODEID@]HOST:PORT[-BANDWIDTH], as wss://backup.example:8001-20MiB")
	}
	return p, nil
}

func parsePeer(entry string) (p Peer, err error) {
	scheme, rest, ok := strings.Cut(entry, "://")
	if !ok {
		return p, fmt.Errorf("no scheme (wss:// or ws://)")
	}
	if p.Scheme = strings.ToLower(scheme); p.Scheme != "ws" && p.Scheme != "wss" {
		return p, fmt.Errorf("scheme %q is neither wss nor ws", scheme)
	}
	if id, address, ok := strings.Cut(rest, "@"); ok {
		if p.ID, err = ParseID(id); err != nil {
			return p, err
		}
		rest = address
	}
	// The bandwidth follows the dash behind the port; dashes in front of the last colon belong to the host's name.
	colon := strings.LastIndexByte(rest, ':')
	if colon < 0 || colon < strings.LastIndexByte(rest, ']') {
		return p, fmt.Errorf("no port")
	}
	if p.Host, err = parseHost(rest[:colon]); err != nil {
		return p, err
	}
	port, rate, hasRate := strings.Cut(rest[colon+1:], "-")
	if p.Port, err = parsePort(port); err != nil {
		return p, err
	}
	if hasRate {
		if p.Rate, err = ParseRate(rate); err != nil {
			return p, err
		}
	}
	return p, nil
}

func parsePort(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 || s[0] == '0' {
		return 0, fmt.Errorf("port %q is not a number from 1 to 65535", s)
	}
	return int(n), nil
}

// parseHost takes a name, an IPv4 address or a bracketed IPv6 address, and returns one spelling of it.
func parseHost(s string) (string, error) {
	if inner, ok := strings.CutPrefix(s, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		addr, err := netip.ParseAddr(inner)
		if !ok || err != nil || !addr.Is6() || strings.Contains(addr.Zone(), "@") { // which ends an ID
			return "", fmt.Errorf("host %q is not an IPv6 address in brackets", s)
		}
		return addr.String(), nil
	}
	if addr, err := netip.ParseAddr(s); err == nil && addr.Is4() {
		return addr.String(), nil
	}
	switch {
	case s == "":
		return "", fmt.Errorf("no host")
	case strings.Contains(s, ":"):
		return "", fmt.Errorf("host %q: an IPv6 address stands in brackets", s)
	case len(s) > 253:
		return "", fmt.Errorf("host name of %d characters, 253 are allowed", len(s))
	}
	for _, c := range s {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '.' && c != '_' {
			return "", fmt.Errorf("host %q: character %q cannot stand in a host name", s, c)
		}
	}
	return strings.ToLower(s), nil
}

// RefuseSelf reports an entry that is this node itself: its own ID, or a loopback name or address with the port of
// listen (HOST:PORT, host empty for all interfaces). A node behind another of its own names is found when the two say
// HELLO.
func RefuseSelf(peers []Peer, self ID, listen string) error {
	colon := strings.LastIndexByte(listen, ':')
	for _, p := range peers {
		same := p.ID == self && !self.IsZero()
		if colon >= 0 && listen[colon+1:] == strconv.Itoa(p.Port) {
			same = same || sameHost(p.Host, strings.Trim(strings.ToLower(listen[:colon]), "[]"))
		}
		if same {
			return WithHint(Fail(CodeUsage, "peer %s is this node itself", p.Address()),
				"leave it out of the peer list")
		}
	}
	return nil
}

// sameHost reports whether a peer at host is reached by who listens at listen on the same port.
func sameHost(host, listen string) bool {
	loopback := host == "localhost"
	if addr, err := netip.ParseAddr(host); err == nil {
		loopback = addr.IsLoopback() || addr.IsUnspecified()
	}
	if host == listen || listen == "" {
		return host == listen || loopback
	}
	if listen == "localhost" {
		return loopback
	}
	addr, err := netip.ParseAddr(listen)
	return err == nil && (addr.IsUnspecified() && loopback || addr.IsLoopback() && host == "localhost")
}
