package reports

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"surecut/internal/endpoint"
	"surecut/verifier"
)

func judgeVerify(p VerifyPolicy, v *Verify) []string {
	t := v.Totals
	differences := t.Different + t.Missing + t.Extra
	compared := t.Same + differences
	against := unseen(p, v)
	if v.Selection != nil && v.Selection.Repaired {
		against = append(against, "It compared only keys that were repaired; use the report of a verification of all keys.")
	}
	if slices.Index(depths, v.Depth) < slices.Index(depths, p.MinDepth) {
		against = append(against, fmt.Sprintf("It compared at depth %s; the policy requires %s.", v.Depth, p.MinDepth))
	}
	doubted := len(v.History) > 0 // Otherwise no key needed a proof or a round.
	if doubted && slices.Index(proofs, v.Proof) < slices.Index(proofs, p.MinProof) {
		against = append(against, fmt.Sprintf("Its proof is by %s; the policy requires proof by %s.", v.Proof, p.MinProof))
	}
	if doubted && v.Rounds < p.MinRounds {
		against = append(against, fmt.Sprintf("It made %s over the keys in doubt; the policy requires %d.", plural(int64(v.Rounds), "round"), p.MinRounds))
	}
	if tolerance := time.Duration(v.TTLToleranceMs) * time.Millisecond; tolerance > time.Duration(p.MaxTTLTolerance) {
		against = append(against, fmt.Sprintf("It accepted expiries as the same that were up to %s apart; the policy allows %s.", Duration(tolerance), p.MaxTTLTolerance))
	}
	empty := t.SourceKeys+t.TargetKeys+compared+t.Unchecked == 0 && v.Selection.Part() == "" // and no selection left keys out
	if compared <= 0 && !(p.AllowEmpty && empty) {
		against = append(against, fmt.Sprintf("It compared no key (source %s, target %s), which proves nothing.", count(t.SourceKeys), count(t.TargetKeys)))
	}
	tolerated := toleratedBy(p, v)
	if differences-tolerated.differences > p.MaxDifferences {
		against = append(against, fmt.Sprintf("%s of %s compared (%s different, %s missing, %s extra); the policy allows %s%s.",
			plural(differences, "key is not the same|keys are not the same"), count(compared), count(t.Different), count(t.Missing), count(t.Extra), count(p.MaxDifferences),
			tolerated.beside(tolerated.differences)))
	}
	if t.Unchecked-tolerated.unchecked > p.MaxUnchecked {
		against = append(against, fmt.Sprintf("%s unchecked; the policy allows %s%s.", plural(t.Unchecked, "key is|keys are"), count(p.MaxUnchecked),
			tolerated.beside(tolerated.unchecked)))
	}
	if v.Verdict == verifier.Unchecked && t.Unchecked == 0 && !(p.AllowEmpty && empty) && !(p.AllowIncomplete && len(v.Incomplete) > 0) {
		against = append(against, "The comparison as a whole is unchecked: "+sentence(strings.Join(v.Reasons, " ")))
	}
	return against
}

// tolerated counts the keys of a report that the policy does not count against it, because the policy names their reasons.
type tolerated struct {
	differences, unchecked int64
	reasons                []string // each with its number of keys
}

func toleratedBy(p VerifyPolicy, v *Verify) (t tolerated) {
	for _, r := range v.ByReason {
		if !slices.Contains(p.Tolerate, r.Code) {
			continue
		}
		if r.Code.Verdict() == verifier.Unchecked {
			t.unchecked += r.Keys
		} else {
			t.differences += r.Keys
		}
		t.reasons = append(t.reasons, count(r.Keys)+" "+string(r.Code))
	}
	return t
}

// beside returns words for the n keys that the policy tolerates in addition to those that it allows by number.
func (t tolerated) beside(n int64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(", in addition to %s that it tolerates for their reasons", count(n))
}

// sentence lists the reasons for which keys were not counted. It returns "" if all keys were counted.
func (t tolerated) sentence() string {
	if len(t.reasons) == 0 {
		return ""
	}
	return fmt.Sprintf(" The policy tolerates %s.", strings.Join(t.reasons, ", "))
}

// unseen returns a sentence for everything that may be missing from the comparison: keys that were not listed, writes by clients
// during the run, and replicas that may have been behind.
func unseen(p VerifyPolicy, v *Verify) []string {
	var against []string
	for _, why := range v.Incomplete {
		if !p.AllowIncomplete {
			against = append(against, "Not all keys were listed, so some may have been overlooked: "+sentence(visible(why)))
		}
	}
	if why := writtenByClients(v); why != "" && !p.AllowWritten {
		against = append(against, why)
	}
	for _, site := range sitesOf(v) {
		for _, m := range site.Servers {
			if m.Read && m.Role == endpoint.RoleReplica && m.Link != endpoint.LinkUp && !p.AllowStaleReplicas {
				against = append(against, fmt.Sprintf("The %s was read from the replica %s, whose connection to its primary was down, so it may not have been up to date.", site.Side, visible(m.Addr)))
			}
		}
	}
	return against
}

// writtenByClients returns why it is not certain that no client wrote to the source during the comparison, or "" if it is certain.
// A client's write to a key that was already read is not covered by the verdict, and is lost when the clients move to the target.
func writtenByClients(v *Verify) string {
	const remedy = "stop the writers and verify again, or end the migration with migrate --until same"
	switch {
	case v.Writes == nil || v.Writes.Clients == verifier.ClientsUnknown:
		why := "the report does not say why"
		if v.Writes != nil && v.Writes.ClientsWhy != "" {
			why = strings.TrimSuffix(visible(v.Writes.ClientsWhy), ".")
		}
		return fmt.Sprintf("It is not known whether clients wrote to the source during the comparison (%s): %s.", why, remedy)
	case v.Writes.Clients != verifier.ClientsNone:
		return fmt.Sprintf("Clients wrote to the source during the comparison (%s): %s.", orNothing(visible(v.Writes.ClientsWhy)), remedy)
	}
	return ""
}
