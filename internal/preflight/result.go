package preflight

import "surecut/internal/keyspace"

// Result is the outcome of one check.
type Result string

// A check that could not be made is skipped, with its reason in Found; it never hides another.
const (
	Pass    Result = "pass"
	Alarm   Result = "alarm"
	Fail    Result = "fail"
	Skipped Result = "skipped"
)

// Check is one precondition of a migration as it was found.
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

// Report is the outcome of all checks. Verdict is fail if any check failed, else alarm
// if any alarm was not accepted, else pass.
type Report struct {
	Verdict   Result              `json:"verdict"`
	Checks    []Check             `json:"checks"`
	Selection *keyspace.Selection `json:"selection,omitempty"` // of the migration that the checks are for; nil: all keys
}
