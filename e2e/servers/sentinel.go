package servers

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/rueidis"
)

// SentinelGroup is the name under which Sentinels monitor their primary.
const SentinelGroup = "main-group"

// Sentinels starts n sentinels that monitor the primary, and waits until they know each other and its
// replicas. They take a server for down after two seconds: sooner, one that was just promoted may not have answered on a busy machine,
// and a second failover would follow the first. The strings in config are further lines of their configuration.
func Sentinels(t testing.TB, primary *Server, replicas, n int, config ...string) []*Server {
	t.Helper()
	sentinels := make([]*Server, n)
	processes := make([]process, n)
	for i := range sentinels {
		port := freePort(t)
		p := process{binary: binary(primary.Image), port: port, args: []string{"--sentinel"}}
		lines := []string{
			"port " + strconv.Itoa(port), "bind 127.0.0.1", "daemonize yes", "dir " + p.dir(), "pidfile " + p.dir() + "/pid", "logfile " + p.dir() + "/log",
			fmt.Sprintf("sentinel monitor %s 127.0.0.1 %d %d", SentinelGroup, primary.Port, n/2+1),
			"sentinel down-after-milliseconds " + SentinelGroup + " 2000",
			"sentinel failover-timeout " + SentinelGroup + " 3000",
		}
		if primary.Password != "" {
			lines = append(lines, "sentinel auth-pass "+SentinelGroup+" "+primary.Password)
		}
		p.config = strings.Join(append(lines, config...), "\n") + "\n"
		processes[i] = p
		sentinels[i] = &Server{Addr: "127.0.0.1:" + strconv.Itoa(port), Port: port, Image: primary.Image, Flavor: primary.Flavor,
			t: t, process: p, clients: map[int]rueidis.Client{}}
		for _, line := range config {
			if password, ok := strings.CutPrefix(line, "requirepass "); ok {
				sentinels[i].Password = password
			}
		}
	}
	launch(t, primary.Image, sentinels, processes)
	for _, s := range sentinels {
		s.waitFor("view of the group", func() error {
			facts, err := s.Do("SENTINEL", "master", SentinelGroup).AsStrMap()
			if err != nil {
				return err
			}
			if facts["num-other-sentinels"] != strconv.Itoa(n-1) || facts["num-slaves"] != strconv.Itoa(replicas) || facts["flags"] != "master" {
				return fmt.Errorf("%s other sentinels, %s replicas, flags %s", facts["num-other-sentinels"], facts["num-slaves"], facts["flags"])
			}
			return nil
		})
	}
	return sentinels
}

// SentinelURL gives the endpoint as surecut takes it, by the first sentinel alone: it knows the others.
func SentinelURL(sentinels []*Server) string {
	return "redis+sentinel://" + sentinels[0].Addr + "/" + SentinelGroup
}

// PrimaryPort asks a sentinel at which port the primary is.
func (s *Server) PrimaryPort() int {
	s.t.Helper()
	addr, err := s.Do("SENTINEL", "get-master-addr-by-name", SentinelGroup).AsStrSlice()
	if err != nil || len(addr) != 2 {
		s.t.Fatalf("sentinel %s: %v, %v", s.Addr, addr, err)
	}
	port, err := strconv.Atoi(addr[1])
	if err != nil {
		s.t.Fatal(err)
	}
	return port
}

// Failover has the sentinel promote a replica, and gives the one of the servers that has become the primary.
func (s *Server) Failover(among ...*Server) *Server {
	s.t.Helper()
	before := s.PrimaryPort()
	s.waitFor("agreement to fail over", func() error { return s.Do("SENTINEL", "failover", SentinelGroup).Error() })
	return s.NewPrimary(before, among...)
}

// NewPrimary waits until the sentinel names another primary than at the port, and the primary knows it.
func (s *Server) NewPrimary(before int, among ...*Server) *Server {
	s.t.Helper()
	var primary *Server
	s.waitFor("new primary", func() error {
		now := s.PrimaryPort()
		for _, other := range among {
			if other.Port != now || now == before {
				continue
			}
			info, err := other.Do("INFO", "replication").ToString() // a failover ends connections
			if err == nil && parseInfo(info)["role"] == "master" {
				primary = other
				return nil
			}
		}
		return fmt.Errorf("it is at port %d", now)
	})
	return primary
}
