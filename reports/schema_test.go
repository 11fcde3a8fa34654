package reports

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

func compileSchema(t testing.TB, kind string) *jsonschema.Schema {
	t.Helper()
	s, err := jsonschema.NewCompiler().Compile(filepath.Join("schema", kind+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestReportsMeetTheirSchemas(t *testing.T) {
	for name, r := range samples(t) {
		data, err := encode(r)
		if err != nil {
			t.Fatal(err)
		}
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		s := compileSchema(t, r.Kind())
		if err := s.Validate(v); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		object := v.(map[string]any)
		object["surprise"] = 1
		if s.Validate(v) == nil {
			t.Errorf("%s: the schema takes a field that it does not know", name)
		}
		delete(object, "surprise")
		delete(object, "generated_at")
		if s.Validate(v) == nil {
			t.Errorf("%s: the schema takes a report without its time", name)
		}
	}
}

// TestSchemasNameEveryField holds the schemas against the structs, field by field, in both directions: a field that
// an engine adds must be in the schema, with the same duty to be there.
func TestSchemasNameEveryField(t *testing.T) {
	for _, kind := range []string{KindCheck, KindVerify, KindMigrate, KindBigKeys, KindCompat, KindGate} {
		data, err := os.ReadFile(filepath.Join("schema", kind+".json"))
		if err != nil {
			t.Fatal(err)
		}
		var root map[string]any
		if err := json.Unmarshal(data, &root); err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		for _, problem := range compareSchema(root, root, reflect.TypeOf(empty(kind)).Elem(), kind) {
			t.Error(problem)
		}
	}
}

func compareSchema(root, schema map[string]any, typ reflect.Type, at string) []string {
	schema = resolve(root, schema)
	switch typ.Kind() {
	case reflect.Pointer:
		for _, option := range schema["anyOf"].([]any) {
			if o := option.(map[string]any); o["type"] != "null" {
				return compareSchema(root, o, typ.Elem(), at)
			}
		}
		return []string{at + ": no schema but null"}
	case reflect.Slice:
		items, ok := schema["items"].(map[string]any)
		if !ok || schema["type"] != "array" {
			return []string{at + ": the schema has no array"}
		}
		return compareSchema(root, items, typ.Elem(), at+"[]")
	case reflect.Struct:
		return compareFields(root, schema, typ, at)
	case reflect.String:
		return compareType(schema, "string", at)
	case reflect.Bool:
		return compareType(schema, "boolean", at)
	case reflect.Float64:
		return compareType(schema, "number", at)
	}
	if typ == reflect.TypeFor[Duration]() {
		return compareType(schema, "string", at)
	}
	return compareType(schema, "integer", at)
}

func compareType(schema map[string]any, want, at string) []string {
	if _, ok := schema["const"].(string); ok && want == "string" {
		return nil
	}
	if schema["type"] != want {
		return []string{fmt.Sprintf("%s: the schema has type %v, the field is %s", at, schema["type"], want)}
	}
	return nil
}

func compareFields(root, schema map[string]any, typ reflect.Type, at string) []string {
	var problems []string
	properties, _ := schema["properties"].(map[string]any)
	required := map[string]bool{}
	list, _ := schema["required"].([]any)
	for _, r := range list {
		required[r.(string)] = true
	}
	if schema["additionalProperties"] != false {
		problems = append(problems, at+": the schema takes further fields")
	}
	known := map[string]bool{}
	for _, f := range jsonFields(typ) {
		known[f.name] = true
		p, ok := properties[f.name].(map[string]any)
		if !ok {
			problems = append(problems, fmt.Sprintf("%s: the schema lacks %q", at, f.name))
			continue
		}
		if required[f.name] == f.optional {
			problems = append(problems, fmt.Sprintf("%s: %q is required by the schema: %v, optional in the struct: %v", at, f.name, required[f.name], f.optional))
		}
		problems = append(problems, compareSchema(root, p, f.typ, at+"."+f.name)...)
	}
	for n := range properties {
		if !known[n] {
			problems = append(problems, fmt.Sprintf("%s: the schema knows %q, the struct does not", at, n))
		}
	}
	return problems
}

func resolve(root, schema map[string]any) map[string]any {
	ref, ok := schema["$ref"].(string)
	if !ok {
		return schema
	}
	return root["$defs"].(map[string]any)[strings.TrimPrefix(ref, "#/$defs/")].(map[string]any)
}
