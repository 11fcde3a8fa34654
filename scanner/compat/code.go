package compat

import (
	"bytes"
	"cmp"
	"context"
	_ "embed"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"go.yaml.in/yaml/v3"

	"surecut/internal/command"
	"surecut/internal/profile"
)

//go:embed libraries.yaml
var librariesYAML []byte

// libraries is the content of libraries.yaml.
type libraries struct {
	Version   string            `yaml:"version"`
	Languages []*language       `yaml:"languages"`
	Receivers []string          `yaml:"receivers"`
	Aliases   map[string]string `yaml:"aliases"`
	Raw       []string          `yaml:"raw"`
}

type language struct {
	Name      string     `yaml:"name"`
	Files     []string   `yaml:"files"`
	Comments  []string   `yaml:"comments"`
	Strings   []string   `yaml:"strings"`
	Libraries []*library `yaml:"libraries"`
}

type library struct {
	Name    string   `yaml:"name"`
	Import  string   `yaml:"import"`
	Plain   []string `yaml:"plain"`
	Cluster []string `yaml:"cluster"`
	Holds   []string `yaml:"holds"` // other patterns of code after which a variable holds a client

	imported              *regexp.Regexp
	plain, cluster, holds *regexp.Regexp // nil: there are none
}

var knownLibraries = sync.OnceValue(func() *libraries {
	l := &libraries{}
	d := yaml.NewDecoder(bytes.NewReader(librariesYAML))
	d.KnownFields(true)
	if err := d.Decode(l); err != nil {
		panic("compat: libraries.yaml: " + err.Error()) // the file is embedded and tested
	}
	either := func(list []string) *regexp.Regexp {
		if len(list) == 0 {
			return nil
		}
		return regexp.MustCompile(strings.Join(list, "|"))
	}
	for _, lang := range l.Languages {
		for _, lib := range lang.Libraries {
			lib.imported, lib.plain, lib.cluster, lib.holds = regexp.MustCompile(lib.Import), either(lib.Plain), either(lib.Cluster), either(lib.Holds)
		}
	}
	return l
})

const (
	maxSourceFile = 1 << 20
	maxSources    = 200_000
)

// skippedDirs contain code that is not the application's own.
var skippedDirs = []string{".git", ".hg", ".svn", "node_modules", "vendor", "third_party", "dist", "build", "target", "__pycache__", ".venv", "venv", "site-packages", ".tox"}

// Code reads an application's source code: client libraries, calls with their keys, and Lua. It reads the code as text and finds
// calls by the names of methods on variables that look like clients. It does not see names that are composed at run time.
func (t *Tally) Code(ctx context.Context, dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("read the source code: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("read the source code: %s is not a directory", dir)
	}
	c := &codeScan{t: t, e: t.Evidence(FromCode, dir), dir: dir, seen: map[string]int{}}
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			c.unread++
			return nil //nolint:nilerr // counted and told
		case entry.IsDir() && path != dir && slices.Contains(skippedDirs, entry.Name()):
			return filepath.SkipDir
		case !entry.Type().IsRegular():
			return nil
		case c.files == maxSources:
			return filepath.SkipAll
		}
		c.file(path)
		return nil
	})
	if err != nil {
		return fmt.Errorf("read the source code: %w", err)
	}
	if c.files == 0 {
		return fmt.Errorf("%s contains no source code in Go, Java, Python, JavaScript, PHP, Ruby or Lua", dir)
	}
	c.report()
	return nil
}

type codeScan struct {
	t             *Tally
	e             *Evidence
	dir           string
	files, unread int
	seen          map[string]int // number of files by library and its use
}

func (c *codeScan) file(path string) {
	lang := languageOf(path)
	lua := filepath.Ext(path) == ".lua"
	if lang == nil && !lua {
		return
	}
	info, err := os.Stat(path)
	if err != nil || info.Size() > maxSourceFile {
		c.unread++
		return
	}
	text, err := os.ReadFile(path)
	if err != nil {
		c.unread++
		return
	}
	c.files++
	name, err := filepath.Rel(c.dir, path)
	if err != nil {
		name = path
	}
	if lua {
		c.lua(string(text), name, 0)
		return
	}
	f := &codeFile{c: c, name: name, source: lex(string(text), lang)}
	f.scan()
}

func languageOf(path string) *language {
	for _, lang := range knownLibraries().Languages {
		if slices.Contains(lang.Files, filepath.Ext(path)) {
			return lang
		}
	}
	return nil
}

// report writes into the evidence what was read.
func (c *codeScan) report() {
	names := make([]string, 0, len(c.seen))
	for name := range c.seen {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(c.seen[b], c.seen[a]), cmp.Compare(a, b)) })
	for i, name := range names {
		names[i] = fmt.Sprintf("%s in %d", name, c.seen[name])
	}
	c.e.Note = fmt.Sprintf("%d files; libraries: %s.", c.files, cmp.Or(strings.Join(names, ", "), "none that surecut knows"))
	if c.unread > 0 {
		c.e.Note += fmt.Sprintf(" %d files could not be read, or are larger than 1 MiB.", c.unread)
	}
}

// codeFile is one file of source code.
type codeFile struct {
	*source
	c         *codeScan
	name      string
	receivers map[string]bool
}

func (f *codeFile) where(at int) string { return fmt.Sprintf("%s:%d", f.name, f.line(at)) }

func (f *codeFile) scan() {
	uses := false
	for _, lib := range f.lang.Libraries {
		if !lib.imported.MatchString(f.text) {
			continue
		}
		uses = true
		f.library(lib)
	}
	f.scripts()
	if !uses && !clientByName().MatchString(f.code) { // the client may come from another file
		return
	}
	f.findReceivers()
	f.calls()
	f.databases()
}

// library notes how the file creates its clients.
func (f *codeFile) library(lib *library) {
	how := ""
	if lib.cluster != nil && lib.cluster.MatchString(f.code) {
		how = " (cluster)"
	} else if m := firstMatch(lib.plain, f.code); m != nil {
		how = " (one server)"
		what := strings.Trim(strings.TrimSpace(f.code[m[0]:m[1]]), ":(*$ ")
		f.c.t.codeNote(f.c.e, profile.PlainClient, lib.Name+" "+what, f.where(m[0]))
	}
	f.c.seen[lib.Name+how]++
}

func firstMatch(re *regexp.Regexp, text string) []int {
	if re == nil {
		return nil
	}
	return re.FindStringIndex(text)
}

// codeNote notes a line of code under a condition that does not concern keys.
func (t *Tally) codeNote(e *Evidence, when profile.Condition, subject, where string) {
	o := t.observe(e, when, subject, subject, time.Time{}, "")
	if o != nil {
		o.affected++
		o.clients.add(where)
	}
}

var (
	assigned   = regexp.MustCompile(`(?:^|[\s(,{;])[$@]?(?:this->|(?:\w+\.)*)?(\w+)\s*(?::=|=|:)\s*(?:await\s+|new\s+|yield\s+|&)?([\w.$>@:\\-]+)`)
	goTyped    = regexp.MustCompile(`\b(\w+)\s+(?:\*?redis\.(?:Client|ClusterClient|UniversalClient|Pipeliner|Tx|Conn|Pool|Cmdable)|rueidis\.Client)\b`)
	javaTyped  = regexp.MustCompile(`\b(?:Jedis|JedisPooled|JedisCluster|Pipeline|Transaction|UnifiedJedis|StringRedisTemplate|RedisTemplate(?:<[^>]*>)?|Redis(?:Advanced(?:Cluster)?)?(?:Async)?Commands(?:<[^>]*>)?|RedissonClient)\s+(\w+)`)
	laterTyped = regexp.MustCompile(`\b(\w+)\s*:\s*(?:redis\.)?(?:Redis|RedisCluster|Cluster|RedisClientType|StrictRedis|Jedis)\b`)
	phpTyped   = regexp.MustCompile(`\bRedis(?:Cluster)?\s+\$(\w+)`)
	blockTyped = regexp.MustCompile(`(?:func\((\w+)\s+\*?redis\.|\bas\s+(\w+)\s*:|\bdo\s*\|(\w+)|(\w+)\s*->)`)
)

// clientByName matches a call on a variable with the usual name of a client.
var clientByName = sync.OnceValue(func() *regexp.Regexp {
	names := strings.ReplaceAll(strings.Join(knownLibraries().Receivers, "|"), "_", "_?")
	return regexp.MustCompile(`(?i)(?:^|\W)_?(?:` + names + `)(?:\.|->|::|\?\.|&\.)\w+(?:\(|\s)`)
})

// plainName returns a name in lower case and without underscores.
func plainName(name string) string { return strings.ToLower(strings.ReplaceAll(name, "_", "")) }

// findReceivers collects the variables that hold clients, pipelines or transactions.
func (f *codeFile) findReceivers() {
	f.receivers = map[string]bool{}
	for _, r := range knownLibraries().Receivers {
		f.receivers[plainName(r)] = true
	}
	for _, re := range []*regexp.Regexp{goTyped, javaTyped, laterTyped, phpTyped} {
		for _, m := range re.FindAllStringSubmatch(f.code, -1) {
			f.receivers[plainName(m[1])] = true
		}
	}
	makes := []*regexp.Regexp{}
	for _, lib := range f.lang.Libraries {
		for _, re := range []*regexp.Regexp{lib.plain, lib.cluster, lib.holds} {
			if re != nil {
				makes = append(makes, re)
			}
		}
	}
	for range 3 { // finds a client, its pipeline, and what is created from that
		for _, line := range strings.Split(f.code, "\n") {
			made := slices.ContainsFunc(makes, func(re *regexp.Regexp) bool { return re.MatchString(line) })
			for _, m := range assigned.FindAllStringSubmatch(line, -1) {
				if made || f.ofClient(m[2]) && madeOf.MatchString(m[2]) {
					f.receivers[plainName(m[1])] = true
				}
			}
			if m := blockTyped.FindStringSubmatch(line); m != nil && (made || blockOf.MatchString(line)) {
				for _, name := range m[1:] {
					f.receivers[plainName(name)] = name != ""
				}
			}
		}
	}
	delete(f.receivers, "")
}

var (
	madeOf  = regexp.MustCompile(`(?i)(pipeline|multi|transaction|duplicate|getresource|opsfor\w*|sync|async|connect|get|conn)$`)
	blockOf = regexp.MustCompile(`(?i)\b(pipeline|pipelined|multi|transaction|txpipelined|watch)\b`)
)

// ofClient says whether the first part of a chain, or the last part before the method, is a client.
func (f *codeFile) ofClient(chain string) bool {
	names := strings.FieldsFunc(chain, func(r rune) bool { return strings.ContainsRune(".->:@$?!", r) })
	for _, n := range names[:max(0, len(names)-1)] {
		if f.receivers[plainName(n)] {
			return true
		}
	}
	return false
}

var method = regexp.MustCompile(`([$@\w][\w.$>\-@?!:()]*?)(?:\.|->|::|\?\.|&\.)(\w+)(\(|\s)`)

// calls finds the methods that are commands, and those that are called on their results.
func (f *codeFile) calls() {
	for _, m := range method.FindAllStringSubmatchIndex(f.code, -1) {
		chain, name, open := f.code[m[2]:m[3]], m[4:6], m[6]
		if !f.ofClient(chain + ".x") {
			continue
		}
		if f.code[open] != '(' {
			if f.lang.Name == "Ruby" { // Ruby permits calls without parentheses
				end := open + strings.IndexByte(f.code[open:]+"\n", '\n')
				f.call(f.code[name[0]:name[1]], strings.Split(f.text[open:end], ","), name[0])
			}
			continue
		}
		if f.lang.Name == "Go" && f.code[name[0]:name[1]] == "B" {
			f.built(open)
			continue
		}
		for {
			args, end := f.arguments(open)
			f.call(f.code[name[0]:name[1]], args, name[0])
			next := chained.FindStringSubmatchIndex(f.code[min(end+1, len(f.code)):])
			if next == nil {
				break
			}
			name = []int{end + 1 + next[2], end + 1 + next[3]}
			open = end + next[1]
		}
	}
}

// built judges a command of rueidis, which is composed of methods: B().Mget().Key("a", "b").Build().
func (f *codeFile) built(open int) {
	var name string
	var args []string
	at := open
	for {
		_, end := f.arguments(open)
		next := chained.FindStringSubmatchIndex(f.code[min(end+1, len(f.code)):])
		if next == nil {
			break
		}
		word := f.code[end+1+next[2] : end+1+next[3]]
		open = end + next[1]
		given, _ := f.arguments(open)
		if name == "" {
			name, at = word, end+1+next[2]
		}
		args = append(args, given...)
	}
	if name == "Arbitrary" {
		name = "Do"
	}
	f.call(name, args, at)
}

var chained = regexp.MustCompile(`^\s*(?:\.|->|\?\.|&\.)(\w+)\s*\(`)

var contextArgument = regexp.MustCompile(`^(?:ctx|c\.Context\(\)|r\.Context\(\)|context\.\w+\(\)|\w*[cC]tx)$`)

// call judges one method with its arguments.
func (f *codeFile) call(name string, args []string, at int) {
	if len(args) > 0 && contextArgument.MatchString(args[0]) {
		args = args[1:]
	}
	plain := plainName(name)
	libs := knownLibraries()
	if slices.Contains(libs.Raw, plain) && len(args) > 0 {
		word, ok := f.lang.keyOf(args[0])
		if !ok || strings.Contains(word, "*") {
			return
		}
		plain, args = strings.ToLower(word), args[1:]
	}
	if alias, ok := libs.Aliases[plain]; ok {
		plain = strings.ToLower(alias)
	}
	if f.lang.Name == "Python" && plain == "pipeline" && !slices.ContainsFunc(args, func(a string) bool { return strings.Contains(strings.ReplaceAll(a, " ", ""), "transaction=False") }) {
		plain = "multi" // pipelines in Python are transactions by default
	}
	spec := commandNamed(plain)
	if spec == nil {
		return
	}
	f.c.e.Calls++
	a := codeCall{f: f, spec: spec, at: at}
	for _, arg := range args {
		if spec.Name == "SELECT" && otherDatabase.MatchString(strings.TrimSpace(arg)) {
			a.note(f.c.t.observe(f.c.e, profile.OtherDatabase, "SELECT", "SELECT", time.Time{}, ""), nil, true)
		}
		if noKey.MatchString(arg) {
			continue
		}
		if key, ok := f.lang.keyOf(arg); ok {
			a.keys = append(a.keys, key)
		} else {
			a.unknown++
			a.spread = a.spread || strings.HasSuffix(arg, "...") || strings.HasPrefix(arg, "*") || strings.HasPrefix(arg, "...")
		}
	}
	if strings.HasPrefix(spec.Name, "B") && a.unknown > 0 && !a.spread && len(a.keys) > 0 {
		a.unknown-- // the last argument is the timeout
	}
	a.judge()
}

// noKey matches an argument that is a number, a constant, or a named option.
var noKey = regexp.MustCompile(`(?s)^\s*(?:-?[0-9][0-9_.]*\w*|true|false|True|False|None|nil|null|\w+\s*=[^=].*|\w+:\s.*|\{.*|&?\w+(?:\.\w+)?\{.*|function.*|func\(.*|\(.*=>.*)$`)

var otherDatabase = regexp.MustCompile(`^[1-9][0-9]*$`)

var commandsByMethod = sync.OnceValue(func() map[string]*command.Spec {
	out := map[string]*command.Spec{}
	for _, s := range command.All() {
		out[strings.ToLower(strings.NewReplacer(" ", "", "-", "", "_", "").Replace(s.Name))] = s
	}
	return out
})

// commandNamed finds a command by the name of a method, in lower case and without underscores.
func commandNamed(method string) *command.Spec { return commandsByMethod()[method] }

// codeCall is one call in source code.
type codeCall struct {
	f       *codeFile
	spec    *command.Spec
	at      int
	keys    []string // templates of the keys that are written in the code
	unknown int      // number of arguments that are not written in the code
	spread  bool
}

func (a *codeCall) judge() {
	t, e := a.f.c.t, a.f.c.e
	name := a.spec.Name
	if since := tooNew(a.spec, t.o); since > 0 {
		a.note(t.unknown(e, name, since, time.Time{}, ""), nil, true)
		return
	}
	for _, c := range command.Against(t.o.Profile, name, t.o.Version) {
		switch c.Rule.When {
		case profile.Called, profile.Misrouted:
			if c.Rule.Level == profile.Info { // methods for operators have common names (sync, shutdown)
				continue
			}
			a.note(t.observe(e, c.Rule.When, name, name, time.Time{}, ""), a.keys, true)
		case profile.CrossSlot:
			a.several()
		default:
			// the call alone does not show this condition
		}
	}
	if slices.ContainsFunc(a.keys, func(channel string) bool { return strings.HasPrefix(channel, "__key") }) && (name == "SUBSCRIBE" || name == "PSUBSCRIBE") {
		a.note(t.observe(e, profile.Notifications, name, name, time.Time{}, ""), nil, true)
	}
	if name == "MULTI" {
		a.note(t.observe(e, profile.TransactionCrossSlot, "EXEC", "EXEC", time.Time{}, ""), nil, false)
	}
}

// several judges a command of several keys. Keys that are written with the same hash tag are in one slot. A single key cannot cross
// slots.
func (a *codeCall) several() {
	tags := map[string]bool{}
	for _, k := range a.keys {
		tag := ""
		if open, end, ok := braces(k); ok {
			tag = k[open+1 : end]
		}
		tags[tag] = true
	}
	many := len(a.keys) + a.unknown
	switch {
	case len(tags) == 1 && !tags[""] && a.unknown == 0:
		return
	case many < 2 && !a.spread && (a.spec.Class == command.Split && a.spec.Name != "MSET"):
		return // DEL of a single key
	case many == 0, many < 2 && len(a.keys) == 1:
		return
	case a.spec.Class == command.Script:
		return // the first string is the script
	}
	o := a.f.c.t.observe(a.f.c.e, profile.CrossSlot, a.spec.Name, a.spec.Name, time.Time{}, "")
	a.note(o, a.keys, len(a.keys) > 1 && a.onlyKeys())
}

// onlyKeys says that every argument of the command is a key, so that two strings are two keys.
func (a *codeCall) onlyKeys() bool {
	return slices.Contains([]string{"MGET", "DEL", "UNLINK", "EXISTS", "TOUCH", "RENAME", "RENAMENX", "SINTER", "SUNION", "SDIFF", "SINTERSTORE", "SUNIONSTORE",
		"SDIFFSTORE", "RPOPLPUSH", "PFCOUNT", "PFMERGE", "WATCH"}, a.spec.Name)
}

// note adds the call to its finding. The parameter sure says that the code alone is a proof.
func (a *codeCall) note(o *observation, keys []string, sure bool) {
	if o == nil {
		return
	}
	if a.spec.Class == command.Keyless {
		keys = nil
	}
	if o.affected == 0 {
		o.possible = true
	}
	if sure {
		o.possible = false
	}
	o.affected++
	for _, k := range keys {
		o.templates.add(template(k))
	}
	if len(keys) > 0 && len(o.examples) < 5 {
		o.examples = append(o.examples, shownKeys(keys))
	}
	o.clients.add(a.f.where(a.at))
}

var databaseOption = regexp.MustCompile(`(?i)\b(?:db|database|setDatabase|withDatabase|selectedDatabase)['"]?\s*(?:=>|[=:(])\s*([1-9][0-9]*)\b|rediss?://[^\s"'` + "`" + `]*/([1-9][0-9]*)\b`)

// databases finds clients that are configured to use another database than 0.
func (f *codeFile) databases() {
	for _, m := range databaseOption.FindAllStringIndex(f.text, -1) {
		f.c.t.codeNote(f.c.e, profile.OtherDatabase, "SELECT", f.where(m[0]))
	}
}
