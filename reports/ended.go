package reports

import (
	"strings"

	"surecut/internal/preflight"
	"surecut/migrator"
	"surecut/scanner"
	"surecut/scanner/compat"
	"surecut/verifier"
)

// These constants say how a run ended. Only a complete run has examined everything that it was asked to examine.
const (
	Complete    = "complete"
	Interrupted = "interrupted"
	Failed      = "failed"
)

// Unfinished returns the report of a run that ended before it had any result. The report says how the run ended and why, and holds
// nothing that could be taken for evidence. The kind in the header must be one that surecut writes.
func Unfinished(h Header, ended, why string) Report {
	h.Ended, h.EndedWhy = ended, why
	kind, _, _ := strings.Cut(strings.TrimPrefix(h.Schema, "surecut."), "/")
	switch kind {
	case KindCheck:
		return &Check{Header: h, Report: preflight.Report{Verdict: preflight.Fail}}
	case KindVerify:
		return &Verify{Header: h, Report: verifier.Report{Verdict: verifier.Unchecked, Depth: depths[0], Proof: proofs[0], Reasons: []string{sentence(why)}}}
	case KindMigrate:
		return &Migrate{Header: h, Report: migrator.Report{State: "failed", Level: levels[1], Error: why}}
	case KindBigKeys:
		return &BigKeys{Header: h, BigKeys: scanner.BigKeys{Totals: scanner.BigTotals{SizeBy: scanner.SizeByEstimate}}}
	case KindCompat:
		return &Compat{Header: h, Result: compat.Result{Verdict: compat.Unproven, Reasons: []string{sentence(why)}}}
	case KindGate:
		return &Gate{Header: h, Verdict: NoGo, Reasons: []string{sentence(why)}, Policy: DefaultPolicy()}
	}
	panic("reports: no unfinished report of schema " + h.Schema)
}

// unfinished changes the summary of a run that did not complete, so that it says so first and why, before any results.
func (s *summary) unfinished(h *Header) {
	reasons := []string{s.Headline}
	for _, r := range s.Reasons {
		if r != visible(sentence(h.EndedWhy)) {
			reasons = append(reasons, r)
		}
	}
	s.Verdict = h.Ended
	s.Word = strings.ToUpper(h.Ended)
	s.Tone = bad
	s.Headline, s.Reasons = endedWords(h), reasons
}

// endedWords returns one sentence on a run that did not complete.
func endedWords(h *Header) string {
	if h.Ended == Interrupted {
		return "The run was interrupted, so its report proves nothing: " + visible(sentence(h.EndedWhy))
	}
	return "The run failed, so its report proves nothing: " + visible(sentence(h.EndedWhy))
}
