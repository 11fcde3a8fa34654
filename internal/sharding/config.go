package sharding

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Configured is one pool of a twemproxy configuration, with everything else that surecut needs from it.
type Configured struct {
	Pool
	Listen   string // host:port on which the proxy serves the pool
	Password string // redis_auth: required from clients, and sent to the servers
	DB       int    // redis_db
	Ejects   bool   // auto_eject_hosts: keys of a server that is down are assigned to others
}

// poolYAML holds the settings of a pool that are used; others are ignored.
type poolYAML struct {
	Listen       string   `yaml:"listen"`
	Hash         string   `yaml:"hash"`
	HashTag      string   `yaml:"hash_tag"`
	Distribution string   `yaml:"distribution"`
	Redis        bool     `yaml:"redis"`
	RedisAuth    string   `yaml:"redis_auth"`
	RedisDB      int      `yaml:"redis_db"`
	Eject        bool     `yaml:"auto_eject_hosts"`
	Servers      []string `yaml:"servers"`
}

// ParseConfig reads the pools of a twemproxy configuration and returns the one with the given name. If the file has a single Redis
// pool, "" stands for it. The error contains no settings but servers and names.
func ParseConfig(data []byte, name string) (Configured, error) {
	pools := map[string]poolYAML{}
	if err := yaml.Unmarshal(data, &pools); err != nil {
		return Configured{}, fmt.Errorf("it is not a twemproxy configuration: %w", err)
	}
	maps.DeleteFunc(pools, func(_ string, p poolYAML) bool { return !p.Redis })
	names := slices.Sorted(maps.Keys(pools))
	switch {
	case len(names) == 0:
		return Configured{}, fmt.Errorf("it contains no pool of Redis servers (redis: true)")
	case name == "" && len(names) > 1:
		return Configured{}, fmt.Errorf("it contains the pools %s; choose one, with &pool=%s", strings.Join(names, ", "), names[0])
	case name == "":
		name = names[0]
	}
	p, ok := pools[name]
	if !ok {
		return Configured{}, fmt.Errorf("it contains no pool %q of Redis servers; it contains %s", name, strings.Join(names, ", "))
	}
	out := Configured{Pool: Pool{Hash: p.Hash, Distribution: p.Distribution, Tag: p.HashTag},
		Listen: p.Listen, Password: p.RedisAuth, DB: p.RedisDB, Ejects: p.Eject}
	for _, text := range p.Servers {
		s, err := ParseServer(text)
		if err != nil {
			return Configured{}, fmt.Errorf("pool %s: %w", name, err)
		}
		out.Servers = append(out.Servers, s)
	}
	return out, nil
}

// ParseServer reads a server in the form of a twemproxy configuration: "host:port:weight [name]".
func ParseServer(text string) (Server, error) {
	const want = `want "host:port:weight" or "host:port:weight name"`
	rest, name, _ := strings.Cut(strings.TrimSpace(text), " ")
	if strings.HasPrefix(rest, "/") {
		return Server{}, fmt.Errorf("server %q: surecut cannot reach a unix socket of another machine; %s", text, want)
	}
	at := strings.LastIndexByte(rest, ':')
	if at < 0 {
		return Server{}, fmt.Errorf("server %q: %s", text, want)
	}
	weight, err := strconv.Atoi(rest[at+1:])
	if err != nil {
		return Server{}, fmt.Errorf("server %q: the weight %q is not a number; %s", text, rest[at+1:], want)
	}
	colon := strings.LastIndexByte(rest[:at], ':')
	if colon < 1 {
		return Server{}, fmt.Errorf("server %q: %s", text, want)
	}
	host, port := strings.Trim(rest[:colon], "[]"), rest[colon+1:at]
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return Server{}, fmt.Errorf("server %q: the port %q is not a number from 1 to 65535", text, port)
	}
	return Server{Addr: net.JoinHostPort(host, port), Name: strings.TrimSpace(name), Weight: weight}, nil
}
