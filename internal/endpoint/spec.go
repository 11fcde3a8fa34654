package endpoint

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"surecut/internal/command"
	"surecut/internal/sharding"
)

// Kind says of what kind an endpoint is.
type Kind string

// RDB and AOF are files, and can only be sources.
const (
	Standalone Kind = "standalone"
	Sentinel   Kind = "sentinel"
	Cluster    Kind = "cluster"
	Codis      Kind = "codis"
	Twemproxy  Kind = "twemproxy"
	RDB        Kind = "rdb"
	AOF        Kind = "aof"
)

// AllDBs as Spec.DB means every database of the server.
const AllDBs = -1

// TLS says how to speak TLS. The zero value verifies the server against the system's roots and
// the host name of its address.
type TLS struct {
	CAFile             string // PEM file of the authorities to trust instead of the system's
	CertFile, KeyFile  string // PEM files of the client's own certificate and key, both or neither
	ServerName         string // name to verify instead of the host of the address
	InsecureSkipVerify bool
}

// Spec is an endpoint as a user names it.
type Spec struct {
	Kind       Kind
	Addrs      []string // host:port, IPv6 hosts in brackets; for a cluster the seeds
	Path       string   // path of a file
	Username   string   // "" is the default user
	Password   string
	DB         int // AllDBs where the URL names none; 0 for a cluster
	MasterName string
	TLS        *TLS // nil: plain TCP

	SSH       *SSH              // nil: no bastion
	SOCKS5    *SOCKS5           // nil: no proxy; together with a bastion, the bastion is reached through the proxy
	NAT       NAT               // from announced to reachable addresses
	Listed    []string          // addresses of a node list; nodes of a cluster are dialed by these
	Passwords map[string]string // by address: passwords of listed nodes that have one of their own

	SentinelUsername string // for the sentinels, which have users and passwords of their own
	SentinelPassword string

	Proxy string // cluster: the proxy in front of it, "tencent"; the cluster's nodes are not asked for and not reached

	Backends     []string // Codis, twemproxy: the servers behind the proxy, host:port; of twemproxy also "host:port:weight name"
	Hash         string   // twemproxy: hash function
	Distribution string   // twemproxy: how keys are spread
	Tag          string   // twemproxy: the two bytes that enclose a hash tag
	Config, Pool string   // twemproxy: its configuration file, which replaces the four fields above, and the name of the pool in it
	ViaProxy     bool     // twemproxy: keys are written through the proxy and not to the servers behind it; with Codis they always are
	Dashboard    string   // Codis: http://host:port of the dashboard
}

// Rules names the rules (of internal/profile) for the commands that an application sends to such a deployment. It returns "" where
// one server runs all commands.
func (s Spec) Rules() string {
	switch {
	case s.Kind == Cluster && s.Proxy != "":
		return s.Proxy + "-proxy"
	case s.Kind == Cluster, s.Kind == Codis, s.Kind == Twemproxy:
		return string(s.Kind)
	}
	return ""
}

// schemes maps the scheme of a URL to its kind. Schemes with TLS begin with "rediss" instead.
var schemes = map[string]Kind{
	"redis":           Standalone,
	"redis+sentinel":  Sentinel,
	"redis+cluster":   Cluster,
	"redis+codis":     Codis,
	"redis+twemproxy": Twemproxy,
	"rdb":             RDB,
	"aof":             AOF,
}

const usage = "write redis://host:port, redis+cluster://host:port,host:port or redis+sentinel://host:port/master-name"

// Parse reads an endpoint URL. Its errors say what is wrong and never contain the user name or the password.
//
// A password may contain any byte. "%" begins a percent escape, and everything before the last "@" is user and password.
func Parse(raw string) (Spec, error) { return ParseListed(raw, nil) }

// ParseListed reads an endpoint URL whose nodes are in a list; the URL may then name no host. The listed nodes of a cluster are its
// seeds, those of Codis and twemproxy are the servers behind the proxy, and a standalone endpoint has exactly one. For a sentinel
// group the list only adds passwords.
func ParseListed(raw string, nodes []ListedNode) (Spec, error) {
	scheme, rest, ok := strings.Cut(raw, ":")
	if !ok {
		return Spec{}, fmt.Errorf("%s has no scheme; %s", Shown(raw), usage)
	}
	plain := strings.ToLower(scheme)
	if after, isTLS := strings.CutPrefix(plain, "rediss"); isTLS {
		plain = "redis" + after
	}
	kind, known := schemes[plain]
	if !known {
		return Spec{}, fmt.Errorf("%s does not start with a known scheme; %s", Shown(raw), usage)
	}
	spec := Spec{Kind: kind, DB: AllDBs}
	if kind == RDB || kind == AOF {
		spec.Path = strings.TrimPrefix(rest, "//")
		if len(nodes) > 0 {
			return Spec{}, fmt.Errorf("%s: a file has no nodes", kind)
		}
		if spec.Path == "" {
			return Spec{}, fmt.Errorf("%s: names no file; write %s:/path/to/file", kind, kind)
		}
		return spec, nil
	}
	rest, ok = strings.CutPrefix(rest, "//")
	if !ok {
		return Spec{}, fmt.Errorf("%s: // is missing after the scheme; %s", scheme, usage)
	}
	if plain != strings.ToLower(scheme) {
		spec.TLS = &TLS{}
	}
	if err := spec.parseServer(rest, nodes); err != nil {
		return Spec{}, fmt.Errorf("%s URL: %w", scheme, err)
	}
	return spec, nil
}

// Shown returns the part of a text that may be printed, for texts that may contain credentials.
func Shown(raw string) string {
	if strings.Contains(raw, "@") {
		return fmt.Sprintf("%q (what stands before @ is not shown)", raw[strings.LastIndexByte(raw, '@')+1:])
	}
	return strconv.Quote(raw)
}

// parseServer reads the part of a server URL after "//".
func (s *Spec) parseServer(rest string, nodes []ListedNode) error {
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		if err := s.parseUser(rest[:at]); err != nil {
			return err
		}
		rest = rest[at+1:]
	}
	if i := strings.IndexByte(rest, '#'); i >= 0 {
		return fmt.Errorf("%q: a fragment has no meaning here", rest[i:])
	}
	rest, query, _ := strings.Cut(rest, "?")
	hosts, path, _ := strings.Cut(rest, "/")
	if hosts != "" || len(nodes) == 0 || s.Kind == Sentinel || s.Kind == Codis || s.Kind == Twemproxy {
		addrs, err := parseAddrs(hosts, s.defaultPort())
		if err != nil {
			return err
		}
		s.Addrs = addrs
	}
	if err := s.parsePath(path); err != nil {
		return err
	}
	if err := s.parseQuery(query); err != nil {
		return err
	}
	s.addNodes(nodes)
	return s.complete()
}

func (s *Spec) parseUser(text string) error {
	user, password, _ := strings.Cut(text, ":")
	var errUser, errPassword error
	s.Username, errUser = url.PathUnescape(user)
	s.Password, errPassword = url.PathUnescape(password)
	if errUser != nil || errPassword != nil { // the errors of url quote their input
		return errors.New("the user or the password contains a % that begins no escape; write %25 instead")
	}
	return nil
}

func (s *Spec) defaultPort() string {
	switch s.Kind {
	case Sentinel:
		return "26379"
	case Codis:
		return "19000"
	case Twemproxy:
		return "22121"
	}
	return "6379"
}

func parseAddrs(list, port string) ([]string, error) {
	if list == "" {
		return nil, errors.New("names no host")
	}
	var addrs []string
	for text := range strings.SplitSeq(list, ",") {
		addr, err := parseAddr(text, port)
		if err != nil {
			return nil, err
		}
		if slices.Contains(addrs, addr) {
			return nil, fmt.Errorf("names %s twice", addr)
		}
		addrs = append(addrs, addr)
	}
	return addrs, nil
}

// parseAddr returns text as host:port, with the default port where text names none.
func parseAddr(text, port string) (string, error) {
	host := text
	switch {
	case strings.HasPrefix(text, "["):
		end := strings.IndexByte(text, ']')
		if end < 0 {
			return "", fmt.Errorf("address %q has no closing bracket", text)
		}
		host = text[1:end]
		if after := text[end+1:]; after != "" {
			if after[0] != ':' {
				return "", fmt.Errorf("address %q: after the bracket only :port may follow", text)
			}
			port = after[1:]
		}
		if net.ParseIP(strings.SplitN(host, "%", 2)[0]) == nil {
			return "", fmt.Errorf("address %q: %q is not an IPv6 address", text, host)
		}
	case strings.Count(text, ":") > 1:
		return "", fmt.Errorf("address %q: write an IPv6 address in brackets, [%s]:%s", text, text, port)
	case strings.Contains(text, ":"):
		host, port, _ = strings.Cut(text, ":")
	}
	if host == "" {
		return "", fmt.Errorf("address %q names no host", text)
	}
	if i := strings.IndexFunc(host, func(r rune) bool { return r <= ' ' || strings.ContainsRune(`"\<>^{}|[]`, r) || r == 0x7f }); i >= 0 {
		return "", fmt.Errorf("address %q: %q is not allowed in a host name", text, host[i:i+1])
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return "", fmt.Errorf("address %q: the port must be a number from 1 to 65535", text)
	}
	return net.JoinHostPort(host, strconv.FormatUint(n, 10)), nil
}

func (s *Spec) parsePath(path string) error {
	if s.Kind == Sentinel {
		name, db, _ := strings.Cut(path, "/")
		if name == "" {
			return errors.New("names no master; write redis+sentinel://host:port/master-name")
		}
		var err error
		if s.MasterName, err = url.PathUnescape(name); err != nil {
			return fmt.Errorf("master name %q: %% begins no escape", name)
		}
		path = db
	}
	if path == "" {
		return nil
	}
	db, err := strconv.ParseUint(path, 10, 31)
	if err != nil {
		return fmt.Errorf("path /%s: a database must be a number, as in redis://host:port/3", path)
	}
	s.DB = int(db)
	return nil
}

func (s *Spec) parseQuery(query string) error {
	values, err := url.ParseQuery(query)
	if err != nil {
		return errors.New("the parameters after ? must be name=value, joined by &")
	}
	for name, list := range values {
		value := list[len(list)-1]
		proxy := s.Kind == Codis || s.Kind == Twemproxy
		switch {
		case name == "shards" && proxy:
			if s.Backends, err = s.parseShards(value); err != nil {
				return fmt.Errorf("shards: %w", err)
			}
		case name == "proxy" && s.Kind == Cluster:
			if command.ProxyOf(value) == nil {
				return fmt.Errorf("proxy=%s: must be %s", value, strings.Join(command.ClusterProxies(), " or "))
			}
			s.Proxy = value
		case name == "dashboard" && s.Kind == Codis:
			if s.Dashboard, err = parseDashboard(value); err != nil {
				return err
			}
		case name == "config" && s.Kind == Twemproxy:
			s.Config = value
		case name == "pool" && s.Kind == Twemproxy:
			s.Pool = value
		case name == "via" && s.Kind == Twemproxy:
			if value != "proxy" && value != "shards" {
				return fmt.Errorf("via=%s: must be proxy or shards", value)
			}
			s.ViaProxy = value == "proxy"
		case name == "hash" && s.Kind == Twemproxy:
			s.Hash = value
		case name == "distribution" && s.Kind == Twemproxy:
			s.Distribution = value
		case name == "tag" && s.Kind == Twemproxy:
			s.Tag = value
		default:
			return fmt.Errorf("unknown parameter %q", name)
		}
	}
	return nil
}

// parseShards reads the servers behind a proxy. For twemproxy they may have a weight and a name, as in its configuration.
func (s *Spec) parseShards(list string) ([]string, error) {
	if s.Kind != Twemproxy {
		return parseAddrs(list, "6379")
	}
	var shards []string
	for text := range strings.SplitSeq(list, ",") {
		server, err := parseBackend(text)
		if err != nil {
			return nil, err
		}
		shards = append(shards, shownBackend(server))
	}
	return shards, nil
}

// parseBackend reads "host", "host:port", "host:port:weight" or "host:port:weight name".
func parseBackend(text string) (sharding.Server, error) {
	plain, _, named := strings.Cut(strings.TrimSpace(text), " ")
	if end := strings.IndexByte(plain, ']'); named || strings.Count(plain[end+1:], ":") > 1 {
		return sharding.ParseServer(text)
	}
	addr, err := parseAddr(plain, "6379")
	return sharding.Server{Addr: addr, Weight: 1}, err
}

func shownBackend(s sharding.Server) string {
	text := s.Addr
	if s.Weight != 1 || s.Name != "" {
		text += ":" + strconv.Itoa(s.Weight)
	}
	if s.Name != "" {
		text += " " + s.Name
	}
	return text
}

// parseDashboard reads the address of a Codis dashboard.
func parseDashboard(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" || strings.Trim(u.Path, "/") != "" {
		return "", fmt.Errorf("dashboard %q: write http://host:18080", text)
	}
	return "http://" + u.Host, nil
}

// complete checks rules that concern several parts of the URL.
func (s *Spec) complete() error {
	switch s.Kind {
	case Standalone:
		if len(s.Addrs) > 1 {
			return errors.New("names several servers; write redis+cluster:// for a cluster, or redis+sentinel:// for sentinels")
		}
	case Cluster:
		if s.DB > 0 {
			return fmt.Errorf("a cluster has only database 0, not %d", s.DB)
		}
		s.DB = 0
	case Twemproxy:
		return s.completeTwemproxy()
	case Codis:
		if s.Dashboard != "" && len(s.Backends) > 0 {
			return errors.New("names shards and a dashboard, which knows the shards; remove one of the two")
		}
	}
	return nil
}

func (s *Spec) completeTwemproxy() error {
	switch {
	case s.Config == "" && len(s.Backends) == 0:
		return errors.New("names no servers behind the proxy; write redis+twemproxy://proxy:port?config=/etc/nutcracker.yml or ?shards=host:port,host:port with hash, distribution and tag")
	case s.Config != "" && (len(s.Backends) > 0 || s.Hash+s.Distribution+s.Tag != ""):
		return errors.New("names a configuration file as well as shards, hash, distribution or tag, which the file contains; remove one of the two")
	case s.Config == "" && s.Pool != "":
		return errors.New("names a pool, but no configuration file that contains it")
	case s.Config != "":
		return nil
	}
	_, err := sharding.NewRouter(s.pool())
	return err
}

// pool returns the server pool that the parameters of the URL describe.
func (s *Spec) pool() sharding.Pool {
	p := sharding.Pool{Hash: s.Hash, Distribution: s.Distribution, Tag: s.Tag}
	for _, text := range s.Backends {
		if server, err := parseBackend(text); err == nil { // Parse has refused malformed ones
			p.Servers = append(p.Servers, server)
		}
	}
	return p
}

// String returns the URL without the password.
func (s Spec) String() string {
	if s.Kind == RDB || s.Kind == AOF {
		return string(s.Kind) + ":" + s.Path
	}
	var b strings.Builder
	b.WriteString("redis")
	if s.TLS != nil {
		b.WriteByte('s')
	}
	if s.Kind != Standalone {
		b.WriteString("+" + string(s.Kind))
	}
	b.WriteString("://")
	if s.Username != "" {
		b.WriteString(url.User(s.Username).String() + "@")
	}
	b.WriteString(strings.Join(s.Addrs, ","))
	if s.Kind == Sentinel {
		b.WriteString("/" + url.PathEscape(s.MasterName))
	}
	if s.DB >= 0 && s.Kind != Cluster {
		b.WriteString("/" + strconv.Itoa(s.DB))
	}
	var params []string
	if len(s.Backends) > 0 {
		params = append(params, "shards="+strings.ReplaceAll(strings.Join(s.Backends, ","), " ", "+"))
	}
	via := ""
	if s.ViaProxy {
		via = "proxy"
	}
	for _, p := range []struct{ name, value string }{{"hash", s.Hash}, {"distribution", s.Distribution}, {"tag", s.Tag},
		{"proxy", s.Proxy}, {"config", s.Config}, {"pool", s.Pool}, {"via", via}, {"dashboard", s.Dashboard}} {
		if p.value != "" {
			params = append(params, p.name+"="+url.QueryEscape(p.value))
		}
	}
	if len(params) > 0 {
		b.WriteString("?" + strings.Join(params, "&"))
	}
	return b.String()
}

// NamedDB returns the database that the URL names, or AllDBs where it names none. A cluster has only one database, which its URL
// does not choose.
func (s Spec) NamedDB() int {
	if s.Kind == Cluster || s.IsFile() {
		return AllDBs
	}
	return s.DB
}

// IsFile says that the endpoint is a file rather than servers.
func (s Spec) IsFile() bool { return s.Kind == RDB || s.Kind == AOF }

// IsAOF says that the endpoint is a file of commands.
func (s Spec) IsAOF() bool { return s.Kind == AOF }
