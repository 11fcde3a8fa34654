package preflight

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"strings"
)

// kernelSettings are files below /proc/sys.
var kernelSettings = []struct {
	path    string
	least   int64 // the lowest acceptable value, or with exactly the only one
	exactly bool
}{
	{"net/ipv4/tcp_max_syn_backlog", 4096, false},
	{"net/core/somaxconn", 4096, false},
	{"net/ipv4/tcp_abort_on_overflow", 0, true},
}

const wantedKernel = "tcp_max_syn_backlog >= 4096, somaxconn >= 4096, tcp_abort_on_overflow = 0"

func tcpKernel(ctx context.Context, r *run) []Check {
	return perNode(&r.source, r.source.nodes, func(n *node) Check {
		local, err := r.source.sharesHost(ctx, n)
		if err != nil {
			return skip("", oneLine(err), wantedKernel)
		}
		if !local {
			return skip("", "the source is on another host, where you can read them with: sysctl net.ipv4.tcp_max_syn_backlog net.core.somaxconn net.ipv4.tcp_abort_on_overflow", wantedKernel)
		}
		return judgeKernel(os.DirFS("/proc/sys"))
	})
}

func judgeKernel(sys fs.FS) Check {
	var found, remedy []string
	for _, s := range kernelSettings {
		name := strings.ReplaceAll(s.path, "/", ".")
		data, err := fs.ReadFile(sys, s.path)
		if err != nil {
			return skip("", fmt.Sprintf("read /proc/sys/%s: %v", s.path, err), wantedKernel)
		}
		v, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
		if err != nil {
			return skip("", fmt.Sprintf("/proc/sys/%s holds %q", s.path, data), wantedKernel)
		}
		found = append(found, fmt.Sprintf("%s = %d", name[strings.LastIndexByte(name, '.')+1:], v))
		if s.exactly && v != s.least || v < s.least {
			remedy = append(remedy, fmt.Sprintf("sysctl -w %s=%d", name, s.least))
		}
	}
	if len(remedy) > 0 {
		return note("", strings.Join(found, ", "), wantedKernel, strings.Join(remedy, " && "))
	}
	return pass("", strings.Join(found, ", "), wantedKernel)
}

// sharesHost says whether a node runs on this host. A node that a bastion or a proxy reaches at 127.0.0.1 does not.
func (s *side) sharesHost(ctx context.Context, n *node) (bool, error) {
	if s.spec.SSH != nil || s.spec.SOCKS5 != nil {
		return false, nil
	}
	return onThisHost(ctx, s.spec.NAT.Reach(n.addr))
}

// onThisHost says whether an address is one of this host's own.
func onThisHost(ctx context.Context, addr string) (bool, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false, fmt.Errorf("address %s: %w", addr, err)
	}
	ips, err := net.DefaultResolver.LookupIPAddr(ctx, host)
	if err != nil {
		return false, fmt.Errorf("resolve %s: %w", host, err)
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		return false, fmt.Errorf("list this host's addresses: %w", err)
	}
	for _, ip := range ips {
		if ip.IP.IsLoopback() {
			return true, nil
		}
		for _, a := range own {
			if network, ok := a.(*net.IPNet); ok && network.IP.Equal(ip.IP) {
				return true, nil
			}
		}
	}
	return false, nil
}
