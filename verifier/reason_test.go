package verifier

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"surecut/internal/keyspace"
)

// hashOf is a hash with fields that expire, whose times were not kept.
func hashOf(fieldExpiries uint64, at int64) reading {
	return reading{Type: keyspace.Hash, TypeName: "hash", FP: keyspace.Fingerprint{Value: 1, Length: 1, Keyed: 7 + fieldExpiries, FieldExpiries: fieldExpiries}, ExpireAt: at}
}

func streamOf(counters uint64, at int64) reading {
	return reading{Type: keyspace.Stream, TypeName: "stream", FP: keyspace.Fingerprint{Value: 1, Length: 1, Keyed: 7, Counters: counters, KeyedCounters: counters}, ExpireAt: at}
}

func moduleOf(name string, value uint64) reading {
	return reading{Type: keyspace.Module, TypeName: name, FP: keyspace.Fingerprint{Value: value, Length: 9}}
}

// seed is a fault of one key, and the reason that a report must give for it.
type seed struct {
	reason  Reason
	why     string
	db      int
	judge   func() decision
	says    string // part of the text, where it says more than the reason
	servers string // the test on servers that leads to the reason, or why there is none; "": a mutation does
}

// seedRules judge the seeds.
var seedRules = &rules{depth: DepthValue, counters: true, tolerance: time.Second}

// seeds are one fault for each reason, or more.
func seeds() []seed {
	u := seedRules
	soon := time.Now().Add(time.Hour).UnixMilli()
	judged := func(source, target reading) func() decision {
		return func() decision {
			d := decision{Pair: pair{source, target}}
			d.Verdict, d.Why = u.judge(&d.Pair)
			return d
		}
	}
	// observed goes through two rounds, which the same key is read in.
	observed := func(flags byte, rounds ...observation) func() decision {
		return func() (d decision) {
			r := record{flags: flags}
			for i := range rounds {
				d = r.observe(u, &rounds[i], unwritten, roundOf{round: i + 1, need: 2, most: 2})
			}
			return d
		}
	}
	tooMany := func(fieldExpiries uint64) reading {
		r := hashOf(fieldExpiries, 0)
		r.times = &expiringFields{value: 7, cut: true}
		return r
	}
	return []seed{
		{reason: AbsentOnTarget, judge: judged(text("v"), text(""))},
		{reason: AbsentOnSource, judge: judged(text(""), text("v"))},
		{reason: DatabaseUnmapped, db: -1, judge: judged(text(""), text("v")), servers: "TestRepairUnmappedDatabase"},
		{reason: AstrayOnTarget, judge: func() decision { return decision{Verdict: Extra, Why: liesAstray("a:1", "b:2")} }, says: "it is on a:1 and b:2", servers: "TestRepairAstray"},
		{reason: TypeDiffers, judge: judged(text("v"), hashOf(0, 0)), says: "the type is string on the source and hash on the target"},
		{reason: LengthDiffers, judge: judged(text("v"), text("vv")), says: "the length is 1 on the source and 2 on the target"},
		{reason: ValueDiffers, judge: judged(text("v"), text("w"))},
		{reason: ValueDiffers, why: "the graver reason wins", judge: judged(text("v"), expiring("w", soon))},
		{reason: ExpiryAndMoreDiffer, judge: judged(hashOf(3, 0), hashOf(4, soon)), says: "the expiries of fields differ, and the key expires on the target only"},
		{reason: ExpiryAndMoreDiffer, why: "who tolerates counters does not tolerate a lost expiry", judge: judged(streamOf(3, soon), streamOf(4, 0)), says: "the counters of the stream differ, and the key expires on the source only"},
		{reason: FieldExpiryDiffers, judge: judged(hashOf(3, soon), hashOf(4, soon))},
		{reason: StreamCountersDiffer, judge: judged(streamOf(3, 0), streamOf(4, 0))},
		{reason: ExpiryOnSourceOnly, judge: judged(expiring("v", soon), text("v"))},
		{reason: ExpiryOnTargetOnly, judge: judged(text("v"), expiring("v", soon))},
		{reason: ExpiryDiffers, judge: judged(expiring("v", soon), expiring("v", soon+5000)), says: "expires 5s later on the target"},
		{reason: SourceReadFailed, judge: judged(failed("NOPERM"), text("v")), says: "the source could not be read: GET", servers: "TestCauses"},
		{reason: TargetReadFailed, judge: judged(text("v"), failed("NOPERM")), says: "the target could not be read: GET", servers: "TestRefusedCommandIsUnchecked"},
		{reason: KeptChanging, why: "it was written under every read", judge: observed(0, observation{text("a"), text("x"), text("b")}, observation{text("c"), text("y"), text("d")}), says: "written in every round", servers: "TestNothingTells"},
		{reason: KeptChanging, why: "no read of it came to an end", judge: judged(reading{Err: errChanged}, text("v")), says: "the key changed while it was read"},
		{reason: TargetUnsteady, judge: observed(0, observation{text("a"), text("x"), text("a")}, observation{text("a"), text("y"), text("a")}), servers: "none: the target would have to change in each round, and the source in none"},
		{reason: LinkBehind, judge: observed(behind, observation{text("a"), text("x"), text("a")}, observation{text("a"), text("y"), text("a")}), servers: "none: TestLinkThatLags holds a link back without a server"},
		{reason: NamesCollide, judge: observed(clash, observation{text("a"), text("a"), text("a")}), servers: "none: TestJoin maps two databases to one without a server"},
		{reason: ModuleInFile, why: "of some modules the file alone is not enough", judge: judged(reading{Err: fmt.Errorf("%w (%w)", errModuleInFile, errors.New("unknown"))}, text("v")), servers: "none: no server that is tested with loads a module"},
		{reason: ModuleInFile, judge: judged(reading{Type: keyspace.Module, TypeName: "module"}, reading{Type: keyspace.Module, TypeName: "module", FP: keyspace.Fingerprint{Value: 1}})},
		{reason: ModulePayloadDiffers, judge: judged(moduleOf("ReJSON-RL", 1), moduleOf("ReJSON-RL", 2)), says: "module type ReJSON-RL", servers: "none: no server that is tested with loads a module"},
		{reason: FieldExpiriesTooMany, judge: judged(tooMany(3), tooMany(4)), servers: "none: it takes more than a quarter of a million fields that expire"},
		{reason: NameTooLong, why: "a report holds only a part of the name", servers: "none: the key would have to go between a comparison and its repair"}, // TestUnnamedKeysAreUnchecked
	}
}

// TestEveryReasonIsProduced demands of each seed that its key has the reason, and the reason's verdict.
func TestEveryReasonIsProduced(t *testing.T) {
	seeded := map[Reason]bool{}
	for _, tt := range seeds() {
		if seeded[tt.reason] = true; tt.judge == nil {
			continue
		}
		d := tt.judge()
		y := newTally(seedRules, 10)
		y.settle(keyID{db: tt.db, name: "k"}, &d)
		if len(y.findings) != 1 {
			t.Errorf("%s: %d findings (%s)", tt.reason, len(y.findings), tt.why)
			continue
		}
		f := y.findings[0]
		if f.Code != tt.reason || f.Verdict != tt.reason.Verdict() || !strings.Contains(f.Reason, tt.says) || f.Reason == "" {
			t.Errorf("%s: found %s, %s (%s), want %s and %q (%s)", tt.reason, f.Code, f.Verdict, f.Reason, tt.reason.Verdict(), tt.says, tt.why)
		}
		if totals := y.byReason.totals(); len(totals) != 1 || totals[0] != (ReasonTotal{tt.reason, 1}) {
			t.Errorf("%s: counted as %v", tt.reason, totals)
		}
	}
	for _, r := range Reasons() {
		if !seeded[r] {
			t.Errorf("no fault is seeded for %s", r)
		}
	}
}

// TestUnnamedKeysAreUnchecked: a repair cannot look at a key again of whose name the report holds a part only.
func TestUnnamedKeysAreUnchecked(t *testing.T) {
	v := &verification{tally: newTally(&rules{}, 10)}
	done := (&repairer{verification: v}).unnamed([]Finding{{Key: "begins like this…", KeyLength: 5000, KeyDigest: "00000000000000aa", Verdict: Different, Code: ValueDiffers}})
	if len(done) != 1 || done[0].Remedy != RemedyNone || !strings.HasPrefix(done[0].Why, "the name of the key is too long") {
		t.Errorf("%+v", done)
	}
	if got := v.tally.byReason.totals(); len(got) != 1 || got[0] != (ReasonTotal{NameTooLong, 1}) {
		t.Errorf("counted as %v", got)
	}
}

// TestEveryReasonHasAText: each reason has a name that a policy can hold, a sentence and a verdict, and stands once.
func TestEveryReasonHasAText(t *testing.T) {
	name := regexp.MustCompile(`^[a-z]+(_[a-z]+)+$`)
	sentence := regexp.MustCompile(`^[A-Z][^.]*\.$`)
	seen := map[string]bool{}
	for _, r := range Reasons() {
		if !name.MatchString(string(r)) {
			t.Errorf("%q is no name of small letters and underscores", r)
		}
		if !sentence.MatchString(r.Text()) {
			t.Errorf("%s: %q is no sentence", r, r.Text())
		}
		if v := r.Verdict(); v != Different && v != Missing && v != Extra && v != Unchecked {
			t.Errorf("%s: the verdict is %q", r, v)
		}
		if seen[string(r)] || seen[r.Text()] {
			t.Errorf("%s: its name or its text stands twice", r)
		}
		seen[string(r)], seen[r.Text()] = true, true
	}
	if r := Reason("luck"); r.Text() != "" || r.Verdict() != "" {
		t.Errorf("an unknown reason has the verdict %q and the text %q", r.Verdict(), r.Text())
	}
}

// TestReasonsAreCounted: the counts are exact, however many different things are known of the keys.
func TestReasonsAreCounted(t *testing.T) {
	b := byReason{}
	for i := range 100 {
		_, why := because(TargetReadFailed, "the target could not be read: node %d is down", i)
		b.add(why, 1)
	}
	b.add(cause{Reason: AstrayOnTarget}, 0)
	b.add(cause{Reason: LinkBehind}, 3)
	b.add(cause{Reason: AbsentOnTarget}, 7)
	if got := fmt.Sprint(b.totals()); got != "[{absent_on_target 7} {target_read_failed 100} {link_behind 3}]" {
		t.Errorf("%s", got)
	}
	got := strings.Join(b.unchecked(), "\n")
	want := "Of those, 100: the target could not be read: node 0 is down; the target could not be read: node 1 is down; the target could not be read: node 2 is down; and others.\n" +
		"Of those, 3: the migration of this shard has not caught up, so the right value may still be on its way."
	if got != want {
		t.Errorf("%s\nwant:\n%s", got, want)
	}
}
