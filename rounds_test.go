package surecut

import (
	"testing"

	"surecut/migrator"
	"surecut/verifier"
)

// A key of a database that nothing is mapped to is nobody's to copy or to delete.
func TestOutdated(t *testing.T) {
	findings := []verifier.Finding{
		{DB: 3, TargetDB: 0, Key: "a", KeyBase64: "YQ==", Verdict: verifier.Extra},
		{DB: 3, TargetDB: 3, Key: "b", KeyBase64: "Yg==", Verdict: verifier.Extra, Unmapped: true},
		{Key: "c", KeyBase64: "Yw==", Verdict: verifier.Unchecked},
	}
	var round migrator.Round
	keys := outdated(findings, &round)
	if len(keys) != 1 || keys[0].Key.Name != "a" || keys[0].Key.DB != 3 || !keys[0].Extra || round.Left != 1 {
		t.Errorf("%+v, %d left", keys, round.Left)
	}
}
