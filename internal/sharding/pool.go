package sharding

import (
	"cmp"
	"crypto/md5"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"surecut/internal/keyspace"
)

// These are the defaults for settings that a pool's configuration may leave out.
const (
	DefaultHash         = "fnv1a_64"
	DefaultDistribution = "ketama"
)

// Server is one server of a pool.
type Server struct {
	Addr   string // host:port
	Name   string // name by which ketama places the server; if it is "", the address is used
	Weight int    // 1 or more
}

// Pool is a server pool of twemproxy, with the settings that decide where keys are. The order of its servers does not matter:
// twemproxy sorts them by name, shorter names first.
type Pool struct {
	Servers      []Server
	Hash         string // "" is DefaultHash
	Distribution string // ketama or modula; "" is DefaultDistribution
	Tag          string // the two bytes that enclose a hash tag; "" for none
}

// Router is a Pool that is ready for routing.
type Router struct {
	hash   func(string) uint32
	tag    string
	ketama bool
	points []point
	count  int    // number of servers
	share  uint16 // slots of each server
}

type point struct {
	value  uint32
	server int
}

// mostShare bounds the number of slots per server. Each slot is a unit of work that may be done concurrently with others.
const mostShare = 64

// NewRouter prepares the routing of a pool. Its error names the field that is wrong.
func NewRouter(p Pool) (*Router, error) {
	r := &Router{hash: hashes[cmp.Or(p.Hash, DefaultHash)], tag: p.Tag, count: len(p.Servers)}
	if err := p.validate(); err != nil {
		return nil, err
	}
	r.share = uint16(min(mostShare, keyspace.Slots/r.count))
	if r.ketama = cmp.Or(p.Distribution, DefaultDistribution) == "ketama"; r.ketama {
		r.points = ketama(p.Servers)
		return r, nil
	}
	for _, i := range byName(p.Servers) {
		for range p.Servers[i].Weight {
			r.points = append(r.points, point{server: i})
		}
	}
	return r, nil
}

func (p Pool) validate() error {
	var errs []error
	switch n := len(p.Servers); {
	case n == 0:
		errs = append(errs, errors.New("servers: there is none"))
	case n > 1024:
		errs = append(errs, fmt.Errorf("servers: %d are more than the 1024 that are supported", n))
	}
	if hashes[cmp.Or(p.Hash, DefaultHash)] == nil {
		errs = append(errs, fmt.Errorf("hash %q: must be one of %s", p.Hash, strings.Join(Hashes(), ", ")))
	}
	switch cmp.Or(p.Distribution, DefaultDistribution) {
	case "ketama", "modula":
	case "random":
		errs = append(errs, errors.New("distribution random: it puts a key on any server, so it is not known where keys are; only ketama and modula are supported"))
	default:
		errs = append(errs, fmt.Errorf("distribution %q: must be ketama or modula", p.Distribution))
	}
	if len(p.Tag) != 0 && len(p.Tag) != 2 {
		errs = append(errs, fmt.Errorf("hash_tag %q: must be the two characters that enclose a tag, as in {}", p.Tag))
	}
	names := map[string]bool{}
	for _, s := range p.Servers {
		if names[s.placedBy()] {
			errs = append(errs, fmt.Errorf("server %s: the name %q occurs twice", s.Addr, s.placedBy()))
		}
		names[s.placedBy()] = true
		if s.Weight < 1 || s.Weight > 1<<20 {
			errs = append(errs, fmt.Errorf("server %s: weight %d: must be 1 or more", s.Addr, s.Weight))
		}
	}
	return errors.Join(errs...)
}

// ketama places 160 points per server of average weight, computed in single precision as twemproxy does.
func ketama(servers []Server) []point {
	total := 0
	for _, s := range servers {
		total += s.Weight
	}
	var points []point
	for _, i := range byName(servers) {
		s := servers[i]
		share := float32(s.Weight) / float32(total)
		quarter := float32(share*160) / 4
		n := int(float32(float64(float32(quarter*float32(len(servers)))) + 0.0000000001))
		name := s.placedBy()
		for k := range n {
			sum := md5.Sum([]byte(name + "-" + strconv.Itoa(k)))
			for at := 0; at < len(sum); at += 4 {
				points = append(points, point{binary.LittleEndian.Uint32(sum[at:]), i})
			}
		}
	}
	slices.SortStableFunc(points, func(a, b point) int { return cmp.Compare(a.value, b.value) })
	return points
}

// byName returns the indexes of the servers in twemproxy's order.
func byName(servers []Server) []int {
	order := make([]int, len(servers))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		x, y := servers[a].placedBy(), servers[b].placedBy()
		return cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y))
	})
	return order
}

// placedBy returns the server's name, else its address, without the port if that is libmemcached's default.
func (s Server) placedBy() string {
	if s.Name != "" {
		return s.Name
	}
	host, port, err := net.SplitHostPort(s.Addr)
	switch {
	case err != nil:
		return s.Addr
	case port == "11211":
		return host
	}
	return host + ":" + port
}

// hashed returns the part of a key that decides on its server: the content of a hash tag that is not empty, else the whole key.
func (r *Router) hashed(key string) string {
	if r.tag == "" {
		return key
	}
	if i := strings.IndexByte(key, r.tag[0]); i >= 0 {
		if n := strings.IndexByte(key[i+1:], r.tag[1]); n > 0 {
			return key[i+1 : i+1+n]
		}
	}
	return key
}

// Server returns the index of the server that a key is on.
func (r *Router) Server(key string) int { return r.server(r.hashed(key)) }

func (r *Router) server(part string) int {
	if r.count == 1 {
		return 0
	}
	var h uint32
	if part != "" {
		h = r.hash(part)
	}
	if !r.ketama {
		return r.points[h%uint32(len(r.points))].server
	}
	i, _ := slices.BinarySearchFunc(r.points, h, func(p point, h uint32) int { return cmp.Compare(p.value, h) })
	if i == len(r.points) {
		i = 0
	}
	return r.points[i].server
}

// Slot returns the slot of a key.
func (r *Router) Slot(key string) uint16 {
	part := r.hashed(key)
	return uint16(r.server(part))*r.share + uint16(crc16(part))%r.share
}

// Slots returns the number of slots.
func (r *Router) Slots() int { return r.count * int(r.share) }

// Share returns the first and the last slot of a server.
func (r *Router) Share(server int) (first, last uint16) {
	first = uint16(server) * r.share
	return first, first + r.share - 1
}
