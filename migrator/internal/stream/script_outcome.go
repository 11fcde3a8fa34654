package stream

import (
	"strings"

	"surecut/internal/command"
	"surecut/migrator/internal/slab"
)

// A source before 5.0 sends a script as it was called (one of 5.0 to 6.2 too, if it is set to). Servers since 5.0 may let it write
// something else; see command.SameOutcome.

// effectsOnly is the first version whose servers do not see to it that a script writes the same everywhere.
const effectsOnly = 50000

// mostScriptOutcomes bounds the number of scripts that scriptOutcomes remembers.
const mostScriptOutcomes = 10_000

// scriptOutcomes knows which scripts may write something else on the target than on the source.
type scriptOutcomes struct {
	cfg   *Config
	same  map[string]bool // by the text of the script
	noted map[string]bool // texts, and SHA1s of texts that are not known, that were reported
}

func newScriptOutcomes(cfg *Config) scriptOutcomes {
	return scriptOutcomes{cfg: cfg, same: map[string]bool{}, noted: map[string]bool{}}
}

// differs says whether a script may write something else on the target. Of one whose text is not known, it may.
func (s *scriptOutcomes) differs(c *sourceCommand) bool {
	if s.cfg.Target.Number < effectsOnly {
		return false
	}
	if !strings.EqualFold(slab.View(c.args[0]), "EVAL") {
		return true
	}
	same, known := s.same[slab.View(c.args[1])]
	if !known {
		same = command.SameOutcome(string(c.args[1]))
		remember(s.same, string(c.args[1]), same)
	}
	return !same
}

// noteRun reports that a script is run on the target although it may write something else there. One whose text is not
// known is not reported here: the target does not know it either, and the writer reports that.
func (s *scriptOutcomes) noteRun(c *sourceCommand) {
	if !strings.EqualFold(slab.View(c.args[0]), "EVAL") {
		return
	}
	s.note(c, "the script may have written something else on the target than on the source: since Redis 5.0 servers do not sort what scripts read, nor fix their random numbers, and its keys could not be copied instead. Verify finds what differs")
}

// note reports a script, or an SHA1, that was not reported before.
func (s *scriptOutcomes) note(c *sourceCommand, why string) {
	text := string(c.args[1])
	if s.noted[text] {
		return
	}
	remember(s.noted, text, true)
	s.cfg.Ledger.Note(c.db, "", c.name(), why)
}

// remember adds a text to a map of bounded size.
func remember(of map[string]bool, text string, is bool) {
	if len(of) >= mostScriptOutcomes {
		clear(of)
	}
	of[text] = is
}
