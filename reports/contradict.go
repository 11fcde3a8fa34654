package reports

import (
	"fmt"
	"slices"
	"strings"

	"surecut/internal/preflight"
	"surecut/internal/profile"
	"surecut/scanner/compat"
)

// A report is written by one program at once, so its figures agree. If they do not, then the file was edited, was put together from
// several reports, or was written by a program with a bug. Such a report proves nothing.

// contradicted collects sentences on figures that cannot all be true.
type contradicted []string

func (c *contradicted) found(format string, args ...any) {
	*c = append(*c, fmt.Sprintf(format, args...)+": the report contradicts itself.")
}

// contradictions returns one sentence for each contradiction within a report.
func contradictions(r Report) []string {
	switch r := r.(type) {
	case *Check:
		return contradictionsOfCheck(r)
	case *Verify:
		return contradictionsOfVerify(r)
	case *Migrate:
		return contradictionsOfMigrate(r)
	case *BigKeys:
		return contradictionsOfBigKeys(r)
	case *Compat:
		return contradictionsOfCompat(r)
	}
	return nil
}

// contradictionsOfCheck checks that the verdict follows from the checks, and that no check is missing.
func contradictionsOfCheck(c *Check) []string {
	var no contradicted
	verdict := preflight.Pass
	for _, check := range c.Checks {
		switch {
		case check.Result == preflight.Fail:
			verdict = preflight.Fail
		case check.Result == preflight.Alarm && !check.Accepted && verdict == preflight.Pass:
			verdict = preflight.Alarm
		}
		if check.Accepted && check.Result != preflight.Alarm {
			no.found("Check %s (%s) is accepted, although its result is %s", visible(check.ID), visible(check.Subject), check.Result)
		}
	}
	if c.Verdict != verdict {
		no.found("Its verdict is %s, although its checks lead to %s", c.Verdict, verdict)
	}
	var missing []string
	for _, id := range preflight.IDs() {
		there := slices.ContainsFunc(c.Checks, func(check preflight.Check) bool { return check.ID == id })
		if !there && id != "source_file" { // source_file is there only if the source is a file.
			missing = append(missing, id)
		}
	}
	if len(missing) > 0 && len(c.Checks) > 0 {
		no.found("It lacks %s, although every run makes all checks or says why one was skipped (%s)", plural(int64(len(missing)), "check"), strings.Join(missing, ", "))
	}
	return no
}

// contradictionsOfBigKeys checks that each breakdown adds up to the totals, and that the largest key is listed first.
func contradictionsOfBigKeys(b *BigKeys) []string {
	var no contradicted
	var keys, bytes, expiring int64
	for _, g := range b.ByType {
		keys, bytes = keys+g.Keys, bytes+g.Bytes
	}
	for _, t := range b.TTL {
		expiring += t.Keys
	}
	if keys != b.Totals.Keys || bytes != b.Totals.Bytes {
		no.found("Its types add up to %s in %s bytes, but its totals are %s in %s", plural(keys, "key"), count(bytes), count(b.Totals.Keys), count(b.Totals.Bytes))
	}
	if len(b.TTL) > 0 && expiring != b.Totals.Keys {
		no.found("Its times to live add up to %s, but its totals are %s", plural(expiring, "key"), count(b.Totals.Keys))
	}
	if b.Totals.Keys < 0 || b.Totals.Bytes < 0 || b.Totals.Errors < 0 {
		no.found("It has negative counts of keys")
	}
	if len(b.Top) == 0 {
		if b.Totals.Keys > 0 {
			no.found("It lists no key, although it has scanned %s", plural(b.Totals.Keys, "key"))
		}
		return no
	}
	most := b.Top[0].Bytes
	for _, k := range slices.Concat(b.Top, b.TopElements, b.TopLargest) {
		if k.Bytes > most || k.Bytes < 0 {
			no.found("Key %s takes %s bytes, although the largest takes %s", visible(shorten(k.Key, 80)), count(k.Bytes), count(most))
			break
		}
	}
	if n := len(b.Sizes); n > 0 && b.Sizes[n-1].Keys > 0 && most <= b.Sizes[n-1].UpTo/4 {
		no.found("The largest key that it lists takes %s bytes, although it counts keys of up to %s bytes", count(most), count(b.Sizes[n-1].UpTo))
	}
	return no
}

// contradictionsOfCompat checks that the verdict follows from the findings.
func contradictionsOfCompat(c *Compat) []string {
	var no contradicted
	var proven, doubtful int
	for _, f := range c.Findings {
		harmful := f.Level == profile.Block || f.Level == profile.Silent
		switch {
		case harmful && f.Certainty == compat.Proven:
			proven++
		case harmful || f.Level == profile.Latent:
			doubtful++
		}
		if f.Count < 0 || f.Examined < 0 || f.Affected < 0 || f.Affected > f.Examined && f.Examined > 0 {
			no.found("%s counts %s, of which %s were seen and %s met the rule", visible(f.Command), plural(f.Count, "call"), count(f.Examined), count(f.Affected))
		}
	}
	wanted := []compat.Verdict{compat.Unproven, compat.Compatible}
	switch {
	case proven > 0:
		wanted = []compat.Verdict{compat.Incompatible}
	case doubtful > 0:
		wanted = []compat.Verdict{compat.Risky}
	}
	if !slices.Contains(wanted, c.Verdict) {
		no.found("Its verdict is %s, although it lists %s and %s of lesser weight", c.Verdict, plural(int64(proven), "proven harm"), plural(int64(doubtful), "finding"))
	}
	return no
}
