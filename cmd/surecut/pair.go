package main

import (
	"context"
	"fmt"
	"io"
	"slices"

	"surecut"
	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
	"surecut/migrator"
	"surecut/reports"
	"surecut/verifier"
)

// URLs can mislead: two URLs may lead to the same server, and one URL may lead to another server than yesterday. Therefore the IDs
// of the servers decide what a command is about to read or write.

// pairOf asks both sides which servers they are.
func pairOf(ctx context.Context, sides verifier.Sides) (s verifier.Servers, err error) {
	if s.Source, err = sides.Source.Identity(ctx); err != nil {
		return s, fmt.Errorf("source: %w", err)
	}
	if s.Target, err = sides.Target.Identity(ctx); err != nil {
		return s, fmt.Errorf("target: %w", err)
	}
	return s, nil
}

// refuseItself refuses to compare servers with themselves or with their replicas, which would always be the same and prove nothing.
// Such a comparison is accepted if every database is compared with another one, or under other names.
func refuseItself(s verifier.Servers, e endpoints, f keyspace.Filter) error {
	one, evidence := s.Source.SameAs(s.Target)
	if !one {
		one, evidence = s.Source.Replicates(s.Target)
	}
	if !one || mapsElsewhere(e, f) {
		return nil
	}
	return usageError("source and target hold the same data: %s. Correct one of the URLs, or say which databases are to be compared with each other (--db-map, --db-prefix, or /DATABASE in both URLs)", evidence)
}

// mapsElsewhere says whether no database of the source is compared with itself.
func mapsElsewhere(e endpoints, f keyspace.Filter) bool {
	m := f.From(e.Source.NamedDB()).To(keyspace.Databases{Home: e.Target.NamedDB()})
	return len(m.DBs) > 0 && !slices.ContainsFunc(m.DBs, func(db int) bool {
		to, _ := m.Map(db)
		return to == db && m.DBPrefix[db] == ""
	})
}

// attach finds the running migration of a state directory, and returns an error if that is a migration of another pair.
func attach(dir string, s verifier.Servers, stderr io.Writer) (verifier.Applier, error) {
	feeding, err := migrator.Attach(dir)
	if err != nil {
		return nil, err
	}
	if err := refuseOtherMigration(dir, feeding, s, stderr); err != nil {
		return nil, err
	}
	source, _ := feeding.Servers()
	return surecut.FeedingElsewhere(feeding, s.Source.NamesFor(source)), nil
}

// refuseOtherMigration refuses the state directory of a migration with another target or another source, since its offsets say
// nothing about this pair.
func refuseOtherMigration(dir string, m *migrator.Attached, s verifier.Servers, stderr io.Writer) error {
	source, target := m.Servers()
	for _, side := range []struct {
		name      string
		given, of endpoint.Identity
	}{{"source", s.Source, source}, {"target", s.Target, target}} {
		switch r := side.given.Recognize(side.of); {
		case !r.Same:
			return usageError("--state %s: the migration in this directory has another %s than --%s: %s", dir, side.name, side.name, r.By)
		case !r.Sure:
			fmt.Fprintf(stderr, "surecut: it could not be confirmed that the migration in --state %s has this %s: %s\n", dir, side.name, r.By)
		}
	}
	return nil
}

// refuseOtherReport refuses to repair by a report about other servers. The current data of the source decide what is deleted on the
// target, so with the sides swapped the repair would write to the real source.
func refuseOtherReport(report *reports.Verify, s verifier.Servers, stderr io.Writer) error {
	reported := verifier.Servers{Source: report.SourceServers, Target: report.TargetServers}
	if swapped, evidence := s.Target.SameAs(reported.Source); swapped {
		return usageError("--target is the source of the report: %s. A repair would write to the source", evidence)
	}
	if swapped, evidence := s.Source.SameAs(reported.Target); swapped {
		return usageError("--source is the target of the report: %s. A repair would copy in the wrong direction", evidence)
	}
	for _, side := range []struct {
		name      string
		given, of endpoint.Identity
	}{{"source", s.Source, reported.Source}, {"target", s.Target, reported.Target}} {
		if len(side.given) == 0 && len(side.of) == 0 { // Files have no servers.
			continue
		}
		switch r := side.given.Recognize(side.of); {
		case !r.Same:
			return usageError("the report is about another %s than --%s: %s. Run surecut verify for these endpoints, and repair with its report", side.name, side.name, r.By)
		case !r.Sure:
			fmt.Fprintf(stderr, "surecut: it could not be confirmed that the report is about this %s: %s\n", side.name, r.By)
		}
	}
	return nil
}
