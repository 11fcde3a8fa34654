package compat

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"surecut/internal/command"
	"surecut/internal/endpoint"
	"surecut/internal/keyspace"
	"surecut/internal/profile"
)

// Static asks every server of a deployment what it has counted and who is connected: INFO commandstats and keyspace, CLIENT LIST,
// functions and cached scripts. The evidence notes what a server refuses to tell. If a server cannot be reached, that is an error
// for a primary, and a note for a replica.
func (t *Tally) Static(ctx context.Context, d *endpoint.Deployment) error {
	for _, shard := range d.Shards() {
		if err := t.server(ctx, d, shard.Primary.Addr, false); err != nil {
			return fmt.Errorf("ask %s: %w", shard.Primary.Addr, err)
		}
		for _, replica := range shard.Replicas {
			if err := t.server(ctx, d, replica.Addr, true); err != nil {
				if ctx.Err() != nil {
					return err
				}
				t.Evidence(FromStats, replica.Addr).Note = "The replica was not asked: " + err.Error() + "."
			}
		}
	}
	return nil
}

func (t *Tally) server(ctx context.Context, d *endpoint.Deployment, addr string, replica bool) error {
	client, err := d.Client(ctx, addr, 0)
	if err != nil {
		return err
	}
	sections := []string{"", "commandstats", "keyspace"}
	info, err := endpoint.Info(ctx, client, sections...)
	if err != nil {
		return err
	}
	t.stats(addr, info, replica)
	if replica {
		return nil
	}
	e := t.Evidence(FromServer, addr)
	t.databases(e, info)
	var notes []string
	if n, _ := strconv.Atoi(info["number_of_cached_scripts"]); n > 0 {
		notes = append(notes, fmt.Sprintf("%d scripts are cached; EVALSHA of a script that is not loaded again fails with NOSCRIPT on the target.", n))
	}
	notes = append(notes, t.functions(ctx, client, e)...)
	notes = append(notes, t.clients(ctx, client, e, info)...)
	e.Note = strings.Join(notes, " ")
	return nil
}

// stats counts the calls of each command. A replica also runs the writes of its primary, which are counted only on the primary.
func (t *Tally) stats(addr string, info map[string]string, replica bool) {
	e := t.Evidence(FromStats, addr)
	if uptime, err := strconv.ParseInt(info["uptime_in_seconds"], 10, 64); err == nil {
		e.Lasts(time.Duration(uptime) * time.Second)
	}
	calls, left := endpoint.AppCalls(info)
	for name, n := range calls {
		if replica && t.writes(name) {
			continue
		}
		t.Count(e, name, n)
	}
	var notes []string
	if replica {
		notes = append(notes, "This is a replica, so only its reads count.")
	}
	if left > 0 {
		notes = append(notes, fmt.Sprintf("%d transactions are left out, because surecut may have made them itself (as many called ROLE).", left))
	}
	e.Note = strings.Join(notes, " ")
}

func (t *Tally) writes(name string) bool {
	spec, ok := t.lookup(command.NameArgs(name))
	return ok && spec.Write
}

// databases notes databases other than 0 that hold keys.
func (t *Tally) databases(e *Evidence, info map[string]string) {
	for name, value := range info {
		number, ok := strings.CutPrefix(name, "db")
		db, err := strconv.Atoi(number)
		if !ok || err != nil || db == 0 {
			continue
		}
		first, _, _ := strings.Cut(value, ",")
		n, err := strconv.ParseInt(strings.TrimPrefix(first, "keys="), 10, 64)
		if err == nil && n > 0 {
			t.Note(e, profile.SeveralDatabases, databaseName(db), n, fmt.Sprintf("%d keys on %s.", n, e.Subject))
		}
	}
}

// functions notes functions that a cluster cannot run. Servers before 7.0 have no functions.
func (t *Tally) functions(ctx context.Context, client rueidis.Client, e *Evidence) (notes []string) {
	libraries, err := client.Do(ctx, client.B().FunctionList().Build()).ToArray()
	if err != nil {
		if code := endpoint.Code(err); code != "" && code != "ERR" {
			notes = append(notes, "FUNCTION LIST was refused: "+err.Error()+".")
		}
		return notes
	}
	count := 0
	for _, library := range libraries {
		fields, err := library.AsMap()
		if err != nil {
			continue
		}
		functions := fields["functions"]
		list, err := functions.ToArray()
		if err != nil {
			continue
		}
		for _, f := range list {
			count++
			field, err := f.AsMap()
			if err != nil {
				continue
			}
			nameOf, flagsOf := field["name"], field["flags"]
			name, _ := nameOf.ToString()
			flags, _ := flagsOf.AsStrSlice()
			if slices.Contains(flags, "allow-cross-slot-keys") {
				t.allow(name)
			}
			if slices.Contains(flags, "no-cluster") {
				t.Note(e, profile.FunctionNoCluster, "FCALL "+keyspace.Printable(name), 1, "The function has the flag no-cluster.")
			}
		}
	}
	if count > 0 {
		notes = append(notes, fmt.Sprintf("%d functions are loaded; each primary of the target needs them.", count))
	}
	return notes
}

// clients notes who is connected, except for ourselves, replicas and monitors, and databases that clients use although they hold no
// keys now. The parameter info holds the fields of INFO.
func (t *Tally) clients(ctx context.Context, client rueidis.Client, e *Evidence, info map[string]string) (notes []string) {
	text, err := client.Do(ctx, client.B().ClientList().Build()).ToString()
	if err != nil {
		return []string{"CLIENT LIST was refused: " + err.Error() + "."}
	}
	own, _ := client.Do(ctx, client.B().ClientId().Build()).AsInt64() // before 5.0 we count ourselves
	if info["cluster_enabled"] == "1" {
		return nil // these clients use the cluster protocol already
	}
	for line := range strings.Lines(text) {
		f := clientFields(line)
		if f["id"] == strconv.FormatInt(own, 10) || strings.ContainsAny(f["flags"], "SOM") || ownName(f["name"]) {
			continue
		}
		if o := t.observe(e, profile.Clients, "(clients)", "(clients)", time.Time{}, clientWords(f)); o != nil {
			o.affected++
		}
		if db, err := strconv.Atoi(f["db"]); err == nil && db != 0 && info[databaseName(db)] == "" {
			t.Note(e, profile.SeveralDatabases, databaseName(db), 1, "A client uses it: "+clientWords(f)+".")
		}
	}
	return nil
}

// ownName says whether a connection has a name that a migration by surecut gives to its own connections.
func ownName(name string) bool { return strings.HasPrefix(name, "surecut-") }

// clientFields reads one line of CLIENT LIST: "id=3 addr=10.0.0.1:50001 name=web lib-name=jedis ...".
func clientFields(line string) map[string]string {
	fields := map[string]string{}
	for field := range strings.FieldsSeq(line) {
		if name, value, ok := strings.Cut(field, "="); ok {
			fields[name] = value
		}
	}
	return fields
}

// clientWords describes a client: its host, its name if it has one, and its library (since 7.2).
func clientWords(f map[string]string) string {
	words := host(f["addr"])
	for _, name := range []string{f["name"], strings.TrimSuffix(f["lib-name"]+" "+f["lib-ver"], " ")} {
		if name != "" {
			words += " " + name
		}
	}
	return keyspace.Printable(words)
}

// Modules returns a function that asks a server to describe commands which the table lacks. It keeps the answer for each name.
func Modules(ctx context.Context, d *endpoint.Deployment) func(name string) *command.Spec {
	known := map[string]*command.Spec{}
	return func(name string) *command.Spec {
		spec, asked := known[name]
		if asked || len(known) > maxCommands || len(d.Shards()) == 0 {
			return spec
		}
		known[name] = nil
		client, err := d.Client(ctx, d.Shards()[0].Primary.Addr, 0)
		if err != nil {
			return nil
		}
		reply, err := client.Do(ctx, client.B().Arbitrary("COMMAND", "INFO", name).Build()).ToArray()
		if err != nil || len(reply) != 1 {
			return nil
		}
		fields, err := reply[0].ToArray()
		if err != nil || len(fields) < 6 {
			return nil // the server does not know it, either
		}
		var n [4]int64 // arity, first key, last key, step
		for i, at := range []int{1, 3, 4, 5} {
			if n[i], err = fields[at].AsInt64(); err != nil {
				return nil
			}
		}
		flags, err := fields[2].AsStrSlice()
		if err != nil {
			return nil
		}
		known[name] = command.Described(name, int(n[0]), slices.Contains(flags, "write"), int(n[1]), int(n[2]), int(n[3]))
		return known[name]
	}
}
