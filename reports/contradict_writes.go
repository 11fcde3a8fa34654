package reports

import (
	"slices"

	"surecut/verifier"
)

// knownByWeakest lists the ways by which writes can become known, with the weakest first.
var knownByWeakest = []verifier.KnownBy{verifier.ByRereading, verifier.ByRest, verifier.ByTracking, verifier.ByReplication}

// writesAddUp checks that what a report says of the writes to the source agrees with what it says of each node, and with its
// verdict and proof.
func writesAddUp(v *Verify, no *contradicted) {
	w := v.Writes
	if w == nil { // The report is of a repair, or of a version that did not look for writes.
		return
	}
	if _, known := knownByWords[w.KnownBy]; !known || w.Keys < 0 {
		no.found("It knows %s by %q", plural(w.Keys, "key that was written|keys that were written"), visible(string(w.KnownBy)))
	}
	if w.Everything != (w.Why != "") {
		no.found("Whether every key may have been changed is %v, and why is %q", w.Everything, visible(w.Why))
	}
	if !w.Written && (w.Keys > 0 || w.Everything || w.Clients == verifier.ClientsSome) {
		no.found("It says that the source was not written, but also that keys of it were")
	}
	if v.Verdict == verifier.Same && v.Proof == verifier.ProofRounds && !w.Written {
		no.found("It says that the source was not written, but that its proof is by rounds, which only a written source needs")
	}
	weakest := len(knownByWeakest)
	for _, n := range w.Nodes {
		weakest = min(weakest, slices.Index(knownByWeakest, n.KnownBy))
	}
	switch {
	case w.KnownBy == verifier.ByFile:
		if len(w.Nodes) > 0 || w.Written {
			no.found("It says that the source is a file, but reports writes to it")
		}
	case len(w.Nodes) > 0 && (weakest < 0 || knownByWeakest[weakest] != w.KnownBy):
		no.found("The writes of the source are known by %s, but those of its nodes in another way", visible(string(w.KnownBy)))
	}
}
