package reports

import (
	"slices"
	"strings"
	"testing"

	"surecut/internal/preflight"
	"surecut/internal/quiet"
	"surecut/scanner/compat"
	"surecut/verifier"
)

// TestContradictions edits good reports by hand, one thing at a time. Each is refused for what contradicts it, whatever the policy
// allows: differences, unchecked keys and skipped checks are all allowed here.
func TestContradictions(t *testing.T) {
	type set struct {
		check   *Check
		verify  *Verify // of one key each that is different, missing, extra and unchecked
		same    *Verify
		migrate *Migrate
		done    *Migrate
		bigkeys *BigKeys
		compat  *Compat
	}
	slotOf := func(v *Verify, f int) *verifier.SlotResult {
		i := slices.IndexFunc(v.Slots, func(s verifier.SlotResult) bool { return s.Slot == v.Findings[f].Slot })
		return &v.Slots[i]
	}
	reasonAt := func(v *Verify, code verifier.Reason) int {
		return slices.IndexFunc(v.Findings, func(f verifier.Finding) bool { return f.Code == code })
	}
	tests := []struct {
		name string
		edit func(s *set)
		want string
	}{
		{"unedited", func(*set) {}, ""},

		{"verdict same", func(s *set) { s.verify.Verdict = verifier.Same }, "Its verdict is same, although 3 keys are not the same and 1 unchecked"},
		{"verdict unchecked", func(s *set) { s.verify.Verdict = verifier.Unchecked }, "Its verdict is unchecked, although it counts 3 differences"},
		{"verdict different", func(s *set) { s.same.Verdict = verifier.Different }, "although it counts no difference"},
		{"same, not all listed", func(s *set) { s.same.Incomplete = []string{"SCAN was refused"} }, "although not all keys were listed"},
		{"a difference taken out of the totals", func(s *set) { s.verify.Totals.Different = 0 }, "lists 1 finding of verdict different, but counts 0"},
		{"a difference made the same", func(s *set) { s.verify.Totals.Different, s.verify.Totals.Same = 0, s.verify.Totals.Same+1 }, "but counts 0"},
		{"a missing key made extra", func(s *set) { s.verify.Totals.Missing, s.verify.Totals.Extra = 0, 2 }, "lists 1 finding of verdict missing, but counts 0"},
		{"an unchecked key made the same", func(s *set) { s.verify.Totals.Unchecked, s.verify.Totals.Same = 0, s.verify.Totals.Same+1 }, "verdict unchecked, but counts 0"},
		{"more keys the same", func(s *set) { s.verify.Totals.Same++ }, "the same and its findings show"},
		{"fewer keys the same", func(s *set) { s.same.Totals.Same-- }, "but judged only"},
		{"more keys on the source", func(s *set) { s.verify.Totals.SourceKeys++ }, "keys on the source, although"},
		{"fewer keys on the target", func(s *set) { s.verify.Totals.TargetKeys-- }, "keys on the target, although"},
		{"below zero", func(s *set) { s.verify.Totals.Unchecked = -1 }, "negative counts of keys"},
		{"a finding removed", func(s *set) { s.verify.Findings = s.verify.Findings[1:] }, "lists 3, and says that 0 are left out"},
		{"all findings removed", func(s *set) { s.verify.Findings = nil }, "lists 0, and says that 0 are left out"},
		{"a finding removed and said to be left out", func(s *set) {
			s.verify.Findings, s.verify.Omitted = s.verify.Findings[1:], 1
			s.verify.Totals.Different--
		}, "the report contradicts itself"},
		{"findings left out that there are not", func(s *set) { s.same.Omitted = 10 }, "says that 10 are left out"},
		{"a finding twice", func(s *set) {
			s.verify.Findings = append(s.verify.Findings, s.verify.Findings[0])
			s.verify.Totals.Different++
		}, "twice"},
		{"a finding in another slot", func(s *set) { s.verify.Findings[0].Slot++ }, "although its name belongs in slot"},
		{"a finding of another key", func(s *set) { s.verify.Findings[0].KeyBase64 = "b3RoZXI=" }, "although its name belongs in slot"},
		{"a finding whose name is none", func(s *set) { s.verify.Findings[0].KeyBase64 = "%%" }, "is not valid base64"},
		{"a finding that is the same", func(s *set) { s.verify.Findings[0].Verdict = verifier.Same }, "as a finding, although it is the same"},
		{"a missing key that is there", func(s *set) {
			for i := range s.verify.Findings {
				if s.verify.Findings[i].Verdict == verifier.Missing {
					s.verify.Findings[i].Target = sideOf("string", 1, "00000000000000aa", "", 0)
				}
			}
		}, "although the finding shows something else"},
		{"a finding of another reason", func(s *set) {
			s.verify.Findings[reasonAt(s.verify, verifier.ExpiryOnSourceOnly)].Code = verifier.ExpiryDiffers
		}, "but lists 0"},
		{"a finding without its reason", func(s *set) { s.verify.Findings[0].Code = "" }, `It lists 1 finding of reason "", but counts none`},
		{"findings without their reasons", func(s *set) {
			for i := range s.verify.Findings {
				s.verify.Findings[i].Code = ""
			}
		}, "but lists 0"},
		{"a reason of another verdict", func(s *set) {
			s.verify.Findings[reasonAt(s.verify, verifier.AbsentOnTarget)].Code = verifier.ValueDiffers
		}, "is missing, although the reason of the finding is value_differs"},
		{"a reason that is milder than the difference", func(s *set) {
			i := reasonAt(s.verify, verifier.ExpiryOnSourceOnly)
			s.verify.Findings[i].Target.Digest = "00000000000000aa"
		}, "although its values differ"},
		{"no counts by reason", func(s *set) { s.verify.ByReason = nil }, "but counts none"},
		{"a reason that is not counted", func(s *set) { s.verify.ByReason = s.verify.ByReason[1:] }, "but counts none"},
		{"a reason counted twice", func(s *set) { s.verify.ByReason = append(s.verify.ByReason, s.verify.ByReason[0]) }, "but lists 0"},
		{"more keys of a reason", func(s *set) { s.verify.ByReason[0].Keys++ }, "by their reasons, but 1 in total"},
		{"fewer than no keys of a reason", func(s *set) { s.verify.ByReason[0].Keys = -1 }, "It counts -1 keys of reason"},
		{"a reason for none of the findings", func(s *set) { s.same.ByReason = []verifier.ReasonTotal{{Code: verifier.LinkBehind, Keys: 5}} }, "by their reasons, but 0 in total"},

		{"a slot marked different", func(s *set) { s.same.Slots[0].Verdict = verifier.Different }, "1 slot is not the same, although no finding says why"},
		{"a slot marked unchecked", func(s *set) { s.same.Slots[0].Verdict = verifier.Unchecked }, "although no finding says why"},
		{"a slot marked the same", func(s *set) { slotOf(s.verify, 0).Verdict = verifier.Same }, "is the same, although its digests or its keys differ"},
		{"digests that differ", func(s *set) { s.same.Slots[0].SourceDigest = "0000000000000000/0000000000000000" }, "although its digests or its keys differ"},
		{"only the digests with expiries differ", func(s *set) { s.same.Slots[0].TargetDigest = s.same.Slots[0].TargetDigest[:17] + "0000000000000000" }, "although its digests or its keys differ"},
		{"a digest that is none", func(s *set) { s.same.Slots[0].SourceDigest, s.same.Slots[0].TargetDigest = "none", "none" }, "a malformed digest"},
		{"a slot left out", func(s *set) { s.same.Slots = s.same.Slots[1:] }, "Its slots hold"},
		{"the slot of a finding left out", func(s *set) {
			at := s.verify.Findings[0].Slot
			s.verify.Slots = slices.DeleteFunc(s.verify.Slots, func(r verifier.SlotResult) bool { return r.Slot == at })
		}, "of 1 slot that it does not list"},
		{"all slots left out", func(s *set) { s.same.Slots = nil }, "Its slots hold 0 keys of the source"},
		{"a slot twice", func(s *set) { s.same.Slots = append(s.same.Slots, s.same.Slots[0]) }, "comes after slot"},
		{"a slot that there is not", func(s *set) { s.same.Slots[len(s.same.Slots)-1].Slot = 20000 }, "comes after slot"},
		{"keys of a slot moved to another", func(s *set) {
			s.same.Slots[0].SourceKeys, s.same.Slots[1].SourceKeys = s.same.Slots[0].SourceKeys-1, s.same.Slots[1].SourceKeys+1
		}, "although its digests or its keys differ"},

		{"a type with more keys", func(s *set) { s.same.ByType[0].Keys++ }, "by type"},
		{"a type left out", func(s *set) { s.same.ByType = s.same.ByType[1:] }, "by type"},
		{"a type twice", func(s *set) { s.same.ByType[1].Type = s.same.ByType[0].Type }, "names the type twice"},

		{"a round that confirmed 10", func(s *set) { s.same.History[1].Confirmed = 10 }, "Its rounds confirmed 10 differences, but its totals count 0"},
		{"a round that confirmed nothing", func(s *set) { s.verify.History[2].Confirmed = 0 }, "Its rounds confirmed 0 differences, but its totals count 3"},
		{"a round that cleared more than was in doubt", func(s *set) { s.same.History[0].Cleared = 1_000_000 }, "cleared 1,000,000"},
		{"fewer in doubt", func(s *set) { s.verify.History[0].Suspects = 2000 }, "in doubt, and"},
		{"no rounds", func(s *set) { s.verify.History, s.verify.Rounds = nil, 0 }, "Its rounds confirmed 0 differences"},
		{"more rounds than are told of", func(s *set) { s.same.Rounds = 9 }, "It made 9 rounds, but reports on 3"},
		{"rounds in another order", func(s *set) { s.same.History[0], s.same.History[1] = s.same.History[1], s.same.History[0] }, "Round 2 had"},
		{"written by nobody, and keys that were", func(s *set) { s.same.Writes.Written, s.same.Writes.Keys, s.same.Proof = false, 3, "offset" }, "that the source was not written, but also that keys of it were"},
		{"written by nobody, and every key was", func(s *set) {
			s.same.Writes.Written, s.same.Writes.Keys, s.same.Proof = false, 0, "offset"

		}, "that the source was not written, but also that keys of it were"},
		{"every key written, for no reason", func(s *set) { s.same.Writes.Why = "" }, "Whether every key may have been changed is true"},
		{"writes known by a word that there is not", func(s *set) { s.same.Writes.KnownBy = "luck" }, "by \"luck\""},
		{"writes known better than of a node", func(s *set) { s.same.Writes.Nodes = []verifier.NodeOfWrites{{Addr: "a", KnownBy: "rereading"}} }, "but those of its nodes in another way"},
		{"a proof by rounds over a source at rest", func(s *set) { s.same.Writes.Written, s.same.Writes.Keys, s.same.Proof = false, 0, "rounds" }, "that its proof is by rounds"},
		{"a file that is written", func(s *set) { s.same.Writes.KnownBy, s.same.Writes.Written = "file", true }, "the source is a file, but reports writes"},
		{"migrate: no run", func(s *set) { s.done.AllRuns.Runs = 0 }, "counts 0 runs"},
		{"migrate: quiet for less than no time", func(s *set) {
			s.done.Quiet = &quiet.Report{Quiet: true, ForMs: -1, Nodes: []quiet.Node{{Addr: "a"}}}
		}, "for a negative time"},
		{"no server that was read", func(s *set) { s.same.TargetServers[0].Read = false }, "none from which it has read"},

		{"check: verdict", func(s *set) { s.check.Verdict = preflight.Alarm }, "Its verdict is alarm, although its checks lead to pass"},
		{"check: an alarm is no alarm", func(s *set) { s.check.Checks[0].Result = preflight.Alarm }, "Its verdict is pass, although its checks lead to alarm"},
		{"check: a failed check accepted", func(s *set) { s.check.Checks[0].Result, s.check.Checks[0].Accepted = preflight.Fail, true }, "is accepted, although its result is fail"},
		{"check: a check removed", func(s *set) { s.check.Checks = s.check.Checks[:len(s.check.Checks)-1] }, "It lacks 1 check"},
		{"check: one check alone", func(s *set) { s.check.Checks = s.check.Checks[:1] }, "It lacks"},

		{"migrate: a key lost", func(s *set) { s.done.Counters.SnapshotKeys++ }, "received, but"},
		{"migrate: counters of all runs", func(s *set) { s.done.AllRuns.Counters.SnapshotApplied-- }, "Keys of the snapshot over all runs: 24,080 received, but 24,079 accounted for"},
		{"migrate: more in the last run than in all", func(s *set) { s.done.AllRuns.Counters = s.done.Counters; s.done.Counters.Commands++ }, "do not go together"},
		{"migrate: one run with two figures", func(s *set) { s.migrate.AllRuns.Counters.CommandsApplied++ }, "do not go together"},
		{"migrate: below zero", func(s *set) { s.done.Counters.CommandsReported = -1 }, "It counts -1 keys or commands"},
		{"migrate: done with a link in its snapshot", func(s *set) { s.done.Links[0].Phase = "snapshot" }, "is in the phase snapshot"},
		{"migrate: caught up with a link that is not", func(s *set) { s.migrate.Links[0].Phase = "streaming" }, "is in the phase streaming"},
		{"migrate: a phase that there is not", func(s *set) { s.migrate.Links[0].Phase = "fine" }, `in the phase "fine"`},
		{"migrate: an error that did not end it", func(s *set) { s.done.Error = "the disk is full" }, "Its state is done, and its error is the disk is full"},
		{"migrate: a link left out", func(s *set) { s.done.Links = nil }, "has no link"},
		{"migrate: a link's commands", func(s *set) { s.done.Links[0].Commands++ }, "Its links count"},
		{"migrate: a link twice", func(s *set) { s.migrate.Links[1].Shard = s.migrate.Links[0].Shard }, "two links of"},
		{"migrate: a lag that is none", func(s *set) { s.done.Links[0].Offset += 100 }, "lags by 0 bytes, although it received up to"},

		{"bigkeys: totals", func(s *set) { s.bigkeys.Totals.Keys-- }, "Its types add up to"},
		{"bigkeys: a type left out", func(s *set) { s.bigkeys.ByType = s.bigkeys.ByType[1:] }, "Its types add up to"},
		{"bigkeys: the largest keys removed", func(s *set) { s.bigkeys.Top = nil }, "It lists no key"},
		{"bigkeys: the largest key removed", func(s *set) { s.bigkeys.Top = s.bigkeys.Top[2:] }, "The report contradicts itself"},
		{"bigkeys: the largest key made small", func(s *set) { s.bigkeys.Top[0].Bytes = 10 }, "although the largest takes 10"},
		{"compat: verdict", func(s *set) { s.compat.Verdict = compat.Compatible }, "Its verdict is compatible, although it lists 2 proven harms"},
		{"compat: harm made possible", func(s *set) {
			for i := range s.compat.Findings {
				s.compat.Findings[i].Certainty = compat.Possible
			}
		}, "Its verdict is incompatible, although"},
		{"compat: findings removed", func(s *set) { s.compat.Findings = nil }, "Its verdict is incompatible, although it lists 0 proven harms"},
	}
	p := DefaultPolicy()
	p.Verify.MaxDifferences, p.Verify.MaxUnchecked, p.Verify.AllowIncomplete = 1000, 1000, true
	p.Check.AcceptAlarms = true
	p.Migrate.MaxReported = 1000
	p.Compat.Deny = nil
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := realFindings()
			s := &set{passedCheck(), verifyIn(500, f[0], f[5], f[7], f[11]), verifyIn(500), goodMigrate(), resumedMigrate(), sampleBigKeys(), sampleCompat()}
			tt.edit(s)
			var loaded []Loaded
			for _, r := range []Report{s.check, s.verify, s.same, s.migrate, s.done, s.bigkeys, s.compat} {
				loaded = append(loaded, Loaded{Path: r.Kind() + ".json", Report: r})
			}
			g := evaluateAt(sampleNow, p, loaded)
			reasons := strings.Join(g.Reasons, "\n")
			if tt.want == "" && g.Verdict != Go || tt.want != "" && (g.Verdict != NoGo || !strings.Contains(strings.ToLower(reasons), strings.ToLower(tt.want))) {
				t.Errorf("%s, want %q; reasons:\n%s", g.Verdict, tt.want, reasons)
			}
		})
	}
	t.Logf("%d edits", len(tests)-1)
}

// TestLongNames: of a name that is quoted only in part neither the slot nor the key can be told; that is no contradiction.
func TestLongNames(t *testing.T) {
	v := verifyIn(500, realFindings()[5:7]...)
	for i := range v.Findings {
		f := &v.Findings[i]
		f.Key, f.KeyBase64, f.KeyLength, f.KeyDigest = "long…", "", 5000, "00000000000000a"+string(rune('1'+i))
	}
	for _, c := range contradictions(v) {
		t.Error(c)
	}
	v.Findings[1].KeyDigest = v.Findings[0].KeyDigest
	if len(contradictions(v)) == 0 {
		t.Error("one key is listed twice")
	}
}
