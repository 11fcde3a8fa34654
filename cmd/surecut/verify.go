package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
	"surecut/internal/preflight"
	"surecut/reports"
	"surecut/verifier"
)

func newVerifyCommand() *cli.Command {
	var o VerifyOptions
	return &cli.Command{
		Name:  "verify",
		Usage: "compare source and target key by key, while both are in use",
		Description: "All keys of both sides are read, and nothing is written. Keys that differ are read again in rounds, so that a change which is still on its\n" +
			"way to the target is not reported as a difference. A key counts as the same only if nobody wrote it between the first and the last reading;\n" +
			"this is known from the source's replication stream, from CLIENT TRACKING or from its counters. A key that could not be compared is\n" +
			"unchecked, never the same. For each key that is not the same, the report names a reason; a policy of the gate can tolerate reasons.\n" +
			"The source may be RDB files (rdb:PATH), whose keys are decoded by surecut; keys that have expired since are left out.\n" +
			"The run needs a temporary file in $TMPDIR, of 30 to 50 bytes and the name for each key of each side.\n" +
			"Exit status: 0 same; 3 different; 4 some keys could not be compared; 1 the run failed.",
		Flags: verifyFlags(&o).flags,
		Action: func(c *cli.Context) error {
			if err := o.complete(c); err != nil {
				return err
			}
			if err := o.Validate(); err != nil {
				return usageError("%w; see surecut verify --help", err)
			}
			return runVerify(c.Context, o, c.App.Writer, c.App.ErrWriter)
		},
	}
}

// VerifyOptions are the flags of surecut verify.
type VerifyOptions struct {
	Endpoints   endpoints
	Verify      verifier.Config // Source and Target are set by the run
	State       string          // state directory of the migration that feeds the target
	Out, Format string
	Progress    string
}

// verifyFlags binds the flags to the options, and sets the defaults.
func verifyFlags(o *VerifyOptions) *binding {
	*o = VerifyOptions{Verify: verifier.DefaultConfig(), Format: "table"}
	v, b := &o.Verify, bind(o, sourceFlags(), targetFlags(), filterFlags())
	b.text("depth", (*string)(&v.Depth), "what is compared: keys (presence and type), length (also length and expiry) or value (everything)")
	b.number("rounds", &v.Rounds, "in how many rounds in a row a key must differ, unchanged, before it counts as different")
	b.duration("interval", &v.Interval, "time between rounds. It must be longer than the target lags: without --state, a key counts only if nobody wrote it for this long (at least 1s) before the target was read")
	b.number("workers", &v.Workers, "number of connections that read from each node")
	b.text("read-from", (*string)(&v.ReadFrom), "from which node of a shard of the source to read: primary, or replica (if it has one that is up to date)")
	b.duration("ttl-tolerance", &v.TTLTolerance, "expiries that are no further apart than this count as the same")
	b.text("state", &o.State, "state `DIR` of the migration that writes to the target and runs on this machine; keys in doubt are then compared at one offset of the stream")
	b.number("max-findings", &v.MaxFindings, "list at most this many keys in the report; the totals count all")
	b.text("out", &o.Out, "`DIR` for verify.json, verify.html, verify.md and verify.xml")
	b.text("format", &o.Format, "format of the report on stdout: table, json, markdown, junit or html")
	b.progress(&o.Progress)
	return b
}

// complete fills in the options that need more than the value of one flag.
func (o *VerifyOptions) complete(c *cli.Context) (err error) {
	if o.Endpoints, err = endpointSpecs(c); err != nil {
		return err
	}
	if o.Endpoints.Source.IsAOF() {
		return usageError("--source %s: an AOF contains commands and no keys, so that it cannot be compared; compare with a server that has loaded it, or with an RDB file", o.Endpoints.Source)
	}
	o.Verify.Filter, err = filterOf(c)
	return err
}

// Validate returns all problems of the options in one error.
func (o VerifyOptions) Validate() error {
	return errors.Join(o.Verify.Validate(), reports.CheckFormat(o.Format), checkProgress(o.Progress))
}

func runVerify(ctx context.Context, o VerifyOptions, stdout, stderr io.Writer) error {
	sides, err := endpoint.OpenSides(ctx, o.Endpoints)
	if err != nil {
		return err
	}
	defer sides.Close()
	o.Verify.Sides = sides
	pair, err := pairOf(ctx, sides)
	if err != nil {
		return err
	}
	if err := refuseItself(pair, o.Endpoints, o.Verify.Filter); err != nil {
		return err
	}
	if o.State != "" {
		feeding, err := attach(o.State, pair, stderr)
		if err != nil {
			return err
		}
		o.Verify.Applier = feeding
	} else if which, running, err := preflight.Feeding(ctx, sides.Target); err == nil && running {
		fmt.Fprintf(stderr, "surecut: note: migration %s is writing to the target. Without --state, what is still on its way to the target may be reported as a difference\n", which)
	}
	show := newDisplay(o.Progress, stderr, time.Second)
	o.Verify.Progress = func(p verifier.Progress) { show.show(verifyStand(p)) }
	found, err := verifier.Run(ctx, o.Verify)
	show.close()
	err = unlessStopped(ctx, err)
	if err != nil && o.Endpoints.Source.IsFile() {
		err = ofFile(err)
	}
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	return deliverVerify(found, o.Out, o.Format, stdout, stderr)
}

func newVerifyReport(found *verifier.Report) *reports.Verify {
	report := reports.NewVerify(found)
	report.Version = Version
	return report
}

// deliverVerify outputs the report, and returns an error with the exit status for its verdict.
func deliverVerify(found *verifier.Report, out, format string, stdout, stderr io.Writer) error {
	if err := publish(newVerifyReport(found), out, format, stdout, stderr); err != nil {
		return err
	}
	switch found.Verdict {
	case verifier.Same:
		return nil
	case verifier.Unchecked:
		return verdictStatus(exitUnchecked)
	}
	return verdictStatus(exitDifferent)
}

// filterFlags returns the flags that select keys and map databases.
func filterFlags() []cli.Flag {
	const category = "Selection"
	return []cli.Flag{
		&cli.GenericFlag{Name: "include", Value: new(globs), Category: category, Usage: "only keys that match this `GLOB`, in the syntax of KEYS; may be given several times"},
		&cli.GenericFlag{Name: "exclude", Value: new(globs), Category: category, Usage: "leave out keys that match this `GLOB`, even if --include matches them; may be given several times"},
		&cli.StringSliceFlag{Name: "db", Category: category, Usage: "only these `DATABASES` of the source, as in 0,3"},
		&cli.StringSliceFlag{Name: "db-map", Category: category, Usage: "map a database, `SOURCE:TARGET`, as in 3:0"},
		&cli.StringSliceFlag{Name: "db-prefix", Category: category, Usage: "`SOURCE:PREFIX`, as in 3:app3: - database 3 arrives in database 0, with app3: before the name of each key"},
	}
}

// globs is the value of a flag that may be given several times. Commas do not separate values, since names of keys may contain
// commas.
type globs []string

func (g *globs) Set(text string) error {
	if text == "" {
		return errors.New("an empty pattern matches no key")
	}
	*g = append(*g, text)
	return nil
}

func (g *globs) String() string { return strings.Join(*g, " ") }

func globsOf(c *cli.Context, name string) []string {
	if g, ok := c.Generic(name).(*globs); ok {
		return *g
	}
	return nil
}

// filterOf reads the selection from the flags. Every problem is a usage error.
func filterOf(c *cli.Context) (keyspace.Filter, error) {
	f := keyspace.Filter{Include: globsOf(c, "include"), Exclude: globsOf(c, "exclude")}
	for _, text := range c.StringSlice("db") {
		db, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || db < 0 {
			return f, usageError("--db %q: must be database numbers, as in 0,3", text)
		}
		f.DBs = append(f.DBs, db)
	}
	for _, text := range c.StringSlice("db-map") {
		from, to, ok := strings.Cut(strings.TrimSpace(text), ":")
		source, err1 := strconv.Atoi(from)
		target, err2 := strconv.Atoi(to)
		if !ok || err1 != nil || err2 != nil || source < 0 || target < 0 {
			return f, usageError("--db-map %q: must be SOURCE:TARGET, as in 3:0", text)
		}
		if f.DBMap == nil {
			f.DBMap = map[int]int{}
		}
		if other, twice := f.DBMap[source]; twice && other != target {
			return f, usageError("--db-map: database %d is mapped twice, to %d and to %d", source, other, target)
		}
		f.DBMap[source] = target
	}
	return f, prefixesInto(&f, c.StringSlice("db-prefix"))
}

// prefixesInto adds the values of --db-prefix to the filter.
func prefixesInto(f *keyspace.Filter, given []string) error {
	for _, text := range given {
		from, prefix, ok := strings.Cut(text, ":")
		db, err := strconv.Atoi(strings.TrimSpace(from))
		if !ok || err != nil || db < 0 || prefix == "" {
			return usageError("--db-prefix %q: must be SOURCE:PREFIX, as in 3:app3:", text)
		}
		if strings.HasPrefix(prefix, keyspace.Prefix) || strings.HasPrefix(keyspace.Prefix, prefix) {
			return usageError("--db-prefix %q: names that begin with %s are reserved for surecut's own keys", text, keyspace.Prefix)
		}
		if _, mapped := f.DBMap[db]; mapped {
			return usageError("--db-prefix: database %d also has a --db-map; remove one of them (with a prefix, it arrives in database 0)", db)
		}
		if other, twice := f.DBPrefix[db]; twice && other != prefix {
			return usageError("--db-prefix: database %d has two prefixes, %q and %q", db, other, prefix)
		}
		for other, same := range f.DBPrefix {
			if other != db && same == prefix {
				return usageError("--db-prefix: databases %d and %d have the same prefix %q, so that their keys of the same name would overwrite each other", other, db, prefix)
			}
		}
		if f.DBPrefix == nil {
			f.DBPrefix = map[int]string{}
		}
		f.DBPrefix[db] = prefix
	}
	return nil
}
