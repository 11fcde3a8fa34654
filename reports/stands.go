package reports

import (
	"fmt"
	"slices"
	"strings"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
	"surecut/verifier"
)

// stands returns the scope of a report, which shows what the report does not cover. It is shown before any figures, since a good
// verdict on a selection of keys, on a replica, or on a source that is still being written to is easily taken for more than it is.
func stands(r Report) []fact {
	h := r.header()
	facts := []fact{{Name: "Run", Value: runState(h)}}
	add := func(name, value string) {
		if value != "" {
			facts = append(facts, fact{Name: name, Value: value})
		}
	}
	switch r := r.(type) {
	case *Check:
		add("Checked for", selectionLine(r.Selection))
	case *Verify:
		add("Compared", selectionLine(r.Selection)+"; "+comparedHow(r))
	case *Migrate:
		add("Moved", selectionLine(r.Selection))
	case *BigKeys:
		add("Scanned", selectionLine(r.Selection))
	case *Gate:
		add("Required", selectionLine(r.Policy.Selection))
	}
	servers := "servers"
	if r.Kind() == KindVerify {
		servers = "read"
	}
	add("Source "+servers, serversLine(h.SourceServers))
	add("Target "+servers, serversLine(h.TargetServers))
	switch r := r.(type) {
	case *Verify:
		add("Source written", writtenLine(r))
		add("Not listed", strings.Join(visibleAll(r.Incomplete), "; "))
		add("Left out", strings.Join(visibleAll(r.LeftOut), " "))
	case *Migrate:
		add("Source written", quietLine(r))
	}
	return facts
}

func runState(h *Header) string {
	if h.Ended == Complete {
		return "complete, " + shortTime(h.GeneratedAt)
	}
	return h.Ended + ", " + shortTime(h.GeneratedAt)
}

func selectionLine(s *keyspace.Selection) string { return visible(s.String()) }

// comparedHow says how deeply keys were compared, and by which proof a difference was confirmed.
func comparedHow(v *Verify) string {
	how := fmt.Sprintf("depth %s (%s)", v.Depth, depthWords[v.Depth])
	if v.Depth != verifier.DepthKeys {
		how += "; expiries up to " + span(v.TTLToleranceMs) + " apart count as the same"
	}
	return how + "; proof by " + string(v.Proof)
}

// serversLine names the servers whose data were read. If the report does not say which ones were read, it names all servers.
func serversLine(servers endpoint.Identity) string {
	const shown = 4
	read := slices.DeleteFunc(slices.Clone(servers), func(m endpoint.Member) bool { return !m.Read })
	if len(read) == 0 {
		read = servers
	}
	var words []string
	for _, m := range read[:min(shown, len(read))] {
		words = append(words, serverWords(m))
	}
	if n := len(read) - shown; n > 0 {
		words = append(words, fmt.Sprintf("and %d more", n))
	}
	return strings.Join(words, ", ")
}

func serverWords(m endpoint.Member) string {
	about := []string{visible(m.Role)}
	if m.Role == endpoint.RoleReplica {
		link := "connection to its primary unknown"
		if m.Link != "" {
			link = "connection to its primary " + visible(m.Link)
		}
		about = append(about, link)
	}
	if id := memberID(m); id != "" {
		about = append(about, id)
	}
	about = slices.DeleteFunc(about, func(s string) bool { return s == "" })
	return visible(m.Addr) + " (" + strings.Join(about, ", ") + ")"
}

var knownByWords = map[verifier.KnownBy]string{
	verifier.ByReplication: "known from its replication stream",
	verifier.ByTracking:    "known from CLIENT TRACKING",
	verifier.ByRest:        "known from its counters",
	verifier.ByRereading:   "known from reading its keys again",
	verifier.ByFile:        "it is a file",
}

// writtenLine says whether the source was written to during the comparison, and what that means for the verdict.
func writtenLine(v *Verify) string {
	w := v.Writes
	switch {
	case w == nil:
		return "not known"
	case !w.Written:
		return "no, " + knownBy(w)
	case w.Clients == verifier.ClientsNone && !w.Everything:
		return "not by clients; keys expired, " + writtenKeys(w) + knownBy(w)
	case v.Proof == verifier.ProofRounds:
		return "yes, " + writtenKeys(w) + knownBy(w) + "; the verdict assumes that the target follows fast enough"
	}
	return "yes, " + writtenKeys(w) + knownBy(w)
}

func knownBy(w *verifier.Writes) string {
	if words := knownByWords[w.KnownBy]; words != "" {
		return words
	}
	return "known by " + visible(string(w.KnownBy))
}

func writtenKeys(w *verifier.Writes) string {
	if w.Everything {
		return "every key may have been changed (" + orNothing(visible(w.Why)) + "), "
	}
	if w.Keys == 0 {
		return ""
	}
	return "about " + plural(w.Keys, "key") + " while both sides were listed, "
}

// quietLine says whether the source was written to since the comparison began. If only the target has changed, the reasons say so.
func quietLine(m *Migrate) string {
	switch {
	case m.Quiet == nil:
		return ""
	case m.Quiet.Quiet, len(m.Quiet.Reasons()) == 0 && len(m.Quiet.Target) > 0:
		return "no, from the beginning of the comparison until " + span(m.Quiet.ForMs) + " after its end"
	}
	return "yes, after the comparison began"
}
