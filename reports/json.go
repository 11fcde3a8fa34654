package reports

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"surecut/internal/preflight"
	"surecut/scanner"
	"surecut/verifier"
)

// encode returns the JSON form: indented, with fields in the order of the struct, with [] instead of null for an empty list, and
// with a newline at the end.
func encode(r Report) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	if err := e.Encode(clean(reflect.ValueOf(r)).Interface()); err != nil {
		return nil, fmt.Errorf("encode %s report: %w", r.Kind(), err)
	}
	return b.Bytes(), nil
}

// clean returns a copy of v in which every nil slice is replaced by an empty one, and invalid UTF-8 by U+FFFD, as JSON demands. It
// does not change the caller's report, which others may be reading at the same time.
func clean(v reflect.Value) reflect.Value {
	out := reflect.New(v.Type()).Elem()
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return v
		}
		out.Set(reflect.New(v.Type().Elem()))
		out.Elem().Set(clean(v.Elem()))
	case reflect.Struct:
		out.Set(v)
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				out.Field(i).Set(clean(v.Field(i)))
			}
		}
	case reflect.Slice:
		out.Set(reflect.MakeSlice(v.Type(), v.Len(), v.Len()))
		for i := range v.Len() {
			out.Index(i).Set(clean(v.Index(i)))
		}
	case reflect.String:
		out.SetString(strings.ToValidUTF8(v.String(), "\ufffd"))
	default:
		out.Set(v)
	}
	return out
}

// Load reads one JSON report. It accepts only a complete report of a known schema: a file that was truncated, that lacks a field or
// has an unknown one, or that has data after its end is refused, with an error that names the file and what to do.
func Load(path string) (Report, error) {
	l, err := loadFile(path)
	return l.Report, err
}

func loadFile(path string) (Loaded, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Loaded{}, fmt.Errorf("read report: %w", err)
	}
	r, err := decode(data)
	if err != nil {
		return Loaded{}, fmt.Errorf("report %s: %w", path, err)
	}
	return Loaded{Path: path, SHA256: fmt.Sprintf("%x", sha256.Sum256(data)), Report: r}, nil
}

func decode(data []byte) (Report, error) {
	tree, err := parseStrict(data)
	if err != nil {
		return nil, err
	}
	root, _ := tree.(map[string]any)
	schema, _ := root["schema"].(string)
	r, err := reportFor(schema)
	if err != nil {
		return nil, err
	}
	if err := matchShape(tree, reflect.TypeOf(r).Elem(), ""); err != nil {
		return nil, fmt.Errorf("%w; make the report again with this version of surecut", err)
	}
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("%w; make the report again with this version of surecut", err)
	}
	if err := r.header().validateHeader(); err != nil {
		return nil, err
	}
	if err := r.validate(); err != nil {
		return nil, err
	}
	return r, nil
}

func reportFor(schema string) (Report, error) {
	if schema == "" {
		return nil, fmt.Errorf(`no "schema": this is not a report of surecut; use the files that --out wrote`)
	}
	kind, version, _ := strings.Cut(strings.TrimPrefix(schema, "surecut."), "/")
	r := empty(kind)
	if r == nil || !strings.HasPrefix(schema, "surecut.") {
		return nil, fmt.Errorf("unknown schema %q; this surecut reads check, verify, migrate, bigkeys, compat and gate reports", schema)
	}
	if version != "1" {
		return nil, fmt.Errorf("schema %q is of another version; this surecut reads %s. Use the version that wrote it, or make the report again", schema, schemaOf(kind))
	}
	return r, nil
}

// matchShape compares a decoded document with the type that it will be decoded into. encoding/json alone would accept missing
// fields, null for a list, and names with different case.
func matchShape(v any, t reflect.Type, at string) error {
	switch t.Kind() {
	case reflect.Pointer:
		if v == nil {
			return nil
		}
		return matchShape(v, t.Elem(), at)
	case reflect.Struct:
		object, ok := v.(map[string]any)
		if !ok {
			return fmt.Errorf("%s is not an object", name(at))
		}
		return matchFields(object, t, at)
	case reflect.Slice:
		list, ok := v.([]any)
		if !ok {
			return fmt.Errorf("%s is not a list", name(at))
		}
		for i, e := range list {
			if err := matchShape(e, t.Elem(), fmt.Sprintf("%s[%d]", at, i)); err != nil {
				return err
			}
		}
		return nil
	}
	if v == nil {
		return fmt.Errorf("%s is null", name(at))
	}
	return nil
}

func matchFields(object map[string]any, t reflect.Type, at string) error {
	known := map[string]bool{}
	for _, f := range jsonFields(t) {
		known[f.name] = true
		v, ok := object[f.name]
		if !ok {
			if f.optional {
				continue
			}
			return fmt.Errorf("%s lacks %q", name(at), f.name)
		}
		if err := matchShape(v, f.typ, strings.TrimPrefix(at+"."+f.name, ".")); err != nil {
			return err
		}
	}
	for _, n := range sortedKeys(object) {
		if !known[n] {
			return fmt.Errorf("%s has an unknown field %q", name(at), n)
		}
	}
	return nil
}

func name(at string) string {
	if at == "" {
		return "the report"
	}
	return at
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

type jsonField struct {
	name     string
	optional bool
	typ      reflect.Type
}

// jsonFields lists the fields as encoding/json writes them, including those of embedded structs.
func jsonFields(t reflect.Type) []jsonField {
	var fields []jsonField
	for i := range t.NumField() {
		f := t.Field(i)
		tag, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && tag == "":
			fields = append(fields, jsonFields(f.Type)...)
		case tag == "-" || !f.IsExported():
		case tag == "":
			panic("reports: field " + t.Name() + "." + f.Name + " has no JSON name")
		default:
			fields = append(fields, jsonField{tag, strings.Contains(options, "omit"), f.Type})
		}
	}
	return fields
}

// Loaded is a report and the file that it was read from.
type Loaded struct {
	Path   string
	SHA256 string // of the file, hexadecimal
	Report Report
}

// LoadAll loads files and directories. From a directory it takes every *.json in the order of their names, except gate reports,
// which are verdicts on reports and not inputs. A file that cannot be read is an error, and is never skipped.
func LoadAll(paths ...string) ([]Loaded, error) {
	var all []Loaded
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, fmt.Errorf("read report: %w", err)
		}
		files := []string{path}
		if info.IsDir() {
			if files, err = jsonFiles(path); err != nil {
				return nil, err
			}
		}
		before := len(all)
		for _, file := range files {
			l, err := loadFile(file)
			if err != nil {
				return nil, err
			}
			if !info.IsDir() || l.Report.Kind() != KindGate {
				all = append(all, l)
			}
		}
		if len(all) == before {
			return nil, fmt.Errorf("directory %s contains no report (*.json); use the directory that --out wrote to", path)
		}
	}
	return all, nil
}

func jsonFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read reports: %w", err)
	}
	var files []string
	for _, e := range entries {
		if filepath.Ext(e.Name()) == ".json" && !e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			files = append(files, filepath.Join(dir, e.Name()))
		}
	}
	return files, nil
}

func (c *Check) validate() error {
	verdicts := []preflight.Result{preflight.Pass, preflight.Alarm, preflight.Fail}
	results := append(slices.Clone(verdicts), preflight.Note, preflight.Skipped)
	if !slices.Contains(verdicts, c.Verdict) {
		return fmt.Errorf("verdict is %q, must be pass, alarm or fail", c.Verdict)
	}
	for i, check := range c.Checks {
		if !slices.Contains(results, check.Result) {
			return fmt.Errorf("checks[%d].result is %q, must be pass, note, alarm, fail or skipped", i, check.Result)
		}
	}
	return nil
}

func (v *Verify) validate() error {
	if !slices.Contains([]verifier.Verdict{verifier.Same, verifier.Different, verifier.Unchecked}, v.Verdict) {
		return fmt.Errorf("verdict is %q, must be same, different or unchecked", v.Verdict)
	}
	if !slices.Contains(depths, v.Depth) {
		return fmt.Errorf("depth is %q, must be keys, length or value", v.Depth)
	}
	if !slices.Contains(proofs, v.Proof) {
		return fmt.Errorf("proof is %q, must be rounds or offset", v.Proof)
	}
	if w := v.Writes; w != nil && !slices.Contains([]verifier.Clients{verifier.ClientsNone, verifier.ClientsSome, verifier.ClientsUnknown}, w.Clients) {
		return fmt.Errorf("writes.clients is %q, must be none, some or unknown", w.Clients)
	}
	for i, s := range v.Slots {
		if !slices.Contains(keyVerdicts, s.Verdict) {
			return fmt.Errorf("slots[%d].verdict is %q", i, s.Verdict)
		}
	}
	for i, f := range v.Findings {
		if !slices.Contains(keyVerdicts, f.Verdict) {
			return fmt.Errorf("findings[%d].verdict is %q", i, f.Verdict)
		}
		if f.Code != "" && !slices.Contains(verifier.Reasons(), f.Code) { // older versions wrote no code
			return fmt.Errorf("findings[%d].code is %q, must be one of %s", i, f.Code, commas(verifier.Reasons()))
		}
	}
	for i, r := range v.ByReason {
		if !slices.Contains(verifier.Reasons(), r.Code) {
			return fmt.Errorf("by_reason[%d].code is %q, must be one of %s", i, r.Code, commas(verifier.Reasons()))
		}
	}
	return nil
}

// commas joins names with commas.
func commas[T ~string](names []T) string {
	words := make([]string, len(names))
	for i, n := range names {
		words[i] = string(n)
	}
	return strings.Join(words, ", ")
}

var (
	depths      = []verifier.Depth{verifier.DepthKeys, verifier.DepthLength, verifier.DepthValue} // weakest first
	proofs      = []verifier.Proof{verifier.ProofRounds, verifier.ProofOffset}                    // weaker first
	keyVerdicts = []verifier.Verdict{verifier.Same, verifier.Different, verifier.Missing, verifier.Extra, verifier.Unchecked}
	states      = []string{"running", "caught_up", "done", "stopped", "failed"}
	levels      = []string{"exactly_once", "repaired"}
	sizeSources = []string{scanner.SizeByMemoryUsage, scanner.SizeByModel, scanner.SizeByEstimate}
)

func (m *Migrate) validate() error {
	if !slices.Contains(states, m.State) {
		return fmt.Errorf("state is %q, must be one of %s", m.State, strings.Join(states, ", "))
	}
	if !slices.Contains(levels, m.Level) {
		return fmt.Errorf("level is %q, must be exactly_once or repaired", m.Level)
	}
	return nil
}

func (b *BigKeys) validate() error {
	if !slices.Contains(sizeSources, b.Totals.SizeBy) {
		return fmt.Errorf("totals.size_by is %q, must be one of %s", b.Totals.SizeBy, strings.Join(sizeSources, ", "))
	}
	return nil
}

func (g *Gate) validate() error {
	if g.Verdict != Go && g.Verdict != NoGo {
		return fmt.Errorf("verdict is %q, must be GO or NO-GO", g.Verdict)
	}
	return nil
}
