package endpointtest

import (
	"fmt"
	"sync"
	"testing"

	table "surecut/internal/command"
	"surecut/internal/keyspace"
)

// Cluster is servers in memory that share the slots of a cluster: each refuses the keys of the others by MOVED.
type Cluster struct {
	Servers []*Server

	mu    sync.Mutex
	owner [keyspace.Slots]*Server // guarded by mu
}

// ServeCluster starts n servers, each of which has a part of the slots.
func ServeCluster(t testing.TB, version string, n int) *Cluster {
	t.Helper()
	c := &Cluster{}
	for i := range n {
		s := Serve(t, version)
		s.Tell("cluster_enabled", "1", "redis_mode", "cluster")
		for slot := i * keyspace.Slots / n; slot < (i+1)*keyspace.Slots/n; slot++ {
			c.owner[slot] = s
		}
		c.join(s)
	}
	return c
}

func (c *Cluster) join(s *Server) {
	c.mu.Lock()
	c.Servers = append(c.Servers, s)
	c.mu.Unlock()
	s.Always("CLUSTER SLOTS", "*0\r\n")
	s.On("CLUSTER NODES", func([]string) string { return Bulk(c.nodes(s)) })
	s.On("", func(args []string) string { return c.moved(s, args) })
}

// Join starts a further server, which has no slots yet.
func (c *Cluster) Join(t testing.TB, version string) *Server {
	t.Helper()
	s := Serve(t, version)
	s.Tell("cluster_enabled", "1", "redis_mode", "cluster")
	c.join(s)
	return s
}

// URL names the cluster as an endpoint.
func (c *Cluster) URL() string { return "redis+cluster://" + c.Servers[0].Addr }

// Of returns the server that has the slot of a key.
func (c *Cluster) Of(name string) *Server {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.owner[keyspace.Slot(name)]
}

// Move gives the slot of a key, with its keys, to another server.
func (c *Cluster) Move(name string, to *Server) {
	from, slot := c.Of(name), keyspace.Slot(name)
	for _, name := range from.Names() {
		if keyspace.Slot(name) == slot {
			to.Put(name, from.Get(name))
			from.Put(name, nil)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.owner[slot] = to
}

// nodes is CLUSTER NODES as a server answers it.
func (c *Cluster) nodes(asked *Server) (text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.Servers {
		flags := "master"
		if s == asked {
			flags = "myself,master"
		}
		text += fmt.Sprintf("%s %s@1 %s - 0 0 1 connected", s.id("node"), s.Addr, flags)
		for slot := 0; slot < keyspace.Slots; slot++ {
			first := slot
			for slot < keyspace.Slots && c.owner[slot] == s {
				slot++
			}
			if slot > first {
				text += fmt.Sprintf(" %d-%d", first, slot-1)
			}
		}
		text += "\n"
	}
	return text
}

// moved refuses a command on keys that another server has.
func (c *Cluster) moved(s *Server, args []string) string {
	raw := bytesOf(args)
	spec, known := table.Lookup(raw)
	if !known || spec.Class == table.Keyless {
		return Usual
	}
	keys, err := spec.Keys(raw, nil)
	if err != nil {
		return Usual
	}
	for _, k := range keys {
		if slot := keyspace.Slot(args[k]); slot != keyspace.Slot(args[keys[0]]) {
			return "-CROSSSLOT Keys in request don't hash to the same slot\r\n"
		} else if has := c.Of(args[k]); has != s {
			return fmt.Sprintf("-MOVED %d %s\r\n", slot, has.Addr)
		}
	}
	return Usual
}
