package reports

import (
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"surecut/internal/endpoint"
	"surecut/internal/preflight"
	"surecut/internal/quiet"
	"surecut/migrator"
	"surecut/scanner"
	"surecut/verifier"
)

// These are the kinds of reports. A report of kind k has the schema "surecut.k/1" and the files k.json, k.html, k.md and k.xml.
const (
	KindCheck   = "check"
	KindVerify  = "verify"
	KindMigrate = "migrate"
	KindBigKeys = "bigkeys"
	KindCompat  = "compat"
	KindGate    = "gate"
)

// Report is one of *Check, *Verify, *Migrate, *BigKeys, *Compat and *Gate.
type Report interface {
	Kind() string
	header() *Header
	validate() error // checks what the shape of the JSON does not show, such as known verdicts and states
}

// Header says what a report is, who made it and when, and which endpoints it is about.
type Header struct {
	Schema      string `json:"schema"`
	Tool        string `json:"tool"`         // always "surecut"
	Version     string `json:"version"`      // of the tool
	GeneratedAt string `json:"generated_at"` // RFC 3339, UTC
	Source      string `json:"source"`       // URL without password
	Target      string `json:"target"`       // URL without password; empty if the report has only one side
	Ended       string `json:"ended"`        // how the run that wrote the report ended: Complete, Interrupted or Failed
	EndedWhy    string `json:"ended_why"`    // why the run did not complete; empty if it did

	// SourceServers and TargetServers are the servers behind the URLs when the run began. They are empty for files, and if no server
	// could be asked.
	SourceServers []endpoint.Member `json:"source_servers"`
	TargetServers []endpoint.Member `json:"target_servers"`
}

// NewHeader returns the header for a report of the kind by a complete run, generated now. The endpoints must not contain passwords.
func NewHeader(kind, version, source, target string) Header {
	return Header{
		Schema:      schemaOf(kind),
		Tool:        "surecut",
		Version:     version,
		GeneratedAt: time.Now().UTC().Format(time.RFC3339),
		Source:      source,
		Target:      target,
		Ended:       Complete,
	}
}

// NewVerify returns the report of a verification. Its Version is that of the module surecut in the running program.
func NewVerify(found *verifier.Report) *Verify {
	h := NewHeader(KindVerify, moduleVersion(), found.URLs.Source, found.URLs.Target)
	h.SourceServers, h.TargetServers = slices.Clone(found.Servers.Source), slices.Clone(found.Servers.Target)
	return &Verify{Header: h, Report: *found}
}

// moduleVersion returns the version of surecut that the running program was built with, or "unknown".
func moduleVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, m := range append(info.Deps, &info.Main) {
		if m.Path == "surecut" && m.Version != "" {
			return m.Version
		}
	}
	return "unknown"
}

func schemaOf(kind string) string { return "surecut." + kind + "/1" }

func (h *Header) header() *Header { return h }

func (h *Header) validateHeader() error {
	if h.Tool != "surecut" {
		return fmt.Errorf("tool is %q, must be surecut", h.Tool)
	}
	if _, err := time.Parse(time.RFC3339, h.GeneratedAt); err != nil {
		return fmt.Errorf("generated_at is %q, must be a time as in RFC 3339", h.GeneratedAt)
	}
	switch h.Ended {
	case Complete:
		if h.EndedWhy != "" {
			return fmt.Errorf("ended is complete, but ended_why is %q, which only a run has that did not complete", h.EndedWhy)
		}
	case Interrupted, Failed:
		if h.EndedWhy == "" {
			return fmt.Errorf("ended is %s, but ended_why does not say why", h.Ended)
		}
	default:
		return fmt.Errorf("ended is %q, must be complete, interrupted or failed", h.Ended)
	}
	return nil
}

// Check is the report of surecut check.
type Check struct {
	Header
	preflight.Report
}

// Verify is the report of surecut verify.
type Verify struct {
	Header
	verifier.Report
}

// Migrate is the report of surecut migrate.
type Migrate struct {
	Header
	migrator.Report
	// Quiet says whether the source was written to since the comparison began. It is nil if the run compared nothing.
	Quiet *quiet.Report `json:"quiet,omitempty"`
}

// NewMigrate returns the report of a migration as it stands, or as it has ended, and of how its source was found, if that is known. Its Version is that of the module surecut in the
// running program.
func NewMigrate(m *migrator.Migration, source *quiet.Report) *Migrate {
	urls := m.Config().Sides.URLs()
	h := NewHeader(KindMigrate, moduleVersion(), urls.Source, urls.Target)
	readFrom, writtenTo := m.Servers()
	h.SourceServers, h.TargetServers = slices.Clone(readFrom), slices.Clone(writtenTo)
	for i := range h.SourceServers {
		server := &h.SourceServers[i]
		server.Read = slices.ContainsFunc(m.LinkInfos(), func(l migrator.LinkInfo) bool { return l.Reads == server.Addr })
	}
	return &Migrate{Header: h, Report: m.Report(), Quiet: source}
}

// BigKeys is the report of surecut scan bigkeys.
type BigKeys struct {
	Header
	scanner.BigKeys
}

// Kind returns "check".
func (*Check) Kind() string { return KindCheck }

// Kind returns "verify".
func (*Verify) Kind() string { return KindVerify }

// Kind returns "migrate".
func (*Migrate) Kind() string { return KindMigrate }

// Kind returns "bigkeys".
func (*BigKeys) Kind() string { return KindBigKeys }

// Kind returns "gate".
func (*Gate) Kind() string { return KindGate }

// empty returns an empty report of the kind to decode into, or nil for an unknown kind.
func empty(kind string) Report {
	switch kind {
	case KindCheck:
		return &Check{}
	case KindVerify:
		return &Verify{}
	case KindMigrate:
		return &Migrate{}
	case KindBigKeys:
		return &BigKeys{}
	case KindCompat:
		return &Compat{}
	case KindGate:
		return &Gate{}
	}
	return nil
}
