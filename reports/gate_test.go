package reports

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
	"surecut/internal/preflight"
	"surecut/verifier"
)

func goodMigrate() *Migrate {
	m := sampleMigrate()
	m.Problems = nil
	m.Counters.SnapshotApplied, m.Counters.SnapshotReported = m.Counters.SnapshotApplied+2, 0
	m.Counters.CommandsApplied, m.Counters.CommandsReported = m.Counters.CommandsApplied+1, 0
	m.AllRuns.Counters = m.Counters
	return m
}

// elsewhere makes a report speak of another target.
func elsewhere(v *Verify) {
	v.Target, v.TargetServers = "redis://staging:6379", []endpoint.Member{{Addr: "staging:6379", RunID: "c0ffee00", Role: endpoint.RolePrimary, Read: true}}
}

func TestGate(t *testing.T) {
	tests := []struct {
		name, why string
		policy    func(*Policy)
		reports   func() []Report // nil: passedCheck and sampleVerify
		change    func(c *Check, v *Verify, m *Migrate, b *BigKeys)
		want      string // part of a reason; "" is GO
	}{
		{name: "good", why: "everything holds"},
		{name: "reported in an earlier run", why: "it is still missing", policy: func(p *Policy) { p.Require = append(p.Require, KindMigrate) }, reports: func() []Report {
			m := goodMigrate()
			m.AllRuns.Runs, m.AllRuns.Counters.CommandsReported, m.AllRuns.Counters.Commands = 2, 1, m.AllRuns.Counters.Commands+1
			return []Report{passedCheck(), sampleVerify(), m}
		}, want: "1 key or command was reported instead of applied (0 of the snapshot, 1 of the stream"},
		{name: "nothing", why: "no evidence is no proof", reports: func() []Report { return nil }, want: "No report was given"},
		{name: "no verify", why: "the policy requires it", reports: func() []Report { return []Report{passedCheck()} }, want: "requires a verify report, but none was given"},
		{name: "gate as input", why: "a verdict is no evidence", reports: func() []Report { return []Report{passedCheck(), sampleVerify(), sampleGate(passedCheck())} }, want: "A gate report is not evidence"},
		{name: "different", why: "data differs", change: func(_ *Check, v *Verify, _ *Migrate, _ *BigKeys) {
			v.Verdict, v.Totals.Different, v.Totals.Same = verifier.Different, 3, v.Totals.Same-3
		}, want: "3 keys are not the same of 61,675 compared (3 different, 0 missing, 0 extra); the policy allows 0."},
		{name: "different allowed", why: "the policy says so", policy: func(p *Policy) { p.Verify.MaxDifferences = 3 }, change: func(_ *Check, v *Verify, _ *Migrate, _ *BigKeys) {
			*v = *sampleVerify(realFindings()[:3]...)
		}},
		{name: "says same, counts extra", why: "figures win over words", change: func(_ *Check, v *Verify, _ *Migrate, _ *BigKeys) {
			v.Totals.Extra, v.Totals.TargetKeys = 1, v.Totals.TargetKeys+1
		}, want: "contradicts itself"},
		{name: "lists a missing key", why: "findings win over totals", change: func(_ *Check, v *Verify, _ *Migrate, _ *BigKeys) {
			v.Findings = append(v.Findings, finding("k", verifier.AbsentOnTarget, "string", "", nil, nil))
		}, want: "lists 1 finding of verdict missing, but counts 0"},
		{name: "fewer judged than enumerated", why: "keys without a verdict were left out", change: func(_ *Check, v *Verify, _ *Migrate, _ *BigKeys) { v.Totals.Same -= 10 }, want: "enumerated 61,675 keys on the source and 61,675 on the target, but judged only 61,665"},
		{name: "negative", why: "cannot be", change: func(_ *Check, v *Verify, _ *Migrate, _ *BigKeys) { v.Totals.Different = -1 }, want: "contradicts itself"},
		{name: "unchecked", why: "not known is not same", change: func(_ *Check, v *Verify, _ *Migrate, _ *BigKeys) {
			v.Verdict, v.Totals.Unchecked, v.Totals.Same = verifier.Unchecked, 1, v.Totals.Same-1
		}, want: "1 key is unchecked; the policy allows 0."},
		{name: "run unchecked", why: "fewer keys than DBSIZE explains", change: func(_ *Check, v *Verify, _ *Migrate, _ *BigKeys) {
			v.Verdict, v.Reasons = verifier.Unchecked, []string{"SCAN gave 5 keys of 9."}
		}, want: "as a whole is unchecked: SCAN gave 5 keys of 9."},
		{name: "no keys", why: "an empty comparison proves nothing", change: func(_ *Check, v *Verify, _ *Migrate, _ *BigKeys) { v.Totals = verifier.Totals{} }, want: "compared no key (source 0, target 0)"},
		{name: "no keys allowed", why: "the policy says so", policy: func(p *Policy) { p.Verify.AllowEmpty = true }, change: func(_ *Check, v *Verify, _ *Migrate, _ *BigKeys) { *v = *emptyVerify() }},
		{name: "depth", why: "lengths are not values", change: func(_ *Check, v *Verify, _ *Migrate, _ *BigKeys) { v.Depth = "length" }, want: "at depth length; the policy requires value"},
		{name: "proof", why: "the policy demands more", policy: func(p *Policy) { p.Verify.MinProof = "offset" }, change: func(_ *Check, v *Verify, _ *Migrate, _ *BigKeys) { v.Proof = "rounds" }, want: "proof is by rounds"},
		{name: "proof of nothing", why: "no key was in doubt, so that none needed one", policy: func(p *Policy) { p.Verify.MinProof = "offset" }, change: func(_ *Check, v *Verify, _ *Migrate, _ *BigKeys) {
			v.Proof, v.Rounds, v.History = "rounds", 0, nil
		}},
		{name: "repaired", why: "the other keys were not looked at", change: func(_ *Check, v *Verify, _ *Migrate, _ *BigKeys) { v.Selection = &keyspace.Selection{Repaired: true} }, want: "compared only keys that were repaired"},
		{name: "selected", why: "a part does not stand for the whole", change: func(_ *Check, v *Verify, _ *Migrate, _ *BigKeys) {
			v.Selection = &keyspace.Selection{Include: []string{"user:*"}}
		}, want: `It covers only a part of the keys: keys whose names match "user:*".`},
		{name: "rounds", why: "the policy demands more", policy: func(p *Policy) { p.Verify.MinRounds = 5 }, want: "made 3 rounds over the keys in doubt; the policy requires 5"},
		{name: "rounds of nothing", why: "no key was in doubt", policy: func(p *Policy) { p.Verify.MinRounds = 5 }, change: func(_ *Check, v *Verify, _ *Migrate, _ *BigKeys) { v.Rounds, v.History = 0, nil }},
		{name: "failed check", why: "a failed check stops", change: func(c *Check, _ *Verify, _ *Migrate, _ *BigKeys) {
			c.Checks[0].Result, c.Checks[0].Found, c.Checks[0].Wanted = preflight.Fail, "5 keys.", "0 keys"
		}, want: "Check connectivity (source) failed: found 5 keys, wanted 0 keys."},
		{name: "failed check accepted", why: "only alarms can be accepted", policy: func(p *Policy) { p.Check.AcceptAlarms, p.Check.Accept = true, []string{"connectivity"} },
			change: func(c *Check, _ *Verify, _ *Migrate, _ *BigKeys) { c.Checks[0].Result = preflight.Fail }, want: "failed"},
		{name: "verdict fail alone", why: "words against figures", change: func(c *Check, _ *Verify, _ *Migrate, _ *BigKeys) { c.Verdict = preflight.Fail }, want: "contradicts itself"},
		{name: "note", why: "it needs no decision", change: func(c *Check, _ *Verify, _ *Migrate, _ *BigKeys) { c.Checks[0].Result = preflight.Note }},
		{name: "alarm", why: "nobody accepted it", change: func(c *Check, _ *Verify, _ *Migrate, _ *BigKeys) { c.Checks[0].Result = preflight.Alarm }, want: "raised an alarm that nobody accepted"},
		{name: "alarm by id", why: "the policy accepts it", policy: func(p *Policy) { p.Check.Accept = []string{"connectivity"} }, change: func(c *Check, _ *Verify, _ *Migrate, _ *BigKeys) {
			c.Verdict, c.Checks[0].Result = preflight.Alarm, preflight.Alarm
		}},
		{name: "all alarms", why: "the policy accepts them", policy: func(p *Policy) { p.Check.AcceptAlarms = true }, change: func(c *Check, _ *Verify, _ *Migrate, _ *BigKeys) {
			c.Verdict, c.Checks[0].Result = preflight.Alarm, preflight.Alarm
		}},
		{name: "no checks", why: "nothing was checked", change: func(c *Check, _ *Verify, _ *Migrate, _ *BigKeys) { c.Checks = nil }, want: "contains no checks"},
		{name: "skipped", why: "the policy allows none", policy: func(p *Policy) { p.Check.MaxSkipped = 0 }, want: "1 check was skipped; the policy allows 0."},
		{name: "old", why: "the data has moved on", change: func(_ *Check, v *Verify, _ *Migrate, _ *BigKeys) { v.GeneratedAt = "2026-03-13T09:00:00Z" }, want: "It is 25 h 0 min old; the policy allows 24h."},
		{name: "old allowed", why: "the policy has no limit", policy: func(p *Policy) { p.MaxAge = 0 }, change: func(_ *Check, v *Verify, _ *Migrate, _ *BigKeys) { v.GeneratedAt = "2020-03-13T09:00:00Z" }},
		{name: "future", why: "its age cannot be told", change: func(_ *Check, v *Verify, _ *Migrate, _ *BigKeys) { v.GeneratedAt = "2026-03-14T10:06:00Z" }, want: "is in the future"},
		{name: "clocks a little apart", why: "machines differ", change: func(_ *Check, v *Verify, _ *Migrate, _ *BigKeys) { v.GeneratedAt = "2026-03-14T10:04:00Z" }},
		{name: "other target", why: "proves another copy", change: func(_ *Check, v *Verify, _ *Migrate, _ *BigKeys) { elsewhere(v) }, want: "is about redis://10.20.0.11:6379 -> redis://staging:6379, but"},
		{name: "other target allowed", why: "the policy says so", policy: func(p *Policy) { p.SameEndpoints = false }, change: func(_ *Check, v *Verify, _ *Migrate, _ *BigKeys) { elsewhere(v) }},
		{name: "no endpoints", why: "proves nothing in particular", change: func(_ *Check, v *Verify, _ *Migrate, _ *BigKeys) { v.Target = "" }, want: "does not name its source and target"},
		{name: "migrate", why: "given, so judged", reports: func() []Report { return []Report{passedCheck(), sampleVerify(), goodMigrate()} }},
		{name: "migrate required", why: "the policy says so", policy: func(p *Policy) { p.Require = []string{"migrate"} }, want: "requires a migrate report"},
		{name: "migrate reported", why: "2 keys and 1 command did not arrive", reports: func() []Report { return []Report{passedCheck(), sampleVerify(), sampleMigrate()} },
			want: "3 keys and commands were reported instead of applied (2 of the snapshot, 1 of the stream, 3 problems listed); the policy allows 0."},
		{name: "migrate running", why: "not done", reports: func() []Report { return []Report{passedCheck(), sampleVerify(), goodMigrate()} },
			change: func(_ *Check, _ *Verify, m *Migrate, _ *BigKeys) { m.State = "running" }, want: "The migration is running; the policy allows done, caught up, stopped."},
		{name: "migrate error", why: "it failed", reports: func() []Report { return []Report{passedCheck(), sampleVerify(), goodMigrate()} },
			change: func(_ *Check, _ *Verify, m *Migrate, _ *BigKeys) { m.State, m.Error = "failed", "spool is full" }, want: "ended with an error: spool is full."},
		{name: "migrate lost a key", why: "counters must add up", reports: func() []Report { return []Report{passedCheck(), sampleVerify(), goodMigrate()} },
			change: func(_ *Check, _ *Verify, m *Migrate, _ *BigKeys) { m.Counters.SnapshotApplied-- }, want: "Keys of the snapshot: 1,000,000 received, but 999,999 accounted for."},
		{name: "migrate live", why: "commands on their way are not lost", reports: func() []Report { return []Report{passedCheck(), sampleVerify(), goodMigrate()} },
			change: func(_ *Check, _ *Verify, m *Migrate, _ *BigKeys) {
				m.Counters.Commands, m.AllRuns.Counters.Commands = m.Counters.Commands+3, m.AllRuns.Counters.Commands+3
			}},
		{name: "migrate done lost a command", why: "nothing is on its way any more", reports: func() []Report { return []Report{passedCheck(), sampleVerify(), goodMigrate()} },
			change: func(_ *Check, _ *Verify, m *Migrate, _ *BigKeys) {
				m.State, m.Counters.Commands = "done", m.Counters.Commands+3
			}, want: "Commands of the stream: 2,651,335 received, but 2,651,332 accounted for."},
		{name: "migrate stopped in the snapshot", why: "the rest has not arrived", reports: func() []Report { return []Report{passedCheck(), sampleVerify(), goodMigrate()} },
			change: func(_ *Check, _ *Verify, m *Migrate, _ *BigKeys) { m.State, m.Links[1].Bytes = "stopped", 1000 }, want: "has loaded 1,000 of its snapshot's 1,504,330,118 bytes."},
		{name: "migrate without links", why: "nothing was copied", reports: func() []Report { return []Report{passedCheck(), sampleVerify(), goodMigrate()} },
			change: func(_ *Check, _ *Verify, m *Migrate, _ *BigKeys) { m.Links = nil }, want: "has no link"},
		{name: "migrate level", why: "the policy demands more", policy: func(p *Policy) { p.Migrate.MinLevel = "exactly_once" }, reports: func() []Report { return []Report{passedCheck(), sampleVerify(), goodMigrate()} },
			change: func(_ *Check, _ *Verify, m *Migrate, _ *BigKeys) { m.Level = "repaired" }, want: "requires exactly_once"},
		{name: "migrate lag", why: "the policy demands less", policy: func(p *Policy) { p.Migrate.MaxLagBytes = 100 }, reports: func() []Report { return []Report{passedCheck(), sampleVerify(), goodMigrate()} },
			want: "The link of 10.20.0.11:6379 lags by 218 B (218 bytes); the policy allows 100 B."},
		{name: "source still written", why: "GO means that the writers are off", reports: func() []Report { return []Report{passedCheck(), sampleVerify(), writtenMigrate()} },
			want: "The source is still written: 10.20.0.11:6379: it is still written (312 calls of commands that write); connected: 10.20.3.7:50112"},
		{name: "quiet source", why: "nobody writes", reports: func() []Report { return []Report{passedCheck(), sampleVerify(), writtenMigrate()} },
			change: func(_ *Check, _ *Verify, m *Migrate, _ *BigKeys) {
				m.Quiet.Quiet, m.Quiet.Nodes = true, m.Quiet.Nodes[1:]
			}},
		{name: "quiet, and written", why: "it contradicts itself", reports: func() []Report { return []Report{passedCheck(), sampleVerify(), writtenMigrate()} },
			change: func(_ *Check, _ *Verify, m *Migrate, _ *BigKeys) { m.Quiet.Quiet = true }, want: "says that the source is quiet, but reports writes to 10.20.0.11:6379"},
		{name: "quiet, of no node", why: "nobody was asked", reports: func() []Report { return []Report{passedCheck(), sampleVerify(), writtenMigrate()} },
			change: func(_ *Check, _ *Verify, m *Migrate, _ *BigKeys) { m.Quiet.Quiet, m.Quiet.Nodes = true, nil }, want: "asked none of its nodes"},
		{name: "not quiet, of no node", why: "somebody has edited it", reports: func() []Report { return []Report{passedCheck(), sampleVerify(), writtenMigrate()} },
			change: func(_ *Check, _ *Verify, m *Migrate, _ *BigKeys) { m.Quiet.Nodes = nil }, want: "does not say on which"},
		{name: "verify interrupted", why: "it did not look at all keys", change: func(_ *Check, v *Verify, _ *Migrate, _ *BigKeys) {
			v.Ended, v.EndedWhy = Interrupted, "stopped by a signal"
		}, want: "The run was interrupted, so its report proves nothing: stopped by a signal."},
		{name: "verify failed", why: "it did not look at all keys", change: func(_ *Check, v *Verify, _ *Migrate, _ *BigKeys) {
			v.Ended, v.EndedWhy = Failed, "dial target: connection refused"
		}, want: "The run failed, so its report proves nothing: dial target: connection refused."},
		{name: "migrate interrupted", why: "what was received may not be applied", reports: func() []Report { return []Report{passedCheck(), sampleVerify(), goodMigrate()} },
			change: func(_ *Check, _ *Verify, m *Migrate, _ *BigKeys) {
				m.State, m.Ended, m.EndedWhy = "stopped", Interrupted, "stopped by a signal"
			}, want: "The run was interrupted"},
		{name: "bigkeys failed", why: "half a scan is none", reports: func() []Report { return []Report{passedCheck(), sampleVerify(), sampleBigKeys()} },
			change: func(_ *Check, _ *Verify, _ *Migrate, b *BigKeys) { b.Ended, b.EndedWhy = Failed, "cut short" }, want: "The run failed"},
		{name: "bigkeys", why: "given, so judged", reports: func() []Report { return []Report{passedCheck(), sampleVerify(), sampleBigKeys()} }},
		{name: "bigkeys too big", why: "the policy has a limit", policy: func(p *Policy) { p.BigKeys.MaxKeyBytes = 1 << 28 }, reports: func() []Report { return []Report{passedCheck(), sampleVerify(), sampleBigKeys()} },
			want: "Key leaderboard:2026-03 of database 0 takes 383 MiB (402,118,220 bytes); the policy allows 256 MiB."},
		{name: "bigkeys unread", why: "nobody knows how big", reports: func() []Report { return []Report{passedCheck(), sampleVerify(), sampleBigKeys()} },
			change: func(_ *Check, _ *Verify, _ *Migrate, b *BigKeys) { b.Totals.Errors = 2 }, want: "2 keys could not be read"},
		{name: "bigkeys of another source", why: "says nothing of this one", reports: func() []Report { return []Report{passedCheck(), sampleVerify(), sampleBigKeys()} },
			change: func(_ *Check, _ *Verify, _ *Migrate, b *BigKeys) {
				b.Source, b.SourceServers = "redis://other:6379", nil
			}, want: "is about redis://other:6379"},
		{name: "bigkeys of an RDB", why: "a file has no address", reports: func() []Report { return []Report{passedCheck(), sampleVerify(), sampleBigKeys()} },
			change: func(_ *Check, _ *Verify, _ *Migrate, b *BigKeys) { b.Source = "rdb:/backup/dump.rdb" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inputs := []Report{passedCheck(), sampleVerify()}
			if tt.reports != nil {
				inputs = tt.reports()
			}
			c, v, m, b := &Check{}, &Verify{}, &Migrate{}, &BigKeys{}
			var loaded []Loaded
			for _, r := range inputs {
				switch r := r.(type) {
				case *Check:
					c = r
				case *Verify:
					v = r
				case *Migrate:
					m = r
				case *BigKeys:
					b = r
				}
				loaded = append(loaded, Loaded{Path: r.Kind() + ".json", Report: r})
			}
			if tt.change != nil {
				tt.change(c, v, m, b)
			}
			p := DefaultPolicy()
			if tt.policy != nil {
				tt.policy(&p)
			}
			g := evaluateAt(sampleNow, p, loaded)
			if tt.want == "" {
				if g.Verdict != Go || len(g.Reasons) != len(inputs) {
					t.Fatalf("%s with reasons %q, want GO with one ground each (%s)", g.Verdict, g.Reasons, tt.why)
				}
				return
			}
			if g.Verdict != NoGo || !strings.Contains(strings.Join(g.Reasons, "\n"), tt.want) {
				t.Fatalf("%s with reasons %q, want NO-GO and %q (%s)", g.Verdict, g.Reasons, tt.want, tt.why)
			}
			for _, reason := range g.Reasons {
				if !strings.HasSuffix(reason, ".") {
					t.Errorf("reason %q is no sentence", reason)
				}
			}
		})
	}
}

func TestEvaluateIsNow(t *testing.T) {
	v, c := sampleVerify(), passedCheck()
	v.GeneratedAt = time.Now().UTC().Format(time.RFC3339)
	c.GeneratedAt = v.GeneratedAt
	if g := Evaluate(DefaultPolicy(), Loaded{Path: "v", Report: v}, Loaded{Path: "c", Report: c}); g.Verdict != Go || g.Source != v.Source || g.Target != v.Target {
		t.Errorf("%s for %s -> %s: %q", g.Verdict, g.Source, g.Target, g.Reasons)
	}
}

// TestJudge: reports of this program are judged as those of files are, and named by their kind.
func TestJudge(t *testing.T) {
	v, p := sampleVerify(), DefaultPolicy()
	v.GeneratedAt = time.Now().UTC().Format(time.RFC3339)
	p.Require = []string{KindVerify}
	if g := Judge(p, v); g.Verdict != Go || len(g.Inputs) != 1 || g.Inputs[0].Path != "verify of this run" || g.Version == "" {
		t.Errorf("%+v", g)
	}
	if g := Judge(DefaultPolicy(), v); g.Verdict != NoGo {
		t.Errorf("the policy requires a check, and the verdict is %s", g.Verdict)
	}
}

func TestPolicyFile(t *testing.T) {
	tests := []struct{ name, why, yaml, want string }{
		{name: "part", why: "the rest stays", yaml: "verify:\n  max_differences: 7\n"},
		{name: "empty", why: "an empty file is more likely a slip", yaml: "", want: "is empty"},
		{name: "unknown", why: "a slip must not weaken the gate", yaml: "verify:\n  max_diferences: 7\n", want: ": line 2: there is no setting max_diferences there; surecut gate --print-policy shows all"},
		{name: "unknown at the top", why: "the same", yaml: "verfy: {}\n", want: "verfy"},
		{name: "duration", why: "24 of what?", yaml: "max_age: 24\n", want: "24h"},
		{name: "depth", why: "unknown", yaml: "verify: {min_depth: deep}\n", want: `verify.min_depth: "deep" is unknown`},
		{name: "kind", why: "unknown", yaml: "require: [verify, proof]\n", want: `require: "proof" is unknown`},
		{name: "all problems", why: "named at once", yaml: "verify: {min_depth: deep, max_unchecked: -1}\n", want: "verify.max_unchecked: -1 is too low"},
		{name: "failed migration", why: "never passes", yaml: "migrate: {states: [failed]}\n", want: `"failed" is unknown`},
		{name: "two documents", why: "the second would be dropped", yaml: "max_age: 1h\n---\nmax_age: 2h\n", want: "more than one YAML document"},
		{name: "no YAML", why: "garbage", yaml: "\t- {", want: "policy"},
		{name: "type", why: "a list for a number", yaml: "verify: {max_differences: [1]}\n", want: "policy"},
	}
	for _, tt := range tests {
		path := filepath.Join(t.TempDir(), "policy.yaml")
		if err := os.WriteFile(path, []byte(tt.yaml), 0o644); err != nil {
			t.Fatal(err)
		}
		p, err := LoadPolicy(path)
		if tt.want != "" {
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: error %v, want one line with the path and %q (%s)", tt.name, err, tt.want, tt.why)
			}
			continue
		}
		if err != nil || p.Verify.MaxDifferences != 7 || p.Verify.MinDepth != "value" || p.MaxAge.String() != "24h" || len(p.Require) != 2 {
			t.Errorf("%s: %+v, %v", tt.name, p, err)
		}
	}
	if err := DefaultPolicy().Validate(); err != nil {
		t.Error(err)
	}
}
