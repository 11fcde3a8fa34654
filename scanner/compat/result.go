package compat

import "surecut/internal/profile"

// Verdict says what the evidence proves about the target's kind.
type Verdict string

const (
	Incompatible Verdict = "incompatible" // a call was seen that the target refuses or answers wrongly
	Risky        Verdict = "risky"        // no such call was seen, but commands that may be such calls, or that only work by luck
	Unproven     Verdict = "unproven"     // the evidence shows nothing, or cannot show reads
	Compatible   Verdict = "compatible"   // everything that was examined works; Coverage says how much that is
)

// These say how certain a finding is.
const (
	Proven   = "proven"   // seen in the arguments of calls, or true of every call
	Possible = "possible" // the command was called, but it was not seen whether its keys make it fail on the target
)

// Result is the result of a scan.
type Result struct {
	TargetKind    string     `json:"target_kind"`
	Profile       Profile    `json:"profile"`
	TargetVersion string     `json:"target_version"` // "" where the rules of every version apply
	Verdict       Verdict    `json:"verdict"`
	Reasons       []string   `json:"reasons"`
	Coverage      Coverage   `json:"coverage"`
	Findings      []Finding  `json:"findings"`   // the most severe first
	KeyGroups     []KeyGroup `json:"key_groups"` // keys that are used together, and how to bring them into one slot
}

// Profile names the rules that were applied.
type Profile struct {
	Name    string `json:"name"`
	Title   string `json:"title"`
	Version string `json:"version"`
	Dated   string `json:"dated"`
}

// Coverage says what was examined, and what that cannot show.
type Coverage struct {
	Evidence []Evidence `json:"evidence"`
	Blind    []string   `json:"blind"` // full sentences
}

// These are the kinds of evidence.
const (
	FromStats   = "commandstats" // how often each command was called
	FromServer  = "server"       // keyspace, clients, functions
	FromMonitor = "monitor"      // every call of a window, by MONITOR
	FromCapture = "monitor-file" // the same, from a file
	FromAOF     = "aof"          // writes as the server has logged them
	FromStream  = "stream"       // writes as the server replicates them
	FromCode    = "code"         // what an application's source code calls
	FromTrial   = "trial"        // what a trial cluster answered to the calls of the others
)

// Evidence is one thing that was examined. Times are in RFC 3339, and empty where they are not known.
type Evidence struct {
	Kind    string       `json:"kind"`
	Subject string       `json:"subject"` // a node or a file
	Calls   int64        `json:"calls"`
	Seconds float64      `json:"seconds"` // how much time the evidence covers; 0 where that is not known
	First   string       `json:"first"`
	Last    string       `json:"last"`
	Note    string       `json:"note"`
	Cost    *MonitorCost `json:"cost"` // cost of MONITOR on a live server

	told int64 // number of calls that prove something about an application
}

// Finding is one rule that applies to calls of one command.
type Finding struct {
	Rule           string        `json:"rule"`
	Command        string        `json:"command"`
	Level          profile.Level `json:"level"`
	Certainty      string        `json:"certainty"`
	Count          int64         `json:"count"`            // calls of the command
	Examined       int64         `json:"examined"`         // those of the calls whose arguments were seen
	Affected       int64         `json:"affected"`         // those of the calls to which the rule applied
	CrossSlotShare *float64      `json:"cross_slot_share"` // affected relative to examined, 0 to 1; null where no arguments were seen
	KeyTemplates   []string      `json:"key_templates"`
	ExampleKeys    []string      `json:"example_keys"`
	Clients        []string      `json:"clients"`
	Source         string        `json:"source"` // kinds of evidence
	FirstSeen      string        `json:"first_seen"`
	LastSeen       string        `json:"last_seen"`
	Reason         string        `json:"reason"`
	Error          string        `json:"error"` // the target's own error text
	Remedy         string        `json:"remedy"`
	Detail         string        `json:"detail"` // what this evidence adds, in full sentences
}
