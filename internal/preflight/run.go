package preflight

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"surecut/internal/endpoint"
)

// sampleTimeout bounds the time for gathering facts and for sampling the keys of the source.
const sampleTimeout = 60 * time.Second

// checkTimeout bounds one check: if a server is silent for longer, the check is skipped, so that the run ends.
const checkTimeout = endpoint.Silence

// bounded are the checks that read many pages, and bound the wait for each page themselves.
var bounded = []string{"target_empty", "sharding"}

// needs says which sides a check requires.
type needs uint8

const (
	needsSource needs = 1 << iota
	needsTarget
)

// definition is one check. Function make returns a row for each subject, and Run fills in the ID and the title.
type definition struct {
	id, title string
	needs     needs
	make      func(ctx context.Context, r *run) []Check
}

// definitions returns every check, in the order of the report.
func definitions() []definition {
	const both = needsSource | needsTarget
	return []definition{
		{"connectivity", "Every node answers", 0, connectivity},
		{"permissions", "The user may run every command", 0, permissions},
		{"source_version", "The source's version is supported", needsSource, sourceVersion},
		{"target_version", "The target is not older than the source", both, targetVersion},
		{"authentication", "A password or a user is required", 0, authentication},
		{"same_instance", "Source and target are different servers", both, sameInstance},
		{"source_state", "The source runs normally", needsSource, sourceState},
		{"target_state", "The target runs normally", needsTarget, targetState},
		{"source_is_replica", "The migration reads from a replica", needsSource, sourceIsReplica},
		{"source_is_primary", "The source's URL names the primary", needsSource, sourceIsPrimary},
		{"target_is_primary", "The target can be written", needsTarget, targetIsPrimary},
		{"target_empty", "The target is empty", needsTarget, targetEmpty},
		{"target_space", "The target has room for the data", both, targetSpace},
		{"target_eviction", "The target does not evict keys", needsTarget, targetEviction},
		{"sharding", "Keys are where the proxy looks for them", 0, sharding},
		{"sentinels", "The sentinels agree and can fail over", 0, sentinels},
		{"database_count", "The source's databases exist on the target", both, databaseCount},
		{"modules", "The target has the modules that the data needs", both, modules},
		{"output_buffer", "The replica output buffer is large enough for the full phase", needsSource, outputBuffer},
		{"backlog", "The replication backlog is large enough for a reconnect", needsSource, backlog},
		{"repl_timeout", "The replication timeout is long enough for a snapshot", needsSource, replTimeout},
		{"rdb_directory", "The source can make its snapshot", needsSource, rdbDirectory},
		{"tcp_kernel", "The source's kernel accepts bursts of connections", needsSource, tcpKernel},
		{"big_keys", "There are no big keys", needsSource, bigKeys},
		{"command_compatibility", "The target can run the source's commands", both, commandCompatibility},
		{"cached_scripts", "Cached scripts are known where they are needed", needsSource, cachedScripts},
		{"clock_skew", "The clocks agree", both, clockSkew},
		{"bulk_length", "No command is too large for the target", both, bulkLength},
		{"local_disk", "There is disk space for the spool", 0, localDisk},
		{"source_file", "The source's file is complete", needsSource, sourceFile},
	}
}

// ofReplication are the checks of things that a scan of the source does not need.
var ofReplication = []string{"source_is_replica", "output_buffer", "backlog", "repl_timeout", "rdb_directory", "local_disk"}

// IDs returns the IDs of all checks in the order of the report.
func IDs() []string {
	var ids []string
	for _, d := range definitions() {
		ids = append(ids, d.id)
	}
	return ids
}

// Known says whether there is a check with this ID.
func Known(id string) bool { return slices.Contains(IDs(), id) }

// run is the state of one Run: the facts, which the checks only read.
type run struct {
	cfg    Config
	source side
	target side
	sample sample
	files  []inspected // set where the source is files
	silent atomic.Bool // a check has waited for a server in vain
}

func (r *run) noteSilence(ctx context.Context) {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		r.silent.Store(true)
	}
}

// silenced asks every node again if one has kept silent, and fails those that no longer answer: it would not be enough to say that
// checks were skipped.
func (r *run) silenced(ctx context.Context) (checks []Check) {
	if !r.silent.Load() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	title := definitions()[0].title
	for _, n := range slices.Concat(r.source.nodes, r.target.nodes) {
		if n.err != nil {
			continue
		}
		if err := n.client.Do(ctx, n.client.B().Ping().Build()).Error(); err != nil && endpoint.Code(err) == "" {
			c := fail(n.addr, fmt.Sprintf("it answered at first, but has not answered for %v since", endpoint.Silence), "every node answers all the time", "bring the node back, or allow connections to it")
			c.ID, c.Title = "connectivity", title
			checks = append(checks, c)
		}
	}
	return checks
}

// Run makes every check. It returns an error only for cfg or the end of ctx; problems of the servers are in the report.
func Run(ctx context.Context, cfg Config) (Report, error) {
	if err := cfg.Validate(); err != nil {
		return Report{}, err
	}
	r := gather(ctx, cfg)
	defs := definitions()
	results := make([][]Check, len(defs))
	var wg sync.WaitGroup
	slot := make(chan struct{}, 8) // a few at a time, so that the checks do not burden the servers
	for i, def := range defs {
		wg.Go(func() {
			slot <- struct{}{}
			defer func() { <-slot }()
			results[i] = def.run(ctx, r)
		})
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return Report{}, fmt.Errorf("checks: %w", err)
	}
	report := Report{Selection: cfg.selection()}
	for _, checks := range results {
		report.Checks = append(report.Checks, checks...)
	}
	report.Checks = append(report.Checks, r.silenced(ctx)...)
	report.decide(cfg)
	return report, nil
}

// run makes one check, or returns why it cannot be made.
func (d definition) run(ctx context.Context, r *run) []Check {
	if !slices.Contains(bounded, d.id) {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, checkTimeout)
		defer cancel()
	}
	defer func() { r.noteSilence(ctx) }()
	var checks []Check
	if r.source.spec.IsFile() {
		d.make = d.ofFile()
	} else if d.id == "source_file" {
		return nil
	}
	if r.cfg.Scans && slices.Contains(ofReplication, d.id) {
		d.make = skipped("the source is scanned, not replicated", "a source that is replicated")
	}
	if missing := r.unopened(d.needs); missing != "" {
		checks = []Check{skip(missing, "the "+missing+" could not be opened; see the check connectivity", "a connection")}
	} else if checks = d.make(ctx, r); len(checks) == 0 {
		panic("preflight: check " + d.id + " gave no result")
	}
	for i := range checks {
		checks[i].ID, checks[i].Title = d.id, d.title
	}
	return checks
}

func (r *run) unopened(n needs) string {
	switch {
	case n&needsSource != 0 && !r.source.open():
		return "source"
	case n&needsTarget != 0 && !r.target.open():
		return "target"
	}
	return ""
}

// decide marks the accepted alarms and sets the verdict.
func (rep *Report) decide(cfg Config) {
	rep.Verdict = Pass
	for i := range rep.Checks {
		c := &rep.Checks[i]
		switch c.Result {
		case Alarm:
			c.Accepted = cfg.AcceptAlarms || slices.Contains(cfg.Accept, c.ID)
			if !c.Accepted && rep.Verdict == Pass {
				rep.Verdict = Alarm
			}
		case Fail:
			rep.Verdict = Fail
		}
	}
}

func pass(subject, found, wanted string) Check {
	return Check{Subject: subject, Result: Pass, Found: found, Wanted: wanted}
}

// note returns a finding that needs no decision. Its remedy says what would be better, and may be empty.
func note(subject, found, wanted, remedy string) Check {
	return Check{Subject: subject, Result: Note, Found: found, Wanted: wanted, Remedy: remedy}
}

func alarm(subject, found, wanted, remedy string) Check {
	return Check{Subject: subject, Result: Alarm, Found: found, Wanted: wanted, Remedy: remedy}
}

func fail(subject, found, wanted, remedy string) Check {
	return Check{Subject: subject, Result: Fail, Found: found, Wanted: wanted, Remedy: remedy}
}

// skip returns a check that could not be made, with the reason.
func skip(subject, reason, wanted string) Check {
	return Check{Subject: subject, Result: Skipped, Found: reason, Wanted: wanted}
}

// perNode makes a check on each node. Where all nodes pass, or all have the same problem, it returns one row for the side, else a
// row for each node that does not pass.
func perNode(s *side, nodes []*node, check func(*node) Check) []Check {
	var passed, rest []Check
	for _, n := range nodes {
		if n.err != nil {
			rest = append(rest, skip(n.addr, "it does not answer; see the check connectivity", "an answer"))
			continue
		}
		c := check(n)
		c.Subject = n.addr
		if c.Result == Pass {
			passed = append(passed, c)
		} else {
			rest = append(rest, c)
		}
	}
	if len(rest) > 1 && len(passed) == 0 && alike(rest) {
		one := rest[0]
		one.Subject = s.name.String()
		one.Found += fmt.Sprintf(", on each of %d nodes", len(rest))
		if one.Remedy != "" {
			one.Remedy += fmt.Sprintf("  # likewise on the other %d nodes", len(rest)-1)
		}
		return []Check{one}
	}
	if len(rest) > 0 {
		return rest
	}
	if len(passed) == 0 {
		return []Check{skip(s.name.String(), "there is no node to ask", "a node")}
	}
	one := passed[0]
	one.Subject = s.name.String()
	if len(passed) > 1 {
		one.Found = summary(passed)
	}
	return []Check{one}
}

func alike(checks []Check) bool {
	for _, c := range checks {
		if c.Result != checks[0].Result || c.Found != checks[0].Found || c.Wanted != checks[0].Wanted {
			return false
		}
	}
	return true
}

// summary joins the findings of the nodes: the common text, or the text of each node.
func summary(checks []Check) string {
	var texts []string
	same := true
	for _, c := range checks {
		same = same && c.Found == checks[0].Found
		texts = append(texts, c.Subject+": "+c.Found)
	}
	if same {
		return fmt.Sprintf("%s on each of %d nodes", checks[0].Found, len(checks))
	}
	const shown = 4
	if len(texts) > shown {
		return strings.Join(texts[:shown], "; ") + fmt.Sprintf("; and %d more", len(texts)-shown)
	}
	return strings.Join(texts, "; ")
}
