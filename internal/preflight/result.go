package preflight

import (
	"slices"

	"surecut/internal/keyspace"
)

// Result is the outcome of one check.
type Result string

// A note is worth knowing but needs no decision by a person; an alarm needs one. A check that could not be made is skipped, with
// the reason in Found; it never hides another one.
const (
	Pass    Result = "pass"
	Note    Result = "note"
	Alarm   Result = "alarm"
	Fail    Result = "fail"
	Skipped Result = "skipped"
)

// Check is the result of checking one precondition of a migration.
type Check struct {
	ID       string `json:"id"`
	Title    string `json:"title"`
	Subject  string `json:"subject"` // source, target, local, or the address of a node
	Result   Result `json:"result"`
	Found    string `json:"found"`
	Wanted   string `json:"wanted"`
	Remedy   string `json:"remedy,omitempty"`
	Accepted bool   `json:"accepted,omitempty"` // an alarm that the user accepted
}

// Report is the outcome of all checks. Verdict is fail if any check failed, else alarm if any alarm was not accepted, else pass.
type Report struct {
	Verdict   Result              `json:"verdict"`
	Checks    []Check             `json:"checks"`
	Selection *keyspace.Selection `json:"selection,omitempty"` // selection of the migration that is checked; nil: all keys
}

// Unaccepted returns the IDs of the checks with alarms that were not accepted, each once, in the order of the report.
func (rep Report) Unaccepted() []string {
	var ids []string
	for _, c := range rep.Checks {
		if c.Result == Alarm && !c.Accepted && !slices.Contains(ids, c.ID) {
			ids = append(ids, c.ID)
		}
	}
	return ids
}
