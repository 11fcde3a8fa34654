package reports

import (
	"encoding/base64"
	"fmt"
	"maps"
	"regexp"
	"slices"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
	"surecut/verifier"
)

// contradictionsOfVerify checks that the verdict, the totals, the types, the rounds, the slots and the findings agree.
func contradictionsOfVerify(v *Verify) []string {
	var no contradicted
	t := v.Totals
	if min(t.SourceKeys, t.TargetKeys, t.Same, t.Different, t.Missing, t.Extra, t.Unchecked, int64(v.Omitted), v.TTLToleranceMs, int64(v.Rounds)) < 0 {
		no.found("It has negative counts of keys")
		return no
	}
	f := tallyFindings(v, &no)
	verdictFollows(v, &no)
	findingsAreCounted(v, f, &no)
	reasonsAreCounted(v, &no)
	sidesAreCounted(v, f, &no)
	typesAddUp(v, &no)
	roundsAddUp(v, f, &no)
	slotsAddUp(v, f, &no)
	serversAreRead(v, &no)
	writesAddUp(v, &no)
	return no
}

// serversAreRead checks that a report which names servers of a side also says which of them were read.
func serversAreRead(v *Verify, no *contradicted) {
	for _, site := range sitesOf(v) {
		var asked, read bool
		for _, m := range site.Servers {
			asked, read = asked || m.Role != endpoint.RoleProxy, read || m.Read
		}
		if asked && !read {
			no.found("It names servers of the %s, but none from which it has read", site.Side)
		}
	}
}

// listed sums up the findings of a report.
type listed struct {
	verdicts       map[verifier.Verdict]int64
	source, target int64 // number of findings that show the key on the source or on the target
	strays         int64 // extra keys on a node where no client looks for them; they count as extra, but not among the keys of the target
	slots          map[uint16]*listedSlot
}

type listedSlot struct{ bad, unchecked, source, target int64 }

// tallyFindings sums up the findings, and checks each of them.
func tallyFindings(v *Verify, no *contradicted) listed {
	l := listed{verdicts: map[verifier.Verdict]int64{}, slots: map[uint16]*listedSlot{}}
	seen := map[string]bool{}
	for i := range v.Findings {
		f := &v.Findings[i]
		l.verdicts[f.Verdict]++
		s := l.slots[f.Slot]
		if s == nil {
			s = &listedSlot{}
			l.slots[f.Slot] = s
		}
		stray := f.Verdict == verifier.Extra && f.Source == nil && f.Target == nil
		switch {
		case stray:
			l.strays++
			s.bad++
		case f.Verdict == verifier.Unchecked:
			s.unchecked++
		default:
			s.bad++
		}
		if f.Source != nil {
			l.source, s.source = l.source+1, s.source+1
		}
		if f.Target != nil {
			l.target, s.target = l.target+1, s.target+1
		}
		findingIsPossible(f, no)
		// A stray key may lie on several servers, so it may be listed more than once.
		if id := fmt.Sprintf("%d %s %q %d %s", f.TargetDB, targetName64(f), f.TargetKey, f.KeyLength, f.KeyDigest); !stray && (f.KeyDigest != "" || !f.IsLong()) {
			if seen[id] {
				no.found("It lists key %s twice", visible(shorten(f.Key, 80)))
			}
			seen[id] = true
		}
	}
	return l
}

func targetName64(f *verifier.Finding) string {
	if f.TargetKeyBase64 != "" {
		return f.TargetKeyBase64
	}
	return f.KeyBase64
}

// findingIsPossible checks that a finding shows the sides that its verdict demands, and that its slot is the slot of its key.
func findingIsPossible(f *verifier.Finding, no *contradicted) {
	key := visible(shorten(f.Key, 80))
	possible := true
	switch f.Verdict {
	case verifier.Same:
		no.found("It lists key %s as a finding, although it is the same", key)
	case verifier.Different:
		possible = f.Source != nil && f.Target != nil
	case verifier.Missing:
		possible = f.Source != nil && f.Target == nil
	case verifier.Extra:
		possible = f.Source == nil
	}
	if !possible {
		no.found("Key %s is %s, although the finding shows something else", key, f.Verdict)
	}
	name, err := base64.StdEncoding.DecodeString(targetName64(f))
	switch {
	case err != nil:
		no.found("The name of key %s is not valid base64", key)
	case !f.IsLong() && keyspace.Slot(string(name)) != f.Slot:
		no.found("Key %s is listed in slot %d, although its name belongs in slot %d", key, f.Slot, keyspace.Slot(string(name)))
	}
}

// verdictFollows checks that the verdict follows from the totals.
func verdictFollows(v *Verify, no *contradicted) {
	t := v.Totals
	bad := t.Different + t.Missing + t.Extra
	switch {
	case v.Verdict == verifier.Same && bad+t.Unchecked > 0:
		no.found("Its verdict is same, although %s not the same and %s unchecked", plural(bad, "key is|keys are"), count(t.Unchecked))
	case v.Verdict == verifier.Same && len(v.Incomplete) > 0:
		no.found("Its verdict is same, although not all keys were listed")
	case v.Verdict == verifier.Different && bad == 0:
		no.found("Its verdict is different, although it counts no difference")
	case v.Verdict == verifier.Unchecked && bad > 0:
		no.found("Its verdict is unchecked, although it counts %s", plural(bad, "difference"))
	}
}

// findingsAreCounted checks that every key that is not the same is either listed or counted as omitted from the list.
func findingsAreCounted(v *Verify, l listed, no *contradicted) {
	t := v.Totals
	var all, missing int64
	for _, c := range []struct {
		verdict verifier.Verdict
		total   int64
	}{{verifier.Different, t.Different}, {verifier.Missing, t.Missing}, {verifier.Extra, t.Extra}, {verifier.Unchecked, t.Unchecked}} {
		n := l.verdicts[c.verdict]
		if all += c.total; n > c.total {
			no.found("It lists %s of verdict %s, but counts %s", plural(n, "finding"), c.verdict, count(c.total))
		} else {
			missing += c.total - n
		}
	}
	if missing != int64(v.Omitted) {
		no.found("It counts %s that are not the same, lists %s, and says that %s left out", plural(all, "key"), count(int64(len(v.Findings))), plural(int64(v.Omitted), "is|are"))
	}
}

// reasonsAreCounted checks that the counts by reason agree with the totals and with the findings. Reports of older versions have no
// reasons.
func reasonsAreCounted(v *Verify, no *contradicted) {
	listed, named := map[verifier.Reason]int64{}, false
	for i := range v.Findings {
		f := &v.Findings[i]
		listed[f.Code]++
		named = named || f.Code != ""
		if f.Code != "" && f.Code.Verdict() != f.Verdict {
			no.found("Key %s is %s, although the reason of the finding is %s", visible(shorten(f.Key, 80)), f.Verdict, f.Code)
		}
		if f.Code.SparesValue() && f.Source != nil && f.Target != nil && (f.Source.Type != f.Target.Type || f.Source.Length != f.Target.Length || f.Source.Digest != f.Target.Digest) {
			no.found("The reason of key %s is %s, although its values differ", visible(shorten(f.Key, 80)), f.Code)
		}
	}
	if len(v.ByReason) == 0 && !named {
		return
	}
	verdicts := map[verifier.Verdict]int64{}
	for _, r := range v.ByReason {
		verdicts[r.Code.Verdict()] += r.Keys
		if n := listed[r.Code]; r.Keys <= 0 || n > r.Keys || v.Omitted == 0 && n != r.Keys {
			no.found("It counts %s of reason %s, but lists %s", plural(r.Keys, "key"), r.Code, count(n))
		}
		delete(listed, r.Code)
	}
	for _, code := range slices.Sorted(maps.Keys(listed)) {
		no.found("It lists %s of reason %q, but counts none", plural(listed[code], "finding"), code)
	}
	t := v.Totals
	for verdict, total := range map[verifier.Verdict]int64{verifier.Different: t.Different, verifier.Missing: t.Missing, verifier.Extra: t.Extra, verifier.Unchecked: t.Unchecked} {
		if verdicts[verdict] != total {
			no.found("It counts %s by their reasons, but %s in total", plural(verdicts[verdict], string(verdict)+" key"), count(total))
		}
	}
}

// sidesAreCounted checks that every key of a side has a verdict, and is counted on that side.
func sidesAreCounted(v *Verify, l listed, no *contradicted) {
	t := v.Totals
	if judged := t.Same + t.Different + t.Missing + t.Extra + t.Unchecked; judged < max(t.SourceKeys, t.TargetKeys) {
		*no = append(*no, fmt.Sprintf("It enumerated %s on the source and %s on the target, but judged only %s.",
			plural(t.SourceKeys, "key"), count(t.TargetKeys), count(judged)))
	}
	for _, side := range []struct {
		name               string
		keys, least, most  int64
		listedKeys, strays int64
	}{
		{"source", t.SourceKeys, t.Same + t.Different + t.Missing, t.Same + t.Different + t.Missing + t.Unchecked, l.source, 0},
		{"target", t.TargetKeys, t.Same + t.Different, t.Same + t.Different + t.Extra + t.Unchecked, l.target, l.strays},
	} {
		switch {
		case v.Omitted == 0 && side.keys != t.Same+side.listedKeys:
			no.found("It counts %s on the %s, although %s the same and its findings show %s there", plural(side.keys, "key"), side.name, plural(t.Same, "is|are"), count(side.listedKeys))
		case side.keys < side.least || side.keys > side.most-side.strays:
			no.found("It counts %s on the %s, which does not match its verdicts", plural(side.keys, "key"), side.name)
		}
	}
}

// typesAddUp checks that the counts by type add up to the keys of the source.
func typesAddUp(v *Verify, no *contradicted) {
	var keys int64
	seen := map[string]bool{}
	for _, t := range v.ByType {
		if keys += t.Keys; t.Keys < 0 || seen[t.Type] {
			no.found("It counts %s of type %s, or names the type twice", plural(t.Keys, "key"), visible(t.Type))
		}
		seen[t.Type] = true
	}
	if keys != v.Totals.SourceKeys {
		no.found("It counts %s on the source, and %s by type", plural(v.Totals.SourceKeys, "key"), count(keys))
	}
}

// roundsAddUp checks that each key that is not the same was confirmed in a round, and that no round settled more keys than were in
// doubt.
func roundsAddUp(v *Verify, l listed, no *contradicted) {
	if v.Rounds != len(v.History) {
		no.found("It made %s, but reports on %s", plural(int64(v.Rounds), "round"), count(int64(len(v.History))))
	}
	var doubted, cleared, confirmed int64
	for i, r := range v.History {
		cleared, confirmed = cleared+r.Cleared, confirmed+r.Confirmed
		if i == 0 {
			doubted = r.Suspects
		}
		if r.Round != i+1 || min(r.Suspects, r.Cleared, r.Confirmed, r.DurationMs) < 0 || r.Cleared+r.Confirmed > r.Suspects || r.Suspects > doubted {
			no.found("Round %d had %s in doubt, cleared %s and confirmed %s", r.Round, plural(r.Suspects, "key"), count(r.Cleared), count(r.Confirmed))
		}
	}
	t := v.Totals
	bad := t.Different + t.Missing + t.Extra - l.strays
	if confirmed > bad || v.Omitted == 0 && confirmed != bad || confirmed < t.Different+t.Missing {
		no.found("Its rounds confirmed %s, but its totals count %s", plural(confirmed, "difference"), count(bad))
	}
	if settled := cleared + confirmed + t.Unchecked; settled != doubted {
		no.found("%s in doubt, and %s settled: %s cleared, %s confirmed, %s unchecked", plural(doubted, "key was|keys were"), plural(settled, "was|were"),
			count(cleared), count(confirmed), count(t.Unchecked))
	}
}

var slotDigest = regexp.MustCompile(`^[0-9a-f]{16}/[0-9a-f]{16}$`)

// slotsAddUp checks that the keys of the slots add up to the totals, and that each slot has the verdict that follows from its
// findings.
func slotsAddUp(v *Verify, l listed, no *contradicted) {
	var source, target, unlisted, same int64
	last := -1
	for i := range v.Slots {
		s := &v.Slots[i]
		if int(s.Slot) <= last || int(s.Slot) >= keyspace.Slots || s.SourceKeys < 0 || s.TargetKeys < 0 {
			no.found("Slot %d comes after slot %d, or has negative counts of keys", s.Slot, last)
		}
		last = int(s.Slot)
		source, target = source+s.SourceKeys, target+s.TargetKeys
		if !slotDigest.MatchString(s.SourceDigest) || !slotDigest.MatchString(s.TargetDigest) {
			no.found("Slot %d has a malformed digest", s.Slot)
		}
		if s.Verdict == verifier.Same && (s.SourceDigest != s.TargetDigest || s.SourceKeys != s.TargetKeys) {
			no.found("Slot %d is the same, although its digests or its keys differ", s.Slot)
		}
		f := l.slots[s.Slot]
		delete(l.slots, s.Slot)
		if f == nil {
			f = &listedSlot{}
			if s.Verdict != verifier.Same {
				unlisted++
			}
		}
		same += s.SourceKeys - f.source
		if wanted := f.verdict(); v.Omitted == 0 && (s.Verdict != wanted || s.SourceKeys-f.source != s.TargetKeys-f.target || s.SourceKeys < f.source) ||
			v.Omitted > 0 && (s.Verdict == verifier.Same) != (wanted == verifier.Same) && wanted != verifier.Same {
			no.found("Slot %d is %s with %s on the source and %s on the target, which does not match its findings", s.Slot, s.Verdict, plural(s.SourceKeys, "key"), count(s.TargetKeys))
		}
	}
	if source != v.Totals.SourceKeys || target != v.Totals.TargetKeys {
		no.found("Its slots hold %s of the source and %s of the target, but its totals count %s and %s", plural(source, "key"), count(target), count(v.Totals.SourceKeys), count(v.Totals.TargetKeys))
	}
	if v.Omitted == 0 && same != v.Totals.Same {
		no.found("%s the same by its slots, but %s by its totals", plural(same, "key is|keys are"), count(v.Totals.Same))
	}
	if len(l.slots) > 0 {
		no.found("It has findings of %s that it does not list", plural(int64(len(l.slots)), "slot"))
	}
	if unlisted > int64(v.Omitted) {
		no.found("%s not the same, although no finding says why", plural(unlisted, "slot is|slots are"))
	}
}

// verdict returns the verdict of a slot that follows from its findings.
func (s *listedSlot) verdict() verifier.Verdict {
	switch {
	case s.bad > 0:
		return verifier.Different
	case s.unchecked > 0:
		return verifier.Unchecked
	}
	return verifier.Same
}
