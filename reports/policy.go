package reports

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"surecut/internal/keyspace"
	"surecut/verifier"
)

//go:embed policy/default.yaml
var defaultPolicyYAML []byte

// Policy says what reports must show for a GO. policy/default.yaml explains each setting.
type Policy struct {
	Require       []string `yaml:"require" json:"require"`
	Source        string   `yaml:"source" json:"source"` // URL, address, run ID or node ID; empty for any
	Target        string   `yaml:"target" json:"target"`
	SameEndpoints bool     `yaml:"same_endpoints" json:"same_endpoints"`
	AllowRestarts bool     `yaml:"allow_restarts" json:"allow_restarts"`
	MaxAge        Duration `yaml:"max_age" json:"max_age"` // 0 for any

	// Selection is the selection of keys that the reports must be about, or nil for all keys.
	Selection *keyspace.Selection `yaml:"selection" json:"selection,omitempty"`

	Check   CheckPolicy   `yaml:"check" json:"check"`
	Verify  VerifyPolicy  `yaml:"verify" json:"verify"`
	Migrate MigratePolicy `yaml:"migrate" json:"migrate"`
	BigKeys BigKeysPolicy `yaml:"bigkeys" json:"bigkeys"`
	Compat  CompatPolicy  `yaml:"compat" json:"compat,omitzero"` // missing from gate reports of older versions
}

// CheckPolicy is the policy for check reports.
type CheckPolicy struct {
	AcceptAlarms bool     `yaml:"accept_alarms" json:"accept_alarms"`
	Accept       []string `yaml:"accept" json:"accept"`           // IDs of checks
	MaxSkipped   int64    `yaml:"max_skipped" json:"max_skipped"` // -1 for any
}

// VerifyPolicy is the policy for verify reports.
type VerifyPolicy struct {
	MinDepth       verifier.Depth    `yaml:"min_depth" json:"min_depth"`
	MinProof       verifier.Proof    `yaml:"min_proof" json:"min_proof"`
	MinRounds      int               `yaml:"min_rounds" json:"min_rounds"`
	MaxDifferences int64             `yaml:"max_differences" json:"max_differences"`
	MaxUnchecked   int64             `yaml:"max_unchecked" json:"max_unchecked"`
	Tolerate       []verifier.Reason `yaml:"tolerate" json:"tolerate,omitempty"` // keys with these reasons do not count
	AllowEmpty     bool              `yaml:"allow_empty" json:"allow_empty"`

	MaxTTLTolerance    Duration `yaml:"max_ttl_tolerance" json:"max_ttl_tolerance"`
	MaxBeforeMigration Duration `yaml:"max_before_migration" json:"max_before_migration"`
	AllowIncomplete    bool     `yaml:"allow_incomplete" json:"allow_incomplete"`
	AllowStaleReplicas bool     `yaml:"allow_stale_replicas" json:"allow_stale_replicas"`
	AllowWritten       bool     `yaml:"allow_written" json:"allow_written"`
}

// MigratePolicy is the policy for migrate reports.
type MigratePolicy struct {
	States      []string `yaml:"states" json:"states"`
	MinLevel    string   `yaml:"min_level" json:"min_level"`
	MaxReported int64    `yaml:"max_reported" json:"max_reported"`
	MaxLagBytes int64    `yaml:"max_lag_bytes" json:"max_lag_bytes"` // -1 for any
}

// BigKeysPolicy is the policy for bigkeys reports.
type BigKeysPolicy struct {
	MaxKeyBytes int64 `yaml:"max_key_bytes" json:"max_key_bytes"` // 0 for any
	MaxErrors   int64 `yaml:"max_errors" json:"max_errors"`       // -1 for any
}

// CompatPolicy is the policy for compat reports.
type CompatPolicy struct {
	Deny          []string `yaml:"deny" json:"deny"` // levels of findings
	DenyPossible  bool     `yaml:"deny_possible" json:"deny_possible"`
	Accept        []string `yaml:"accept" json:"accept"` // commands
	AllowUnproven bool     `yaml:"allow_unproven" json:"allow_unproven"`
}

// Duration is a time.Duration that is written like "24h".
type Duration time.Duration

// UnmarshalYAML accepts durations such as "24h" and "90m", and 0.
func (d *Duration) UnmarshalYAML(n *yaml.Node) error {
	v, err := time.ParseDuration(n.Value)
	if err != nil {
		return fmt.Errorf("line %d: %q is not a duration; write it like 24h or 90m", n.Line, n.Value)
	}
	*d = Duration(v)
	return nil
}

// MarshalJSON writes the duration like "24h".
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

// UnmarshalJSON reads what MarshalJSON writes.
func (d *Duration) UnmarshalJSON(p []byte) error {
	var s string
	if err := json.Unmarshal(p, &s); err != nil {
		return err
	}
	v, err := time.ParseDuration(s)
	if err != nil {
		return fmt.Errorf("read duration: %w", err)
	}
	*d = Duration(v)
	return nil
}

// String returns the text of time.Duration without zero units at its end: "24h", not "24h0m0s".
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// DefaultPolicy returns the policy in policy/default.yaml.
func DefaultPolicy() Policy {
	var p Policy
	if err := p.merge(defaultPolicyYAML); err != nil {
		panic("reports: policy/default.yaml: " + err.Error())
	}
	return p
}

// DefaultPolicyYAML returns the text of the default policy with its explanations, as a start for another policy.
func DefaultPolicyYAML() string { return string(defaultPolicyYAML) }

// LoadPolicy reads a policy file. Settings that the file leaves out keep their values from the default policy.
func LoadPolicy(path string) (Policy, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Policy{}, fmt.Errorf("read policy: %w", err)
	}
	p := DefaultPolicy()
	if err := p.merge(data); err != nil {
		return Policy{}, fmt.Errorf("policy %s: %w", path, err)
	}
	return p, nil
}

// unknownSetting matches the error text of the yaml package for an unknown setting, which contains the name of a Go type.
var unknownSetting = regexp.MustCompile(`field (\S+) not found in type \S+`)

func (p *Policy) merge(data []byte) error {
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	if err := d.Decode(p); err != nil {
		if errors.Is(err, io.EOF) {
			return errors.New("the file is empty; leave --policy out to use the default policy")
		}
		text := strings.TrimPrefix(strings.ReplaceAll(strings.TrimPrefix(err.Error(), "yaml: "), "\n", ""), "unmarshal errors:")
		return errors.New(strings.TrimSpace(unknownSetting.ReplaceAllString(text, `there is no setting $1 there; surecut gate --print-policy shows all settings`)))
	}
	if err := d.Decode(new(any)); !errors.Is(err, io.EOF) {
		return errors.New("the file holds more than one YAML document; only one is allowed")
	}
	if err := p.Validate(); err != nil {
		return err
	}
	p.Selection = p.Selection.Normal()
	return nil
}

// Validate returns an error that names every invalid setting and its value.
func (p Policy) Validate() error {
	var problems []string
	oneOf := func(setting, value string, known []string) {
		problems = append(problems, unknown(setting, value, known)...)
	}
	atLeast := func(setting string, value, least int64) {
		if value < least {
			problems = append(problems, fmt.Sprintf("%s: %d is too low; it must be at least %d", setting, value, least))
		}
	}
	for _, k := range p.Require {
		oneOf("require", k, []string{KindCheck, KindVerify, KindMigrate, KindBigKeys, KindCompat})
	}
	atLeast("max_age", int64(p.MaxAge), 0)
	problems = append(problems, selectionProblems(p.Selection)...)
	atLeast("verify.max_ttl_tolerance", int64(p.Verify.MaxTTLTolerance), 0)
	atLeast("verify.max_before_migration", int64(p.Verify.MaxBeforeMigration), 0)
	atLeast("check.max_skipped", p.Check.MaxSkipped, -1)
	problems = append(problems, unknown("verify.min_depth", p.Verify.MinDepth, depths)...)
	problems = append(problems, unknown("verify.min_proof", p.Verify.MinProof, proofs)...)
	for _, r := range p.Verify.Tolerate {
		problems = append(problems, unknown("verify.tolerate", r, verifier.Reasons())...)
	}
	atLeast("verify.min_rounds", int64(p.Verify.MinRounds), 0)
	atLeast("verify.max_differences", p.Verify.MaxDifferences, 0)
	atLeast("verify.max_unchecked", p.Verify.MaxUnchecked, 0)
	for _, s := range p.Migrate.States {
		oneOf("migrate.states", s, []string{"done", "caught_up", "stopped"})
	}
	oneOf("migrate.min_level", p.Migrate.MinLevel, []string{"repaired", "exactly_once"})
	atLeast("migrate.max_reported", p.Migrate.MaxReported, 0)
	atLeast("migrate.max_lag_bytes", p.Migrate.MaxLagBytes, -1)
	atLeast("bigkeys.max_key_bytes", p.BigKeys.MaxKeyBytes, 0)
	atLeast("bigkeys.max_errors", p.BigKeys.MaxErrors, -1)
	for _, l := range p.Compat.Deny {
		oneOf("compat.deny", l, []string{"block", "silent", "latent", "cost", "info"})
	}
	if len(problems) > 0 {
		return errors.New(strings.Join(problems, "; "))
	}
	return nil
}

// unknown returns a sentence that refuses a value which is not among the known ones, or nil.
func unknown[T ~string](setting string, value T, known []T) []string {
	if slices.Contains(known, value) {
		return nil
	}
	return []string{fmt.Sprintf("%s: %q is unknown, choose from %s", setting, value, commas(known))}
}

// selectionProblems returns a sentence for each part of a selection that is invalid.
func selectionProblems(s *keyspace.Selection) (problems []string) {
	if s == nil {
		return nil
	}
	for _, db := range s.Databases {
		if db < 0 {
			problems = append(problems, fmt.Sprintf("selection.databases: %d is not a database", db))
		}
	}
	for _, m := range s.DBMap {
		if !databaseMap.MatchString(m) {
			problems = append(problems, fmt.Sprintf(`selection.db_map: %q, must be SOURCE:TARGET as in "3:0"`, m))
		}
	}
	for _, p := range s.DBPrefix {
		if !databasePrefix.MatchString(p) {
			problems = append(problems, fmt.Sprintf(`selection.db_prefix: %q, must be SOURCE:PREFIX as in "3:app3:"`, p))
		}
	}
	if slices.Contains(s.Include, "") || slices.Contains(s.Exclude, "") {
		problems = append(problems, "selection: an empty pattern matches no key")
	}
	if s.Sample < 0 {
		problems = append(problems, fmt.Sprintf("selection.sample: %d is too low; it must be at least 0", s.Sample))
	}
	return problems
}

var (
	databaseMap    = regexp.MustCompile(`^[0-9]+:[0-9]+$`)
	databasePrefix = regexp.MustCompile(`(?s)^[0-9]+:.+$`)
)
