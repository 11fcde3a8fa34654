package endpoint

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// NAT maps the addresses that servers announce to those at which they can be reached. A key is host:port, or a host alone for all
// its ports. A value is the same; without a port, it keeps the port of the announced address. Reports show the announced addresses.
type NAT map[string]string

// ParseNAT reads pairs of announced=reachable.
func ParseNAT(pairs []string) (NAT, error) {
	m := NAT{}
	for _, pair := range pairs {
		left, right, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, fmt.Errorf("%q is not a pair; write announced=reachable, as in 10.0.0.5:6379=203.0.113.7:7001", pair)
		}
		from, err := natSide(left)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", pair, err)
		}
		to, err := natSide(right)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", pair, err)
		}
		if other, ok := m[from]; ok && other != to {
			return nil, fmt.Errorf("%s is mapped twice, to %s and to %s", from, other, to)
		}
		m[from] = to
	}
	return m, nil
}

// natSide returns host:port or host in the form that the map uses: with brackets only before a port.
func natSide(text string) (string, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return "", errors.New("one side of the pair is empty")
	}
	bare := text
	if strings.HasPrefix(text, "[") && strings.HasSuffix(text, "]") {
		bare = text[1 : len(text)-1]
	}
	if ip, err := netip.ParseAddr(bare); err == nil {
		return ip.String(), nil
	}
	hasPort := strings.Contains(text, ":")
	addr, err := parseAddr(text, "1") // parseAddr needs a port; where none is named, it is dropped again below
	if err != nil {
		return "", err
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil || !hasPort {
		return canonicalHost(host), err
	}
	return net.JoinHostPort(canonicalHost(host), port), nil
}

func canonicalHost(host string) string {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.String()
	}
	return strings.ToLower(host)
}

// Reach returns the address to dial for an announced one.
func (m NAT) Reach(addr string) string {
	if len(m) == 0 {
		return addr
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	host = canonicalHost(host)
	to, ok := m[net.JoinHostPort(host, port)]
	if !ok {
		if to, ok = m[host]; !ok {
			return addr
		}
	}
	if _, _, err := net.SplitHostPort(to); err == nil {
		return to
	}
	return net.JoinHostPort(to, port)
}
