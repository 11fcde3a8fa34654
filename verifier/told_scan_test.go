package verifier

import (
	"slices"
	"strings"
	"testing"

	"surecut/internal/endpoint/endpointtest"
	"surecut/internal/keyspace"
)

// newEvenPair is a pair whose keys are all the same.
func newEvenPair(t *testing.T, version string) *toldPair {
	p := newToldPair(t, version)
	for name := range p.odd {
		p.source.Put(name, nil)
		p.target.Put(name, nil)
	}
	p.odd = nil
	return p
}

// TestListing: what SCAN lists and what the server counts must agree, or the difference must have an explanation; a key that is listed
// twice is one key.
func TestListing(t *testing.T) {
	all := []string{"hash", "list", "set", "stream", "string", "zset"}
	page := endpointtest.Page
	for _, tt := range []struct {
		name, why string
		tell      func(p *toldPair)
		change    func(*Config)
		want      Verdict
		says      string // part of the reasons or of what was left out
	}{
		{"as it is", "", nil, nil, Same, "All 6 keys"},
		{"one twice", "", func(p *toldPair) { p.source.Once("SCAN", page("0", append(all, "set")...)) }, nil, Same, "All 6 keys"},
		{"one twice over two pages", "", func(p *toldPair) { p.target.Once("SCAN", page("7", all...), page("0", "set", "zset")) }, nil, Same, "All 6 keys"},
		{"empty pages", "the scan is not over", func(p *toldPair) { p.source.Once("SCAN", page("5"), page("9"), page("0", all...)) }, nil, Same, "All 6 keys"},
		{"an empty page at the end", "", func(p *toldPair) { p.source.Once("SCAN", page("5", all...), page("0")) }, nil, Same, "All 6 keys"},
		{"one is left out", "nothing says where it went, and another may be left out on both sides", func(p *toldPair) { p.source.Once("SCAN", page("0", all[1:]...)) }, nil,
			Unchecked, "SCAN returned 5 keys, but DBSIZE is 6; there is no explanation for 1 of"},
		{"one is left out for another that comes twice", "they must not make up for each other", func(p *toldPair) { p.source.Once("SCAN", page("0", append(all[1:], "set")...)) }, nil,
			Unchecked, "SCAN returned 1 keys twice"},
		{"one is left out, and one has expired", "", func(p *toldPair) {
			p.source.On("SCAN", func([]string) string { p.source.Tell("expired_keys", "1"); return page("0", all[1:]...) })
		}, nil, Same, "All 6 keys"},
		{"one is left out by a replica", "it holds what has expired and does not list it", func(p *toldPair) {
			p.source.Tell("db0", "keys=6,expires=1,avg_ttl=0")
			p.source.Once("SCAN", page("0", all[1:]...))
		}, func(c *Config) { c.SourcePaused = true }, Same, "All 6 keys"},
		{"a name that does not exist", "it was deleted since", func(p *toldPair) { p.source.Once("SCAN", page("0", append(all, "nobody")...)) }, nil, Same, "All 6 keys"},
		{"no page", "", func(p *toldPair) { p.source.Always("SCAN", "*1\r\n$1\r\n0\r\n") }, nil, Unchecked, "could be listed: the reply has 1 parts instead of 2"},
		{"no cursor", "", func(p *toldPair) { p.source.Always("SCAN", page("x", all...)) }, nil, Unchecked, "could be listed: the cursor of a scan"},
		{"forbidden", "", func(p *toldPair) {
			p.target.Always("SCAN", "-NOPERM this user has no permissions to run the 'scan' command\r\n")
		}, nil, Unchecked, "could be listed: SCAN was answered by: NOPERM"},
		{"restarted", "only the process itself knows how far its scan has come", func(p *toldPair) {
			p.source.Before("SCAN", func() { p.source.Tell("run_id", strings.Repeat("b", 40)) })
		}, nil, Unchecked, "was restarted, or replaced by another server, while its keys were listed"},
		{"became a replica", "it may have been filled anew", func(p *toldPair) {
			p.target.Before("SCAN", func() {
				p.target.Tell("role", "slave", "master_host", "h", "master_port", "1", "master_link_status", "up")
			})
		}, nil, Unchecked, "became a replica of h:1 while it was read"},
		{"counts are refused at the end", "", func(p *toldPair) {
			p.source.Before("SCAN", func() { p.source.Always("INFO", "-NOPERM this user has no permissions to run the 'info' command\r\n") })
		}, nil, Unchecked, "INFO all: NOPERM"},
		{"counts are refused at the beginning", "", func(p *toldPair) {
			p.target.On("INFO", func([]string) string {
				if len(p.target.Calls("INFO")) < 4 {
					return endpointtest.Usual
				}
				return "-NOPERM this user has no permissions to run the 'info' command\r\n"
			})
		}, nil, Unchecked, "INFO all: NOPERM"},
		{"counts make no sense", "", func(p *toldPair) { p.target.Tell("db0", "keys=many") }, nil, Unchecked, "INFO keyspace says"},

		{"surecut's own keys", "", func(p *toldPair) { p.target.Put(keyspace.Prefix+":cp:1", stringOf("x")) }, nil, Same, "(names that begin with __surecut) are not compared: the source has 0 and the target has 1"},
		{"another database", "it was not asked for", func(p *toldPair) { p.source.PutIn(3, "k", stringOf("x")) }, func(c *Config) { c.Filter.DBs = []int{0} }, Same, "databases of the source hold keys and were not compared: 3 (1 keys"},
		{"both databases", "", func(p *toldPair) { p.source.PutIn(3, "k", stringOf("x")) }, nil, Different, "1 key is missing on the target."},
		{"nothing is left", "same of nothing is no same", nil, func(c *Config) { c.Filter.Include = []string{"nobody"} }, Unchecked, "Nothing was compared; databases that hold keys: 0 of the source, 0 of the target."},
		{"nothing on the target", "", func(p *toldPair) {
			for _, name := range all {
				p.target.Put(name, nil)
			}
		}, func(c *Config) { c.Filter.Include = []string{"nobody"} }, Unchecked, "databases of the source that hold keys: 0; the target holds no"},
		{"functions", "", func(p *toldPair) {
			p.source.Always("FUNCTION LIST", endpointtest.Array(endpointtest.Strings("library_name", "mylib"), endpointtest.Strings("library_name", "other")))
		}, nil, Same, "Function libraries are not compared: the source has 2 and the target has 0."},
		{"modules", "", func(p *toldPair) {
			p.source.Always("MODULE LIST", endpointtest.Array(endpointtest.Strings("name", "search")))
		}, nil, Same, "the source has search, the target"},
		{"a depth that does not read values", "", func(p *toldPair) { p.target.Put("string", stringOf("xyz")) }, func(c *Config) { c.Depth = DepthLength }, Same, "at depth length"},
		{"no depth at all", "", func(p *toldPair) { p.target.Put("string", stringOf("longer")) }, func(c *Config) { c.Depth = DepthKeys }, Same, "at depth keys"},
	} {
		p := newEvenPair(t, "7.0.15")
		source, target := endpointtest.Open(t, p.source.URL()), endpointtest.Open(t, p.target.URL())
		if tt.tell != nil {
			tt.tell(p)
		}
		r, err := verifyDeployments(t, source, target, tt.change)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		text := strings.Join(slices.Concat(r.Reasons, r.LeftOut), " ")
		if r.Verdict != tt.want || !strings.Contains(text, tt.says) || r.Verdict == Same && len(r.Incomplete) > 0 {
			t.Errorf("%s: %s: %s\nwant %s, %q (%s)", tt.name, r.Verdict, text, tt.want, tt.says, tt.why)
		}
	}
}
