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

// A URL is a name, and names mislead: two of them may lead to one server, and one may lead to another server than yesterday. What a
// command is about to read or write is told by the servers' IDs.

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

// refuseItself refuses a comparison of servers with themselves or with their replicas, which is always the same and proves nothing. It has
// a meaning where every database that is compared arrives in another one, or under other names.
func refuseItself(s verifier.Servers, e endpoints, f keyspace.Filter) error {
	one, evidence := s.Source.SameAs(s.Target)
	if !one {
		one, evidence = s.Source.Replicates(s.Target)
	}
	if !one || mapsElsewhere(e, f) {
		return nil
	}
	return usageError("source and target are the same data: %s; name the other one, or say to which other database it is compared (--db-map, --db-prefix, or /DATABASE in both URLs)", evidence)
}

// mapsElsewhere says that no database of the source is compared with itself.
func mapsElsewhere(e endpoints, f keyspace.Filter) bool {
	m := f.From(e.Source.NamedDB()).To(keyspace.Databases{Home: e.Target.NamedDB()})
	return len(m.DBs) > 0 && !slices.ContainsFunc(m.DBs, func(db int) bool {
		to, _ := m.Map(db)
		return to == db && m.DBPrefix[db] == ""
	})
}

// attach finds the migration that runs with a state directory, if it is one of this pair.
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

// refuseOtherMigration refuses the state directory of a migration that feeds another target, or reads another source: what it knows of
// its streams says nothing of this pair.
func refuseOtherMigration(dir string, m *migrator.Attached, s verifier.Servers, stderr io.Writer) error {
	source, target := m.Servers()
	for _, side := range []struct {
		name      string
		given, of endpoint.Identity
	}{{"source", s.Source, source}, {"target", s.Target, target}} {
		switch r := side.given.Recognize(side.of); {
		case !r.Same:
			return usageError("--state %s: its migration has another %s than --%s: %s", dir, side.name, side.name, r.By)
		case !r.Sure:
			fmt.Fprintf(stderr, "surecut: whether the migration of --state %s has this %s could not be confirmed: %s\n", dir, side.name, r.By)
		}
	}
	return nil
}

// refuseOtherReport refuses to repair by a report that speaks of other servers. What stands on the source now decides over what is deleted
// on the target: with the sides swapped, the real source would be written to.
func refuseOtherReport(report *reports.Verify, s verifier.Servers, stderr io.Writer) error {
	reported := verifier.Servers{Source: report.SourceServers, Target: report.TargetServers}
	if swapped, evidence := s.Target.SameAs(reported.Source); swapped {
		return usageError("--target is the source that the report speaks of: %s; this would write to the source", evidence)
	}
	if swapped, evidence := s.Source.SameAs(reported.Target); swapped {
		return usageError("--source is the target that the report speaks of: %s; this would copy the wrong way round", evidence)
	}
	for _, side := range []struct {
		name      string
		given, of endpoint.Identity
	}{{"source", s.Source, reported.Source}, {"target", s.Target, reported.Target}} {
		if len(side.given) == 0 && len(side.of) == 0 { // files
			continue
		}
		switch r := side.given.Recognize(side.of); {
		case !r.Same:
			return usageError("the report speaks of another %s than --%s: %s; verify this pair, and repair by that report", side.name, side.name, r.By)
		case !r.Sure:
			fmt.Fprintf(stderr, "surecut: whether the report speaks of this %s could not be confirmed: %s\n", side.name, r.By)
		}
	}
	return nil
}
