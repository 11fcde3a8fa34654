package reports

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
	"surecut/internal/preflight"
	"surecut/internal/profile"
	"surecut/internal/quiet"
	"surecut/migrator"
	"surecut/scanner"
	"surecut/scanner/compat"
	"surecut/verifier"
)

// hostileKeys are key names that try to break out of each form.
var hostileKeys = []string{
	"<script>window.pwned=1</script>",
	`"><img src=x onerror="window.pwned=2">`,
	"nul\x00bell\x07\x1b[31mred",
	"user:\u202egnp.exe",
	"</script><script>window.pwned=3</script>",
	"pipe|`tick`\n# head @everyone [link](javascript:alert(1))",
	"]]><evil/>&amp;\u2028\xff\xfe",
	"{{.Header}}${7*7}'--",
}

func sampleHeader(kind string) Header {
	h := NewHeader(kind, "1.4.0", "redis://10.20.0.11:6379", "redis+cluster://10.30.0.21:7000,10.30.0.22:7000")
	h.GeneratedAt = "2026-03-14T09:26:53Z"
	h.SourceServers = []endpoint.Member{
		{Addr: "10.20.0.11:6379", RunID: "5f0c1d7e", Role: endpoint.RolePrimary, ReplicationIDs: []string{"8371b4fb", "ae54f2b0"}},
		{Addr: "10.20.0.12:6379", Role: endpoint.RoleReplica, Link: endpoint.LinkUp, Primary: "10.20.0.11:6379", Read: true},
	}
	if kind != KindBigKeys && kind != KindCompat {
		h.TargetServers = []endpoint.Member{{Addr: "10.30.0.21:7000", RunID: "77aa10c2", NodeID: "07c37dfe", Role: endpoint.RolePrimary, Read: true}}
	}
	if kind == KindBigKeys || kind == KindCompat {
		h.Target = ""
	}
	return h
}

// finding is one as the verifier makes it: the key escaped, base64 exact.
func finding(key string, code verifier.Reason, typ, reason string, source, target *verifier.Side) verifier.Finding {
	q := strconv.Quote(key)
	return verifier.Finding{Key: q[1 : len(q)-1], KeyBase64: base64.StdEncoding.EncodeToString([]byte(key)), Slot: keyspace.Slot(key),
		Type: typ, Verdict: code.Verdict(), Code: code, Reason: reason, Source: source, Target: target}
}

func sideOf(typ string, length int64, digest, detail string, expireAt int64) *verifier.Side {
	return &verifier.Side{Type: typ, Length: length, Digest: digest, Detail: detail, ExpireAt: expireAt}
}

// rawFinding carries the key as it is, as a forged or foreign report could.
func rawFinding(key string) verifier.Finding {
	f := finding(key, verifier.ValueDiffers, "string", "bytes differ: "+key, sideOf("string", 3, "00000000000000aa", key, 0), sideOf("string", 3, "00000000000000bb", "x", 0))
	f.Key = strings.ToValidUTF8(key, "\ufffd")
	return f
}

// sampleVerify is what most tests look at: one slot of 16, since each slot costs time in every form.
func sampleVerify(findings ...verifier.Finding) *Verify { return verifyIn(16, findings...) }

// wholeVerify is a comparison of all slots.
func wholeVerify(findings ...verifier.Finding) *Verify { return verifyIn(1, findings...) }

// verifyIn is a comparison of every n-th slot, and of those of the findings.
func verifyIn(n uint16, findings ...verifier.Finding) *Verify {
	random := rand.New(rand.NewPCG(7, 11)) // #nosec: a fixed sample
	v := &Verify{Header: sampleHeader(KindVerify)}
	v.Depth, v.TTLToleranceMs, v.Rounds, v.Proof, v.Verdict = "value", 1000, 3, "offset", verifier.Same
	v.Writes = &verifier.Writes{KnownBy: "tracking", Written: true, Keys: 1893, Everything: true, Why: "FLUSHDB was run", Clients: verifier.ClientsNone, Nodes: []verifier.NodeOfWrites{
		{Addr: "10.0.0.1:6379", KnownBy: "replication", ReplID: "8371b4fb1155b71f4a04d3e1bc3e18c4a990aeeb", From: 1_000, To: 5_000},
		{Addr: "10.0.0.2:6379", KnownBy: "tracking", Why: "the server keeps no replication backlog"},
	}}
	v.Strays = []verifier.Stray{{Side: "target", Node: "10.30.0.22:7000", Slot: 7629, Key: "k", KeyBase64: "aw=="}}
	v.LeftOut = []string{"Function libraries are not compared: the source has 2, the target 1."}
	bySlot := map[uint16][]verifier.Finding{}
	for _, f := range findings {
		bySlot[f.Slot] = append(bySlot[f.Slot], f)
	}
	t := &v.Totals
	for slot := range uint16(keyspace.Slots) {
		keys := int64(random.IntN(40) + 42)
		if random.IntN(70) == 0 || slot > 9000 && slot < 9090 { // some gaps, as hash tags make them
			keys = 0
		}
		if (keys == 0 || slot%n != 0) && len(bySlot[slot]) == 0 {
			continue
		}
		sum := fmt.Sprintf("%016x", random.Uint64())
		s := verifier.SlotResult{Slot: slot, SourceKeys: keys, TargetKeys: keys, SourceDigest: sum + "/" + sum, TargetDigest: sum + "/" + sum, Verdict: verifier.Same}
		t.Same += keys
		for _, f := range bySlot[slot] {
			s.Verdict, s.TargetDigest = verifier.Different, fmt.Sprintf("%016x/%016x", random.Uint64(), random.Uint64())
			switch f.Verdict {
			case verifier.Missing:
				s.SourceKeys++
				t.Missing++
			case verifier.Extra:
				s.TargetKeys++
				t.Extra++
			case verifier.Unchecked:
				s.SourceKeys, s.TargetKeys = s.SourceKeys+1, s.TargetKeys+1
				s.Verdict = verifier.Unchecked
				t.Unchecked++
			default:
				s.SourceKeys, s.TargetKeys = s.SourceKeys+1, s.TargetKeys+1
				t.Different++
			}
		}
		t.SourceKeys, t.TargetKeys = t.SourceKeys+s.SourceKeys, t.TargetKeys+s.TargetKeys
		v.Slots = append(v.Slots, s)
		v.Findings = append(v.Findings, bySlot[slot]...)
	}
	rest := t.SourceKeys
	for _, share := range []verifier.TypeTotal{{Type: "hash", Keys: 241_090}, {Type: "zset", Keys: 98_112}, {Type: "list", Keys: 77_401}, {Type: "set", Keys: 60_223}, {Type: "stream", Keys: 10_836}} {
		share.Keys = share.Keys * t.SourceKeys / 1_000_000
		v.ByType, rest = append(v.ByType, share), rest-share.Keys
	}
	v.ByType = append([]verifier.TypeTotal{{Type: "string", Keys: rest}}, v.ByType...)
	bad := t.Different + t.Missing + t.Extra
	last := verifier.Round{Round: 3, Suspects: 8 + bad + t.Unchecked, Cleared: 8, Confirmed: bad, DurationMs: 1840}
	v.ByReason = reasonsOf(v.Findings)
	v.History = []verifier.Round{{Round: 1, Suspects: 1873 + last.Suspects, Cleared: 1702, DurationMs: 41_260}, {Round: 2, Suspects: 171 + last.Suspects, Cleared: 171, DurationMs: 5210}, last}
	if bad > 0 {
		v.Verdict = verifier.Different
		v.Reasons = []string{fmt.Sprintf("%d keys are different, %d are missing on the target and %d are on the target only.", t.Different, t.Missing, t.Extra)}
	} else {
		v.Reasons = []string{fmt.Sprintf("All %d keys were compared byte by byte on both sides and are the same.", t.Same)}
	}
	if t.Unchecked > 0 && bad == 0 {
		v.Verdict = verifier.Unchecked
	}
	if t.Unchecked > 0 {
		v.Reasons = append(v.Reasons, fmt.Sprintf("Keys that could not be compared: %d, of a module without a reader.", t.Unchecked))
	}
	return v
}

// reasonsOf counts findings by their reasons.
func reasonsOf(findings []verifier.Finding) (totals []verifier.ReasonTotal) {
	for _, r := range verifier.Reasons() {
		n := int64(0)
		for _, f := range findings {
			if f.Code == r {
				n++
			}
		}
		if n > 0 {
			totals = append(totals, verifier.ReasonTotal{Code: r, Keys: n})
		}
	}
	return totals
}

// realFindings is what a migration with some ill luck leaves.
func realFindings() []verifier.Finding {
	const soon = 1773484013000
	return []verifier.Finding{
		finding("session:8f3a2c", verifier.ExpiryOnSourceOnly, "string", "expires on the source only", sideOf("string", 212, "9c1f6e2b7a405d18", "expires 2026-03-14 10:26:53 UTC", soon), sideOf("string", 212, "9c1f6e2b7a405d18", "never expires", 0)),
		finding("cart:42017", verifier.ValueDiffers, "hash", `field "qty:1189" differs`, sideOf("hash", 14, "1b77a0cc2e9d4f03", "qty:1189 = 3", 0), sideOf("hash", 14, "e04426b1c6a85d70", "qty:1189 = 2", 0)),
		finding("queue:mail:out", verifier.LengthDiffers, "list", "element 41 of 100", sideOf("list", 100, "5d0e8a1174bb62c9", `[41] {\"id\":90121}`, 0), sideOf("list", 99, "c3fe0247a91b8d65", `[41] {\"id\":90122}`, 0)),
		finding("leaderboard:2026-03", verifier.ValueDiffers, "zset", `score of "player:777"`, sideOf("zset", 25_000, "77aa01d2c4e5f690", "player:777 = 1802.5", 0), sideOf("zset", 25_000, "0a12bb34cc56dd78", "player:777 = 1802.4", 0)),
		finding("events:orders", verifier.ValueDiffers, "stream", "group billing: last ID", sideOf("stream", 8120, "41c9d2e3f4051627", "1773480000000-3", 0), sideOf("stream", 8120, "aa55cc33ee117799", "1773479990000-0", 0)),
		finding("invoice:2026:000981", verifier.AbsentOnTarget, "hash", "on the source only", sideOf("hash", 9, "8d3b5f7091a2c4e6", "", 0), nil),
		finding("user:310077:prefs", verifier.AbsentOnTarget, "hash", "on the source only", sideOf("hash", 22, "3f5e7d9cbb1a2046", "", 0), nil),
		finding("lock:rebuild", verifier.AbsentOnSource, "string", "on the target only", nil, sideOf("string", 36, "6b8d0f2143658779", "", soon)),
		finding("test:foo", verifier.AbsentOnSource, "string", "on the target only", nil, sideOf("string", 3, "fedcba9876543210", "", 0)),
		finding("geo:shops", verifier.LengthDiffers, "zset", `member "shop:91" on the source only`, sideOf("zset", 412, "91a7c5e3d1b2f406", "shop:91 = 3479099956230698", 0), sideOf("zset", 411, "55aa66bb77cc88dd", "", 0)),
		finding("tags:article:5512", verifier.LengthDiffers, "set", `member "redis" on the source only`, sideOf("set", 8, "1029384756afbecd", "redis", 0), sideOf("set", 7, "dcebfa6574839201", "", 0)),
		finding("doc:contract:17", verifier.ModulePayloadDiffers, "module", "ReJSON-RL: no reader for this module type", sideOf("module", 0, "", "", 0), sideOf("module", 0, "", "", 0)),
	}
}

func hostileVerify() *Verify {
	findings := realFindings()
	for _, k := range hostileKeys {
		findings = append(findings, finding(k, verifier.AbsentOnTarget, "string", "on the source only", sideOf("string", 3, "00000000000000aa", "", 0), nil), rawFinding(k+"!"))
	}
	v := sampleVerify(findings...)
	v.Reasons = append(v.Reasons, hostileKeys[0], hostileKeys[3])
	return v
}

// everyCheck adds the checks that a sample does not show, so that it holds all that a run makes.
func everyCheck(checks []preflight.Check) []preflight.Check {
	for _, id := range preflight.IDs() {
		if id != "source_file" && !slices.ContainsFunc(checks, func(c preflight.Check) bool { return c.ID == id }) {
			checks = append(checks, preflight.Check{ID: id, Title: "As it should be", Subject: "source", Result: preflight.Pass, Found: "what is wanted", Wanted: "this"})
		}
	}
	return checks
}

func sampleCheck() *Check {
	c := &Check{Header: sampleHeader(KindCheck)}
	c.Verdict = preflight.Fail
	c.Checks = []preflight.Check{
		{ID: "connectivity", Title: "Every node answers", Subject: "source", Result: preflight.Pass, Found: "1 node answers, Redis 7.0.15", Wanted: "every node answers"},
		{ID: "connectivity", Title: "Every node answers", Subject: "target", Result: preflight.Pass, Found: "6 nodes answer, Valkey 8.1.1", Wanted: "every node answers"},
		{ID: "permissions", Title: "The user may run every command", Subject: "source", Result: preflight.Fail, Found: "user app may not run PSYNC, REPLCONF", Wanted: "PSYNC, REPLCONF, SCAN, MEMORY, INFO and the reads of every type", Remedy: "ACL SETUSER surecut on >PASSWORD ~* &* +psync +replconf +@read +info +scan +memory|usage +multi +exec +role"},
		{ID: "target_version", Title: "Target is not older than source", Subject: "target", Result: preflight.Alarm, Found: "hash field expiries of 7.4 are rebuilt by commands", Wanted: "7.4 or later", Accepted: true},
		{ID: "authentication", Title: "Each side requires a password", Subject: "source", Result: preflight.Alarm, Found: "the default user has no password", Wanted: "a password or a user", Remedy: "CONFIG SET requirepass 'A-LONG-SECRET'\nCONFIG REWRITE"},
		{ID: "output_buffer", Title: "The replica output buffer is large enough for the full phase", Subject: "10.20.0.11:6379", Result: preflight.Alarm, Found: "256mb 64mb 60, expected pile-up 1.9 GiB", Wanted: "0 0 0, or at least 1.9 GiB", Remedy: "CONFIG SET client-output-buffer-limit 'slave 0 0 0'"},
		{ID: "backlog", Title: "The replication backlog is large enough for a reconnect", Subject: "10.20.0.11:6379", Result: preflight.Note, Found: "repl-backlog-size 1.0 MiB: after a longer interruption, a link must start again with a new snapshot", Wanted: "60.0 MiB: 1m0s of writes at 1.0 MiB/s", Remedy: "redis-cli -h 10.20.0.11 -p 6379 config set repl-backlog-size 62914560"},
		{ID: "target_empty", Title: "The target holds no keys", Subject: "target", Result: preflight.Pass, Found: "0 keys", Wanted: "0 keys"},
		{ID: "target_space", Title: "The target has room", Subject: "target", Result: preflight.Pass, Found: "12.0 GiB free", Wanted: "1.5 times 5.1 GiB"},
		{ID: "target_eviction", Title: "The target does not evict", Subject: "target", Result: preflight.Pass, Found: "noeviction", Wanted: "noeviction"},
		{ID: "tcp_kernel", Title: "Kernel settings for connections", Subject: "10.20.0.11:6379", Result: preflight.Skipped, Found: "surecut does not run on this host", Wanted: "tcp_max_syn_backlog >= 4096, somaxconn >= 4096, tcp_abort_on_overflow = 0", Remedy: "sysctl net.ipv4.tcp_max_syn_backlog net.core.somaxconn net.ipv4.tcp_abort_on_overflow"},
		{ID: "clock_skew", Title: "Clocks agree", Subject: "target", Result: preflight.Pass, Found: "12 ms apart", Wanted: "at most 1 s"},
	}
	return c
}

func passedCheck() *Check {
	c := sampleCheck()
	c.Verdict = preflight.Pass
	c.Checks = everyCheck(slices.DeleteFunc(c.Checks, func(c preflight.Check) bool {
		return c.Result == preflight.Fail || c.Result == preflight.Alarm && !c.Accepted
	}))
	return c
}

func sampleMigrate() *Migrate {
	m := &Migrate{Header: sampleHeader(KindMigrate)}
	m.State, m.Level = "caught_up", "exactly_once"
	m.Links = []migrator.Link{
		{Shard: "10.20.0.11:6379", Reads: "10.20.0.12:6379", Phase: "caught_up", Keys: 702_118, Bytes: 3_611_004_201, SnapshotBytes: 3_611_004_201, Commands: 1_840_022, ReplID: "8371b4fb1155b71f4a04d3e1bc3e18c4a990aeeb", Offset: 9_120_442_118, AppliedOffset: 9_120_441_900, LagBytes: 218, LagSeconds: 0.02},
		{Shard: "10.20.0.13:6379", Reads: "10.20.0.14:6379", Phase: "caught_up", Keys: 297_882, Bytes: 1_504_330_118, SnapshotBytes: 1_504_330_118, SnapshotTotal: 1_504_330_118, Commands: 811_310, ReplID: "0c1b2fb1155b71f4a04d3e1bc3e18c4a990ae77d", Offset: 4_002_118_007, AppliedOffset: 4_002_118_007},
	}
	m.Counters = migrator.Counters{SnapshotKeys: 1_000_000, SnapshotApplied: 991_870, SnapshotFiltered: 6_000, SnapshotExpired: 2_128, SnapshotReported: 2,
		Commands: 2_651_332, CommandsApplied: 2_640_001, CommandsControl: 11_001, CommandsRepaired: 329, CommandsReported: 1}
	m.AllRuns = migrator.AllRuns{Runs: 1, Exact: true, Counters: m.Counters}
	m.Problems = []migrator.Problem{
		{Shard: "10.20.0.11:6379", DB: 0, Key: "doc:contract:17", Reason: "module type ReJSON-RL is not loaded on the target"},
		{Shard: "10.20.0.11:6379", DB: 0, Key: "doc:contract:18", Reason: "module type ReJSON-RL is not loaded on the target"},
		{Shard: "10.20.0.13:6379", DB: 2, Key: `a\x00b`, Command: "JSON.SET", Reason: "unknown command on the target"},
	}
	return m
}

// resumedMigrate is a finished migration whose last run had next to nothing left to do.
func resumedMigrate() *Migrate {
	m := sampleMigrate()
	m.State, m.Problems = "done", nil
	m.Links = m.Links[1:]
	m.Links[0].Phase, m.Links[0].Keys, m.Links[0].Commands, m.Links[0].Bytes, m.Links[0].SnapshotBytes, m.Links[0].SnapshotTotal = "done", 0, 12, 0, 0, 0
	m.Counters = migrator.Counters{Commands: 12, CommandsApplied: 11, CommandsControl: 1}
	m.AllRuns = migrator.AllRuns{Runs: 2, Exact: true, Counters: migrator.Counters{SnapshotKeys: 24_080, SnapshotApplied: 24_080, Commands: 1_205, CommandsApplied: 1_188, CommandsControl: 17}}
	return m
}

func sampleBigKeys() *BigKeys {
	b := &BigKeys{Header: sampleHeader(KindBigKeys)}
	b.Totals = scanner.BigTotals{Keys: 1_000_000, Bytes: 5_476_083_302, Serialized: 3_118_220_440, Elements: 38_220_417, NoTTL: 799_204, Vanished: 12, Foreign: 2, SizeBy: "memory_usage"}
	b.ByType = []scanner.Group{{Name: "hash", Keys: 241_090, Bytes: 2_311_044_118, Elements: 18_100_220}, {Name: "zset", Keys: 98_112, Bytes: 1_204_118_332, Elements: 9_320_011}, {Name: "string", Keys: 512_338, Bytes: 998_112_001, Elements: 512_338},
		{Name: "list", Keys: 77_401, Bytes: 512_118_004, Elements: 6_021_118}, {Name: "set", Keys: 60_223, Bytes: 299_118_337, Elements: 4_100_118}, {Name: "stream", Keys: 10_836, Bytes: 151_572_510, Elements: 166_612}}
	for i, n := range []string{"cart:#", "session:#", "leaderboard:#-#", "user:#:prefs", "queue:mail:out", "events:orders", "invoice:#:#", "<b>x</b>:#", "(other)"} {
		b.ByPrefix = append(b.ByPrefix, scanner.Group{Name: n, Keys: int64(300_000 >> i), Bytes: int64(1_900_000_000 >> i), Elements: int64(9_000_000 >> i)})
	}
	b.TTL = []scanner.TTLBucket{{UpTo: "1m", Keys: 1204, Bytes: 2_400_118}, {UpTo: "1h", Keys: 40_118, Bytes: 91_002_118}, {UpTo: "1d", Keys: 110_020, Bytes: 304_118_331}, {UpTo: "7d", Keys: 41_002, Bytes: 88_120_331}, {UpTo: "30d", Keys: 8452, Bytes: 30_118_002}, {UpTo: "never", Keys: 799_204, Bytes: 4_960_324_402}}
	random := rand.New(rand.NewPCG(3, 5)) // #nosec: a fixed sample
	for slot := range uint16(keyspace.Slots) {
		if n := random.IntN(90); n > 3 {
			b.BySlot = append(b.BySlot, scanner.SlotSize{Slot: slot, Keys: int64(n), Bytes: int64(n*n) * 2311})
		}
	}
	b.BySlot[4321].Bytes = 402_118_220
	for i, k := range []string{"leaderboard:2026-03", "cart:archive", "events:orders", "queue:mail:out", hostileKeys[0], hostileKeys[3], "user:310077:prefs", "blob:export"} {
		q := strconv.Quote(k)
		key := scanner.BigKey{Key: q[1 : len(q)-1], KeyBase64: base64.StdEncoding.EncodeToString([]byte(k)), Type: []string{"zset", "hash", "stream", "list"}[i%4], Slot: keyspace.Slot(k), Bytes: 402_118_220 >> (i * 2), Elements: 4_000_000 >> (i * 2), TTLMs: -1}
		if i < 3 {
			key.Risks = []string{fmt.Sprintf("over 64 MiB: written in chunks (%s)", size(key.Bytes)), "DEL would block the server"}
		}
		if i == 3 {
			key.TTLMs = 86_400_000 * 3
		}
		key.Serialized, key.LargestElement, key.IdleSeconds, key.Frequency, key.Encoding, key.Node = key.Bytes*2/3, -1, int64(i*300), -1, []string{"skiplist", "hashtable", "stream", "quicklist"}[i%4], "10.20.0.11:6379"
		for range key.Risks {
			key.Remedies = append(key.Remedies, "split it into several keys")
		}
		b.Top = append(b.Top, key)
	}
	b.TopElements, b.TopLargest = b.Top[:3], b.Top[4:6]
	b.TopLargest[0].LargestElement = 1 << 20
	b.ByEncoding = []scanner.Group{{Name: "hash/hashtable", Keys: 41_090, Bytes: 2_011_044_118, Elements: 17_100_220}, {Name: "string/<img src=x>", Keys: 12, Bytes: 998, Elements: 12}}
	b.ByDB = []scanner.Group{{Name: "0", Keys: 900_000, Bytes: 5_376_083_302}, {Name: "5", Keys: 100_000, Bytes: 100_000_000, NoTTL: 7}}
	b.ByNode = []scanner.Group{{Name: "10.20.0.11:6379", Keys: 1_000_000, Bytes: 5_476_083_302, Serialized: 3_118_220_440}}
	b.PrefixTree = []scanner.PrefixNode{{Name: "cart:", Parent: -1, Keys: 300_000, Bytes: 1_900_000_000}, {Name: "cart:#", Parent: 0, Keys: 300_000, Bytes: 1_900_000_000},
		{Name: "user:", Parent: -1, Keys: 90_000, Bytes: 1_200_000_000}, {Name: "user:#:", Parent: 2, Keys: 90_000, Bytes: 1_200_000_000}, {Name: "user:#:prefs", Parent: 3, Keys: 40_000, Bytes: 700_000_000},
		{Name: "user:#:<script>window.pwned=1</script>", Parent: 3, Keys: 50_000, Bytes: 500_000_000}, {Name: "session:", Parent: -1, Keys: 150_000, Bytes: 950_000_000}, {Name: "leaderboard:#-#", Parent: -1, Keys: 75_000, Bytes: 475_000_000}}
	b.Cutover = scanner.Cutover{AfterMs: 86_400_000, Keys: 151_342, Bytes: 397_520_567}
	b.Sizes = []scanner.SizeBucket{{UpTo: 64, Keys: 200_000, Bytes: 11_000_000}, {UpTo: 4096, Keys: 799_990, Bytes: 4_000_000_000}, {UpTo: 1 << 29, Keys: 10, Bytes: 1_465_083_302}}
	b.TargetShards = []scanner.TargetShard{{Shard: 1, FirstSlot: 0, LastSlot: 8191, Keys: 510_000, Bytes: 3_476_083_302, Load: 1.27, LargestKey: "leaderboard:2026-03", Risk: "holds 1.27 times the mean", Remedy: "give it fewer slots than the others"},
		{Shard: 2, FirstSlot: 8192, LastSlot: 16383, Keys: 490_000, Bytes: 2_000_000_000, Load: 0.73, LargestKey: "cart:archive"}}
	b.OutputBuffer = []scanner.Buffer{{Node: "10.20.0.11:6379", WriteRate: 8 << 20, MeasuredBy: scanner.ByStream, Snapshot: 3_118_220_440, CopyRate: 50 << 20, Seconds: 59.5, Needed: 498_915_270, HardLimit: 256 << 20, SoftLimit: 64 << 20, SoftSeconds: 60,
		Risk: "a full phase of 59 s, with 8.0 MiB/s of writes, needs an output buffer of 475.8 MiB, which is over the hard limit of 256.0 MiB: the source would close the connection of the replica", Remedy: `CONFIG SET client-output-buffer-limit "slave 749731840 0 0" on the source for the migration`}}
	b.Uncounted = []scanner.Uncounted{{Key: hostileKeys[0][:8], KeyBase64: "PHNjcmlwdA==", Type: "none", Slot: 12, Node: "10.20.0.11:6379", Reason: "foreign_slot"}, {Key: "old", KeyBase64: "b2xk", Type: "none", Slot: 11, Node: "10.20.0.11:6379", Reason: "foreign_slot"}}
	return b
}

func sampleCompat() *Compat {
	c := &Compat{Header: sampleHeader(KindCompat)}
	c.TargetKind, c.TargetVersion, c.Verdict = "cluster", "7.0", compat.Incompatible
	c.Profile = compat.Profile{Name: "cluster", Title: "Redis Cluster", Version: "Redis 6.0 to 8.0", Dated: "2026-11-24"}
	c.Reasons = []string{"Refused there, or answered wrongly: 2 proven."}
	share := 0.0421
	c.Findings = []compat.Finding{
		{Rule: "cross-slot", Command: "MGET", Level: profile.Block, Certainty: compat.Proven, Count: 1_204_118, Examined: 8211, Affected: 346, CrossSlotShare: &share,
			KeyTemplates: []string{"user:#:name", "user:#:mail"}, ExampleKeys: []string{"user:17:name user:18:name", hostileKeys[0]}, Clients: []string{"10.0.3.7 web jedis 5.1.0"},
			Source: "commandstats, monitor", FirstSeen: "2026-03-14T09:00:00Z", LastSeen: "2026-03-14T09:26:00Z", Reason: "all keys of one command must lie in one slot",
			Error: "CROSSSLOT Keys in request don't hash to the same slot", Remedy: "give the keys one {hash tag}"},
		{Rule: "per-node", Command: "KEYS", Level: profile.Silent, Certainty: compat.Proven, Count: 12, Affected: 12, Source: "commandstats", Reason: "it answers for one node", Remedy: "ask every primary"},
		{Rule: "cross-slot", Command: "SUNIONSTORE", Level: profile.Block, Certainty: compat.Possible, Count: 40, Source: "commandstats", Reason: "all keys of one command must lie in one slot", Remedy: "give the keys one {hash tag}", Detail: "Only counted: no call was seen with its arguments."},
		{Rule: "script-keys", Command: "EVALSHA", Level: profile.Latent, Certainty: compat.Proven, Count: 3, Examined: 3, Affected: 3, KeyTemplates: []string{hostileKeys[5]}, Source: "monitor", Reason: hostileKeys[3], Remedy: "pass every key in KEYS"},
		{Rule: "publish", Command: "PUBLISH", Level: profile.Cost, Certainty: compat.Proven, Count: 991, Affected: 991, Source: "commandstats", Reason: "every message goes to every node", Remedy: "SPUBLISH"},
	}
	c.Coverage = compat.Coverage{
		Evidence: []compat.Evidence{
			{Kind: compat.FromStats, Subject: "10.20.0.11:6379", Calls: 88_120_331, Seconds: 864_000},
			{Kind: compat.FromServer, Subject: "10.20.0.11:6379", Note: "3 scripts are cached; EVALSHA of a script that is not loaded again fails with NOSCRIPT on the target."},
			{Kind: compat.FromMonitor, Subject: "10.20.0.11:6379", Calls: 120_118, Seconds: 30, First: "2026-03-14T09:00:00Z", Last: "2026-03-14T09:01:00Z",
				Cost: &compat.MonitorCost{Windows: 15, Bytes: 18_220_118, OpsOn: 4004, OpsOff: 4117, CPUOn: 0.21, CPUOff: 0.17, LatencyOnUs: 210, LatencyOffUs: 180, PeakBuffer: 20_504}},
		},
		Blind: []string{"MONITOR shows only what ran while it was on; jobs at other hours and rare calls are missing."},
	}
	c.KeyGroups = []compat.KeyGroup{
		{Tag: compat.TagVariable, Calls: 346, Commands: []string{"MGET"}, Templates: []compat.TaggedTemplate{{Template: "user:#:mail", Tagged: "user:{#}:mail"}, {Template: "user:#:name", Tagged: "user:{#}:name"}},
			Skew: &compat.TagSkew{From: "bigkeys", Keys: 400_000, Bytes: 91_118_337, Tags: 200_000, LargestTag: "17", LargestKeys: 2, LargestBytes: 4022, MaxSlotShare: 0.0002}, Note: "Each value of the tag has its own slot."},
		{Tag: compat.TagNone, Calls: 12, Commands: []string{"SUNIONSTORE"}, Templates: []compat.TaggedTemplate{{Template: hostileKeys[0], Why: "it is used together with many others that have nothing in common"}}, Note: "Split the calls."},
	}
	return c
}

func goodCompat() *Compat {
	c := sampleCompat()
	c.Verdict, c.Reasons, c.KeyGroups = compat.Compatible, []string{"The target refuses or changes nothing of what was examined; the coverage says how much that is."}, nil
	c.Findings = c.Findings[4:]
	return c
}

func sampleGate(inputs ...Report) *Gate {
	var loaded []Loaded
	for _, r := range inputs {
		loaded = append(loaded, Loaded{Path: "out/" + r.Kind() + ".json", SHA256: strings.Repeat("ab", 32), Report: r})
	}
	g := evaluateAt(sampleNow, DefaultPolicy(), loaded)
	g.Version = "1.4.0"
	return g
}

func selectedVerify() *Verify {
	v := sampleVerify()
	v.Selection = &keyspace.Selection{Include: []string{"user:*", hostileKeys[0]}, Exclude: []string{"it's,*"}, Databases: []int{0, 3}}
	v.Reasons = append([]string{"Only " + v.Selection.Part() + " were compared."}, v.Reasons...)
	return v
}

// writtenMigrate is a migration whose source was still written after the comparison.
func writtenMigrate() *Migrate {
	m := goodMigrate()
	m.Quiet = &quiet.Report{ForMs: 5000, Nodes: []quiet.Node{
		{Addr: "10.20.0.11:6379", OffsetBegin: 91_230_118, OffsetEnd: 91_241_004, AppliedOffset: 91_241_004, Writes: 312, Reason: "it is still written (312 calls of commands that write)",
			Writers: []quiet.Client{{Addr: "10.20.3.7:50112", Name: hostileKeys[0], Command: "hset", IdleS: 0}, {Addr: "10.20.3.8:40412", Command: "exec", IdleS: 1}}},
		{Addr: "10.20.0.12:6379", OffsetBegin: 1118, OffsetEnd: 1132, AppliedOffset: 1132},
	}}
	return m
}

func samples(t testing.TB) map[string]Report {
	t.Helper()
	return map[string]Report{
		"check":           sampleCheck(),
		"check-pass":      passedCheck(),
		"verify":          hostileVerify(),
		"verify-same":     wholeVerify(),
		"verify-part":     selectedVerify(),
		"migrate":         sampleMigrate(),
		"migrate-resumed": resumedMigrate(),
		"bigkeys":         sampleBigKeys(),
		"compat":          sampleCompat(),
		"compat-good":     goodCompat(),
		"compat-empty":    &Compat{Header: sampleHeader(KindCompat), Result: compat.Result{TargetKind: "cluster", Verdict: compat.Unproven}},
		"gate":            sampleGate(sampleCheck(), hostileVerify(), sampleMigrate()),
		"gate-go":         sampleGate(passedCheck(), sampleVerify()),
		"check-empty":     &Check{Header: sampleHeader(KindCheck), Report: preflight.Report{Verdict: preflight.Pass}},
		"verify-empty":    &Verify{Header: sampleHeader(KindVerify), Report: verifier.Report{Verdict: verifier.Same, Depth: "value", Proof: "rounds"}},
		"migrate-empty":   &Migrate{Header: sampleHeader(KindMigrate), Report: migrator.Report{State: "failed", Level: "repaired", Error: "dial source: connection refused"}},
		"bigkeys-empty":   &BigKeys{Header: sampleHeader(KindBigKeys), BigKeys: scanner.BigKeys{Totals: scanner.BigTotals{SizeBy: scanner.SizeByModel}, Notes: []string{"The RDB was written at 2026-03-14T08:00:00Z; times to live are as of then."}}},
		"gate-empty":      sampleGate(),

		"migrate-written":    writtenMigrate(),
		"verify-interrupted": Unfinished(sampleHeader(KindVerify), Interrupted, "stopped by a signal while the source was read"),
		"check-failed":       Unfinished(sampleHeader(KindCheck), Failed, "write <report>: no space left on device"),
		"gate-failed":        Unfinished(sampleHeader(KindGate), Failed, "report out/verify.json: not a complete JSON document"),
		"migrate-failed":     Unfinished(sampleHeader(KindMigrate), Failed, "dial source: connection refused"),
		"bigkeys-failed":     Unfinished(sampleHeader(KindBigKeys), Failed, "dial source: connection refused"),
		"compat-interrupted": Unfinished(sampleHeader(KindCompat), Interrupted, "stopped by a signal"),
	}
}

// emptyVerify is of two deployments without keys.
func emptyVerify() *Verify {
	return &Verify{Header: sampleHeader(KindVerify), Report: verifier.Report{Verdict: verifier.Unchecked, Depth: "value", Proof: "rounds",
		Writes: &verifier.Writes{KnownBy: "rest", Clients: verifier.ClientsNone}}}
}
