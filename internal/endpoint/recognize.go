package endpoint

import (
	"fmt"
	"slices"
)

// Recognition says whether a deployment is the one that was recorded earlier.
type Recognition struct {
	Same bool
	Sure bool   // the answer rests on more than an address
	By   string // the evidence, part of a sentence
}

// Recognize compares the servers of a deployment with those that were recorded earlier. A run ID changes with each restart, so a
// new one does not prove that it is another server; node IDs and the replication IDs of the data outlive restarts and failovers.
// Where no ID is shared, a common address leaves the answer uncertain, and no common address means another deployment.
func (id Identity) Recognize(before Identity) Recognition {
	if same, evidence := id.SameAs(before); same {
		return Recognition{true, true, evidence}
	}
	for _, a := range id {
		for _, b := range before {
			if shared := sharedID(a.ReplicationIDs, b.ReplicationIDs); shared != "" {
				return Recognition{true, true, fmt.Sprintf("%s has continued with the data of %s (replication ID %s)", a.Addr, b.Addr, shared)}
			}
		}
	}
	for _, a := range id {
		if slices.ContainsFunc(before, func(b Member) bool { return b.Addr == a.Addr }) {
			return Recognition{true, false, fmt.Sprintf("%s has the same address but another run ID: it was restarted, or it is another server", a.Addr)}
		}
	}
	return Recognition{false, len(id) > 0 && len(before) > 0, fmt.Sprintf("%s shares no run ID, node ID, replication ID or address with %s", id.addrs(), before.addrs())}
}

// NamesFor maps the addresses by which others know these servers to the addresses in this identity, where the two differ.
func (id Identity) NamesFor(others Identity) map[string]string {
	names := map[string]string{}
	for _, b := range others {
		for _, a := range id {
			if same, _ := (Identity{a}).SameAs(Identity{b}); same && a.Addr != b.Addr {
				names[b.Addr] = a.Addr
			}
		}
	}
	return names
}

// Replicates says whether a server of one side is a replica in the same replication as a server of the other, and which: both then
// share one history.
func (id Identity) Replicates(other Identity) (yes bool, evidence string) {
	for _, a := range id {
		for _, b := range other {
			if a.Role != RoleReplica && b.Role != RoleReplica || len(a.ReplicationIDs) == 0 || len(b.ReplicationIDs) == 0 {
				continue
			}
			if a.ReplicationIDs[0] == b.ReplicationIDs[0] { // a former ID may be shared by a replica that was promoted
				return true, fmt.Sprintf("%s and %s replicate the same data (replication ID %s)", a.Addr, b.Addr, a.ReplicationIDs[0])
			}
		}
	}
	return false, ""
}

func sharedID(a, b []string) string {
	if i := slices.IndexFunc(a, func(id string) bool { return slices.Contains(b, id) }); i >= 0 {
		return a[i]
	}
	return ""
}

// addrs names the servers, or the first few of them where there are many.
func (id Identity) addrs() string {
	const few = 3
	text := ""
	for i, m := range id {
		if i == few {
			return text + " and others"
		}
		if i > 0 {
			text += ", "
		}
		text += m.Addr
	}
	if text == "" {
		return "no known server"
	}
	return text
}
