package compat

import "surecut/internal/profile"

// Verdict is what the evidence says about the target's kind.
type Verdict string

const (
	Incompatible Verdict = "incompatible" // a call was seen that is refused there, or answered wrongly
	Risky        Verdict = "risky"        // nothing of that was seen, but commands that may be, or that work only by luck
	Unproven     Verdict = "unproven"     // the evidence shows nothing, or cannot show reads
	Compatible   Verdict = "compatible"   // all that was looked at works; Coverage says how much that is
)

// How sure a finding is.
const (
	Proven   = "proven"   // seen in the arguments of calls, or true of every call
	Possible = "possible" // the command was called; whether its keys make it fail there was not seen
)

// Result is what a scan found.
type Result struct {
	TargetKind    string     `json:"target_kind"`
	Profile       Profile    `json:"profile"`
	TargetVersion string     `json:"target_version"` // "" where the rules of every version count
	Verdict       Verdict    `json:"verdict"`
	Reasons       []string   `json:"reasons"`
	Coverage      Coverage   `json:"coverage"`
	Findings      []Finding  `json:"findings"`   // the worst first
	KeyGroups     []KeyGroup `json:"key_groups"` // keys used together, and what brings them into one slot
}

// Profile names the rules that were applied.
type Profile struct {
	Name    string `json:"name"`
	Title   string `json:"title"`
	Version string `json:"version"`
	Dated   string `json:"dated"`
}

// Coverage says what was looked at, and what that cannot show.
type Coverage struct {
	Evidence []Evidence `json:"evidence"`
	Blind    []string   `json:"blind"` // full sentences
}

// The kinds of evidence.
const (
	FromStats   = "commandstats" // how often each command was called
	FromServer  = "server"       // keyspace, clients, functions
	FromMonitor = "monitor"      // every call of a window, by MONITOR
	FromCapture = "monitor-file" // the same, from a file
	FromAOF     = "aof"          // writes as the server logged them
	FromStream  = "stream"       // writes as the server replicates them
	FromCode    = "code"         // what an application's source code calls
	FromTrial   = "trial"        // what a trial cluster answered to the calls of the others
)

// Evidence is one thing that was looked at. Times are RFC 3339, empty where unknown.
type Evidence struct {
	Kind    string       `json:"kind"`
	Subject string       `json:"subject"` // a node or a file
	Calls   int64        `json:"calls"`
	Seconds float64      `json:"seconds"` // how much time it covers; 0 where unknown
	First   string       `json:"first"`
	Last    string       `json:"last"`
	Note    string       `json:"note"`
	Cost    *MonitorCost `json:"cost"` // of MONITOR on a live server

	told int64 // calls that say something of an application
}

// Finding is one rule that one command met.
type Finding struct {
	Rule           string        `json:"rule"`
	Command        string        `json:"command"`
	Level          profile.Level `json:"level"`
	Certainty      string        `json:"certainty"`
	Count          int64         `json:"count"`            // calls of the command
	Examined       int64         `json:"examined"`         // of those, calls whose arguments were seen
	Affected       int64         `json:"affected"`         // of those, calls that met the rule
	CrossSlotShare *float64      `json:"cross_slot_share"` // affected of examined, 0 to 1; null where no arguments were seen
	KeyTemplates   []string      `json:"key_templates"`
	ExampleKeys    []string      `json:"example_keys"`
	Clients        []string      `json:"clients"`
	Source         string        `json:"source"` // the kinds of evidence
	FirstSeen      string        `json:"first_seen"`
	LastSeen       string        `json:"last_seen"`
	Reason         string        `json:"reason"`
	Error          string        `json:"error"` // the target's own words
	Remedy         string        `json:"remedy"`
	Detail         string        `json:"detail"` // what this evidence adds, in full sentences
}
