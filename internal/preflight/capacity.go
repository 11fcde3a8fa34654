package preflight

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

func targetSpace(_ context.Context, r *run) []Check {
	data, reason := r.sourceData()
	if reason != "" {
		return []Check{skip("source", reason, "the size of the source's data")}
	}
	var s space
	for _, n := range r.target.primaries() {
		limit, ok := n.maxmemory()
		used := n.num("used_memory", -1)
		switch {
		case n.err != nil || n.infoErr != nil || used < 0:
			return []Check{skip("target", "the memory of "+n.addr+" is not known", "INFO memory")}
		case !ok:
			s.unknown = append(s.unknown, n.addr+" does not report its maxmemory")
		case limit == 0:
			s.unlimited = append(s.unlimited, n.addr+" has no maxmemory")
			s.host(n)
		default:
			s.free += max(limit-int64(used), 0)
		}
	}
	return []Check{s.judge(data)}
}

// maxmemory returns the setting from INFO (since 3.2) or CONFIG.
func (n *node) maxmemory() (int64, bool) {
	if v := n.num("maxmemory", -1); v >= 0 {
		return int64(v), true
	}
	v, reason := n.number("maxmemory")
	return v, reason == ""
}

type space struct {
	free      int64            // memory that is free on the nodes that have a limit
	unlimited []string         // nodes that have no limit
	hosts     map[string]int64 // memory of those nodes' hosts, where INFO tells it (since 3.2)
	unknown   []string         // why the memory of some nodes is not known
}

// host notes the memory of a node's host. Nodes on the same host share its memory.
func (s *space) host(n *node) {
	if s.hosts == nil {
		s.hosts = map[string]int64{}
	}
	host, _, err := net.SplitHostPort(n.addr)
	if err != nil {
		host = n.addr
	}
	s.hosts[host] = max(s.hosts[host], int64(n.num("total_system_memory", 0)))
}

func (s space) judge(data int64) Check {
	need := data + data/2
	wanted := fmt.Sprintf("%s free: 1.5 times the source's data of %s", bytesText(need), bytesText(data))
	room := s.free
	for _, memory := range s.hosts {
		room += memory
	}
	switch {
	case len(s.unknown) > 0:
		return alarm("target", "the free memory is not known: "+s.unknown[0]+more(len(s.unknown)-1), wanted,
			fmt.Sprintf("make sure that the host has enough memory, or set a limit of at least %d bytes: redis-cli config set maxmemory BYTES", need))
	case len(s.unlimited) > 0 && room < need:
		return alarm("target", fmt.Sprintf("%s%s; the hosts have only %s of memory in total", s.unlimited[0], more(len(s.unlimited)-1), bytesText(room)), wanted,
			"use hosts with more memory, or more hosts; otherwise data is swapped, or the kernel kills the server")
	case len(s.unlimited) > 0:
		return note("target", fmt.Sprintf("%s%s, so it is not known how much memory is free; the hosts have %s in total", s.unlimited[0], more(len(s.unlimited)-1), bytesText(room)), wanted,
			fmt.Sprintf("set a limit of at least %d bytes: redis-cli config set maxmemory BYTES", need))
	case s.free < need:
		return fail("target", bytesText(s.free)+" free below maxmemory", wanted,
			fmt.Sprintf("raise the limit, by at least %d bytes in total: redis-cli config set maxmemory BYTES", need-s.free))
	}
	return pass("target", bytesText(s.free)+" free below maxmemory", wanted)
}

func more(n int) string {
	if n <= 0 {
		return ""
	}
	return fmt.Sprintf(", and %d more", n)
}

func targetEviction(_ context.Context, r *run) []Check {
	const wanted = "maxmemory-policy noeviction"
	return perNode(&r.target, r.target.primaries(), func(n *node) Check {
		policy := n.info["maxmemory_policy"] // since 4.0
		if policy == "" {
			var reason string
			if policy, reason = n.setting("maxmemory-policy"); reason != "" {
				return skip("", reason, wanted)
			}
		}
		if policy != "noeviction" {
			return alarm("", "maxmemory-policy "+policy+": when the target is full, it deletes keys instead of refusing writes", wanted,
				"redis-cli "+cliAddr(n.addr)+" config set maxmemory-policy noeviction; restore the setting after the cutover")
		}
		return pass("", "maxmemory-policy noeviction", wanted)
	})
}

func localDisk(_ context.Context, r *run) []Check {
	const hour = time.Hour
	if r.cfg.StateDir == "" {
		return []Check{skip("local", "Config.StateDir is not set, so it is not known where the spool will be", "disk space for the snapshot and for one hour of the stream")}
	}
	if !r.source.open() {
		return []Check{skip("local", "the source could not be opened; see the check connectivity", "disk space for the snapshot and for one hour of the stream")}
	}
	data, reason := r.sourceData()
	if reason != "" {
		return []Check{skip("local", reason, "disk space for the snapshot and for one hour of the stream")}
	}
	var rate float64
	for _, n := range r.source.primaries() {
		rate += n.written
	}
	need := data + int64(rate*hour.Seconds())
	wanted := fmt.Sprintf("%s free: the snapshot (at most %s) and one hour of the stream at %s/s", bytesText(need), bytesText(data), bytesText(int64(rate)))
	dir, free, err := freeSpace(r.cfg.StateDir)
	switch {
	case err != nil:
		return []Check{alarm("local", oneLine(err), wanted, "mkdir -p "+r.cfg.StateDir+", or choose a directory that can be written with Config.StateDir")}
	case free < need:
		return []Check{alarm("local", bytesText(free)+" free at "+dir, wanted, "choose a directory on a larger file system with Config.StateDir")}
	}
	return []Check{pass("local", bytesText(free)+" free at "+dir, wanted)}
}

// freeSpace returns how many bytes the user may still write at path, or in the nearest existing directory above it.
func freeSpace(path string) (dir string, free int64, err error) {
	if dir, err = filepath.Abs(path); err != nil {
		return "", 0, fmt.Errorf("state directory: %w", err)
	}
	for {
		info, err := os.Stat(dir)
		if err == nil && !info.IsDir() {
			return dir, 0, fmt.Errorf("%s is not a directory", dir)
		}
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
			return dir, 0, fmt.Errorf("state directory: %w", err)
		}
		dir = filepath.Dir(dir)
	}
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		return dir, 0, fmt.Errorf("%s cannot be written: %w", dir, err)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return dir, 0, fmt.Errorf("free space of %s: %w", dir, err)
	}
	return dir, int64(st.Bavail) * st.Bsize, nil
}
