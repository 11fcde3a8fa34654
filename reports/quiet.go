package reports

import "strings"

// quietReasons returns why the source of a migration with a comparison does not count as quiet, or why the target may not hold any more what
// was compared. It returns nil if both stayed as they were, or if nothing was compared.
func quietReasons(m *Migrate) []string {
	if m.Quiet == nil || m.Quiet.Quiet {
		return nil
	}
	reasons := []string{}
	for _, reason := range m.Quiet.Reasons() {
		reasons = append(reasons, "The source is still written: "+reason)
	}
	for _, reason := range m.Quiet.TargetReasons() {
		reasons = append(reasons, "The target may have changed since it was compared: "+reason)
	}
	if len(reasons) == 0 {
		reasons = append(reasons, "The source is still written, but the report does not say on which of its nodes.")
	}
	return reasons
}

// quietContradicts returns what in a report contradicts its claim that the source was quiet.
func quietContradicts(m *Migrate) []string {
	if m.Quiet == nil || !m.Quiet.Quiet {
		return nil
	}
	if len(m.Quiet.Nodes) == 0 {
		return []string{"It says that the source is quiet, but it asked none of its nodes: the report contradicts itself."}
	}
	if m.Quiet.ForMs < 0 || m.Quiet.PausedMs < 0 {
		return []string{"It says that the source was quiet for a negative time: the report contradicts itself."}
	}
	for _, n := range m.Quiet.Target {
		return []string{"It says that the source is quiet and the target unchanged, but also that " + visible(n.Addr) + " may have changed: the report contradicts itself."}
	}
	for _, n := range m.Quiet.Nodes {
		if n.Writes != 0 || n.Reason != "" || n.OffsetEnd < n.OffsetBegin {
			return []string{"It says that the source is quiet, but reports writes to " + visible(n.Addr) + ": the report contradicts itself."}
		}
	}
	return nil
}

// quietCase returns the testcase for whether the source was written to.
func quietCase(m *Migrate) junitCase {
	c := junitCase{ClassName: "surecut.migrate", Name: "nobody has written to the source since the comparison began"}
	if reasons := quietReasons(m); len(reasons) > 0 {
		c.Failure = &junitDetail{"written", reasons[0], strings.Join(reasons, "\n") + "\n" + facts(m)}
	}
	return c
}
