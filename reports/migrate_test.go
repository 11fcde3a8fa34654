package reports

import (
	"bytes"
	"strings"
	"testing"
)

// TestResumedMigration: the page that people sign shows what the migration has moved, not what was left for its last run.
func TestResumedMigration(t *testing.T) {
	for _, form := range []string{"table", "markdown", "junit", "html"} {
		m := resumedMigrate()
		m.Counters.CommandsReported, m.Counters.CommandsApplied = 1, 10 // so that JUnit has a text to show
		m.AllRuns.Counters.CommandsReported, m.AllRuns.Counters.CommandsApplied = 1, 1187
		var b bytes.Buffer
		if err := Render(&b, m, form); err != nil {
			t.Fatal(err)
		}
		if text := b.String(); !strings.Contains(text, "24,080 keys") || strings.Contains(text, "0 keys of the snapshot and 11 commands of the stream arrived") {
			t.Errorf("%s: the figures of all runs do not come first", form)
		}
	}
	m := resumedMigrate()
	m.AllRuns.Exact = false
	if text := strings.Join(summarize(m).Reasons, " "); !strings.Contains(text, "last run brought 0 keys of the snapshot and 11 commands") || !strings.Contains(text, "could not count everything") {
		t.Errorf("the last run, and that the figures are not exact, are not told: %s", text)
	}
}
