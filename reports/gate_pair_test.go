package reports

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
	"surecut/verifier"
)

// night is the three reports of one migration, as a directory holds them.
type night struct {
	check   *Check
	verify  *Verify
	migrate *Migrate
	policy  Policy
}

func newNight() *night {
	return &night{passedCheck(), verifyIn(100), goodMigrate(), DefaultPolicy()}
}

// select gives all reports one selection.
func (n *night) selected(s keyspace.Selection) {
	for _, to := range []**keyspace.Selection{&n.check.Selection, &n.verify.Selection, &n.migrate.Selection} {
		own := s
		*to = &own
	}
}

func (n *night) gate() *Gate {
	return evaluateAt(sampleNow, n.policy, []Loaded{{Path: "check.json", Report: n.check}, {Path: "verify.json", Report: n.verify}, {Path: "migrate.json", Report: n.migrate}})
}

// expect runs the gate: want is a part of a reason of NO-GO, "" is GO.
func (n *night) expect(t *testing.T, want, why string) {
	t.Helper()
	g := n.gate()
	reasons := strings.Join(g.Reasons, "\n")
	if want == "" && g.Verdict != Go || want != "" && (g.Verdict != NoGo || !strings.Contains(reasons, want)) {
		t.Errorf("%s, want %q (%s); reasons:\n%s", g.Verdict, want, why, reasons)
	}
	for _, reason := range g.Reasons {
		if !strings.HasSuffix(reason, ".") {
			t.Errorf("reason %q is no sentence", reason)
		}
	}
}

// TestPartIsNotTheWhole: what was not looked at is not proved, whatever left it out: a pattern, a database of a flag or of a URL,
// a sample, a tolerance, an enumeration that was not whole, a replica that was behind.
func TestPartIsNotTheWhole(t *testing.T) {
	zero, seven := 0, 7
	part := keyspace.Selection{Include: []string{"a:*"}}
	tests := []struct {
		name, why string
		change    func(n *night)
		want      string
	}{
		{name: "all keys", why: "nothing was left out", change: func(*night) {}},
		{name: "include", why: "10 keys of 60 were missing beside the pattern", change: func(n *night) { n.selected(part) }, want: `It covers only a part of the keys: keys whose names match "a:*". Make the report for all keys, or name`},
		{name: "exclude", why: "the same the other way round", change: func(n *night) { n.selected(keyspace.Selection{Exclude: []string{"tmp:*"}}) }, want: `keys whose names do not match "tmp:*"`},
		{name: "database", why: "other databases were not looked at", change: func(n *night) { n.selected(keyspace.Selection{Databases: []int{0}}) }, want: "keys of database 0"},
		{name: "database of the target's URL", why: "keys in others would be extra", change: func(n *night) { n.selected(keyspace.Selection{TargetDatabase: &zero}) }, want: "belong in database 0 of the target"},
		{name: "/7 in both URLs by mistake", why: "there is nothing in it", change: func(n *night) {
			n.selected(keyspace.Selection{Databases: []int{7}, TargetDatabase: &seven})
		}, want: "keys of database 7"},
		{name: "sample", why: "some keys were looked at", change: func(n *night) { n.selected(keyspace.Selection{Sample: 1000}) }, want: "1000 of them at most"},
		{name: "repaired", why: "only what had been wrong was looked at", change: func(n *night) { n.verify.Selection = &keyspace.Selection{Repaired: true} }, want: "compared only keys that were repaired"},

		{name: "named", why: "who moves a part names it", change: func(n *night) { n.selected(part); n.policy.Selection = &part }},
		{name: "named in another order", why: "it is the same part", change: func(n *night) {
			n.selected(keyspace.Selection{Databases: []int{0, 3}, Include: []string{"a", "b"}})
			n.policy.Selection = &keyspace.Selection{Databases: []int{3, 0}, Include: []string{"b", "a"}}
			n.policy.Selection = n.policy.Selection.Normal()
		}},
		{name: "another part named", why: "it was not looked at", change: func(n *night) {
			n.selected(part)
			n.policy.Selection = &keyspace.Selection{Include: []string{"b:*"}}
		}, want: `the policy's selection is keys whose names match "b:*"`},
		{name: "a part named, all looked at", why: "extra keys elsewhere would count", change: func(n *night) { n.policy.Selection = &part }, want: "It covers all keys; the policy's selection is"},
		{name: "repaired keys cannot be named", why: "they are never the whole of a part", change: func(n *night) {
			n.selected(part)
			n.policy.Selection = &part
			n.verify.Selection = &keyspace.Selection{Include: part.Include, Repaired: true}
		}, want: "repaired"},

		{name: "check of all, verify of a part", why: "they are not of one migration", change: func(n *night) { n.verify.Selection = &part; n.policy.Selection = &part }, want: "check.json: It covers all keys"},
		{name: "migrate of a part, verify of all", why: "the rest cannot have arrived", change: func(n *night) { n.migrate.Selection = &part }, want: `migrate.json is about keys whose names match "a:*", but check.json is about all keys; all reports of a migration must have the same selection.`},

		{name: "mapped", why: "every key was looked at, where it landed", change: func(n *night) { n.selected(keyspace.Selection{DBMap: []string{"3:0"}}) }},
		{name: "mapped otherwise", why: "verify looked where nothing was moved to", change: func(n *night) {
			n.selected(keyspace.Selection{DBMap: []string{"3:0"}})
			n.verify.Selection = &keyspace.Selection{DBMap: []string{"3:1"}}
		}, want: "must have the same selection"},
		{name: "prefix forgotten", why: "the check did not look for names that clash", change: func(n *night) {
			n.selected(keyspace.Selection{DBPrefix: []string{"3:app3:"}})
			n.check.Selection = nil
		}, want: "must have the same selection"},
		{name: "mapping named", why: "the policy demands another", change: func(n *night) {
			n.selected(keyspace.Selection{DBMap: []string{"3:0"}})
			n.policy.Selection = &keyspace.Selection{DBMap: []string{"4:0"}}
		}, want: "Its mapping is database 3 arrives in database 0; the policy requires database 4 arrives in database 0."},

		{name: "tolerance", why: "an expiry that is 100 hours off is not the same", change: func(n *night) { n.verify.TTLToleranceMs = 360_000_000 }, want: "It accepted expiries as the same that were up to 100h apart; the policy allows 5s."},
		{name: "tolerance at the limit", why: "the policy allows it", change: func(n *night) { n.verify.TTLToleranceMs = 5000 }},
		{name: "tolerance just above", why: "the policy does not", change: func(n *night) { n.verify.TTLToleranceMs = 5001 }, want: "up to 5.001s apart"},
		{name: "tolerance named", why: "the policy allows it", change: func(n *night) {
			n.verify.TTLToleranceMs = 60_000
			n.policy.Verify.MaxTTLTolerance = Duration(60_000_000_000)
		}},

		{name: "not all listed", why: "one extra key may hide where SCAN was refused, however many are allowed", change: func(n *night) {
			n.verify = verifyIn(100, realFindings()[7]) // an extra key
			n.verify.Incomplete = []string{"10.30.0.22:7000 refused SCAN"}
			n.policy.Verify.MaxDifferences, n.policy.Verify.MaxUnchecked = 1000, 1000
		}, want: "Not all keys were listed, so some may have been overlooked: 10.30.0.22:7000 refused SCAN."},
		{name: "not all listed, named", why: "the policy allows it", change: func(n *night) {
			n.verify.Verdict, n.verify.Incomplete = verifier.Unchecked, []string{"10.30.0.22:7000 refused SCAN"}
			n.policy.Verify.AllowIncomplete = true
		}},

		{name: "replica whose link is down", why: "the primary may have gone on", change: func(n *night) { n.verify.SourceServers[1].Link = endpoint.LinkDown }, want: "The source was read from the replica 10.20.0.12:6379, whose connection to its primary was down"},
		{name: "replica of unknown link", why: "nobody knows how far it is", change: func(n *night) { n.verify.SourceServers[1].Link = "" }, want: "may not have been up to date"},
		{name: "replica of the target", why: "the same on the other side", change: func(n *night) {
			n.verify.TargetServers = append(n.verify.TargetServers, endpoint.Member{Addr: "10.30.0.25:7000", RunID: "d0", Role: endpoint.RoleReplica, Link: endpoint.LinkDown, Read: true})
		}, want: "The target was read from the replica 10.30.0.25:7000"},
		{name: "replica that was not read", why: "it is of no account", change: func(n *night) {
			n.verify.TargetServers = append(n.verify.TargetServers, endpoint.Member{Addr: "10.30.0.25:7000", RunID: "d0", Role: endpoint.RoleReplica, Link: endpoint.LinkDown})
		}},
		{name: "keys expired", why: "that is nobody's write", change: func(n *night) { n.verify.Writes.Written = true }},
		{name: "clients wrote", why: "what they wrote after a key was read is not in the verdict", change: func(n *night) {
			n.verify.Writes.Clients, n.verify.Writes.ClientsWhy = verifier.ClientsSome, "10.20.0.11:6379 ran 312 commands that write"
		}, want: "Clients wrote to the source during the comparison (10.20.0.11:6379 ran 312 commands that write): stop the writers"},
		{name: "clients wrote, allowed", why: "a rehearsal may be gated", change: func(n *night) {
			n.verify.Writes.Clients, n.policy.Verify.AllowWritten = verifier.ClientsSome, true
		}},
		{name: "not known whether clients wrote", why: "what is not known does not hold", change: func(n *night) {
			n.verify.Writes.Clients, n.verify.Writes.ClientsWhy = verifier.ClientsUnknown, "it was restarted."
		}, want: "It is not known whether clients wrote to the source during the comparison (it was restarted): stop the writers"},
		{name: "nothing said of writes", why: "what is not known does not hold", change: func(n *night) { n.verify.Writes = nil }, want: "the comparison (the report does not say why)"},
		{name: "stale replica named", why: "the policy allows it", change: func(n *night) {
			n.verify.SourceServers[1].Link = endpoint.LinkDown
			n.policy.Verify.AllowStaleReplicas = true
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newNight()
			tt.change(n)
			n.expect(t, tt.want, tt.why)
		})
	}
}

// TestReportsOfOnePair: one deployment may have several names, and one name may lead to another server than yesterday.
func TestReportsOfOnePair(t *testing.T) {
	restarted := func(h *Header) {
		for i := range h.TargetServers {
			h.TargetServers[i].RunID, h.TargetServers[i].NodeID = "0ther", ""
		}
	}
	tests := []struct {
		name, why string
		change    func(n *night)
		want      string
	}{
		{name: "another name", why: "localhost and 127.0.0.1 are one server", change: func(n *night) { n.verify.Source = "redis://localhost:6379" }},
		{name: "restarted target", why: "it may have come up empty", change: func(n *night) { restarted(&n.verify.Header) },
			want: "check.json and verify.json are not about the same servers of the target, although both name it redis+cluster://10.30.0.21:7000,10.30.0.22:7000: 10.30.0.21:7000 (node 07c37dfe) and 10.30.0.21:7000 (run 0ther). The servers were restarted or replaced in between"},
		{name: "restarted between check and migrate", why: "the verification alone does not tell", change: func(n *night) { restarted(&n.migrate.Header) }, want: "allow_restarts"},
		{name: "restart allowed", why: "the policy says so", change: func(n *night) { restarted(&n.verify.Header); n.policy.AllowRestarts = true }},
		{name: "restart allowed, elsewhere", why: "another URL is another deployment", change: func(n *night) { elsewhere(n.verify); n.policy.AllowRestarts = true }, want: "is about"},
		{name: "restarted node of a cluster", why: "its node ID is the same, and it may have lost what was compared", change: func(n *night) { n.verify.TargetServers[0].RunID = "0ther" },
			want: "A server of the target was restarted or replaced between check.json and verify.json (10.30.0.21:7000 with run ID "},
		{name: "restarted node of a cluster, allowed", why: "the policy says so", change: func(n *night) { n.verify.TargetServers[0].RunID, n.policy.AllowRestarts = "0ther", true }},
		{name: "restarted primary beside a replica", why: "its replica is still the same process", change: func(n *night) {
			n.check.SourceServers[1].RunID = "b0b"
			n.migrate.SourceServers[1].RunID, n.verify.SourceServers[1].RunID = "b0b", "b0b"
			n.verify.SourceServers[0].RunID = "0ther"
		}, want: "A server of the source was restarted or replaced between check.json and verify.json"},
		{name: "failover", why: "the promoted replica was there before", change: func(n *night) {
			n.check.SourceServers[1].RunID = "b0b"
			n.verify.SourceServers = []endpoint.Member{{Addr: "10.20.0.12:6379", RunID: "b0b", Role: endpoint.RolePrimary, Read: true}}
			n.migrate.SourceServers = n.check.SourceServers
		}},
		{name: "nobody is known", why: "a proxy names no server; then the URLs decide", change: func(n *night) {
			n.verify.SourceServers, n.check.SourceServers = nil, []endpoint.Member{{Addr: "10.20.0.11:6379", Role: endpoint.RoleProxy}}
			n.migrate.SourceServers = nil
		}},
		{name: "nobody is known, another URL", why: "then the URLs decide", change: func(n *night) {
			n.verify.SourceServers, n.check.SourceServers, n.migrate.SourceServers = nil, nil, nil
			n.verify.Source = "redis://10.20.0.99:6379"
		}, want: "verify.json is about redis://10.20.0.99:6379 -> "},
		{name: "the two sides in turn", why: "verify was called the wrong way round", change: func(n *night) {
			h := &n.verify.Header
			h.Source, h.Target, h.SourceServers, h.TargetServers = h.Target, h.Source, h.TargetServers, h.SourceServers
		}, want: "The source of verify.json is the target of check.json"},
		{name: "a server with itself", why: "it is the same as itself, always", change: func(n *night) {
			for _, h := range []*Header{&n.check.Header, &n.verify.Header, &n.migrate.Header} {
				h.Target, h.TargetServers = "redis://localhost:6379", h.SourceServers
			}
		}, want: "Its source and its target are the same deployment: 10.20.0.11:6379 and 10.20.0.11:6379 are the same server (run ID 5f0c1d7e)."},

		{name: "wanted by URL", why: "it is that one", change: func(n *night) {
			n.policy.Source, n.policy.Target = "redis://10.20.0.11:6379", "redis+cluster://10.30.0.21:7000,10.30.0.22:7000"
		}},
		{name: "wanted by a URL with a password", why: "reports show none", change: func(n *night) { n.policy.Source = "redis://:secret@10.20.0.11:6379/" }},
		{name: "wanted by address", why: "one of its servers", change: func(n *night) { n.policy.Source, n.policy.Target = "10.20.0.12:6379", "redis://10.30.0.21:7000" }},
		{name: "wanted by run ID and node ID", why: "its servers", change: func(n *night) { n.policy.Source, n.policy.Target = "5f0c1d7e", "07c37dfe" }},
		{name: "another source", why: "the reports are of the staging system", change: func(n *night) { n.policy.Source = "redis://prod:6379" },
			want: "verify.json: Its source is redis://10.20.0.11:6379 (10.20.0.11:6379 (run 5f0c1d7e)); the policy requires redis://prod:6379."},
		{name: "another target", why: "a run ID of another server", change: func(n *night) { n.policy.Target = "deadbeef" }, want: "the policy requires deadbeef"},
		{name: "source and target in turn", why: "each is on the wrong side", change: func(n *night) { n.policy.Source, n.policy.Target = "07c37dfe", "5f0c1d7e" }, want: "the policy requires 07c37dfe"},
		{name: "the database is part of the URL", why: "database 5 is not all of it", change: func(n *night) { n.policy.Source = "redis://10.20.0.11:6379/5" }, want: "the policy requires redis://10.20.0.11:6379/5"},

		{name: "compared before the end of the migration", why: "a drain takes its time", change: func(n *night) { n.verify.GeneratedAt = "2026-03-14T09:20:00Z" }},
		{name: "compared the evening before", why: "what was moved since was not compared", change: func(n *night) { n.verify.GeneratedAt = "2026-03-13T22:00:00Z" },
			want: "verify.json was made 11 h 26 min before migrate.json, so data that the migration has copied since was not compared; the policy allows 15m."},
		{name: "compared after the migration", why: "as it should be", change: func(n *night) { n.migrate.GeneratedAt = "2026-03-13T22:00:00Z" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newNight()
			tt.change(n)
			n.expect(t, tt.want, tt.why)
		})
	}
}

// TestNothingCompared: an empty comparison passes only where the policy says so, and only where nothing was left out.
func TestNothingCompared(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(n *night)
		want   string
	}{
		{"empty", func(*night) {}, "compared no key"},
		{"empty, allowed", func(n *night) { n.policy.Verify.AllowEmpty = true }, ""},
		{"an empty part, named and allowed", func(n *night) {
			part := keyspace.Selection{Databases: []int{7}}
			n.selected(part)
			n.policy.Selection, n.policy.Verify.AllowEmpty = &part, true
		}, "compared no key"},
		{"not listed, allowed", func(n *night) {
			n.verify.Incomplete, n.policy.Verify.AllowEmpty = []string{"SCAN was refused"}, true
		}, "Not all keys were listed"},
	} {
		n := newNight()
		n.verify = emptyVerify()
		tt.change(n)
		n.expect(t, tt.want, tt.name)
	}
}

// TestPolicyNamesThePart: the part stands in the policy file under the names of the flags.
func TestPolicyNamesThePart(t *testing.T) {
	for _, tt := range []struct{ yaml, want string }{
		{`selection: {include: ["b", "a"], databases: [3, 0], db_map: ["3:0"], target_database: 2}`, ""},
		{`selection: {includes: ["a"]}`, "no setting includes"},
		{`selection: {databases: [-1]}`, "-1 is not a database"},
		{`selection: {db_map: ["3-0"]}`, `must be SOURCE:TARGET`},
		{`selection: {db_prefix: ["app3:"]}`, `must be SOURCE:PREFIX`},
		{`selection: {include: [""]}`, "an empty pattern"},
		{`verify: {max_ttl_tolerance: -1s}`, "verify.max_ttl_tolerance"},
	} {
		path := filepath.Join(t.TempDir(), "policy.yaml")
		if err := os.WriteFile(path, []byte(tt.yaml), 0o600); err != nil {
			t.Fatal(err)
		}
		p, err := LoadPolicy(path)
		if tt.want != "" {
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: %v, want %q", tt.yaml, err, tt.want)
			}
			continue
		}
		two := 2
		if want := (&keyspace.Selection{Include: []string{"a", "b"}, Databases: []int{0, 3}, DBMap: []string{"3:0"}, TargetDatabase: &two}); err != nil || !p.Selection.Equal(want) {
			t.Errorf("%s: %v, %v", tt.yaml, p.Selection, err)
		}
	}
}

// TestPartOfAScan: the largest key may lie in a database that a scan has not looked at.
func TestPartOfAScan(t *testing.T) {
	for _, tt := range []struct {
		name    string
		scanned []int
		policy  *keyspace.Selection
		want    string
	}{
		{"all", nil, nil, ""},
		{"one database", []int{0}, nil, "It covers only a part of the keys: keys of database 0."},
		{"the database that is moved", []int{3}, &keyspace.Selection{Databases: []int{3}, Include: []string{"a:*"}}, ""},
		{"another database", []int{0}, &keyspace.Selection{Databases: []int{3}}, "the policy's selection is keys of database 3"},
		{"more than is moved", nil, &keyspace.Selection{Databases: []int{3}}, ""},
	} {
		n := newNight()
		n.policy.Selection = tt.policy
		if tt.policy != nil {
			n.selected(*tt.policy)
		}
		b := sampleBigKeys()
		b.Selection = (&keyspace.Filter{DBs: tt.scanned}).Selection(keyspace.NamedDatabases{Source: -1, Target: -1})
		g := evaluateAt(sampleNow, n.policy, []Loaded{{Path: "check.json", Report: n.check}, {Path: "verify.json", Report: n.verify}, {Path: "bigkeys.json", Report: b}})
		if reasons := strings.Join(g.Reasons, "\n"); (g.Verdict == Go) != (tt.want == "") || !strings.Contains(reasons, tt.want) {
			t.Errorf("%s: %s, want %q: %s", tt.name, g.Verdict, tt.want, reasons)
		}
	}
}
