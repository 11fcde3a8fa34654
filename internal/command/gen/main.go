// Command gen writes table.tsv from the COMMAND replies of running servers and the lines of extra.tsv.
//
//	redis-server --port 6379 & go run ./gen -servers 127.0.0.1:6379 -extra extra.tsv -out table.tsv
//
// Servers must be Redis 7.0 or later, or Valkey: older ones describe no key specifications. Where several servers know a command,
// its first version is taken from the first server that tells it, and its arity and keys from the last one. So list the servers
// from the oldest to the newest.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/rueidis"
)

func main() {
	servers := flag.String("servers", "127.0.0.1:6379", "servers to ask, separated by commas, the oldest first")
	extra := flag.String("extra", "extra.tsv", "file of what servers do not tell")
	out := flag.String("out", "table.tsv", "file to write")
	flag.Parse()
	if err := generate(context.Background(), strings.Split(*servers, ","), *extra, *out); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

// row is one line of the table.
type row struct {
	name               string
	write, movable     bool
	container          bool
	arity              int
	since, sinceValkey int
	keys               string
}

func generate(ctx context.Context, servers []string, extra, out string) error {
	rows := map[string]row{}
	var asked []string
	for _, addr := range servers {
		version, err := ask(ctx, addr, rows)
		if err != nil {
			return fmt.Errorf("ask %s: %w", addr, err)
		}
		asked = append(asked, version)
	}
	if err := addExtra(extra, rows); err != nil {
		return fmt.Errorf("read %s: %w", extra, err)
	}
	return write(out, asked, rows)
}

// ask adds the commands of one server to rows, and returns the server's name and version.
func ask(ctx context.Context, addr string, rows map[string]row) (string, error) {
	client, err := rueidis.NewClient(rueidis.ClientOption{
		InitAddress: []string{addr}, ForceSingleClient: true, DisableCache: true,
	})
	if err != nil {
		return "", err
	}
	defer client.Close()
	info, err := client.Do(ctx, client.B().Info().Section("server").Build()).ToString()
	if err != nil {
		return "", fmt.Errorf("INFO: %w", err)
	}
	version := "redis " + infoField(info, "redis_version")
	valkey := infoField(info, "valkey_version")
	if valkey != "" {
		version = "valkey " + valkey
	}
	docs, err := client.Do(ctx, client.B().Arbitrary("COMMAND", "DOCS").Build()).ToMap()
	if err != nil {
		return "", fmt.Errorf("COMMAND DOCS: %w", err)
	}
	since := map[string]int{}
	for name, doc := range docs {
		if err := collectSince(since, name, doc); err != nil {
			return "", err
		}
	}
	list, err := client.Do(ctx, client.B().Arbitrary("COMMAND").Build()).ToArray()
	if err != nil {
		return "", fmt.Errorf("COMMAND: %w", err)
	}
	for _, m := range list {
		if err := collect(rows, since, valkey != "", m); err != nil {
			return "", err
		}
	}
	return version, nil
}

func infoField(info, name string) string {
	for line := range strings.Lines(info) {
		if v, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

func collectSince(since map[string]int, name string, doc rueidis.RedisMessage) error {
	m, err := doc.ToMap()
	if err != nil {
		return err
	}
	if s, ok := m["since"]; ok {
		text, err := s.ToString()
		if err != nil {
			return err
		}
		if since[name], err = number(text); err != nil {
			return fmt.Errorf("since of %s: %w", name, err)
		}
	}
	if subs, ok := m["subcommands"]; ok {
		all, err := subs.ToMap()
		if err != nil {
			return err
		}
		for sub, d := range all {
			if err := collectSince(since, sub, d); err != nil {
				return err
			}
		}
	}
	return nil
}

// number converts "7.0.15" to 70015.
func number(version string) (int, error) {
	parts := strings.Split(version, ".")
	n := 0
	for i := range 3 {
		n *= 100
		if i < len(parts) {
			v, err := strconv.Atoi(parts[i])
			if err != nil {
				return 0, err
			}
			n += v
		}
	}
	return n, nil
}

// lastShared is the last Redis version whose commands Valkey took over.
const lastShared = 70299

func collect(rows map[string]row, since map[string]int, valkey bool, m rueidis.RedisMessage) error {
	c, err := m.ToArray()
	if err != nil {
		return err
	}
	if len(c) < 10 {
		return fmt.Errorf("COMMAND describes commands by %d fields, want 10: the server is older than 7.0", len(c))
	}
	raw, err := c[0].ToString()
	if err != nil {
		return err
	}
	arity, err := c[1].AsInt64()
	if err != nil {
		return err
	}
	flags, err := c[2].AsStrSlice()
	if err != nil {
		return err
	}
	name := strings.ToUpper(strings.Replace(raw, "|", " ", 1))
	r := rows[name]
	r.name, r.arity = name, int(arity)
	r.write, r.movable = slices.Contains(flags, "write"), slices.Contains(flags, "movablekeys")
	if r.keys, err = keyRules(c[8]); err != nil {
		return fmt.Errorf("key specifications of %s: %w", name, err)
	}
	first := since[raw]
	if r.since == 0 && (!valkey || first <= lastShared) {
		r.since = first
	}
	if r.sinceValkey == 0 && (valkey || first <= lastShared) {
		r.sinceValkey = first
	}
	subs, err := c[9].ToArray()
	if err != nil {
		return err
	}
	r.container = len(subs) > 0
	rows[name] = r
	for _, sub := range subs {
		if err := collect(rows, since, valkey, sub); err != nil {
			return err
		}
	}
	return nil
}

// keyRules writes key specifications in the form that package command reads. It leaves out those that mark no key, and those that
// no rule can describe; extra.tsv has a rule for the latter.
func keyRules(m rueidis.RedisMessage) (string, error) {
	specs, err := m.ToArray()
	if err != nil {
		return "", err
	}
	var rules []string
	for _, spec := range specs {
		f, err := spec.AsMap()
		if err != nil {
			return "", err
		}
		flags := f["flags"]
		words, err := flags.AsStrSlice()
		if err != nil {
			return "", err
		}
		rule, err := keyRule(f)
		if err != nil {
			return "", err
		}
		if rule != "" && !slices.Contains(words, "not_key") {
			rules = append(rules, rule)
		}
	}
	return strings.Join(rules, " "), nil
}

func keyRule(f map[string]rueidis.RedisMessage) (string, error) {
	beginType, begin, err := part(f["begin_search"])
	if err != nil {
		return "", err
	}
	findType, find, err := part(f["find_keys"])
	if err != nil {
		return "", err
	}
	var rule string
	switch beginType {
	case "index":
		rule = begin["index"]
	case "keyword":
		rule = begin["keyword"] + ">" + begin["startfrom"]
	default:
		return "", nil
	}
	switch findType {
	case "range":
		if find["lastkey"] != "0" {
			rule += "/r" + find["lastkey"] + "," + find["keystep"] + "," + find["limit"]
		}
	case "keynum":
		rule += "/n" + find["keynumidx"] + "," + find["firstkey"] + "," + find["keystep"]
	default:
		return "", nil
	}
	return rule, nil
}

// part returns the type of one half of a key specification, and its values as text.
func part(m rueidis.RedisMessage) (string, map[string]string, error) {
	f, err := m.AsMap()
	if err != nil {
		return "", nil, err
	}
	t, s := f["type"], f["spec"]
	kind, err := t.ToString()
	if err != nil {
		return "", nil, err
	}
	spec, err := s.AsMap()
	if err != nil {
		return "", nil, err
	}
	values := map[string]string{}
	for k, v := range spec {
		if n, err := v.AsInt64(); err == nil {
			values[k] = strconv.FormatInt(n, 10)
		} else if values[k], err = v.ToString(); err != nil {
			return "", nil, err
		}
	}
	return kind, values, nil
}

// addExtra adds the lines of extra.tsv: "!" lines replace key rules, the others add what no server told.
func addExtra(path string, rows map[string]row) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		if line == "" || line[0] == '#' {
			continue
		}
		rule, replaces := strings.CutPrefix(line, "!")
		x, err := parseRow(rule)
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		r, known := rows[x.name]
		switch {
		case replaces && !known:
			return fmt.Errorf("line %d: no server has %s", n, x.name)
		case replaces:
			r.keys, r.movable = x.keys, x.movable
		case known:
			r.since, r.sinceValkey = or(r.since, x.since), or(r.sinceValkey, x.sinceValkey)
		default:
			r = x
		}
		rows[x.name] = r
	}
	return lines.Err()
}

func or(a, b int) int {
	if a != 0 {
		return a
	}
	return b
}

func parseRow(line string) (row, error) {
	cols := strings.Split(line, "\t")
	if len(cols) != 6 {
		return row{}, fmt.Errorf("%d columns, want 6", len(cols))
	}
	r := row{
		name: cols[0], keys: strings.TrimPrefix(cols[5], "-"),
		write: strings.Contains(cols[1], "w"), movable: strings.Contains(cols[1], "m"), container: strings.Contains(cols[1], "c"),
	}
	for i, dst := range []*int{&r.arity, &r.since, &r.sinceValkey} {
		n, err := strconv.Atoi(cols[2+i])
		if err != nil {
			return row{}, err
		}
		*dst = n
	}
	return r, nil
}

func write(path string, asked []string, rows map[string]row) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# Generated by gen from COMMAND of %s, and extra.tsv. DO NOT EDIT.\n", strings.Join(asked, ", "))
	b.WriteString("# name\tflags (w write, m movable keys, c container)\tarity\tfirst Redis\tfirst Valkey\tkeys\n")
	names := make([]string, 0, len(rows))
	for name := range rows {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		r := rows[name]
		flags := ""
		for _, f := range []struct {
			set  bool
			name string
		}{{r.write, "w"}, {r.movable, "m"}, {r.container, "c"}} {
			if f.set {
				flags += f.name
			}
		}
		fmt.Fprintf(&b, "%s\t%s\t%d\t%d\t%d\t%s\n", r.name, dash(flags), r.arity, r.since, r.sinceValkey, dash(r.keys))
	}
	tmp := filepath.Join(filepath.Dir(path), ".table.tmp")
	if err := os.WriteFile(tmp, []byte(b.String()), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
