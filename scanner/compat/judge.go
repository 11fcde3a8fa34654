package compat

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"surecut/internal/command"
	"surecut/internal/profile"
)

// sampleEnough is how many calls without a crossing make it likely (at 95 %) that fewer than one call in a hundred crosses.
const sampleEnough = 300

// RuleUnknown is the rule for commands that were introduced after the target's version.
const RuleUnknown = "unknown-command"

// unknownRule returns a rule that is not in a profile, because it follows from the table of commands and the target's version.
func unknownRule(since int, valkey bool) *profile.Rule {
	flavor := map[bool]string{false: "Redis", true: "Valkey"}[valkey]
	reason := fmt.Sprintf("it came with %s %s, and the target's servers are older", flavor, versionText(since))
	if since == never {
		reason = flavor + " does not have it"
	}
	return &profile.Rule{ID: RuleUnknown, When: profile.Called, Level: profile.Block, Error: "ERR unknown command",
		Reason: reason, Remedy: "use newer servers, or older commands"}
}

// never stands for the version of a command that a flavor lacks.
const never = 990000

// ParseVersion reads the version of a target's servers, such as "7.0" for Redis or "valkey-8.1" for Valkey.
func ParseVersion(text string) (version int, valkey bool, err error) {
	number, valkey := strings.CutPrefix(text, "valkey-")
	version, err = profile.ParseVersion(number)
	if err != nil {
		err = fmt.Errorf("version %q is not like 7.0 or valkey-8.1", text)
	}
	return version, valkey, err
}

// version returns the version of the target's servers, or 0 where it is not known.
func (o Config) version() int {
	if o.Version > 0 || o.Profile.Engine == "" {
		return o.Version
	}
	version, _ := profile.ParseVersion(o.Profile.Engine) // validated before
	return version + 99
}

func versionText(n int) string { return fmt.Sprintf("%d.%d", n/10000, n/100%100) }

// tooNew returns the version that introduced a command which the target's servers lack. It returns 0 where they have the command,
// or where their version is not known.
func tooNew(s *command.Spec, o Config) int {
	version := o.version()
	since := s.Since
	if o.Valkey {
		since = s.SinceValkey
	}
	switch {
	case version == 0 || s.Since+s.SinceValkey == 0: // not known, or the command of a module that its server has described
		return 0
	case since == 0:
		return never
	case since <= version:
		return 0
	}
	return since
}

func (t *Tally) unknown(e *Evidence, name string, since int, at time.Time, client string) *observation {
	o := t.observe(e, profile.Called, name, name, at, client)
	if o != nil { // the profile itself has a rule against it
		return o
	}
	return t.observeRule(e, unknownRule(since, t.o.Valkey), RuleUnknown, name, at, client)
}

// sinceShebang is the version that introduced scripts with a shebang.
const sinceShebang = 70000

// shebangRule is defined here for the same reason as unknownRule.
var shebangRule = &profile.Rule{ID: RuleShebang, When: profile.Called, Level: profile.Block, Error: "Error compiling script",
	Reason: "the script begins with #!, which came with 7.0, and the target's servers are older", Remedy: "use newer servers, or remove the first line"}

// RuleShebang is the rule for scripts that the target's servers cannot compile.
const RuleShebang = "unknown-shebang"

// Result judges everything that was collected.
func (t *Tally) Result() *Result {
	for _, st := range t.streams {
		t.finish(st)
	}
	t.judgeCounts()
	p := t.o.Profile
	r := &Result{TargetKind: p.Kind, Profile: Profile{Name: p.Name, Title: p.Title, Version: p.Version, Dated: p.Dated}, KeyGroups: t.pairs.groups()}
	if t.o.Version > 0 {
		r.TargetVersion = map[bool]string{true: "valkey-"}[t.o.Valkey] + versionText(t.o.Version)
	}
	for _, key := range t.order {
		r.Findings = append(r.Findings, t.finding(t.observed[key]))
	}
	slices.SortStableFunc(r.Findings, worstFirst)
	r.Coverage = t.coverage()
	r.Verdict, r.Reasons = t.verdict(r.Findings)
	m := r.Measure("calls")
	for key := range t.pairs.sample {
		m.Add(key, 0)
	}
	m.Apply(r)
	return r
}

func worstFirst(a, b Finding) int {
	levels := profile.Levels()
	return cmp.Or(
		cmp.Compare(slices.Index(levels, a.Level), slices.Index(levels, b.Level)),
		-cmp.Compare(a.Certainty, b.Certainty), // proven before possible
		-cmp.Compare(a.Count, b.Count),
		cmp.Compare(a.Command, b.Command),
		cmp.Compare(a.Rule, b.Rule),
	)
}

// judgeCounts makes the findings that follow from the numbers of calls.
func (t *Tally) judgeCounts() {
	names := make([]string, 0, len(t.commands))
	for name, c := range t.commands {
		if c.counted > 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	e := &Evidence{Kind: FromStats}
	for _, name := range names {
		t.judgeCount(e, name, t.commands[name])
	}
}

func (t *Tally) judgeCount(e *Evidence, name string, c *commandCalls) {
	var args [][]byte
	for word := range strings.FieldsSeq(name) {
		args = append(args, []byte(word))
	}
	spec, known := t.lookup(args)
	if known && tooNew(spec, t.o) > 0 {
		if o := t.unknown(e, name, tooNew(spec, t.o), time.Time{}, ""); o != nil {
			o.possible = o.affected == 0 && command.SentByTools(name)
			o.tools, o.affected = o.possible, c.counted
		}
		return
	}
	for _, charge := range command.Against(t.o.Profile, name, t.o.Version) {
		tools := charge.Sure && command.SentByTools(name)
		if tools && charge.Rule.Level == profile.Info {
			continue // every server that is monitored would have this finding
		}
		t.fromCount(e, charge.Rule, name, c, charge.Sure && !tools)
		if o := t.observed[keyOf(charge.Rule, name)]; o.possible {
			o.tools = tools
		}
	}
}

// fromCount notes a finding for which only the number of calls is known. If calls were seen with their arguments, those findings
// stand.
func (t *Tally) fromCount(e *Evidence, rule *profile.Rule, name string, c *commandCalls, sure bool) {
	key := keyOf(rule, name)
	o := t.observed[key]
	if o == nil {
		o = &observation{rule: rule, command: name, possible: !sure, templates: newCounter(templateRoom), clients: newCounter(templateRoom)}
		t.observed[key], t.order = o, append(t.order, key)
		if sure {
			o.affected = c.counted
		}
	}
	o.evidence.add(e.Kind)
}

func keyOf(rule *profile.Rule, name string) observedKey {
	return observedKey{rule.ID + "\x00" + string(rule.When), name}
}

// finding makes a Finding of an observation.
func (t *Tally) finding(o *observation) Finding {
	r := o.rule
	f := Finding{Rule: r.ID, Command: o.command, Level: r.Level, Certainty: Proven, Count: o.affected, Affected: o.affected,
		KeyTemplates: o.templates.top(10), ExampleKeys: append([]string{}, o.examples...), Clients: o.clients.top(10),
		Source: o.evidence.String(), Reason: r.Reason, Error: r.Error, Remedy: r.Remedy}
	if !o.first.IsZero() {
		f.FirstSeen, f.LastSeen = o.first.UTC().Format(time.RFC3339), o.last.UTC().Format(time.RFC3339)
	}
	if c := t.commands[o.command]; c != nil {
		f.Count, f.Examined = max(c.counted, c.examined, o.affected), c.examined
		if c.examined > 0 && aboutKeys(r.When) {
			share := min(1, float64(o.affected)/float64(c.examined))
			f.CrossSlotShare = &share
		}
	}
	details := o.details
	switch {
	case o.possible && len(o.evidence) == 1 && o.evidence[0] == FromCode:
		f.Certainty = Possible
		details = append(details, "The code does not show whether its keys are in the same slot.")
	case o.possible:
		f.Certainty = Possible
		details = append(details, sampled(o, &f))
	}
	f.Detail = strings.Join(details, " ")
	return f
}

// sampled says what the calls that were seen prove about those that were only counted. A large sample without a crossing lowers the
// level of the finding.
func sampled(o *observation, f *Finding) string {
	switch {
	case f.Examined == 0 && o.tools:
		return "Only counts are known. Monitoring, administrators, sentinels and surecut itself send this command as well; MONITOR shows who does."
	case f.Examined == 0:
		return "Only counts are known: no call was seen with its arguments."
	case f.Examined < sampleEnough:
		return fmt.Sprintf("None of the %d calls that were seen did this, but that is too few to conclude that no call does.", f.Examined)
	}
	f.Level = profile.Info
	return fmt.Sprintf("None of the %d calls that were seen did this, so fewer than %.1f %% of all calls do (with 95 %% confidence).", f.Examined, 300/float64(f.Examined))
}

func aboutKeys(when profile.Condition) bool {
	return slices.Contains([]profile.Condition{profile.CrossSlot, profile.TransactionCrossSlot, profile.UnwatchedTransaction, profile.WatchCrossSlot, profile.WatchElsewhere, profile.UndeclaredKey, profile.UndeclaredElsewhere,
		profile.UndeclaredTogether, profile.ScriptCrossSlot,
		profile.NoKeys, profile.Pattern, profile.PatternElsewhere, profile.OtherDatabase}, when)
}

// verdict judges the findings, and whether enough was examined.
func (t *Tally) verdict(findings []Finding) (Verdict, []string) {
	var proven, possible, latent int
	for _, f := range findings {
		switch {
		case f.Level == profile.Latent:
			latent++
		case f.Level != profile.Block && f.Level != profile.Silent:
		case f.Certainty == Proven:
			proven++
		default:
			possible++
		}
	}
	var reasons []string
	say := func(n int, text string) {
		if n > 0 {
			reasons = append(reasons, fmt.Sprintf(text, n))
		}
	}
	say(proven, "Commands that the target refuses or answers wrongly: %d proven.")
	say(possible, "Commands that the target may refuse or answer wrongly, depending on calls that were not seen: %d possible.")
	say(latent, "Commands that work only until there are more shards, or a limit is reached: %d.")
	why := t.unproven()
	if why != "" {
		reasons = append(reasons, why)
	}
	switch {
	case proven > 0:
		return Incompatible, reasons
	case possible+latent > 0:
		return Risky, reasons
	case why != "":
		return Unproven, reasons
	}
	return Compatible, []string{"The target refuses or changes nothing of what was examined; the coverage says how much that is."}
}

// unproven says why the evidence is too weak for a good verdict. It returns "" where it is not.
func (t *Tally) unproven() string {
	var calls, told, reads, written int64
	for _, e := range t.evidence {
		calls, told = calls+e.Calls, told+e.told
		if e.Kind == FromStats || e.Kind == FromMonitor || e.Kind == FromCapture {
			reads += e.Calls
		}
		if e.Kind == FromCode {
			written += e.Calls
		}
	}
	switch {
	case calls > written && told == 0:
		return "The only calls that were seen are those of connections and administrators, which proves nothing."
	case calls > 0 && calls == written:
		return "Source code alone does not prove that nothing else is called."
	case calls == 0:
		return "No call was seen, which proves nothing."
	case reads == 0:
		return "Reads were not examined, because this evidence contains none."
	}
	return ""
}
