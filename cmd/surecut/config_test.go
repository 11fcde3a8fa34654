package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"surecut/internal/keyspace"
)

// runCLI runs the command line in this process.
func runConfigured(t *testing.T, config string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "surecut.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, talk bytes.Buffer
	status = run(append([]string{"surecut", "--config", file}, args...), &out, &talk)
	return status, out.String(), talk.String()
}

func TestConfig(t *testing.T) {
	const unreachable = "redis://127.0.0.1:1"
	tests := []struct {
		name, why, config string
		args              []string
		status            int
		says              string
	}{
		{name: "unknown key", why: "a typing error must not be ignored",
			config: "sauce: redis://h:1\n", args: []string{"verify"}, status: exitUsage, says: `unknown key "sauce"`},
		{name: "unknown key in a section", why: "the same one level down",
			config: "verify:\n  ruonds: 3\n", args: []string{"verify"}, status: exitUsage, says: `verify has no setting "ruonds"`},
		{name: "not YAML", why: "the file is named, and the line",
			config: "source: [\n", args: []string{"verify"}, status: exitUsage, says: "surecut.yaml"},
		{name: "endpoints from the file", why: "every flag can stand in it",
			config: "source: " + unreachable + "\ntarget: " + unreachable + "\n", args: []string{"verify"}, status: exitFailed, says: "127.0.0.1:1"},
		{name: "flag wins", why: "the command line is nearer to the user than the file",
			config: "source: " + unreachable + "\ntarget: " + unreachable + "\ndepth: keys\n", args: []string{"verify", "--depth", "nonsense"}, status: exitUsage, says: "nonsense"},
		{name: "value of the file is checked", why: "the file is input as the flags are",
			config: "source: " + unreachable + "\ntarget: " + unreachable + "\ndepth: nonsense\n", args: []string{"verify"}, status: exitUsage, says: "nonsense"},
		{name: "section wins over the top", why: "it is nearer to the command",
			config: "source: " + unreachable + "\ntarget: " + unreachable + "\nrounds: 3\nverify:\n  rounds: -7\n", args: []string{"verify"}, status: exitUsage, says: "-7"},
		{name: "value of another type", why: "a number is asked for",
			config: "rounds: many\n", args: []string{"verify"}, status: exitUsage, says: "rounds"},
		{name: "no time", why: "what is wanted is said",
			config: "max-lag: wibble\n", args: []string{"migrate", "--source", unreachable, "--target", unreachable}, status: exitUsage, says: `max-lag: "wibble": must be a time, as in 30s`},
		{name: "no truth value", why: "yes is a text in YAML 1.2",
			config: "tune-source: yes\n", args: []string{"migrate", "--source", unreachable, "--target", unreachable}, status: exitUsage, says: `tune-source: "yes": must be true or false`},
		{name: "subcommand's section", why: "named as it is called",
			config: "scan bigkeys:\n  top: -1\n", args: []string{"scan", "bigkeys", "--source", unreachable}, status: exitUsage, says: "-1"},
		{name: "global flag", why: "what stands before the command can stand in the file as well",
			config: "log-format: morse\n", args: []string{"verify", "--source", unreachable, "--target", unreachable}, status: exitUsage, says: "morse"},
		{name: "endpoint block", why: "what belongs to one side stands together",
			config: "source:\n  url: redis+cluster://\n  nat: {\"127.0.0.1:9\": \"127.0.0.1:1\"}\n  nodes:\n    - 127.0.0.1:9:s3cr3t\n    - 127.0.0.1:2\ntarget: " + unreachable + "\n",
			args:   []string{"verify"}, status: exitFailed, says: "127.0.0.1:9, reached at 127.0.0.1:1"},
		{name: "nodes as lines", why: "the same as in a file",
			config: "source:\n  url: redis+cluster://\n  nodes: |\n    127.0.0.1:1:s3cr3t\n    127.0.0.1:s3cr3t:2\ntarget: " + unreachable + "\n",
			args:   []string{"verify"}, status: exitUsage, says: "nodes of the source in the config: line 2"},
		{name: "unknown key in a block", why: "a typing error must not be ignored",
			config: "source:\n  ulr: x\n", args: []string{"verify"}, status: exitUsage, says: `source has no setting "ulr"`},
		{name: "block and key", why: "neither could win",
			config: "source:\n  ssh: u@a\nsource-ssh: u@b\n", args: []string{"verify"}, status: exitUsage, says: "remove one of the two"},
		{name: "nearest key", why: "a slip of the pen has one likely meaning",
			config: "sorce: redis://h:1\n", args: []string{"verify"}, status: exitUsage, says: `unknown key "sorce" (did you mean "source"?)`},
		{name: "nearest key of a section", why: "the same one level down",
			config: "migrate:\n  rate-limits: 3\n", args: []string{"verify"}, status: exitUsage, says: `migrate has no setting "rate-limits" (did you mean "rate-limit"?)`},
		{name: "nearest key of a block", why: "the same in a block",
			config: "source:\n  shh: u@h\n", args: []string{"verify"}, status: exitUsage, says: `source has no setting "shh" (did you mean "ssh"?)`},
		{name: "nothing alike", why: "a guess would mislead",
			config: "wibbly-wobbly: 1\n", args: []string{"verify"}, status: exitUsage, says: `unknown key "wibbly-wobbly"; a key must be`},
		{name: "list of a section", why: "it takes the place of the one at the top, and is not added to it",
			config: "source: " + unreachable + "\ntarget: " + unreachable + "\ndb: [x]\nverify:\n  db: [0]\n", args: []string{"verify"}, status: exitFailed, says: "127.0.0.1:1"},
		{name: "no value", why: "it would be taken for a directory called <nil>",
			config: "out:\n", args: []string{"verify", "--source", unreachable, "--target", unreachable}, status: exitUsage, says: "out: the setting has no value"},
		{name: "list for one value", why: "the last one would win in silence",
			config: "depth: [keys, value]\n", args: []string{"verify", "--source", unreachable, "--target", unreachable}, status: exitUsage, says: "depth: the setting takes a single value, not a list"},
		{name: "block for a value", why: "only endpoints and NAT maps are blocks",
			config: "depth: {keys: true}\n", args: []string{"verify", "--source", unreachable, "--target", unreachable}, status: exitUsage, says: "depth: the setting takes a value, not a block"},
		{name: "list in a list", why: "it has no meaning",
			config: "db: [[0]]\n", args: []string{"verify", "--source", unreachable, "--target", unreachable}, status: exitUsage, says: "db: [0] is not a text"},
		{name: "command and flag of one name", why: "repair has --report, and report is a command",
			config: "report:\n  fromat: json\n", args: []string{"verify"}, status: exitUsage, says: `report has no setting "fromat" (did you mean "format"?)`},
		{name: "flag that is no setting", why: "version: 1 at the top says nothing",
			config: "version: 1\n", args: []string{"verify"}, status: exitUsage, says: `unknown key "version"`},
		{name: "two documents", why: "the second would be dropped",
			config: "depth: keys\n---\ndepth: value\n", args: []string{"verify"}, status: exitUsage, says: "more than one YAML document"},
		{name: "empty file", why: "all of it may be commented out",
			config: "# nothing\n", args: []string{"verify", "--source", unreachable, "--target", unreachable}, status: exitFailed, says: "127.0.0.1:1"},
		{name: "trial as a block", why: "it is an endpoint, too",
			config: "trial:\n  url: redis://h:1\n", args: []string{"scan", "compat", "--to", "cluster", "--source", unreachable}, status: exitUsage, says: "--trial: must be a cluster"},
		{name: "block in a section", why: "sections hold all settings of a command",
			config: "verify:\n  source: {url: " + unreachable + "}\n  target: {url: 'redis://127.0.0.1:2'}\n", args: []string{"verify"}, status: exitFailed, says: "127.0.0.1:1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			status, _, stderr := runConfigured(t, tt.config, tt.args...)
			if status != tt.status || !strings.Contains(stderr, tt.says) || strings.Contains(stderr, "s3cr3t") {
				t.Errorf("status %d, stderr %q; want status %d and %q (%s)", status, stderr, tt.status, tt.says, tt.why)
			}
		})
	}
}

func TestUsage(t *testing.T) {
	tests := []struct {
		name, says string
		args       []string
		status     int
	}{
		{name: "help", args: []string{"--help"}},
		{name: "version", args: []string{"--version"}},
		{name: "unknown command", args: []string{"migrat"}, status: exitUsage, says: `unknown command "migrat"`},
		{name: "nearest command", args: []string{"migrat"}, status: exitUsage, says: `did you mean "migrate"?`},
		{name: "nearest scan", args: []string{"scan", "bigkey"}, status: exitUsage, says: `unknown scan "bigkey" (did you mean "bigkeys"?)`},
		{name: "URL for a command", args: []string{"redis://:s3cr3t@h:1"}, status: exitUsage, says: "h:1"},
		{name: "unknown flag", args: []string{"migrate", "--fast"}, status: exitUsage, says: "-fast"},
		{name: "nearest flag", args: []string{"migrate", "--rate-limits", "5"}, status: exitUsage, says: `did you mean "rate-limit"?`},
		{name: "nearest global flag", args: []string{"--log-levl", "debug", "verify"}, status: exitUsage, says: `did you mean "log-level"?`},
		{name: "flags behind an argument", args: []string{"migrate", "--source", "redis://h:1", "--target", "redis://h:2", "--accept", "backlog", "clock_skew", "--until", "same"}, status: exitUsage, says: `migrate takes only flags, but was given the argument "clock_skew"`},
		{name: "argument of check", args: []string{"check", "redis://:s3cr3t@h:1"}, status: exitUsage, says: "check takes only flags"},
		{name: "argument of verify", args: []string{"verify", "redis://:s3cr3t@h:1"}, status: exitUsage, says: "verify takes only flags"},
		{name: "argument of a scan", args: []string{"scan", "bigkeys", "redis://:s3cr3t@h:1"}, status: exitUsage, says: "scan bigkeys takes only flags"},
		{name: "argument of demo", args: []string{"demo", "x"}, status: exitUsage, says: "demo takes only flags"},
		{name: "no number", args: []string{"verify", "--rounds", "wibble"}, status: exitUsage, says: `invalid value "wibble" for flag -rounds: must be a whole number`},
		{name: "no time", args: []string{"verify", "--interval", "5"}, status: exitUsage, says: `invalid value "5" for flag -interval: must be a time, as in 30s`},
		{name: "negative times", args: []string{"migrate", "--source", "redis://h:1", "--target", "redis://h:2", "--retry-for", "-1s", "--hold-expiry", "-1h"}, status: exitUsage, says: "--retry-for -1s: must be 0 or more"},
		{name: "empty pattern", args: []string{"verify", "--source", "redis://h:1", "--target", "redis://h:2", "--exclude", ""}, status: exitUsage, says: "matches no key"},
		{name: "missing endpoint", args: []string{"migrate", "--target", "redis://h:1"}, status: exitUsage, says: "--source is missing"},
		{name: "wrong scheme", args: []string{"check", "--source", "mysql://h:1", "--target", "redis://h:1"}, status: exitUsage, says: "mysql"},
		{name: "bad size", args: []string{"migrate", "--source", "redis://h:1", "--target", "redis://h:2", "--big-value", "lots"}, status: exitUsage, says: `--big-value: "lots": must be a number of bytes`},
		{name: "several problems", args: []string{"migrate", "--source", "redis://h:1", "--target", "redis://h:2", "--lanes", "0", "--mode", "half"}, status: exitUsage, says: "--lanes 0"},
		{name: "pause that ends too soon", args: []string{"migrate", "--source", "redis://h:1", "--target", "redis://h:2", "--until", "same", "--pause-writes", "4s"}, status: exitUsage, says: "--pause-writes 4s: must last for the comparison and the quiet time after it (--quiet-for 5s)"},
		{name: "unknown check", args: []string{"migrate", "--source", "redis://h:1", "--target", "redis://h:2", "--accept", "everything"}, status: exitUsage, says: "everything"},
		{name: "no PSYNC through a proxy", args: []string{"check", "--source", "redis+cluster://h:1?proxy=tencent", "--target", "redis://h:2"}, status: exitUsage, says: "does not support PSYNC"},
		{name: "unknown proxy", args: []string{"verify", "--source", "redis://h:1", "--target", "redis+cluster://h:2?proxy=other"}, status: exitUsage, says: "must be tencent"},
		{name: "prefix without a name", args: []string{"verify", "--source", "redis://h:1", "--target", "redis://h:2", "--db-prefix", "3:"}, status: exitUsage, says: "must be SOURCE:PREFIX"},
		{name: "prefix of surecut's own", args: []string{"check", "--source", "redis://h:1", "--target", "redis://h:2", "--db-prefix", "3:__sure"}, status: exitUsage, says: "surecut's own"},
		{name: "two databases of one prefix", args: []string{"migrate", "--source", "redis://h:1", "--target", "redis://h:2", "--db-prefix", "3:a:,4:a:"}, status: exitUsage, says: "databases 3 and 4 have the same prefix"},
		{name: "prefix beside a map", args: []string{"verify", "--source", "redis://h:1", "--target", "redis://h:2", "--db-prefix", "3:a:", "--db-map", "3:1"}, status: exitUsage, says: "database 3 also has a --db-map"},
		{name: "missing config", args: []string{"--config", "/nonexistent.yaml", "verify"}, status: exitUsage, says: "/nonexistent.yaml"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out, talk bytes.Buffer
			status := run(append([]string{"surecut"}, tt.args...), &out, &talk)
			if status != tt.status || !strings.Contains(talk.String(), tt.says) {
				t.Errorf("status %d, stderr %q; want status %d and %q", status, talk.String(), tt.status, tt.says)
			}
			if strings.Contains(talk.String(), "panic") || strings.Contains(talk.String(), "s3cr3t") || strings.Count(talk.String(), "\n") > 1 {
				t.Errorf("a panic, a password or several lines in %q", talk.String())
			}
		})
	}
}

// TestPatternsHoldCommas: names of keys may hold commas, and an --exclude of 'a,*' must not leave out everything.
func TestPatternsHoldCommas(t *testing.T) {
	for name, args := range map[string][]string{
		"flags":  {"--include", "a,*", "--include", "b", "--exclude", "x,y"},
		"config": {"--config", write(t, "surecut.yaml", "include: ['a,*', b]\nexclude: 'x,y'\n")},
	} {
		var got keyspace.Filter
		app := newApp(io.Discard, io.Discard)
		for _, cmd := range app.Commands {
			if cmd.Name == "verify" {
				cmd.Action = func(c *cli.Context) (err error) {
					if err := applyConfig(c, []string{"verify"}); err != nil {
						return err
					}
					got, err = filterOf(c)
					return err
				}
			}
		}
		line := append([]string{"surecut", "verify"}, args...)
		if name == "config" {
			line = append(append([]string{"surecut"}, args...), "verify")
		}
		if err := app.Run(line); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !slices.Equal(got.Include, []string{"a,*", "b"}) || !slices.Equal(got.Exclude, []string{"x,y"}) {
			t.Errorf("%s: include %q, exclude %q", name, got.Include, got.Exclude)
		}
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "1048576": 1 << 20, "64KiB": 64 << 10, "16MiB": 16 << 20, "2GiB": 2 << 30, "5MB": 5_000_000} {
		var got size
		if err := got.read(text); err != nil || got != size(want) {
			t.Errorf("%q is read as %d, %v; want %d", text, got, err, want)
		}
		var again size
		if err := again.read(got.String()); got != 0 && (err != nil || again != got) {
			t.Errorf("%d is shown as %q, which is read as %d, %v", got, got.String(), again, err)
		}
	}
	for _, text := range []string{"", "-1", "x", "1TiBi", "99999999999GiB", "1.5GiB"} {
		if got := new(size); got.read(text) == nil {
			t.Errorf("%q is read as %d; want an error", text, *got)
		}
	}
}
