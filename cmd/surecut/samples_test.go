package main

import (
	"encoding/base64"
	"fmt"

	"surecut/internal/keyspace"
	"surecut/internal/preflight"
	"surecut/verifier"
)

// everyCheck is a report in which every check has passed.
func everyCheck() preflight.Report {
	r := preflight.Report{Verdict: preflight.Pass}
	for _, id := range preflight.IDs() {
		if id != "source_file" {
			r.Checks = append(r.Checks, preflight.Check{ID: id, Subject: "source", Result: preflight.Pass})
		}
	}
	return r
}

// comparison is a report of strings that lie in one slot. Of the keys that are not the same there may be missing ones only.
func comparison(verdict verifier.Verdict, proof verifier.Proof, t verifier.Totals) verifier.Report {
	const tag = "{orders}"
	r := verifier.Report{Verdict: verdict, Depth: "value", Proof: proof, Totals: t, ByType: []verifier.TypeTotal{{Type: "string", Keys: t.SourceKeys}},
		Writes: &verifier.Writes{KnownBy: "rest", Written: proof == verifier.ProofRounds, Clients: verifier.ClientsNone}}
	slot := verifier.SlotResult{Slot: keyspace.Slot(tag), SourceKeys: t.SourceKeys, TargetKeys: t.TargetKeys, Verdict: verifier.Same,
		SourceDigest: "00000000000000aa/00000000000000aa", TargetDigest: "00000000000000aa/00000000000000aa"}
	for i := range t.Missing {
		name := fmt.Sprintf("%s:%d", tag, i)
		r.Findings = append(r.Findings, verifier.Finding{Key: name, KeyBase64: base64.StdEncoding.EncodeToString([]byte(name)), Slot: slot.Slot,
			Type: "string", Verdict: verifier.Missing, Code: verifier.AbsentOnTarget, Reason: "on the source only", Source: &verifier.Side{Type: "string"}})
	}
	if t.Missing > 0 {
		r.ByReason = []verifier.ReasonTotal{{Code: verifier.AbsentOnTarget, Keys: t.Missing}}
		slot.Verdict, slot.TargetDigest = verifier.Different, "00000000000000bb/00000000000000bb"
		r.Rounds, r.History = 1, []verifier.Round{{Round: 1, Suspects: t.Missing, Confirmed: t.Missing}}
	}
	r.Slots = []verifier.SlotResult{slot}
	return r
}
