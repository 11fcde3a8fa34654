package preflight

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"surecut/internal/endpoint"
	"surecut/internal/files"
)

// inspected is what was found in one file of the source.
type inspected struct {
	path  string
	size  int64
	facts *files.Facts
	err   error // why the file cannot be loaded; for damage, with the byte
}

// inspect reads the files of the source completely, so that damage is found before half of the data is in the target.
func (r *run) inspect(ctx context.Context) {
	open := files.OpenRDB
	if r.source.spec.IsAOF() {
		open = files.OpenAOF
	}
	r.sample = sample{types: map[string]int{}, complete: true}
	for _, shard := range r.source.d.Shards() {
		in := inspected{path: shard.Primary.Addr}
		var f *files.Source
		if f, in.err = open(in.path); in.err == nil {
			in.size = f.Size()
			in.facts, in.err = f.Inspect(ctx, r.cfg.BigValue)
		}
		r.files = append(r.files, in)
		if in.err != nil {
			r.sample.complete, r.sample.err = false, in.err
			continue
		}
		r.sample.keys += int(in.facts.Keys)
		for _, m := range in.facts.Modules {
			r.sample.types[m]++
		}
		for _, b := range in.facts.Big {
			r.sample.addBig(sampled{db: b.Key.DB, name: b.Key.Name, kind: b.Type.String(), bytes: b.Bytes})
		}
	}
}

// ofFile returns the function that makes a check for a source that is a file.
func (d definition) ofFile() func(context.Context, *run) []Check {
	switch d.id {
	case "source_file", "big_keys":
		return d.make
	case "connectivity":
		return fileConnectivity
	case "target_version":
		return fileVersion
	case "database_count":
		return fileDatabases
	case "modules":
		return fileModules
	case "local_disk":
		return notOfFile("the file is read directly, so no spool is needed")
	}
	if d.needs&needsSource != 0 {
		return notOfFile("the source is a file, so there is no server to ask")
	}
	return d.make
}

func notOfFile(reason string) func(context.Context, *run) []Check {
	return skipped(reason, "a live source")
}

func skipped(reason, wanted string) func(context.Context, *run) []Check {
	return func(context.Context, *run) []Check { return []Check{skip("source", reason, wanted)} }
}

// fileConnectivity reports for the source that its files exist, and checks the target as usual.
func fileConnectivity(ctx context.Context, r *run) []Check {
	checks := connectivity(ctx, r)
	for i := range checks {
		if checks[i].Subject == endpoint.Source.String() && checks[i].Result == Pass {
			checks[i].Found, checks[i].Wanted = fmt.Sprintf("files: %d", len(r.files)), "every file exists"
		}
	}
	return checks
}

// sourceFile judges what reading the files from beginning to end has shown.
func sourceFile(_ context.Context, r *run) []Check {
	const wanted = "a file that a server would load completely"
	var checks []Check
	for _, in := range r.files {
		checks = append(checks, judgeFile(in, wanted))
	}
	return checks
}

func judgeFile(in inspected, wanted string) Check {
	if in.err != nil {
		return fail(in.path, oneLine(in.err), wanted, "copy the file from the server again, or repair it with redis-check-rdb or redis-check-aof")
	}
	f := in.facts
	found := fmt.Sprintf("%s, %d keys in the RDB, %d commands", bytesText(in.size), f.Keys, f.Commands)
	var odd, remedies []string
	if f.Cut != nil {
		odd = append(odd, f.Cut.String())
		remedies = append(remedies, "accept this alarm if these bytes may be dropped, as a server with aof-load-truncated yes does; or copy the file again while no server writes to it")
	}
	if f.Relative > 0 {
		odd = append(odd, fmt.Sprintf("%d commands set an expiry relative to the time at which they are run", f.Relative))
		remedies = append(remedies, "accept this alarm if the time may count from now, as on a server that loads the file; or use an RDB of the source instead")
	}
	if len(odd) > 0 {
		return alarm(in.path, found+"; "+strings.Join(odd, "; "), wanted, strings.Join(remedies, "; "))
	}
	return pass(in.path, found, wanted)
}

// fileVersion compares the server that wrote the newest RDB with the oldest target.
func fileVersion(ctx context.Context, r *run) []Check {
	var newest endpoint.Server
	for _, in := range r.files {
		if in.err != nil {
			return []Check{skip("source", in.path+" cannot be read", wantedFormat)}
		}
		if f := in.facts; f.RDBVersion > newest.RDBVersion {
			newest = endpoint.Server{Addr: in.path, Flavor: "redis", Version: f.Server, RDBVersion: f.RDBVersion}
			if number, err := endpoint.ParseVersion(f.Server); err == nil {
				newest.Number = number
			}
			if f.Valkey {
				newest.Flavor = "valkey"
			}
		}
	}
	if newest.RDBVersion == 0 {
		return []Check{skip("source", "the AOF contains no RDB, which would tell the version of its server", wantedFormat)}
	}
	return r.judgeFormat(ctx, format{Source: newest, Commands: endpoint.CapabilitiesOf(newest).Dialect, Sends: r.source.spec.IsAOF(), Holds: holdings{fields: -1}})
}

// fileDatabases counts by database what the files hold: keys, and commands that run there.
func fileDatabases(_ context.Context, r *run) []Check {
	used := map[int]int64{}
	for _, in := range r.files {
		if in.err != nil {
			return []Check{skip("source", in.path+" cannot be read", "the databases of every file")}
		}
		for db, n := range in.facts.Databases {
			if r.cfg.reads(db) {
				used[db] += n
			}
		}
	}
	return r.databasesFit(used)
}

// fileModules checks that the target has the module types of the RDB. Only the target's modules can tell whether they accept the
// values.
func fileModules(_ context.Context, r *run) []Check {
	const wanted = "every module whose data the source holds"
	if r.sample.err != nil {
		return []Check{skip("source", oneLine(r.sample.err), wanted)}
	}
	var missing []string
	for _, name := range slices.Sorted(maps.Keys(r.sample.types)) {
		if !r.targetHasType(name) {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return []Check{fail("target", "the file contains values of types that no module of the target is known to define: "+strings.Join(missing, ", "), wanted,
			"load the modules on the target: redis-server --loadmodule /path/to/module.so")}
	}
	return []Check{pass("target", fmt.Sprintf("the RDB contains values of %d module types", len(r.sample.types)), wanted)}
}

// targetHasType says whether every primary of the target has a module that may define the given type.
func (r *run) targetHasType(name string) bool {
	for _, n := range r.target.primaries() {
		has := false
		for _, m := range n.modules {
			known, ok := moduleCommands[m]
			has = has || !ok
			for _, t := range known.types {
				has = has || t == name
			}
		}
		if !has {
			return false
		}
	}
	return true
}
